"""The whole public API as a type checker has to see it; ``test_typing`` has it checked, and run once."""

from __future__ import annotations

import ctypes
import io
import sys
from array import array
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any

import sharedmmap
from sharedmmap import (
    Advice,
    AtomicUint32,
    AtomicUint64,
    Error,
    File,
    MappingFaultError,
    Mutex,
    OutOfBoundsError,
    OwnerDiedError,
    Prot,
    Stream,
    Sync,
    UnmappedMemoryError,
)

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value: Any, _: object) -> Any:
        return value


class Index:
    """What only ``__index__`` makes an integer."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Named(File):
    __slots__ = ("name",)
    name: str


def mapping(path: Path) -> None:
    with path.open("r+b") as f:
        assert_type(File(f), File)
        assert_type(File(f.fileno(), 0, 4096, Prot.READ), File)
        assert_type(File(f, offset=Index(8), length=Index(8), prot=Prot.READ | Prot.WRITE, trackfd=False), File)
        with Named(f) as named:
            assert_type(named, Named)
            named.name = path.name
    for place in path, str(path), bytes(path):
        with sharedmmap.open(place, "r") as m:
            assert_type(m, File)
    m = sharedmmap.open(path, mode="r+", offset=Index(8), length=8, capacity=Index(4096))
    assert_type(m, File)
    sharedmmap.open(path, "a+", length=8, initialize=lambda new: new.write_uint64_at(7, 0)).close()
    sharedmmap.open(path, "a+", length=8, initialize=File.check).close()
    assert_type(m.reserve(16), None)
    assert_type(len(m), int)
    assert_type(m.offset, int)
    assert_type(m.prot, Prot)
    assert_type(m.closed, bool)
    assert_type(m.dirty, bool)
    assert_type(m.accessible, int)
    assert_type(m.restore(), None)
    assert_type(m.check(), None)
    assert_type(m.unmap(), None)
    assert_type(m.close(), None)
    m.offset = 5  # type: ignore[misc]


def copies(m: File) -> None:
    for dest in bytearray(4), memoryview(bytearray(4)), array("b", bytes(4)), (ctypes.c_int * 1)():
        assert_type(m.read_at(dest, 0), int)
        assert_type(m.write_at(dest, Index(0)), int)
    assert_type(m.write_at(src=b"abc", offset=0), int)
    assert_type(m.read_at(dest=bytearray(3), offset=0), int)
    assert_type(m.read_string_at(0), str)
    assert_type(m.read_string_at(0, 8, encoding="latin-1", errors="replace"), str)
    assert_type(m.write_string_at("text", 0), int)
    assert_type(m.write_string_at("text", 0, encoding="latin-1", errors="replace"), int)
    assert_type(m[0], int)
    assert_type(m[Index(0)], int)
    assert_type(m[:8], bytes)
    assert_type(m[8:0:-1], bytes)
    m[0] = 65
    m[Index(0)] = Index(65)
    m[:3] = b"abc"
    m[:6:2] = memoryview(b"abc")
    for byte in m:
        assert_type(byte, int)
        break
    m["0"]  # type: ignore[call-overload]
    m[0] = b"a"  # type: ignore[call-overload]
    m.read_string_at("0")  # type: ignore[arg-type]
    m.write_string_at(b"text", 0)  # type: ignore[arg-type]


def scalars(m: File) -> None:
    assert_type(m.read_int8_at(0), int)
    assert_type(m.read_uint8_at(Index(0)), int)
    assert_type(m.read_int16_at(0), int)
    assert_type(m.read_uint16_at(0), int)
    assert_type(m.read_int32_at(0), int)
    assert_type(m.read_uint32_at(0), int)
    assert_type(m.read_int64_at(0), int)
    assert_type(m.read_uint64_at(offset=0), int)
    assert_type(m.read_float32_at(0), float)
    assert_type(m.read_float64_at(offset=0), float)
    assert_type(m.write_int8_at(-1, 0), None)
    assert_type(m.write_uint8_at(1, 0), None)
    assert_type(m.write_int16_at(Index(1), Index(0)), None)
    assert_type(m.write_uint16_at(1, 0), None)
    assert_type(m.write_int32_at(1, 0), None)
    assert_type(m.write_uint32_at(1, 0), None)
    assert_type(m.write_int64_at(1, 0), None)
    assert_type(m.write_uint64_at(value=1, offset=0), None)
    assert_type(m.write_float32_at(1.5, 0), None)
    assert_type(m.write_float64_at(1, 0), None)
    m.write_uint64_at(1.5, 0)  # type: ignore[arg-type]
    m.write_float64_at("1", 0)  # type: ignore[arg-type]
    m.read_uint64_at(0.0)  # type: ignore[arg-type]


def many(m: File) -> None:
    assert_type(m.read_array_at("d", 0, 2), "array[Any]")
    assert_type(m.write_array_at(array("d", [1.0]), Index(0)), int)
    assert_type(m.read_struct_at("<Id", 0), "tuple[Any, ...]")
    assert_type(m.write_struct_at(Struct("<Id"), 0, 1, 2.5), None)


def words(m: File) -> None:
    word = m.atomic_uint64_at(Index(8))
    assert_type(word, AtomicUint64)
    assert_type(word.offset, int)
    assert_type(word.load(), int)
    assert_type(word.store(5), None)
    assert_type(word.exchange(operand=5), int)
    assert_type(word.compare_exchange(expected=5, desired=Index(6)), "tuple[bool, int]")
    assert_type(word.fetch_add(1), int)
    assert_type(word.fetch_sub(Index(1)), int)
    assert_type(word.fetch_and(1), int)
    assert_type(word.fetch_or(1), int)
    assert_type(word.fetch_xor(1), int)
    half = m.atomic_uint32_at(16)
    assert_type(half, AtomicUint32)
    assert_type(half.offset, int)
    assert_type(half.load(), int)
    assert_type(half.store(5), None)
    assert_type(half.exchange(5), int)
    assert_type(half.compare_exchange(5, 6), "tuple[bool, int]")
    assert_type(half.fetch_add(1), int)
    assert_type(half.fetch_sub(1), int)
    assert_type(half.fetch_and(1), int)
    assert_type(half.fetch_or(1), int)
    assert_type(half.fetch_xor(1), int)
    if sys.platform == "linux":
        assert_type(half.wait(5), bool)
        assert_type(half.wait(expected=0, timeout=0), bool)
        assert_type(half.notify(), int)
        assert_type(half.notify(count=2), int)
    word.store("5")  # type: ignore[arg-type]


def mend(m: File) -> None:
    m.write_uint64_at(0, 64)


def mutexes(m: File) -> None:
    if sys.platform == "linux":
        mutex = m.mutex_at(Index(24), on_owner_died=mend)
        assert_type(mutex, Mutex)
        assert_type(m.mutex_at(offset=28, on_owner_died=None), Mutex)
        assert_type(m.mutex_at(28, on_owner_died=lambda m: m.fill(0)), Mutex)
        assert_type(mutex.offset, int)
        assert_type(mutex.acquire(), bool)
        assert_type(mutex.locked(), bool)
        assert_type(mutex.owner_alive(), bool)
        assert_type(mutex.release(), None)
        assert_type(mutex.acquire(timeout=0.5), bool)
        mutex.release()
        with mutex as entered:
            assert_type(entered, Mutex)
    m.mutex_at(0, on_owner_died=5)  # type: ignore[arg-type]


def elsewhere(m: File) -> None:
    stream = m.stream(0, Index(64))
    assert_type(stream, Stream)
    assert_type(m.stream(offset=0, length=None), Stream)
    raw: io.RawIOBase = m.stream()
    assert_type(io.BufferedRandom(raw).read(1), bytes)
    assert_type(stream.readable(), bool)
    assert_type(stream.writable(), bool)
    assert_type(stream.seekable(), bool)
    assert_type(stream.tell(), int)
    assert_type(stream.seek(-8, io.SEEK_END), int)
    assert_type(stream.read(2), bytes)
    assert_type(stream.readline(), bytes)
    assert_type(stream.readall(), bytes)
    assert_type(stream.seek(0), int)
    assert_type(stream.readinto(bytearray(2)), int)
    assert_type(stream.write(b"abc"), int)
    assert_type(stream.close(), None)
    assert_type(m.find(b"a"), int)
    assert_type(m.find(bytearray(b"a"), 1, None), int)
    assert_type(m.rfind(memoryview(b"a"), start=Index(1), end=5), int)
    assert_type(m.fill(0), None)
    assert_type(m.fill(Index(0), offset=1, length=Index(2)), None)
    assert_type(m.move(dest=0, src=1, count=Index(2)), None)
    view = m.view(0, 8, readonly=True)
    assert view.readonly
    assert view.nbytes == 8
    m.view(offset=Index(0), length=None, readonly=None).cast("Q")[0] = 1


def system_calls(m: File) -> None:
    assert_type(m.flush(), None)
    assert_type(m.flush(Sync.ASYNC | Sync.INVALIDATE, 0, Index(8)), None)
    assert_type(m.advise(Advice.WILLNEED), None)
    assert_type(m.advise(Advice.RANDOM, offset=0, length=8), None)
    assert_type(m.lock(0, 8), None)
    assert_type(m.unlock(offset=0, length=8), None)
    if sys.platform == "linux":
        assert_type(m.lock(0, 8, on_fault=True), None)
    assert_type(m.residency(Index(0), length=8), bytes)


def constants() -> None:
    flags: list[Prot | Sync] = [Prot.READ, Prot.WRITE, Sync.SYNC, Sync.ASYNC, Sync.INVALIDATE]
    assert all(isinstance(flag, int) for flag in flags)
    advice: list[Advice] = [Advice.NORMAL, Advice.RANDOM, Advice.SEQUENTIAL, Advice.WILLNEED, Advice.DONTNEED]
    assert Advice(advice[0].value) is advice[0]


def errors() -> None:
    own: list[type[Error]] = [MappingFaultError, OutOfBoundsError, UnmappedMemoryError, OwnerDiedError]
    system: type[OSError] = MappingFaultError
    index: type[IndexError] = OutOfBoundsError
    value: type[ValueError] = UnmappedMemoryError
    assert own == [system, index, value, OwnerDiedError]
    assert_type(MappingFaultError(5, "text", 8).offset, int)
    UnmappedMemoryError()
