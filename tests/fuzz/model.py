"""What every call should do, on a ``bytearray``: the naive twin of ``File`` and of what comes out of one.

The methods have the names and the parameters of the real ones. They return what those should return, or raise what
those should raise before anything is changed. Where the documentation leaves it open what happens they say so in
``disk``: ``open`` if anything may come out, each byte written or not, and ``refusal`` if this may be raised.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import struct
from array import array
from operator import index
from typing import Any, Callable

from values import PAGE

from sharedmmap import Advice, MappingFaultError, OutOfBoundsError, Sync, UnmappedMemoryError

LIVE, FAULTED, UNMAPPED = range(3)
TYPECODES = tuple("bBhHiIqQfd")
SCALARS = dict(
    zip(
        ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"), TYPECODES
    )
)
GREATEST_SIZE = 8 << 20  # bytes a file may grow to
GREATEST_POSITION = 2**63 - 1

ANY = object()
"""A result that is not looked at."""


class Disk:
    """The file itself, and what is to be known of the call that is made."""

    def __init__(self) -> None:
        self.file = bytearray()
        self.new_call()

    def new_call(self) -> None:
        self.open = False
        self.refusal: tuple[type[Exception], ...] = ()
        self.is_missing = False  # a page that the call touches if it does all that is asked

    def touch(self, end: int) -> None:
        self.is_missing = self.is_missing or end > -(-len(self.file) // PAGE) * PAGE


def size_of(value: Any) -> int:
    size = index(value)
    if size < 0:
        raise ValueError
    return size


def content_of(source: Any) -> bytes:
    with memoryview(source) as view:
        if not view.c_contiguous:
            raise BufferError
        return view.tobytes()


class File:
    def __init__(self, disk: Disk, offset: int, length: int, writable: bool, tracked: bool) -> None:
        self.disk, self.offset, self.length, self.writable, self.tracked = disk, offset, length, writable, tracked
        self.state = LIVE
        self.generation = 0  # counts what restore() mapped afresh
        self.stale = not tracked  # it may take more for accessible than the file backs
        self.was_cut = False  # since the last complete flush
        self.must_be_dirty = False

    # ---- what the rest is made of ----

    @property
    def backed(self) -> int:
        return max(0, min(self.length, len(self.disk.file) - self.offset))

    @property
    def is_whole(self) -> bool:
        """Whether nothing but its arguments is wrong with a call."""
        return self.state == LIVE and self.writable and not self.stale

    def get(self, offset: int, size: int) -> bytes:
        self.disk.touch(self.offset + offset + size if size else 0)
        return bytes(self.disk.file[self.offset + offset : self.offset + offset + size]).ljust(size, b"\0")

    def put(self, offset: int, new: bytes) -> None:
        start = self.offset + offset
        self.disk.touch(start + len(new) if new else 0)
        fits = new[: max(0, len(self.disk.file) - start)]
        self.disk.file[start : start + len(fits)] = fits
        self.must_be_dirty = self.must_be_dirty or bool(new)

    def check(self) -> None:
        if self.state == UNMAPPED:
            raise UnmappedMemoryError
        if self.state == FAULTED:
            raise MappingFaultError(0, "", 0)

    def require(self, offset: int, size: int, *, writing: bool = False) -> None:
        self.check()
        if writing and not self.writable:
            raise io.UnsupportedOperation
        if offset < 0 or offset + size > self.length:
            raise OutOfBoundsError
        self.require_backed(offset + size)

    def require_backed(self, end: int) -> None:
        if end > self.backed:
            if not self.stale:
                raise OutOfBoundsError
            self.disk.open = True

    def room(self, offset: int, wanted: int, *, writing: bool = False) -> int:
        self.require(offset, 1, writing=writing)
        if self.stale and offset + wanted > self.backed:
            self.disk.open = True
            return min(wanted, self.length - offset)
        return min(wanted, self.backed - offset)

    def span(self, offset: Any, length: Any) -> tuple[int, int]:
        offset = index(offset)
        length = max(0, self.length - offset) if length is None else size_of(length)
        self.check()
        if offset < 0 or offset + length > self.length:
            raise OutOfBoundsError
        return offset, length

    # ---- copies ----

    def read_at(self, dest: Any, offset: Any) -> int:
        offset = index(offset)
        with memoryview(dest) as view:
            if view.readonly or not view.c_contiguous:
                raise BufferError
            count = self.room(offset, view.nbytes)
            if view.nbytes:  # what is multi-dimensional and empty cannot be cast
                view.cast("B")[:count] = self.get(offset, count)
        return count

    def write_at(self, src: Any, offset: Any) -> int:
        offset, content = index(offset), content_of(src)
        count = self.room(offset, len(content), writing=True)
        self.put(offset, content[:count])
        return count

    def read_string_at(
        self, offset: Any, max_length: Any = None, *, encoding: Any = "utf-8", errors: Any = "strict"
    ) -> str:
        offset = index(offset)
        wanted = self.length if max_length is None else size_of(max_length)
        text = self.get(offset, self.room(offset, wanted)).decode(encoding, errors)
        if errors != "strict":
            self.disk.is_missing = False  # fewer bytes may say the same
        return text

    def write_string_at(self, text: Any, offset: Any, *, encoding: Any = "utf-8", errors: Any = "strict") -> int:
        if not isinstance(text, str):
            raise TypeError
        encoded = text.encode(encoding, errors)
        offset = index(offset)
        room = self.room(offset, len(encoded), writing=True)
        while len(encoded) > room:
            text = text[:-1]
            encoded = text.encode(encoding, errors) if text else b""  # not even a byte order mark
        self.put(offset, encoded)
        return len(encoded)

    def __getitem__(self, key: Any) -> Any:
        if not isinstance(key, slice):
            position = self._position(key)
            self.require(position, 1)
            return self.get(position, 1)[0]
        span = range(self.length)[key]
        self.check()
        if not span:
            return b""
        low = min(span[0], span[-1])
        self.require(low, abs(span[-1] - span[0]) + 1)
        return self.get(low, abs(span[-1] - span[0]) + 1)[:: span.step]

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(key, slice):
            position = self._position(key)
            if position >= self.length:
                self.require(position, 1, writing=True)
            value = index(value)
            if not 0 <= value <= 255:
                raise ValueError
            self.require(position, 1, writing=True)
            self.put(position, bytes([value]))
            return
        span = range(self.length)[key]
        content = content_of(value)
        if len(content) != len(span):
            raise ValueError
        self.check()
        if not self.writable:
            raise io.UnsupportedOperation
        if span:
            low = min(span[0], span[-1])
            self.require(low, abs(span[-1] - span[0]) + 1)
            changed = bytearray(self.get(low, abs(span[-1] - span[0]) + 1))
            changed[:: span.step] = content
            self.put(low, bytes(changed))

    def _position(self, key: Any) -> int:
        position = index(key)
        if position < -self.length:
            raise OutOfBoundsError
        return position if position >= 0 else position + self.length

    def __contains__(self, item: Any) -> bool:
        with contextlib.suppress(TypeError):
            item = bytes((index(item),))
        return self.find(item) >= 0

    def first(self, count: int) -> list[int]:
        return self._ends(range(count), count)

    def last(self, count: int) -> list[int]:
        return self._ends(range(self.length - 1, -1, -1), count)

    def _ends(self, positions: range, count: int) -> list[int]:
        if self.state == UNMAPPED:
            raise UnmappedMemoryError
        return [self[position] for position in itertools.islice(positions, min(count, self.length))]

    def __len__(self) -> int:
        if self.state == UNMAPPED:
            raise UnmappedMemoryError
        return self.length

    # ---- values, arrays, records ----

    def read_scalar(self, name: str, offset: Any) -> Any:
        return self.read_struct_at(f"<{SCALARS[name]}", offset)[0]

    def write_scalar(self, name: str, value: Any, offset: Any) -> None:
        if "float" in name:
            value = math.ldexp(value, 0)
            self.require(index(offset), struct.calcsize(f"<{SCALARS[name]}"), writing=True)
            packed = struct.pack(f"<{SCALARS[name]}", value)
        else:
            value = index(value)
            size = struct.calcsize(f"<{SCALARS[name]}")
            packed = value.to_bytes(size, "little", signed=not name.startswith("u"))
        offset = index(offset)
        self.require(offset, len(packed), writing=True)
        self.put(offset, packed)

    def read_array_at(self, typecode: Any, offset: Any, count: Any) -> array[Any]:
        if typecode not in TYPECODES:
            raise ValueError
        items = array(typecode)
        count, offset = size_of(count), index(offset)
        self.require(offset, count * items.itemsize)
        items.frombytes(self.get(offset, count * items.itemsize))
        return items

    def write_array_at(self, values: Any, offset: Any) -> int:
        offset, content = index(offset), content_of(values)
        self.require(offset, len(content), writing=True)
        self.put(offset, content)
        return len(content)

    def read_struct_at(self, format: Any, offset: Any) -> tuple[Any, ...]:
        layout = format if isinstance(format, struct.Struct) else struct.Struct(format)
        offset = index(offset)
        self.require(offset, layout.size)
        return layout.unpack(self.get(offset, layout.size))

    def write_struct_at(self, format: Any, offset: Any, *values: Any) -> None:
        layout = format if isinstance(format, struct.Struct) else struct.Struct(format)
        self.write_array_at(layout.pack(*values), offset)

    # ---- searching and rearranging ----

    def find(self, sub: Any, start: Any = None, end: Any = None) -> int:
        return self._find(bytes.find, sub, start, end)

    def rfind(self, sub: Any, start: Any = None, end: Any = None) -> int:
        return self._find(bytes.rfind, sub, start, end)

    def _find(self, method: Callable[..., int], sub: Any, start: Any, end: Any) -> int:
        first, stop, _ = slice(start, end).indices(self.length)
        sub = content_of(sub)
        self.check()
        self.disk.open = self.disk.open or (self.stale and stop > self.backed)
        if start is not None and index(start) > self.length:
            return -1
        return method(self.get(0, self.backed), sub, first, stop) if first <= self.backed else -1

    def fill(self, byte: Any, offset: Any = 0, length: Any = None) -> None:
        byte = index(byte)
        if not 0 <= byte <= 255:
            raise ValueError
        offset, length = self.span(offset, length)
        self.require(offset, length, writing=True)
        self.put(offset, bytes([byte]) * length)

    def move(self, dest: Any, src: Any, count: Any) -> None:
        dest, src, count = index(dest), index(src), size_of(count)
        self.require(src, count)
        self.require(dest, count, writing=True)
        self.put(dest, self.get(src, count))
        if dest == src:
            self.disk.is_missing = False  # memmove(3) may see that there is nothing to do

    # ---- system calls ----

    def flush(self, flags: Any = Sync.SYNC, offset: Any = 0, length: Any = None) -> None:
        flags = index(flags)
        offset, length = self.span(offset, length)
        if flags not in (Sync.SYNC, Sync.ASYNC):
            self.disk.refusal = OSError, OverflowError  # no such flag; INVALIDATE of what is locked
        if self.was_cut:
            self.disk.refusal += (MappingFaultError,)
        from_the_first_page = (self.offset + offset) // PAGE == self.offset // PAGE
        if flags & Sync.SYNC and from_the_first_page and offset + length == self.length:
            self.must_be_dirty = False

    def advise(self, advice: Any, offset: Any = 0, length: Any = None) -> None:
        Advice(index(advice))
        self.span(offset, length)
        self.disk.refusal = (OSError,)  # of what the kernel has no use for here

    def lock(self, offset: Any = 0, length: Any = None, *, on_fault: Any = False) -> None:
        self.span(offset, length)
        self.disk.refusal = (OSError,)  # RLIMIT_MEMLOCK

    def unlock(self, offset: Any = 0, length: Any = None) -> None:
        self.span(offset, length)

    def residency(self, offset: Any = 0, length: Any = None) -> bytes:
        offset, length = self.span(offset, length)
        return ANY

    def reserve(self, length: Any) -> None:
        length = index(length)
        self.check()
        if not self.writable:
            raise io.UnsupportedOperation
        if not 0 <= length <= self.length:
            raise OutOfBoundsError
        if not self.tracked:
            raise io.UnsupportedOperation
        if length and self.offset + length > GREATEST_SIZE:
            raise OSError
        if length:
            self.disk.file.extend(bytes(max(0, self.offset + length - len(self.disk.file))))

    # ---- life ----

    def accessible(self) -> int:
        self.check()
        if not self.tracked:
            return self.length
        self.stale = False
        return self.backed

    def restore(self) -> None:
        if self.state == UNMAPPED:
            raise UnmappedMemoryError
        if self.state == FAULTED:
            if not self.tracked:
                raise io.UnsupportedOperation
            self.state = LIVE
        self.stale = not self.tracked
        self.was_cut = False

    def unmap(self) -> None:
        if self.state == UNMAPPED:
            raise UnmappedMemoryError
        self.close()

    def close(self) -> None:
        self.state = UNMAPPED

    def __enter__(self) -> Any:
        if self.state == UNMAPPED:
            raise UnmappedMemoryError
        return ANY

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError

    # ---- what comes out of one ----

    def view(self, offset: Any = 0, length: Any = None, *, readonly: Any = None) -> View:
        self.check()
        offset = index(offset)
        length = max(0, self.accessible() - offset) if length is None else size_of(length)
        readonly = not self.writable if readonly is None else readonly
        self.require(offset, length, writing=not readonly)
        self.must_be_dirty = self.must_be_dirty or bool(length and not readonly)
        return View(self, offset, length, bool(readonly))

    def stream(self, offset: Any = 0, length: Any = None) -> Stream:
        return Stream(self, *self.span(offset, length))

    def atomic_uint32_at(self, offset: Any) -> Word:
        return Word(self, offset, 4)

    def atomic_uint64_at(self, offset: Any) -> Word:
        return Word(self, offset, 8)


class Part:
    """What belongs to the mapping it came out of, not to one that ``restore`` made later."""

    def __init__(self, file: File) -> None:
        self.mapping, self.generation = file, file.generation

    def check(self) -> None:
        if self.generation != self.mapping.generation:
            raise MappingFaultError(0, "", 0)
        self.mapping.check()


class View(Part):
    def __init__(self, file: File, offset: int, length: int, readonly: bool) -> None:
        super().__init__(file)
        self.offset, self.length, self.readonly = offset, length, readonly

    def is_open(self) -> bool:
        """Whether what it shows, or what becomes of what is written to it, is anybody's guess."""
        file = self.mapping
        return self.generation != file.generation or file.state != LIVE or self.offset + self.length > file.backed

    def touch(self, new: bytes | None) -> bytes:
        self.mapping.disk.open = self.is_open()
        found = self.mapping.get(self.offset, self.length)
        if new and not self.readonly and self.generation == self.mapping.generation:
            self.mapping.put(self.offset, new[: self.length])
        return found


