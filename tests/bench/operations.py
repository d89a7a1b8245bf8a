"""What the benchmark does, and how each peer does it: the same sizes, the same pattern of access."""

from __future__ import annotations

import fcntl
import mmap
import multiprocessing
import multiprocessing.shared_memory
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Callable

from report import CONTROL, ONE_THREAD, OWN_MAPPINGS, TWO_THREADS
from ring import Receiver, Sender
from timing import Operation, Run, in_threads, loop, offsets, once, run_at_once

import sharedmmap

MIB = 1 << 20
SIZE = 128 * MIB
SPAN = 1 * MIB  # where small accesses go, so that caches do not decide
# PyPy has no preadv(2).
READ_INTO = "os.preadv(fd, ({},), o)" if hasattr(os, "preadv") else "{}[:] = os.pread(fd, n, o)"
REPEAT = 20 if sys.implementation.name == "cpython" else 400  # times 1,000 offsets
U64, F64, RECORD = struct.Struct("<Q"), struct.Struct("<d"), struct.Struct("<QQd")


class Peers:
    """The same memory under each peer, and the names by which the statements call it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "file"
        self.file = open(self.path, "w+b")  # noqa: SIM115  (open as long as the peers are)
        self.file.truncate(SIZE)
        self.fd = self.file.fileno()
        self.ours = sharedmmap.File(self.fd)
        self.mmap = mmap.mmap(self.fd, SIZE)
        self.block = multiprocessing.shared_memory.SharedMemory(create=True, size=SIZE)
        self.list = multiprocessing.shared_memory.ShareableList([1 << 62] * 1000)
        self.value = multiprocessing.Value("Q", 0)
        self.names: dict[str, Any] = {
            "m": self.ours,
            "std": self.mmap,
            "view": memoryview(self.mmap),
            "buf": self.block.buf,
            "shl": self.list,
            "fd": self.fd,
            "os": os,
            **{f"{verb}_{name}": getattr(layout, f"{verb}_{way}")
               for name, layout in (("u64", U64), ("f64", F64), ("record", RECORD))
               for verb, way in (("unpack", "from"), ("pack", "into"))},
        }  # fmt: skip
        self.absent: list[str] = []
        try:
            import numpy
        except ImportError:
            self.absent.append("numpy.memmap")
        else:
            self.names["np"] = numpy.memmap(self.path, dtype="u1", mode="r+")
            self.names["npq"] = self.names["np"][:SPAN].view("<u8")
            self.names["npd"] = self.names["np"][:SPAN].view("<f8")

    def close(self) -> None:
        self.names.clear()
        for block in (self.block, self.list.shm):
            block.unlink()

    def each(
        self, name: str, where: list[int], repeat: int, statements: dict[str, str], **extra: Any
    ) -> Operation:
        """An operation that is one statement for each peer, done at the offsets ``where``."""
        names = {**self.names, **extra}
        return Operation(
            name,
            {
                peer: loop(statement, names, where, repeat)
                for peer, statement in statements.items()
                if peer not in self.absent
            },
        )


def operations(folder: Path, go: Path | None) -> tuple[Iterator[Operation], list[str]]:
    """The operations, and the peers that are not installed. ``go`` is a checkout of the Go package."""
    peers = Peers(folder)
    program = None if go is None else built(folder / "go", go)

    def every() -> Iterator[Operation]:
        for kind in (values, copies, searches, atomics, mutexes, mappings, flushes, messages, small_calls):
            for operation in kind(peers):
                if program is not None and operation.name in IN_GO:
                    operation.peers["Go"] = in_go(program, IN_GO[operation.name], peers.path)
                yield operation
        peers.close()

    return every(), peers.absent


IN_GO = {
    "read uint64 below 2^63": "read uint64",
    "write uint64 below 2^63": "write uint64",
    "read_at, 64 B": "read 64 B",
    "read_at into a memoryview, 64 B": "read 64 B",
    "write_at, 64 B": "write 64 B",
    "read_at, 1 MiB": "read 1 MiB",
    "write_at, 1 MiB": "write 1 MiB",
    "map and unmap": "map and unmap",
}
"""What ``original.go`` calls the operations that the Go package has."""


def built(folder: Path, checkout: Path) -> Path:
    """``original.go`` built with the Go package at ``checkout``."""
    package = "github.com/grandecola/mmap"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("original.go"), folder)
    (folder / "go.mod").write_text(
        f"module bench\n\ngo 1.23\n\nrequire {package} v0.0.0\n\nreplace {package} => {checkout.resolve()}\n"
    )
    subprocess.run(["go", "build", "-mod=mod", "-o", "original", "."], cwd=folder, check=True)
    return folder / "original"


def in_go(program: Path, row: str, path: Path) -> Run:
    return lambda: float(subprocess.run([program, row, path], capture_output=True, check=True).stdout)


def values(peers: Peers) -> Iterator[Operation]:
    where = offsets(SPAN, 8)
    for word, value in (("below", 5_000_000_000), ("above", 2**63 + 5_000_000_000)):
        for offset in range(0, SPAN, 8):
            U64.pack_into(peers.mmap, offset, value)
            U64.pack_into(peers.block.buf, offset, value)
        reading = {
            "ours": "m.read_uint64_at(o)",
            "mmap": "unpack_u64(std, o)[0]",
            "numpy.memmap": "int(npq[o >> 3])",
            "shared_memory": "unpack_u64(buf, o)[0]",
            "os.pread": "int.from_bytes(os.pread(fd, 8, o), 'little')",
        }
        writing = {
            "ours": "m.write_uint64_at(v, o)",
            "mmap": "pack_u64(std, o, v)",
            "numpy.memmap": "npq[o >> 3] = v",
            "shared_memory": "pack_u64(buf, o, v)",
            "os.pread": "os.pwrite(fd, v.to_bytes(8, 'little'), o)",
        }
        if word == "below":  # a ShareableList holds signed integers
            reading["ShareableList"] = "shl[o % 1000]"
            writing["ShareableList"] = "shl[o % 1000] = v"
        yield peers.each(f"read uint64 {word} 2^63", where, REPEAT, reading)
        yield peers.each(f"write uint64 {word} 2^63", where, REPEAT, writing, v=value)
    yield peers.each(
        "write float64", where, REPEAT,
        {"ours": "m.write_float64_at(v, o)", "mmap": "pack_f64(std, o, v)",
         "numpy.memmap": "npd[o >> 3] = v", "shared_memory": "pack_f64(buf, o, v)"}, v=1.5,
    )  # fmt: skip
    yield peers.each(
        "read float64", where, REPEAT,
        {"ours": "m.read_float64_at(o)", "mmap": "unpack_f64(std, o)[0]",
         "numpy.memmap": "float(npd[o >> 3])", "shared_memory": "unpack_f64(buf, o)[0]"},
    )  # fmt: skip
    where = offsets(SPAN - 24, 1)
    yield peers.each(
        "write a <QQd record", where, REPEAT,
        {"ours": "m.write_struct_at(record, o, 1, 2, 3.0)", "mmap": "pack_record(std, o, 1, 2, 3.0)",
         "shared_memory": "pack_record(buf, o, 1, 2, 3.0)"}, record=RECORD,
    )  # fmt: skip
    yield peers.each(
        "read a <QQd record", where, REPEAT,
        {"ours": "m.read_struct_at(record, o)", "mmap": "unpack_record(std, o)",
         "shared_memory": "unpack_record(buf, o)"}, record=RECORD,
    )  # fmt: skip
    yield peers.each(
        "1,000 uint64 at once", offsets(SPAN - 8000, 8, 20), max(1, REPEAT // 10),
        {"ours": "m.read_array_at('Q', o, 1000)", "mmap": "[unpack_u64(std, o + i)[0] for i in steps]",
         "numpy.memmap": "npq[o >> 3 : (o >> 3) + 1000].tolist()"}, steps=range(0, 8000, 8),
    )  # fmt: skip


def copies(peers: Peers) -> Iterator[Operation]:
    for size in (16, 64, 1024, 64 << 10, MIB, 64 * MIB):
        name = f"{size >> 20} MiB" if size >= MIB else f"{size >> 10} KiB" if size >= 1024 else f"{size} B"
        small = size <= 1024
        where = offsets(
            SPAN - size if small else SIZE - size, 1, 1000 if small else max(2, min(200, (64 * MIB) // size))
        )
        repeat = REPEAT if small else 8 if size <= MIB else 1  # so that a round is long enough to be timed
        dest, source = bytearray(size), bytes(size)
        extra = {"n": size, "dest": dest, "into": memoryview(dest), "source": source}
        yield peers.each(
            f"m[a:b], {name}", where, repeat,
            {"ours": "m[o : o + n]", "mmap": "std[o : o + n]", "shared_memory": "bytes(buf[o : o + n])",
             "numpy.memmap": "np[o : o + n].tobytes()", "os.pread": "os.pread(fd, n, o)"}, **extra,
        )  # fmt: skip
        yield peers.each(
            f"m[a:b] = s, {name}", where, repeat,
            {"ours": "m[o : o + n] = source", "mmap": "std[o : o + n] = source",
             "shared_memory": "buf[o : o + n] = source", "os.pread": "os.pwrite(fd, source, o)"}, **extra,
        )  # fmt: skip
        yield peers.each(
            f"read_at, {name}", where, repeat,
            {"ours": "m.read_at(dest, o)", "mmap": "into[:] = view[o : o + n]",
             "shared_memory": "into[:] = buf[o : o + n]", "os.pread": READ_INTO.format("dest")}, **extra,
        )  # fmt: skip
        if size == 64:
            yield peers.each(
                f"read_at into a memoryview, {name}", where, repeat,
                {"ours": "m.read_at(into, o)", "mmap": "into[:] = view[o : o + n]",
                 "shared_memory": "into[:] = buf[o : o + n]", "os.pread": READ_INTO.format("into")}, **extra,
            )  # fmt: skip
        yield peers.each(
            f"write_at, {name}", where, repeat,
            {"ours": "m.write_at(source, o)", "mmap": "std[o : o + n] = source",
             "shared_memory": "buf[o : o + n] = source", "os.pread": "os.pwrite(fd, source, o)"}, **extra,
        )  # fmt: skip
    yield Operation(
        f"64 MiB copied{TWO_THREADS}",
        {"ours": two_threads(lambda dest: peers.ours.read_at(dest, 0)),
         "mmap": two_threads(lambda dest: copy_slice(dest, peers.mmap))},
    )  # fmt: skip
    yield Operation(
        f"64 MiB copied{ONE_THREAD}",
        {"ours": one_thread(lambda dest: peers.ours.read_at(dest, 0)),
         "mmap": one_thread(lambda dest: copy_slice(dest, peers.mmap))},
    )  # fmt: skip


def copy_slice(dest: bytearray, source: mmap.mmap) -> None:
    with memoryview(source) as view, view[: len(dest)] as part:
        memoryview(dest)[:] = part


def one_thread(copy: Callable[[bytearray], object]) -> Run:
    dest = bytearray(64 * MIB)
    return once(lambda: copy(dest))


def two_threads(copy: Callable[[bytearray], object]) -> Run:
    copies = [partial(copy, bytearray(64 * MIB)) for _ in range(2)]
    return once(lambda: run_at_once(copies))


def searches(peers: Peers) -> Iterator[Operation]:
    for name, text, sub in (
        ("find, easy", b"the quick brown fox jumps over the lazy dog. " * 200_000, b"lazy cat"),
        ("find, hard", b"ab" * 4_000_000, b"aaab"),
    ):
        peers.ours[: len(text)] = text
        yield Operation(
            name,
            {
                "ours": once(partial(peers.ours.find, sub, 0, len(text))),
                "mmap": once(partial(peers.mmap.find, sub, 0, len(text))),
            },
        )


def atomics(peers: Peers) -> Iterator[Operation]:
    word, value = peers.ours.atomic_uint64_at(0), peers.value
    extra = {"word": word, "value": value, "lock": value.get_lock()}
    statements = {"ours": "word.fetch_add(1)", "Value with its lock": "add(value, lock)"}

    def add(value: Any, lock: Any) -> None:
        with lock:
            value.value += 1

    where = [0] * 1000
    yield peers.each("atomic add", where, REPEAT, statements, add=add, **extra)
    busy = peers.each("atomic add beside a busy thread", where, 2, statements, add=add, **extra)
    busy.peers = {peer: beside_a_busy_thread(run) for peer, run in busy.peers.items()}
    yield busy


TURNS = 20_000  # of each of two processes


class FileLock:
    """flock(2), as a context manager."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)


