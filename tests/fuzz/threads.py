"""A round of threads: each writes to an area of its own, while the mapping is unmapped, cut and restored.

Every call ends, in the right result or a documented exception, and what was reported as written is in the file.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any, Callable

from rounds import COPIES, SYSTEM_CALLS, is_documented, outcome
from values import PAGE, PIECE, RefusalError, Values

import sharedmmap

READS = [name for name in COPIES if name in ("__getitem__", "__contains__", "find", "rfind") or "read" in name]
READS += [name for name in SYSTEM_CALLS if name != "reserve"]
GONE = (sharedmmap.UnmappedMemoryError, sharedmmap.MappingFaultError)
WORKERS = 3

# Each writes all of `new` at `at`.
WRITES: list[Callable[[Any, bytes, int], Any]] = [
    lambda m, new, at: m.write_at(new, at),
    lambda m, new, at: m.write_at(bytearray(new), at),
    lambda m, new, at: m.write_array_at(memoryview(new), at),
    lambda m, new, at: m.write_string_at(new.decode("latin-1"), at, encoding="latin-1"),
    lambda m, new, at: m.__setitem__(slice(at, at + len(new)), new),
    lambda m, new, at: m.__setitem__(slice(at, at + len(new)), bytearray(new)),
    lambda m, new, at: m.write_struct_at(f"{len(new)}s", at, new),
    lambda m, new, at: m.fill(new[0], at, len(new)),
    lambda m, new, at: m.stream(at, len(new)).write(new),
    lambda m, new, at: m.write_uint64_at(int.from_bytes(new, "little"), at) if len(new) == 8 else m.check(),
    lambda m, new, at: m.atomic_uint64_at(at).store(int.from_bytes(new, "little")) if len(new) == 8 else m.check(),
]


class Worker(threading.Thread):
    def __init__(self, round: ThreadedRound, start: int, size: int, seed: int) -> None:
        super().__init__()
        self.round, self.begin, self.size = round, start, size
        self.v = Values(random.Random(seed).randrange, self.disturb)
        self.failure: BaseException | None = None

    def disturb(self) -> None:
        if self.v.one_in(2):
            raise RefusalError
        if self.v.one_in(8):
            gc.collect()

    def run(self) -> None:
        try:
            self.known = os.pread(self.round.fd, self.size, self.begin)
            for _ in range(60):
                self.v.pick((self.write, self.write, self.read, self.hold))(self.round.m)
        except BaseException as failure:
            self.failure = failure

    def write(self, m: sharedmmap.File) -> None:
        size = self.v.pick((8, 8, 1, 100, self.size))
        at = self.v.below(self.size - size + 1) & ~7
        new = bytes([self.v.below(256)]) * size
        calling = self.v.pick(WRITES)
        expected = self.known[:at] + new + self.known[at + size :]
        got = outcome(calling, (m, new, self.begin + at), {})
        self.round.counts[f"threaded write: {type(got.error).__name__ if got.error else 'done'}"] += 1
        found = os.pread(self.round.fd, self.size, self.begin)
        if got.error is None and (size == 8 or WRITES.index(calling) < len(WRITES) - 2):
            assert found == expected, f"write {WRITES.index(calling)} of {size} bytes was reported and is lost"
        else:
            assert got.error is None or isinstance(got.error, GONE), f"a write came to {got}"
            if found not in (self.known, expected):
                parts = zip(found, self.known, expected)
                assert all(byte in (old, due) for byte, old, due in parts), "the file holds what nobody wrote"
        self.known = found
        if isinstance(got.error, sharedmmap.MappingFaultError):
            with contextlib.suppress(*GONE, io.UnsupportedOperation):
                m.restore()

    def read(self, m: sharedmmap.File) -> None:
        name = self.v.pick(READS)
        self.v.edges = [0, len(self.round.areas), 4 * PAGE, self.round.length]
        args, kwargs = {**COPIES, **SYSTEM_CALLS}[name](self.v)
        got = outcome(
            getattr(m, name), [arg.given for arg in args], {key: arg.given for key, arg in kwargs.items()}
        )
        self.round.counts[f"threaded {name.strip('_')}: {type(got.error).__name__ if got.error else 'done'}"] += 1
        assert got.error is None or is_documented(got.error), f"{name} came to {got}"

    def hold(self, m: sharedmmap.File) -> None:
        """Holds the mutex that all share, in a part of the file that is cut."""

        def acquire_and_release() -> None:
            mutex = m.mutex_at(self.round.length - 8, on_owner_died=lambda m: None)
            if mutex.acquire(0.001):
                mutex.release()

        got = outcome(acquire_and_release, (), {})
        self.round.counts[f"threaded mutex: {type(got.error).__name__ if got.error else 'done'}"] += 1
        # RuntimeError: the cut took the word away while it was held, and zeros came in its place.
        expected = (*GONE, sharedmmap.OutOfBoundsError, OSError, RuntimeError)
        assert got.error is None or isinstance(got.error, expected), f"a mutex came to {got}"


class ThreadedRound:
    def __init__(self, below: Callable[[int], int], folder: Path, counts: Counter[str]) -> None:
        self.below, self.path, self.counts = below, folder / "file", counts

    def run(self, more: Callable[[], bool]) -> None:
        size = PIECE + PAGE if self.below(8) == 7 else PAGE  # of an area
        self.areas = range(0, WORKERS * size, size)
        self.kept = WORKERS * size  # what no cut takes away
        self.length = self.kept + 4 * PAGE
        self.path.write_bytes(bytes(self.length))
        self.fd = os.open(self.path, os.O_RDWR)
        self.m = self.map()
        workers = [Worker(self, start, size, self.below(2**31)) for start in self.areas]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for worker in workers:
                worker.start()
            while any(worker.is_alive() for worker in workers):
                (self.cut, self.restore, self.unmap, self.flush)[self.below(4)]()
            for worker in workers:
                worker.join()
                if worker.failure is not None:
                    raise worker.failure
        finally:
            sys.setswitchinterval(interval)
            self.m.close()
            os.close(self.fd)

    def map(self) -> sharedmmap.File:
        return sharedmmap.File(self.fd, 0, self.length, trackfd=self.below(4) < 3)

    def cut(self) -> None:
        os.ftruncate(self.fd, self.kept + self.below(4) * PAGE + self.below(2))
        if self.below(2):
            with contextlib.suppress(*GONE, sharedmmap.OutOfBoundsError):
                self.m.read_uint64_at(self.length - 8)  # a fault, where that is not known yet
        os.ftruncate(self.fd, self.length)

    def restore(self) -> None:
        with contextlib.suppress(*GONE, OSError):
            self.m.restore()

    def unmap(self) -> None:
        self.m.close()
        self.m = self.map()

    def flush(self) -> None:
        with contextlib.suppress(*GONE):
            self.m.flush(1 + 3 * self.below(2))