class Word(Part):
    def __init__(self, file: File, offset: Any, size: int) -> None:
        super().__init__(file)
        self.offset, self.size = index(offset), size
        file.require(self.offset, size)
        if (file.offset + self.offset) % size:
            raise ValueError

    def load(self) -> int:
        self.check()
        self.mapping.require(self.offset, self.size)
        return int.from_bytes(self.mapping.get(self.offset, self.size), "little")

    def _operate(self, operand: Any, operation: Callable[[int, int], int | None]) -> int:
        operand = self._operand(operand)
        seen = self.load()
        self.mapping.require(self.offset, self.size, writing=True)
        new = operation(seen, operand)
        if new is not None:
            self.mapping.put(self.offset, (new % (1 << 8 * self.size)).to_bytes(self.size, "little"))
        return seen

    def _operand(self, operand: Any) -> int:
        operand = index(operand)
        if not 0 <= operand < 1 << 8 * self.size:
            raise OverflowError
        return operand

    def store(self, operand: Any) -> None:
        self.exchange(operand)

    def exchange(self, operand: Any) -> int:
        return self._operate(operand, lambda seen, operand: operand)

    def fetch_add(self, operand: Any) -> int:
        return self._operate(operand, int.__add__)

    def fetch_sub(self, operand: Any) -> int:
        return self._operate(operand, int.__sub__)

    def fetch_and(self, operand: Any) -> int:
        return self._operate(operand, int.__and__)

    def fetch_or(self, operand: Any) -> int:
        return self._operate(operand, int.__or__)

    def fetch_xor(self, operand: Any) -> int:
        return self._operate(operand, int.__xor__)

    def compare_exchange(self, expected: Any, desired: Any) -> tuple[bool, int]:
        expected = self._operand(expected)
        seen = self._operate(desired, lambda seen, desired: desired if seen == expected else None)
        return seen == expected, seen

    def wait(self, expected: Any, timeout: Any = None) -> bool:
        expected = self._operand(expected)
        if math.isnan(timeout):
            raise ValueError
        return self.load() != expected

    def notify(self, count: Any = 1) -> int:
        size_of(count)
        self.load()
        return 0