def mutexes(peers: Peers) -> Iterator[Operation]:
    path = peers.folder / "lock"
    path.write_bytes(bytes(8))
    context = multiprocessing.get_context("fork")
    shared = context.Lock()
    # Each process makes its own: a child of fork(2) would share the open file description, and with it flock(2).
    makers: dict[str, Callable[[], Any]] = {
        "ours": lambda: sharedmmap.open(path).mutex_at(0),
        "multiprocessing.Lock": lambda: shared,
        "threading.Lock": threading.Lock,
        "flock": lambda: FileLock(os.open(path, os.O_RDWR)),
    }
    try:
        import filelock
    except ImportError:
        peers.absent.append("filelock")
    else:
        makers["filelock"] = lambda: filelock.FileLock(peers.folder / "filelock")
    locks = {peer: make() for peer, make in makers.items()}
    yield Operation(
        "with mutex: pass",
        {
            peer: loop("with lock: pass", {"lock": lock}, [0] * 1000, 1 if peer == "filelock" else REPEAT)
            for peer, lock in locks.items()
        },
    )
    del makers["threading.Lock"]  # which other processes do not see

    def contended(make: Callable[[], Any]) -> Run:
        """Two processes take turns as they can, with a little work inside and none outside."""

        def run() -> float:
            begun = sharedmmap.open(peers.folder / "begun", "w+", length=8).atomic_uint32_at(0)

            def play() -> None:
                lock = make()
                begun.fetch_add(1)
                while begun.load() < 2:
                    pass
                for _ in range(TURNS):
                    with lock:
                        peers.ours.write_uint64_at(peers.ours.read_uint64_at(0) + 1, 0)

            child = context.Process(target=play)
            child.start()
            start = time.perf_counter()
            play()
            child.join()
            return (time.perf_counter() - start) / (2 * TURNS)

        return run

    yield Operation("with mutex: of two processes", {peer: contended(make) for peer, make in makers.items()})


