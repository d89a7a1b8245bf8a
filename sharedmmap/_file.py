"""The public face: ``File`` and ``open``."""

from __future__ import annotations

import errno
import os
import stat
from array import array
from contextlib import suppress
from functools import lru_cache
from operator import index
from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol, SupportsIndex, overload

from ._atomic import AtomicUint32, AtomicUint64
from ._errors import MappingFaultError, OutOfBoundsError, UnmappedMemoryError, os_error
from ._flags import Advice, Prot, Sync
from ._native import ffi, lib
from ._region import LIVE_AND_DIRTY, PAGE, PIECE, Region, as_index, readable_bytes, writable_bytes
from ._scalars import float_accessors, int_accessors
from ._stream import Stream

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["File", "open"]

_MAX_OFFSET = 2**63 - 1
_READ_ONLY = Prot.READ
_READ_WRITE = Prot.READ | Prot.WRITE
_SMALL = 4096  # bytes up to which one more copy costs less than asking for the destination's memory


# What slicing a buffer raises for a step, for what does not fit and for what is no index: the slow way tells.
_NOT_THIS_WAY = (IndexError, OverflowError, TypeError, ValueError, NotImplementedError)
_TYPECODES = tuple("bBhHiIqQfd")
_layout = lru_cache(maxsize=256)(Struct)


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class File:
    """A file mapped into memory, shared with every process that maps it too.

    Copies and integers go in and out; the memory itself is never handed out. Offsets and lengths are in bytes,
    offsets count from the start of the mapping. The file may be shorter than the mapping, grow, shrink, or
    lose its disk while it is mapped, and any thread may unmap it at any time: a call then raises, and none
    ends the process.

    ``f`` is a descriptor or an object with ``fileno()``; it may be closed at once. ``length=None`` maps to the
    end of the file as it is now (an empty rest gives an empty ``File``). ``prot`` must contain ``Prot.READ``.
    ``trackfd=False`` keeps no duplicate of the descriptor (closing one drops the process's POSIX record locks
    on the file): the whole mapping then counts as accessible, and ``reserve`` and ``restore`` are refused.

    Raises ``ValueError`` for an offset or a length no mapping can have, and ``OSError`` where the kernel
    refuses; see mmap(2).
    """

    __slots__ = ("__weakref__", "_is_writable", "_length", "_offset", "_region")

    _region: Region

    def __init__(
        self,
        f: int | _HasFileno,
        offset: SupportsIndex = 0,
        length: SupportsIndex | None = None,
        prot: int = _READ_WRITE,
        *,
        trackfd: bool = True,
    ) -> None:
        fd = _descriptor(f)
        offset = as_index(offset)
        prot = index(prot)
        if prot not in (_READ_ONLY, _READ_WRITE):
            raise ValueError(f"prot must be Prot.READ or Prot.READ | Prot.WRITE, not {prot}")
        if offset < 0:
            raise ValueError(f"offset {offset} is negative")
        if length is None:
            length = _rest_of(fd, offset)
        else:
            length = as_index(length)
            if length < 1:
                raise ValueError(f"length must be at least 1, not {length}")
        if offset > _MAX_OFFSET - PAGE - length:
            raise ValueError(f"offset {offset} and length {length} reach past the largest file offset")
        self._offset = offset
        self._length = length
        self._is_writable = prot == _READ_WRITE
        self._region = Region(fd, offset, length, self._is_writable, trackfd)

    # ---- life ----

    def unmap(self) -> None:
        """Unmaps. The file, its pages and its locks are released before this returns.

        Succeeds whatever other threads are doing; they get ``UnmappedMemoryError``, as does a second call.
        What was written stays written, as with munmap(2); ``flush`` first to have it on disk.
        """
        if not self._end():
            raise UnmappedMemoryError

    def close(self) -> None:
        """Unmaps, unless that has been done."""
        self._end()

    def _end(self) -> bool:
        """Whether this call is the one that unmapped."""
        try:
            region = self._region
        except AttributeError:  # the constructor raised
            return False
        ended: bool = lib.region_unmap(region.c) == 0
        while region is not self._region:  # restore() has put a new one in its place
            region = self._region
            ended = lib.region_unmap(region.c) == 0 or ended
        return ended

    def __enter__(self) -> File:
        self._region.check_mapped()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def restore(self) -> None:
        """Maps the file afresh after a ``MappingFaultError``.

        The new mapping counts as dirty, since what was written before the fault may not be on disk. Nothing
        happens where there was no fault, but that a file found shorter is taken for granted from here on.
        Raises what the constructor raises; the ``File`` is as before then.
        """
        region = self._region
        region.check_mapped()
        if region.state[0] == lib.LIVE:
            with suppress(MappingFaultError):  # one that happens just now
                region.c.peak = region.refresh()
                return
        with region.descriptor("restore") as fd:
            fresh = Region(fd, self._offset, self._length, self._is_writable, True)
        fresh.c.dirty = self._is_writable
        # Where several restore the same region the first one's is taken by all, in one step: a region that
        # was in use for a moment and then replaced would take its dirty flag along.
        self._region = fresh = region.successor.setdefault("region", fresh)
        if region.state[0] == lib.UNMAPPED:  # meanwhile, and perhaps before there was a fresh one to see
            lib.region_unmap(fresh.c)
            raise UnmappedMemoryError

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: map the file again instead")

    # ---- what it is ----

    def __len__(self) -> int:
        """The mapped length in bytes."""
        self._region.check_mapped()
        return self._length

    @property
    def offset(self) -> int:
        """Where in the file the mapping starts, in bytes."""
        return self._offset

    @property
    def prot(self) -> Prot:
        """What the mapping may be used for."""
        return _READ_WRITE if self._is_writable else _READ_ONLY

    @property
    def closed(self) -> bool:
        """Whether it is unmapped."""
        return bool(self._region.state[0] == lib.UNMAPPED)

    @property
    def dirty(self) -> bool:
        """Whether something was written since the last complete flush."""
        self._region.check_mapped()
        return bool(self._region.c.dirty)

    @property
    def accessible(self) -> int:
        """How many bytes from the start of the mapping the file backs now; asks the system.

        For what is not a regular file, and with ``trackfd=False``, the length of the mapping.
        """
        region = self._region
        region.check()
        return region.refresh()

    def __repr__(self) -> str:
        state = {lib.LIVE: "mapped", lib.FAULTED: "faulted", lib.UNMAPPED: "unmapped"}[self._region.state[0]]
        prot = "READ|WRITE" if self._is_writable else "READ"
        return f"<{type(self).__name__} offset={self._offset} length={self._length} prot={prot} {state}>"

    # ---- copies ----

    def read_at(self, dest: Any, offset: SupportsIndex) -> int:
        """Copies from ``offset`` into ``dest``, any writable C-contiguous buffer; returns the bytes copied.

        That is as many as ``dest`` holds, or fewer where the accessible part ends before. ``OutOfBoundsError``
        where ``offset`` itself is not accessible. When it raises, ``dest`` may hold a part of what was asked.
        """
        region = self._region
        if type(dest) is bytearray and type(offset) is int and offset >= 0:
            size = len(dest)
            if 0 < size <= _SMALL:
                found = region.readable[offset : offset + size]  # in bounds: it ends at the limit; alive: region
                if len(found) == size and not region.state[0]:
                    dest[:] = found
                    return size
        offset = as_index(offset)  # first: its __index__ could resize dest
        return region.read_into(writable_bytes(dest), offset)

    def write_at(self, src: Any, offset: SupportsIndex) -> int:
        """Copies ``src``, any C-contiguous buffer, to ``offset``; returns the bytes copied.

        That is all of ``src``, or less where the accessible part ends before: a short count is not an error.
        ``OutOfBoundsError`` where ``offset`` itself is not accessible.
        """
        region = self._region
        if type(src) is bytes and type(offset) is int and offset >= 0:
            size = len(src)
            if 0 < size < PIECE:
                try:
                    # In bounds: it ends at the limit, and what is cut short does not match; alive: region.
                    region.writable[offset : offset + size] = src
                except (TypeError, ValueError):
                    pass
                else:
                    if region.marks[0] != LIVE_AND_DIRTY:
                        region.wrote()
                    return size
        offset = as_index(offset)  # first: its __index__ could resize src
        return region.write_from(readable_bytes(src), offset)

    def read_string_at(
        self,
        offset: SupportsIndex,
        max_length: SupportsIndex | None = None,
        *,
        encoding: str = "utf-8",
        errors: str = "strict",
    ) -> str:
        """Decodes up to ``max_length`` bytes from ``offset``, or all that are accessible."""
        region = self._region
        offset = as_index(offset)
        wanted = self._length if max_length is None else as_index(max_length)
        if wanted < 0:
            raise ValueError(f"max_length {wanted} is negative")
        return region.read(offset, region.room(offset, wanted)).decode(encoding, errors)

    def write_string_at(
        self, text: str, offset: SupportsIndex, *, encoding: str = "utf-8", errors: str = "strict"
    ) -> int:
        """Encodes ``text`` and writes it at ``offset``; returns the bytes written.

        Where not all of it fits, as many whole characters as do.
        """
        if not isinstance(text, str):
            raise TypeError(f"a str is needed, not {type(text).__name__}")
        encoded = text.encode(encoding, errors)
        region = self._region
        offset = as_index(offset)
        room = region.room(offset, len(encoded), writing=True)
        if room < len(encoded):
            fits, too_many = 0, len(text)
            while too_many - fits > 1:
                middle = (fits + too_many) // 2
                if len(text[:middle].encode(encoding, errors)) <= room:
                    fits = middle
                else:
                    too_many = middle
            encoded = text[:fits].encode(encoding, errors) if fits else b""
        return region.write_from(readable_bytes(encoded), offset) if encoded else 0

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: SupportsIndex | slice) -> int | bytes:
        """``m[i]``: the byte as an int; ``m[a:b]``, ``m[a:b:c]``: ``bytes``. As ``mmap.mmap`` has them.

        ``OutOfBoundsError`` where a part is not accessible.
        """
        region = self._region
        if (whole := region.whole) is not None:
            try:
                found: bytes = whole[key]  # in bounds: it clips as this File does; alive: region
            except _NOT_THIS_WAY:
                pass
            else:
                if not region.state[0]:
                    return found if type(key) is slice else found[0]
        if not isinstance(key, slice):
            return region.read(self._item(key), 1)[0]
        span = self._span(key)
        if not span:
            region.check()
            return b""
        low = min(span[0], span[-1])
        return region.read(low, abs(span[-1] - span[0]) + 1)[:: span.step]

    @overload
    def __setitem__(self, key: SupportsIndex, value: SupportsIndex) -> None: ...
    @overload
    def __setitem__(self, key: slice, value: Any) -> None: ...
    def __setitem__(self, key: SupportsIndex | slice, value: Any) -> None:
        """``m[i] = 65``; ``m[a:b] = b"..."`` of the same length, else ``ValueError``.

        ``OutOfBoundsError`` where a part is not accessible: nothing is written then.
        """
        region = self._region
        if (
            type(key) is slice
            and type(value) is bytes
            and len(value) < PIECE
            and region.is_writable
            and (whole := region.whole) is not None
        ):
            try:
                # In bounds: it clips as this File does, and what is cut short does not match; alive: region.
                whole[key] = value
            except _NOT_THIS_WAY:
                pass
            else:
                if region.marks[0] != LIVE_AND_DIRTY:
                    region.wrote()
                return
        if not isinstance(key, slice):
            value = as_index(value)
            if not 0 <= value <= 255:
                raise ValueError(f"a byte must be in range(0, 256), not {value}")
            self.write_uint8_at(value, self._item(key))
            return
        source = readable_bytes(value)
        span = self._span(key)
        if len(source) != len(span):
            raise ValueError(f"a slice of {len(span)} bytes cannot be assigned {len(source)} bytes")
        if not span:
            region.check()
            region.require_writable()
            return
        low = min(span[0], span[-1])
        region.require(low, abs(span[-1] - span[0]) + 1, writing=True)
        if span.step == 1:
            region.write_from(source, low)
        else:
            for position, byte in zip(span, memoryview(value).cast("B")):
                self.write_uint8_at(byte, position)

    def _item(self, key: SupportsIndex) -> int:
        try:
            position = as_index(key)
        except TypeError:
            raise TypeError(f"indexes must be integers or slices, not {type(key).__name__}") from None
        if position < 0:
            position += self._length
            if position < 0:
                raise OutOfBoundsError(
                    f"index {position - self._length} is outside the mapping of {self._length} bytes"
                )
        return position

    def _span(self, key: slice) -> range:
        return range(*key.indices(self._length))

    # ---- single values ----

    read_int8_at, write_int8_at = int_accessors("int8")
    read_uint8_at, write_uint8_at = int_accessors("uint8")
    read_int16_at, write_int16_at = int_accessors("int16")
    read_uint16_at, write_uint16_at = int_accessors("uint16")
    read_int32_at, write_int32_at = int_accessors("int32")
    read_uint32_at, write_uint32_at = int_accessors("uint32")
    read_int64_at, write_int64_at = int_accessors("int64")
    read_uint64_at, write_uint64_at = int_accessors("uint64")
    read_float32_at, write_float32_at = float_accessors("float32")
    read_float64_at, write_float64_at = float_accessors("float64")

    # ---- many at once ----

    def read_array_at(self, typecode: str, offset: SupportsIndex, count: SupportsIndex) -> array[Any]:
        """Reads ``count`` items from ``offset`` into an ``array.array`` of ``typecode``.

        The typecodes whose size is the same everywhere: ``bBhHiIqQfd``. ``OutOfBoundsError`` unless all items
        are accessible.
        """
        if typecode not in _TYPECODES:
            raise ValueError(f"typecode must be one of {', '.join(_TYPECODES)}, not {typecode!r}")
        count = as_index(count)
        if count < 0:
            raise ValueError(f"count {count} is negative")
        region = self._region
        offset = as_index(offset)
        empty: array[Any] = array(typecode, (0,))
        region.require(offset, count * empty.itemsize)
        items = empty * count
        if count:
            region.read_all_into(writable_bytes(items), offset)
        return items

    def write_array_at(self, values: Any, offset: SupportsIndex) -> int:
        """Writes ``values``, any C-contiguous buffer, to ``offset``; returns the bytes written: all of them.

        ``OutOfBoundsError`` unless all of them are accessible; nothing is written then.
        """
        offset = as_index(offset)  # first: its __index__ could resize values
        source = readable_bytes(values)
        self._region.write_all_from(source, offset)
        return len(source)

    def read_struct_at(self, format: str | bytes | Struct, offset: SupportsIndex) -> tuple[Any, ...]:
        """Unpacks a record from ``offset``; see the ``struct`` module for ``format``.

        ``OutOfBoundsError`` unless all of it is accessible.
        """
        layout = format if isinstance(format, Struct) else _layout(format)
        return layout.unpack(self._region.read(as_index(offset), layout.size))

    def write_struct_at(self, format: str | bytes | Struct, offset: SupportsIndex, *values: Any) -> None:
        """Packs ``values`` and writes the record to ``offset``; see the ``struct`` module for ``format``.

        It is packed first and copied once: unlike with ``struct.pack_into``, nobody sees it zero-filled
        before. ``OutOfBoundsError`` unless all of it is accessible; nothing is written then.
        """
        layout = format if isinstance(format, Struct) else _layout(format)
        self._region.write(layout.pack(*values), as_index(offset))

    # ---- atomic words ----

    def atomic_uint64_at(self, offset: SupportsIndex) -> AtomicUint64:
        """The 8 bytes at ``offset`` as an atomic integer, shared by all processes.

        ``ValueError`` unless ``self.offset + offset`` is a multiple of 8; the text names the next one.
        """
        return AtomicUint64(self._region, offset)

    def atomic_uint32_at(self, offset: SupportsIndex) -> AtomicUint32:
        """The 4 bytes at ``offset`` as an atomic integer, shared by all processes, that can be waited for.

        ``ValueError`` unless ``self.offset + offset`` is a multiple of 4; the text names the next one.
        """
        return AtomicUint32(self._region, offset)

    # ---- searching and rearranging ----

    def find(self, sub: Any, start: SupportsIndex | None = None, end: SupportsIndex | None = None) -> int:
        """The lowest offset in ``m[start:end]`` where ``sub``, a buffer, stands; -1 if it does not.

        As ``bytes.find`` has it. What is not accessible holds nothing to be found.
        """
        return self._region.find("region_find", sub, *self._bounds(start, end))

    def rfind(self, sub: Any, start: SupportsIndex | None = None, end: SupportsIndex | None = None) -> int:
        """The highest offset in ``m[start:end]`` where ``sub``, a buffer, stands; -1 if it does not."""
        return self._region.find("region_rfind", sub, *self._bounds(start, end))

    def _bounds(self, start: SupportsIndex | None, end: SupportsIndex | None) -> tuple[int, int]:
        """As ``bytes.find`` takes them: a start past the end finds nothing, not even the empty string there."""
        low, high, _ = slice(start, end).indices(self._length)
        return (low, high) if start is None or as_index(start) <= self._length else (low + 1, high)

    def fill(self, byte: SupportsIndex, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> None:
        """Sets ``length`` bytes from ``offset``, or all to the end of the mapping, to ``byte``.

        ``OutOfBoundsError`` unless all of them are accessible; nothing is written then.
        """
        byte, offset = as_index(byte), as_index(offset)
        if not 0 <= byte <= 255:
            raise ValueError(f"a byte must be in range(0, 256), not {byte}")
        self._region.fill(byte, offset, self._count(offset, length))

    def move(self, dest: SupportsIndex, src: SupportsIndex, count: SupportsIndex) -> None:
        """Copies ``count`` bytes from ``src`` to ``dest``, both offsets; the ranges may overlap.

        ``OutOfBoundsError`` unless both are accessible; nothing is written then.
        """
        dest, src = as_index(dest), as_index(src)
        self._region.move(dest, src, self._count(src, count))

    def _count(self, offset: int, length: SupportsIndex | None) -> int:
        length = max(0, self._length - offset) if length is None else as_index(length)
        if length < 0:
            raise ValueError(f"length {length} is negative")
        return length

    # ---- other ways in ----

    def stream(self, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> Stream:
        """An ``io.RawIOBase`` over ``length`` bytes from ``offset``, with a position of its own.

        Without a length, to the end of the mapping; it grows with the file then. See ``Stream``.
        """
        region = self._region
        region.check()
        offset = as_index(offset)
        length = self._count(offset, length)
        if not 0 <= offset <= self._length or length > self._length - offset:
            raise OutOfBoundsError(
                f"{length} bytes at offset {offset} are outside the mapping of {self._length} bytes"
            )
        return Stream(region, offset, length)

    def view(
        self, offset: SupportsIndex = 0, length: SupportsIndex | None = None, *, readonly: bool | None = None
    ) -> memoryview:
        """A ``memoryview`` of ``length`` accessible bytes from ``offset``: the one door to the memory itself.

        Without a length, to the end of what is accessible. ``readonly`` is the default where the mapping is.
        Its memory stays valid for as long as anything refers to it, also after ``unmap()``: it can go stale,
        it can't dangle. What it gives up: where the kernel cannot supply a page it shows zeros, and what is
        written is lost, without an exception; ``check()`` raises then. While a writable one may be alive the
        mapping counts as dirty. ``OutOfBoundsError`` unless all of the range is accessible.
        """
        region = self._region
        offset = as_index(offset)
        if length is None:
            length = max(0, region.refresh() - offset)
        return region.view(
            offset,
            self._count(offset, length),
            readonly=not region.is_writable if readonly is None else readonly,
        )

    def check(self) -> None:
        """Raises ``MappingFaultError`` if the mapping has faulted, ``UnmappedMemoryError`` if it is unmapped."""
        self._region.check()

    # ---- system calls over a range ----

    def flush(
        self, flags: int = Sync.SYNC, offset: SupportsIndex = 0, length: SupportsIndex | None = None
    ) -> None:
        """Writes what changed in the range to the file; see msync(2).

        No system call is made when nothing was written since the last complete flush: one of the whole mapping
        with ``Sync.SYNC`` that succeeded. Any other leaves ``dirty`` set. ``MappingFaultError`` where the
        file is found shorter than what could be written: the rest is lost. After any error ``dirty`` stays.
        """
        region = self._region
        region.check()
        flags = index(flags)
        start, size = region.pages(offset, length)
        if not region.c.dirty:
            return
        complete = bool(flags & Sync.SYNC) and size == region.pages(0, None)[1]
        peak = region.c.peak
        try:
            if complete and not region.c.views:
                region.c.dirty = 0  # before the call, so that a write made meanwhile stays owed
            if size and lib.msync(start, size, flags):
                raise os_error(ffi.errno, "msync")
            limit = region.refresh()
            if limit < peak:
                raise MappingFaultError(
                    errno.ENXIO,
                    f"the file backs {limit} of the {peak} bytes that could be written before; "
                    "what was written to the rest is lost (restore() accepts that)",
                    limit,
                )
        except BaseException:
            if complete:
                region.c.dirty = 1
            raise
        if complete:
            region.c.peak = limit

    def advise(self, advice: int, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> None:
        """Tells the kernel how the range will be used; see madvise(2).

        ``ValueError`` for advice that is no member of ``Advice``: it could destroy data.
        """
        advice = Advice(index(advice))
        region = self._region
        region.check()
        start, size = region.pages(offset, length)
        if size and lib.madvise(start, size, advice):
            raise os_error(ffi.errno, "madvise")
        region.check()

    def lock(
        self, offset: SupportsIndex = 0, length: SupportsIndex | None = None, *, on_fault: bool = False
    ) -> None:
        """Locks the accessible part of the range into memory; see mlock(2).

        ``on_fault``: each page when it is first touched. ``OSError`` names ``RLIMIT_MEMLOCK`` if that is what
        stands in the way; the range is left unlocked then.
        """
        region = self._region
        limit = region.refresh()
        start, size = region.pages(offset, length, limit)
        while size and (lib.lock_on_fault if on_fault else lib.mlock)(start, size):
            failed = os_error(ffi.errno, "mlock")
            lib.munlock(start, size)
            shorter = region.refresh()
            if shorter >= limit:  # else it was cut off meanwhile: lock what is left
                raise failed
            limit = shorter
            start, size = region.pages(offset, length, limit)
        if size and region.state[0]:
            lib.munlock(start, size)  # those are zero pages
            region.check()

    def unlock(self, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> None:
        """Unlocks the range; see munlock(2)."""
        region = self._region
        region.check()
        start, size = region.pages(offset, length)
        if size and lib.munlock(start, size):
            raise os_error(ffi.errno, "munlock")
        region.check()

    def residency(self, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> bytes:
        """One byte for each page that the range touches: 1 if it is in memory, else 0; see mincore(2)."""
        region = self._region
        region.check()
        start, size = region.pages(offset, length)
        found = ffi.new("unsigned char[]", -(-size // PAGE))
        if size and lib.mincore(start, size, found):
            raise os_error(ffi.errno, "mincore")
        region.check()
        return bytes(byte & 1 for byte in ffi.buffer(found)[:])

    def reserve(self, length: SupportsIndex) -> None:
        """Makes the file back at least the first ``length`` bytes of the mapping, on allocated disk space.

        The file grows if it is shorter; every process that mapped it with room sees that. ``OSError`` with
        ``ENOSPC`` on a full disk, here and not as a fault later; see fallocate(2).
        """
        length = as_index(length)
        region = self._region
        region.check()
        region.require_writable()
        if not 0 <= length <= self._length:
            raise OutOfBoundsError(f"length {length} is outside the mapping of {self._length} bytes")
        with region.descriptor("reserve") as fd:
            while length and lib.allocate(fd, self._offset, length):
                if ffi.errno != errno.EINTR:
                    raise os_error(ffi.errno, "fallocate")
        region.refresh()


def _descriptor(f: int | _HasFileno) -> int:
    fd = f if isinstance(f, int) else f.fileno() if hasattr(f, "fileno") else None
    if not isinstance(fd, int):
        raise TypeError(
            f"a descriptor or an object with fileno() is needed, not {type(f).__name__}"
            + ("" if fd is None else f" whose fileno() is {fd!r}")
        )
    if not 0 <= fd < 2**31:
        raise ValueError(f"{fd} is no file descriptor")
    return int(fd)


def _rest_of(fd: int, offset: int) -> int:
    """The bytes from ``offset`` to the end of the file."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"descriptor {fd} is not a regular file, so a length must be given")
    if offset > status.st_size:
        raise ValueError(f"offset {offset} is past the end of the file, which is {status.st_size} bytes long")
    return status.st_size - offset


_MODES = {
    "r": os.O_RDONLY,
    "r+": os.O_RDWR,
    "w+": os.O_RDWR | os.O_CREAT,
    "x+": os.O_RDWR | os.O_CREAT | os.O_EXCL,
}


def open(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    mode: str = "r+",
    *,
    offset: SupportsIndex = 0,
    length: SupportsIndex | None = None,
    capacity: SupportsIndex | None = None,
) -> File:
    """Opens a file and maps it.

    ``mode``: ``"r"``, read-only; ``"r+"``, read and write, it must exist; ``"w+"``, created or truncated;
    ``"x+"``, created, it must not exist. ``offset`` and ``length`` are in bytes; without a length, to the end
    of the file. In the writing modes a file shorter than ``offset + length`` is extended to it (sparse: see
    ``File.reserve``). ``capacity`` is how many bytes to map, at least ``length``: room to grow into.
    """
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, _MODES))}, not {mode!r}")
    offset = as_index(offset)
    length = None if length is None else as_index(length)
    capacity = None if capacity is None else as_index(capacity)
    if offset < 0:
        raise ValueError(f"offset {offset} is negative")
    for name, value in (("length", length), ("capacity", capacity)):
        if value is not None and not 1 <= value <= _MAX_OFFSET - PAGE - offset:
            raise ValueError(f"{name} must be at least 1 and end in a file offset, not {value}")
    if capacity is not None and length is not None and capacity < length:
        raise ValueError(f"capacity {capacity} is less than length {length}")
    if mode in ("w+", "x+") and length is None and offset > 0:
        raise ValueError(f"offset {offset} is past the end of an empty file: a length must be given")

    fd = os.open(path, _MODES[mode] | os.O_CLOEXEC, 0o666)
    try:
        if mode == "w+":
            os.ftruncate(fd, 0)
        if mode != "r" and length is not None and os.fstat(fd).st_size < offset + length:
            os.ftruncate(fd, offset + length)
        if capacity is not None and length is None and capacity < _rest_of(fd, offset):
            raise ValueError(f"capacity {capacity} is less than the {_rest_of(fd, offset)} bytes of the file")
        return File(fd, offset, capacity or length, _READ_ONLY if mode == "r" else _READ_WRITE)
    finally:
        os.close(fd)
