"""A round: a file, its mappings, and calls one after the other, each beside the same call of the model.

After every call the file holds what the model holds, and the call came to what the model says.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import itertools
import os
import pickle
import signal
import struct
import sys
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple

import model
from values import PAGE, PIECE, Arg, RefusalError, Values, same

import sharedmmap

ROOM = 6 * PAGE
CONTENTS = bytes(i * 31 % 251 for i in range(ROOM))
DOCUMENTED = (TypeError, ValueError, OverflowError, BufferError, IndexError, OSError, struct.error, MemoryError)

Arguments = tuple[list[Arg], dict[str, Arg]]


def call(*args: Arg, **kwargs: Arg) -> Arguments:
    return list(args), kwargs


# How the arguments of each method are drawn; v are the Values.
COPIES: dict[str, Callable[[Values], Arguments]] = {
    "read_at": lambda v: call(*v.resized()) if v.one_in(30) else call(v.dest(), v.offset()),
    "write_at": lambda v: call(*v.resized()) if v.one_in(30) else call(v.source(), v.offset()),
    "read_string_at": lambda v: call(
        v.offset(), *v.some(v.length), **v.maybe(encoding=v.encoding, errors=v.errors)
    ),
    "write_string_at": lambda v: call(v.text(), v.offset(), **v.maybe(encoding=v.encoding, errors=v.errors)),
    "__getitem__": lambda v: call(v.key()),
    "__setitem__": lambda v: call(*v.assignment()),
    "__contains__": lambda v: call(v.byte() if v.one_in(3) else v.source(v.below(4))),
    "find": lambda v: call(v.needle(), *v.some(v.length, v.length)),
    "rfind": lambda v: call(v.needle(), *v.some(v.length, v.length)),
    "fill": lambda v: call(v.byte(), *v.some(v.offset, v.length)),
    "move": lambda v: call(v.offset(), v.offset(), v.length()),
    "read_array_at": lambda v: call(v.typecode(), v.offset(), v.length()),
    "write_array_at": lambda v: call(*v.resized()) if v.one_in(30) else call(v.source(), v.offset()),
    "read_struct_at": lambda v: call(v.format(), v.offset()),
    "write_struct_at": lambda v: call(*v.record()),
}
SYSTEM_CALLS: dict[str, Callable[[Values], Arguments]] = {
    "flush": lambda v: call(*v.some(v.flags, v.offset, v.length)),
    "advise": lambda v: call(v.advice(), *v.some(v.offset, v.length)),
    "lock": lambda v: call(*v.some(v.offset, v.length), **v.maybe(on_fault=v.truth)),
    "unlock": lambda v: call(*v.some(v.offset, v.length)),
    "residency": lambda v: call(*v.some(v.offset, v.length)),
    "reserve": lambda v: call(v.length()),
}
LIFE: dict[str, Callable[[Values], Arguments]] = {
    "restore": lambda v: call(),
    "check": lambda v: call(),
    "unmap": lambda v: call(),
    "close": lambda v: call(),
    "__len__": lambda v: call(),
    "__enter__": lambda v: call(),
    "__reduce_ex__": lambda v: call(same(v.below(6))),
}
WORDS: dict[str, Callable[[Values], Arguments]] = {
    "load": lambda v: call(),
    "store": lambda v: call(v.word()),
    "compare_exchange": lambda v: call(v.word(), v.word()),
    "wait": lambda v: call(v.word(), v.timeout()),
    "notify": lambda v: call(*v.some(v.length)),
}
for _name in ("exchange", "fetch_add", "fetch_sub", "fetch_and", "fetch_or", "fetch_xor"):
    WORDS[_name] = WORDS["store"]
STREAMS: dict[str, Callable[[Values], Arguments]] = {
    "read": lambda v: call(*v.some(v.length)),
    "readline": lambda v: call(*v.some(lambda: same(v.size() - 1))),
    "readall": lambda v: call(),
    "readinto": lambda v: call(v.dest()),
    "write": lambda v: call(v.source()),
    "seek": lambda v: call(v.offset(), *v.some(lambda: v.dressed(v.below(4)))),
    "tell": lambda v: call(),
    "truncate": lambda v: call(),
    "writable": lambda v: call(),
    "close": lambda v: call(),
}


class Outcome(NamedTuple):
    value: Any = None
    error: BaseException | None = None

    def __str__(self) -> str:
        return brief(self.value) if self.error is None else f"an exception, {self.error!r}"


def outcome(function: Callable[..., Any], args: Any, kwargs: Any) -> Outcome:
    try:
        return Outcome(function(*args, **kwargs))
    except Exception as error:
        return Outcome(error=error)


def is_documented(error: BaseException) -> bool:
    return isinstance(error, (*DOCUMENTED, RefusalError)) or type(error) is LookupError


def equal(one: Any, other: Any) -> bool:
    """NaNs are."""
    return other is model.ANY or one == other or repr(one) == repr(other)


def brief(value: Any) -> str:
    text = object.__repr__(value) if isinstance(value, bytes) and type(value) is not bytes else repr(value)
    return text if len(text) < 100 else f"{text[:60]}... ({len(text)} characters)"


def memory_of(args: list[Any]) -> list[bytes]:
    """What the buffers among them hold, with what is around it."""
    found = []
    for value in args:
        with contextlib.suppress(TypeError, ValueError), memoryview(value) as view:
            around = view.obj
            found.append(bytes(around) if isinstance(around, bytearray) else view.tobytes())
    return found


class Mapping(NamedTuple):
    real: sharedmmap.File
    model: model.File


class Round:
    def __init__(self, below: Callable[[int], int], folder: Path, counts: Counter[str]) -> None:
        self.v = Values(below, self.disturb)
        self.path = folder / "file"
        self.counts = counts
        self.log: list[str] = []
        self.disk = model.Disk()
        self.mappings: list[Mapping] = []
        self.parts: list[tuple[Any, Any]] = []  # what came out of them, and its model
        self.disturbed = False
        self.others: list[int] = []

    def run(self, more: Callable[[], bool]) -> None:
        size = self.v.pick((0, 1, PAGE - 1, PAGE, 2 * PAGE + 100, 3 * PAGE, 3 * PAGE + 8, 5 * PAGE))
        if self.v.one_in(60):
            size = 2 * PIECE + 5
        self.disk.file[:] = CONTENTS[:size].ljust(size, b"\n")
        self.path.write_bytes(self.disk.file)
        self.fd = os.open(self.path, os.O_RDWR)
        self.others = [os.open(self.path, os.O_WRONLY), *os.pipe(), os.open(self.path.parent, os.O_RDONLY)]
        closed = os.dup(self.fd)
        os.close(closed)
        # A few kinds of calls, for the sake of sequences of the same.
        self.copies = [self.v.pick(list(COPIES)) for _ in range(4)]
        self.actions = [
            *[self.copy] * 12, *[self.scalar] * 6, *[self.system_call] * 3, *[self.word] * 3, *[self.stream] * 3,
            self.cut, *[self.grow] * 2, self.map, self.open, self.view, self.life, self.restore, self.ends,
            self.glance,
        ]  # fmt: skip
        try:
            while more():
                if not any(mapping.model.state != model.UNMAPPED for mapping in self.mappings):
                    offset = self.v.pick((0, 0, 1, 100, PAGE, PAGE - 3))
                    length = self.v.pick((ROOM, None))  # with room to grow, or all of it accessible
                    self.make(same(self.fd), same(offset), same(length), same(3), same(True))
                elif self.v.one_in(200):
                    self.fork()
                else:
                    self.v.pick(self.actions)()
        except BaseException:
            print(self.story(), file=sys.stderr)
            raise
        finally:
            for mapping in self.mappings:
                mapping.real.close()
            for fd in (self.fd, *self.others):
                os.close(fd)

    # ---- a call beside the model's ----

    def compare(self, name: str, real: Any, twin: Any, arguments: Arguments, strict: bool = True) -> Outcome:
        """Makes the same call of both, and says what is wrong with the real one."""
        args, kwargs = arguments
        every = [*args, *kwargs.values()]
        given, plain = [arg.given for arg in args], [arg.plain for arg in args]
        self.log.append((name, given, {key: arg.given for key, arg in kwargs.items()}))
        self.disk.new_call()
        self.disk.open = any(arg.open for arg in every)
        self.disturbed = False
        strict = strict and not any(arg.odd for arg in every)

        before = bytes(self.disk.file)
        owed = [mapping.model.must_be_dirty for mapping in self.mappings]
        due = outcome(twin, plain, {key: arg.plain for key, arg in kwargs.items()})
        got = outcome(real, given, {key: arg.given for key, arg in kwargs.items()})
        self.counts[f"{name.strip('_')}: {type(got.error).__name__ if got.error else 'done'}"] += 1
        assert due.error is None or is_documented(due.error), f"the model: {due}"
        assert got.error is None or is_documented(got.error), f"came to {got}"

        if got.error is not None:  # and nothing is paid
            for mapping, was_owed in zip(self.mappings, owed):
                mapping.model.must_be_dirty = was_owed
        if self.disturbed or any(arg.open for arg in every) or (self.disk.open and name == "touch"):
            self.settle(before)
            return got
        if self.disk.open:
            if got.error is None:
                assert not isinstance(due.error, sharedmmap.OutOfBoundsError), f"came to {got}; due was {due}"
                if equal(got.value, due.value):
                    assert not self.disk.is_missing, f"came to {got}, though a page is missing"
                    assert self.on_disk() == self.disk.file, "a write is lost"
            self.settle(before)
            return got
        if due.error is not None:
            assert got.error is not None, f"came to {got}; due was {due}"
            assert not strict or isinstance(got.error, type(due.error)), f"came to {got}; due was {due}"
        elif got.error is not None:
            assert isinstance(got.error, self.disk.refusal), f"came to {got}; due was {due}"
        else:
            assert equal(got.value, due.value), f"came to {got}; due was {due}"
            assert memory_of(given) == memory_of(plain), "the buffer does not hold what was read"
        self.look()
        return got

    def look(self) -> None:
        assert self.on_disk() == self.disk.file, f"the file differs {self.where(self.on_disk())}"
        for mapping in self.mappings:
            twin = mapping.model
            assert mapping.real.closed == (twin.state == model.UNMAPPED), "closed is wrong"
            if twin.stale and "faulted" in repr(
                mapping.real
            ):  # it has touched what is not there before it refused
                twin.state = model.FAULTED
            if twin.state == model.LIVE:
                mapping.real.check()
                assert mapping.real.dirty or not twin.must_be_dirty, "a write is not owed"

    def on_disk(self) -> bytes:
        return os.pread(self.fd, os.fstat(self.fd).st_size, 0)

    def where(self, found: bytes) -> str:
        due = self.disk.file
        differing = [at for at, (one, other) in enumerate(zip(found, due)) if one != other]
        return f"at {differing[:5]}, {len(differing)} bytes; {len(found)} bytes long, not {len(due)}"

    def settle(self, before: bytes) -> None:
        """Takes over what became of a call whose end is open: of each byte, that it was written or not."""
        found = self.on_disk()
        if not self.disturbed:
            assert len(found) == len(self.disk.file), "the file's length changed"
            if found not in (before, self.disk.file):
                for at, (byte, old, new) in enumerate(zip(found, before, self.disk.file)):
                    assert byte in (old, new), f"byte {at} of the file is neither the old nor the new one"
        self.disk.file[:] = found
        if found:  # what was written behind the end, in its page, is not to come to light later
            os.ftruncate(self.fd, len(found) - 1)
            os.pwrite(self.fd, found[-1:], len(found) - 1)
        for real, twin in self.mappings:
            twin.state = (
                model.UNMAPPED if real.closed else model.FAULTED if "faulted" in repr(real) else model.LIVE
            )
            twin.must_be_dirty = False
            if self.disturbed:
                self.was_cut(twin)
        for real, twin in self.parts:
            if isinstance(real, sharedmmap.Stream) and not real.closed:
                with contextlib.suppress(sharedmmap.Error):
                    twin.position = real.tell()

    def disturb(self) -> None:
        """What an argument does when it is asked for its value."""
        self.disturbed = True
        act = self.v.below(6)
        if act == 0:
            raise RefusalError
        if act == 1:
            os.ftruncate(self.fd, self.v.below(ROOM))
        elif act == 2:
            os.ftruncate(self.fd, len(self.on_disk()) + PAGE)
        elif act == 3:
            gc.collect()
        elif act == 4 and self.mappings:
            self.v.pick(self.mappings).real.close()
        elif self.mappings:
            mapping = self.v.pick(self.mappings)
            before = mapping.real._region
            with contextlib.suppress(sharedmmap.UnmappedMemoryError, io.UnsupportedOperation):
                mapping.real.restore()
                self.was_restored(mapping, before)

    # ---- actions ----

    def chosen(self) -> Mapping:
        mapping = self.v.pick(self.mappings)
        twin = mapping.model
        self.v.edges = [0, 8, twin.backed, PAGE - twin.offset % PAGE, 2 * PAGE, min(ROOM, twin.length)]
        self.v.usual = min(ROOM, twin.backed)
        self.v.contents = self.disk.file
        return mapping

    def method(self, mapping: Mapping, name: str, arguments: Arguments) -> Outcome:
        real, twin = mapping
        before = real._region
        got = self.compare(name, getattr(real, name), getattr(twin, name), arguments, twin.is_whole)
        self.was_restored(mapping, before)
        return got

    def copy(self) -> None:
        name = self.v.pick(self.copies)
        mapping = self.chosen()
        self.method(mapping, name, COPIES[name](self.v))

    def system_call(self) -> None:
        name = self.v.pick(list(SYSTEM_CALLS))
        mapping = self.chosen()
        self.method(mapping, name, SYSTEM_CALLS[name](self.v))

    def life(self) -> None:
        name = self.v.pick(list(LIFE))
        self.method(self.chosen(), name, LIFE[name](self.v))

    def restore(self) -> None:
        self.method(self.chosen(), "restore", call())

    def was_restored(self, mapping: Mapping, before: object) -> None:
        """Whether it found the file shorter, and so mapped it afresh, only the real one knows."""
        if mapping.real._region is not before:
            mapping.model.generation += 1
            mapping.model.must_be_dirty = mapping.model.writable

    def scalar(self) -> None:
        kind, (real, twin) = self.v.pick(list(model.SCALARS)), self.chosen()
        if self.v.below(2):
            verb, arguments = "read", call(self.v.offset())
        else:
            value = self.v.real() if "float" in kind else self.v.word()
            verb, arguments = "write", call(value, self.v.offset())
        name, due = f"{verb}_{kind}_at", partial(getattr(twin, f"{verb}_scalar"), kind)
        self.compare(name, getattr(real, name), due, arguments, twin.is_whole)

    def ends(self) -> None:
        """Iterating, from either end."""
        (real, twin), count = self.chosen(), self.v.below(100)
        from_end = self.v.below(2)

        def take(count: int) -> list[int]:
            return list(itertools.islice(reversed(real) if from_end else iter(real), count))

        self.compare("iterate", take, twin.last if from_end else twin.first, call(same(count)))

    def glance(self) -> None:
        """What is known of a mapping."""
        real, twin = self.chosen()
        self.compare("accessible", lambda: real.accessible, twin.accessible, call())
        assert (real.offset, real.prot) == (twin.offset, 3 if twin.writable else 1)
        state = ("mapped", "faulted", "unmapped")[twin.state]
        assert state in repr(real)
        with contextlib.suppress(TypeError):
            self.v.pick((copy.copy, copy.deepcopy, pickle.dumps))(real)
            raise AssertionError("it was copied")

    def kept(self, kind: type) -> list[tuple[Any, Any]]:
        return [part for part in self.parts if isinstance(part[1], kind)]

    def take(self, make: str, draw: Callable[[Values], Arguments]) -> None:
        """Makes a word, a stream or a view."""
        real, twin = self.chosen()
        made: list[Any] = []

        def keep(*args: Any, **kwargs: Any) -> Any:
            made.append(getattr(twin, make)(*args, **kwargs))
            return model.ANY

        got = self.compare(make, getattr(real, make), keep, draw(self.v), twin.is_whole)
        if got.error is None and made and not self.disturbed:
            self.parts.append((got.value, made[0]))

    def use(self, kind: type, calls: dict[str, Callable[[Values], Arguments]]) -> None:
        real, twin = self.v.pick(self.kept(kind))
        name = self.v.pick(list(calls))
        if hasattr(real, name):  # wait() of a 64-bit word is not
            owner = twin.mapping
            strict = owner.is_whole and twin.generation == owner.generation
            self.compare(name, getattr(real, name), getattr(twin, name), calls[name](self.v), strict)

    def word(self) -> None:
        if self.kept(model.Word) and self.v.below(4):
            self.use(model.Word, WORDS)
        else:
            make = self.v.pick(("atomic_uint32_at", "atomic_uint64_at"))
            self.take(make, lambda v: call(v.aligned()))

    def stream(self) -> None:
        if self.kept(model.Stream) and self.v.below(4):
            self.use(model.Stream, STREAMS)
        else:
            self.take("stream", lambda v: call(*v.some(v.offset, v.length)))

    def view(self) -> None:
        if not self.kept(model.View) or self.v.below(2):
            self.take("view", lambda v: call(*v.some(v.offset, v.length), **v.maybe(readonly=v.truth)))
            return
        real, twin = self.v.pick(self.kept(model.View))

        def touch(new: bytes | None) -> bytes:
            found = bytes(real)
            if new and not twin.readonly:
                real[: len(new)] = new[: len(real)]
            return found

        self.compare("touch", touch, twin.touch, call(same(self.v.pick((None, b"seen")))))

    # ---- what others do ----

    def was_cut(self, twin: model.File) -> None:
        twin.stale = twin.was_cut = True

    def cut(self) -> None:
        size = min(
            len(self.disk.file), self.v.pick((self.v.below(ROOM), PAGE, 0, 2 * PAGE, len(self.disk.file) - 1))
        )
        size = max(size, 0)
        self.log.append(("cut", [size], {}))
        os.ftruncate(self.fd, size)
        del self.disk.file[size:]
        for _, twin in self.mappings:
            self.was_cut(twin)
        if self.v.below(2):
            for real, twin in self.mappings:
                if twin.state == model.LIVE:
                    self.compare("accessible", lambda real=real: real.accessible, twin.accessible, call())

    def grow(self) -> None:
        size = len(self.disk.file) + self.v.pick((1, 8, PAGE, self.v.below(2 * PAGE), -len(self.disk.file) % PAGE))
        if size > max(2 * ROOM, 3 * PIECE):
            return
        self.log.append(("grow", [size], {}))
        os.ftruncate(self.fd, size)
        self.disk.file.extend(bytes(size - len(self.disk.file)))

    def fork(self) -> None:
        """The child goes on for a while, and the parent finds what it did to the file."""
        self.log.append(("fork", [], {}))
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            status = 1
            try:
                for _ in range(self.v.below(8)):
                    self.v.pick(self.actions)()
                status = 0
            except BaseException:
                traceback.print_exc()
                print(self.story(), file=sys.stderr, flush=True)
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        assert status == 0, f"a forked child ended with status {status}"
        self.disturbed = True
        self.settle(b"")

    # ---- mapping ----

    def map(self) -> None:
        """Maps the file once more, in some way."""
        v = self.v
        v.edges = [0, len(self.disk.file), PAGE, ROOM]
        f = v.descriptor(self.fd, tuple(self.others))
        offset = same(0) if v.below(2) else v.offset()
        length = v.pick((same(ROOM), same(None), v.length()))
        prot = v.prot()
        trackfd = same(v.below(8) > 0)
        self.make(f, offset, length, prot, trackfd)

    def make(self, *args: Arg) -> None:
        made: list[model.File] = []

        def twin(f: Any, offset: Any, length: Any, prot: Any, trackfd: Any) -> Any:
            offset, prot = model.size_of(offset), model.index(prot)
            if not isinstance(f, int):
                raise TypeError
            if prot not in (1, 3) or not 0 <= f < 2**31:
                raise ValueError
            if length is None:
                length = len(self.disk.file) - offset
                if length < 0:
                    raise ValueError
            elif model.index(length) < 1 or offset + length > 2**63 - 1 - PAGE:
                raise ValueError
            if f != self.fd:
                if length != 0:  # what is empty takes no page of the file
                    raise OSError
                self.disk.open = True
            if length > 64 * PAGE or offset > 64 * PAGE:
                self.disk.refusal = (OSError,)
            made.append(model.File(self.disk, offset, model.index(length), prot == 3, trackfd))
            return model.ANY

        def real(*args: Any) -> sharedmmap.File:
            return sharedmmap.File(*args[:4], trackfd=args[4])

        self.keep(self.compare("File", real, twin, call(*args), strict=False), made)

    def keep(self, got: Outcome, made: list[model.File]) -> None:
        if got.error is not None:
            return
        real = got.value
        if self.disturbed or len(real) > 64 * PIECE:
            real.close()
            return
        if len(self.mappings) == 6:
            oldest = self.mappings.pop(0)
            oldest.real.close()
            oldest.model.close()
        self.mappings.append(Mapping(real, made[0]))

    def open(self) -> None:
        v = self.v
        v.edges = [0, len(self.disk.file), PAGE, ROOM]
        made: list[model.File] = []
        disk = self.disk

        def twin(mode: Any, *, offset: Any = 0, length: Any = None, capacity: Any = None) -> Any:
            if mode not in ("r", "r+", "w+", "x+"):
                raise ValueError
            offset = model.size_of(offset)
            length = None if length is None else model.index(length)
            capacity = None if capacity is None else model.index(capacity)
            if any(
                value is not None and not 1 <= value <= 2**63 - 1 - PAGE - offset for value in (length, capacity)
            ):
                raise ValueError
            if capacity is not None and length is not None and capacity < length:
                raise ValueError
            if mode in ("w+", "x+") and length is None and offset > 0:
                raise ValueError
            if mode == "x+":
                raise FileExistsError
            if mode == "w+":
                del disk.file[:]
                for mapping in self.mappings:
                    self.was_cut(mapping.model)
            if mode != "r" and length is not None and len(disk.file) < offset + length:
                if offset + length > model.GREATEST_SIZE:
                    raise OSError
                disk.file.extend(bytes(offset + length - len(disk.file)))
            rest = len(disk.file) - offset
            if length is None and (rest < 0 or (capacity is not None and capacity < rest)):
                raise ValueError
            length = capacity or (rest if length is None else length)
            if length > 64 * PAGE or offset > 64 * PAGE:
                disk.refusal = (OSError,)
            made.append(model.File(disk, offset, length, mode != "r", True))
            return model.ANY

        def real(mode: Any, **kwargs: Any) -> Any:
            return sharedmmap.open(self.path, mode, **kwargs)

        kwargs = v.maybe(offset=v.offset, length=v.length, capacity=v.length)
        self.keep(self.compare("open", real, twin, ([v.mode()], kwargs), strict=False), made)

    # ---- what happened ----

    def story(self) -> str:
        """The last calls, for whoever reads of a failure."""
        lines = []
        for name, args, kwargs in self.log[-12:]:
            shown = [brief(arg) for arg in args] + [f"{key}={brief(arg)}" for key, arg in kwargs.items()]
            lines.append(f"  {name}({', '.join(shown)})")
        states = [f"  {real!r}, {twin.backed} bytes backed" for real, twin in self.mappings]
        return "\n".join(["the last calls:", *lines, "the mappings:", *states])