def beside_a_busy_thread(run: Run) -> Run:
    def timed() -> float:
        stop = []

        def spin() -> None:
            while not stop:
                pass

        thread = threading.Thread(target=spin)
        thread.start()
        try:
            return run()
        finally:
            stop.append(True)
            thread.join()

    return timed


def mappings(peers: Peers) -> Iterator[Operation]:
    fd = peers.fd
    yield Operation(
        "map and unmap",
        {"ours": once(lambda: sharedmmap.File(fd, 0, MIB).close(), 2000),
         "mmap": once(lambda: mmap.mmap(fd, MIB).close(), 2000)},
    )  # fmt: skip
    size = 256 * MIB

    def first_write(touch: Callable[[Any], None], opened: Callable[[int], Any]) -> Run:
        """Writes a byte to each page of a new file; making it is not timed."""

        def run() -> float:
            path = peers.folder / "fresh"
            fresh = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            try:
                os.ftruncate(fresh, size)
                mapped = opened(fresh)
                start = time.perf_counter()
                touch(mapped)
                taken = time.perf_counter() - start
                mapped.close()
                return taken
            finally:
                os.close(fresh)
                path.unlink()

        return run

    def reserved(descriptor: int) -> sharedmmap.File:
        mapped = sharedmmap.File(descriptor)
        mapped.reserve(size)
        return mapped

    def touch(mapped: Any) -> None:
        for offset in range(0, size, MIB):
            mapped[offset : offset + MIB] = block

    block = bytes(MIB)
    theirs = first_write(touch, lambda descriptor: mmap.mmap(descriptor, size))
    yield Operation("first write to 256 MiB", {"ours": first_write(touch, sharedmmap.File), "mmap": theirs})
    yield Operation("first write after reserve", {"ours": first_write(touch, reserved), "mmap": theirs})