class Stream(Part):
    def __init__(self, file: File, offset: int, length: int) -> None:
        super().__init__(file)
        self.start, self.length, self.position, self.closed = offset, length, 0, False

    def check(self) -> None:
        if self.closed:
            raise ValueError
        super().check()

    def _end(self) -> int:
        self.check()
        end = self.mapping.backed
        if not self.mapping.tracked and self.start + self.length > end:
            self.mapping.disk.open = True
        return max(0, min(self.length, end - self.start))

    def _left(self) -> int:
        return max(0, self._end() - self.position)

    def read(self, size: Any = -1) -> bytes:
        left = self._left()
        size = -1 if size is None else index(size)
        found = self.mapping.get(self.start + self.position, left if size < 0 else min(size, left))
        self.position += len(found)
        return found

    def readall(self) -> bytes:
        return self.read()

    def readline(self, size: Any = -1) -> bytes:
        size = -1 if size is None else index(size)
        left = self._left()
        line = self.mapping.get(self.start + self.position, left if size < 0 else min(size, left))
        line = line[: line.find(b"\n") + 1 or None]
        self.position += len(line)
        return line

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer) as view:
            if view.readonly:
                raise TypeError
            if not view.c_contiguous:
                raise BufferError
            found = self.read(view.nbytes)
            if found:
                view.cast("B")[: len(found)] = found
        return len(found)

    def write(self, source: Any) -> int:
        self.check()
        if not self.mapping.writable:
            raise io.UnsupportedOperation
        content = content_of(source)
        if content:
            if len(content) > self._left():
                if self.mapping.disk.open:  # what is not asked for the file's length may write it all the same
                    self.mapping.put(self.start + self.position, content[: self._left()])
                raise OSError
            self.mapping.put(self.start + self.position, content)
            self.position += len(content)
        return len(content)

    def seek(self, offset: Any, whence: Any = 0) -> int:
        offset, whence = index(offset), index(whence)
        self.check()
        if not ~GREATEST_POSITION <= offset <= GREATEST_POSITION:
            raise OverflowError
        if whence not in (0, 1, 2):
            raise OSError
        offset += self._end() if whence == 2 else self.position if whence == 1 else 0
        if not 0 <= offset <= GREATEST_POSITION:
            raise OSError
        self.position = offset
        return offset

    def tell(self) -> int:
        self.check()
        return self.position

    def truncate(self, size: Any = None) -> int:
        raise io.UnsupportedOperation

    def writable(self) -> bool:
        self.check()
        return self.mapping.writable

    def close(self) -> None:
        self.closed = True