def flushes(peers: Peers) -> Iterator[Operation]:
    m, std = peers.ours, peers.mmap

    def page(mapped: Any) -> None:
        mapped[0:1] = b"x"
        mapped.flush()

    m.flush()
    yield Operation("flush, clean", {"ours": once(m.flush, 1000), "mmap": once(std.flush, 20)})
    yield Operation(
        "flush, one dirty page", {"ours": once(lambda: page(m), 20), "mmap": once(lambda: page(std), 20)}
    )


TRIPS = 20_000
MESSAGES = 200_000 if sys.implementation.name == "cpython" else 1_000_000  # each time a new process has to compile


def messages(peers: Peers) -> Iterator[Operation]:
    """A second process answers; ours and multiprocessing's own means, the same messages."""
    context = multiprocessing.get_context("fork")

    def with_child(child: Callable[[int], object], parent: Callable[[int], object], count: int) -> float:
        """Seconds for each of ``count``, after a tenth of them has seen to it that both are there."""
        first = count // 10
        process = context.Process(target=lambda: child(first + count))
        process.start()
        try:
            parent(first)
            start = time.perf_counter()
            parent(count)
            process.join()
            return (time.perf_counter() - start) / count
        finally:
            process.join()

    def ping_words() -> float:
        m = sharedmmap.open(peers.folder / "words", "w+", length=4096)
        ball = m.atomic_uint32_at(0)

        def play(side: int, count: int) -> None:
            for _ in range(count):
                while ball.load() != side:
                    ball.wait(1 - side)
                ball.store(1 - side)
                ball.notify()

        return with_child(partial(play, 1), partial(play, 0), TRIPS)

    def ping_pipe() -> float:
        near, far = context.Pipe()

        def answer(count: int) -> None:
            for _ in range(count):
                far.send_bytes(far.recv_bytes())

        def ask(count: int) -> None:
            for _ in range(count):
                near.send_bytes(b"x")
                near.recv_bytes()

        return with_child(answer, ask, TRIPS)

    yield Operation("ping-pong of two processes", {"ours": ping_words, "Pipe": ping_pipe})

    message = b"m" * 64

    def passing(make_sender: Callable[[], Any], make_receiver: Callable[[], Any]) -> float:
        def take(count: int) -> None:
            receive = make_receiver()
            for _ in range(count):
                receive()

        send = make_sender()

        def give(count: int) -> None:
            for _ in range(count):
                send(message)

        return with_child(take, give, MESSAGES)

    def pass_by_ring() -> float:
        m = sharedmmap.open(peers.folder / "ring", "w+", length=MIB)
        return passing(lambda: Sender(m).send, lambda: Receiver(m).receive)

    def pass_by_pipe() -> float:
        reader, writer = context.Pipe(duplex=False)
        return passing(lambda: writer.send_bytes, lambda: reader.recv_bytes)

    def pass_by_queue() -> float:
        queue = context.Queue()
        return passing(lambda: queue.put, lambda: queue.get)

    yield Operation(
        "a 64-byte message to another process",
        {"ours": pass_by_ring, "Pipe": pass_by_pipe, "Queue": pass_by_queue},
    )


class Plain:
    """Pure Python, to see whether two threads can run at once here at all."""

    def __init__(self) -> None:
        self.value = 0

    def read(self, offset: int) -> int:
        return self.value + offset


def small_calls(peers: Peers) -> Iterator[Operation]:
    """Calls of two threads, where no GIL lets one at a time run: of mappings of their own, and of one mapping."""
    if not hasattr(sys, "_is_gil_enabled") or sys._is_gil_enabled():
        return

    def names(path: Path) -> dict[str, Any]:
        with open(path, "w+b") as file:
            file.truncate(SPAN)
            m = sharedmmap.File(file.fileno())
            std = mmap.mmap(file.fileno(), SPAN)
        return {"m": m, "word": m.atomic_uint64_at(0), "std": std}

    def own() -> dict[str, Any]:  # objects that are no mapping, of each thread
        layout = struct.Struct("<Q")
        return {
            "unpack": layout.unpack_from,
            "pack": layout.pack_into,
            "source": bytes(bytearray(64)),
            "dest": bytearray(64),
            "plain": Plain(),
        }

    each = [names(peers.folder / f"thread{number}") for number in range(2)]
    where = offsets(SPAN - 64, 8)
    for call, statements in (
        ("read uint64", {"ours": "m.read_uint64_at(o)", "mmap": "unpack(std, o)[0]"}),
        ("write uint64", {"ours": "m.write_uint64_at(o, o)", "mmap": "pack(std, o, o)"}),
        ("atomic add", {"ours": "word.fetch_add(1)"}),
        ("m[a:b], 64 B", {"ours": "m[o : o + 64]", "mmap": "std[o : o + 64]"}),
        ("m[a:b] = s, 64 B", {"ours": "m[o : o + 64] = source", "mmap": "std[o : o + 64] = source"}),
        ("read_at, 64 B", {"ours": "m.read_at(dest, o)", "mmap": "dest[:] = std[o : o + 64]"}),
        ("write_at, 64 B", {"ours": "m.write_at(source, o)", "mmap": "std[o : o + 64] = source"}),
    ):
        for whose, of_threads in ((OWN_MAPPINGS, each), (", one mapping", each[:1] * 2)):
            for name, count in ((ONE_THREAD, 1), (TWO_THREADS, 2)):
                yield Operation(
                    f"{call}{whose}{name}",
                    {
                        peer: in_threads(statement, [{**its, **own()} for its in of_threads[:count]], where, 200)
                        for peer, statement in {**statements, CONTROL: "plain.read(o)"}.items()
                    },
                )
