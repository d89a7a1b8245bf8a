"""The public face: what goes in and out of a mapped file."""

from __future__ import annotations

from array import array
from contextlib import suppress
from functools import lru_cache
from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, Any, SupportsIndex, overload

from ._arguments import as_index, as_range, as_size, exact_bytes, readable_bytes, writable_bytes
from ._atomic import AtomicUint32, AtomicUint64
from ._errors import OutOfBoundsError
from ._mapping import Mapping
from ._native import PYPY
from ._region import LIVE_AND_DIRTY, NOT_THIS_WAY, PIECE
from ._scalars import float_accessors, int_accessors
from ._stream import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["File"]

_SMALL = 512  # bytes up to which one more copy costs less than a memoryview of a bytearray
_ALL = slice(None)
_TYPECODES = tuple("bBhHiIqQfd")
_layout = lru_cache(maxsize=256)(Struct)


class File(Mapping):
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

    __slots__ = ()

    # ---- copies ----

    def read_at(self, dest: Any, offset: SupportsIndex) -> int:
        """Copies from ``offset`` into ``dest``, any writable C-contiguous buffer; returns the bytes copied.

        That is as many as ``dest`` holds, or fewer where the accessible part ends before. ``OutOfBoundsError``
        where ``offset`` itself is not accessible. When it raises, ``dest`` may hold a part of what was asked.
        """
        region = self._region
        kind = type(dest)
        if (
            (kind is bytearray or (kind is memoryview and dest.c_contiguous))
            and type(offset) is int
            and offset >= 0
            and not PYPY
        ):
            try:
                size = len(dest)
                # In bounds: both end at the limit; alive: region.
                if 0 < size <= _SMALL:
                    found = region.readable[offset : offset + size]
                    if len(found) == size and not region.state[0]:
                        dest[_ALL] = found
                        return size
                elif 0 < size < PIECE:
                    (memoryview(dest) if kind is bytearray else dest)[:] = region.window[offset : offset + size]
                    if not region.state[0]:
                        return size
            except NOT_THIS_WAY:  # what is no plain row of bytes
                pass
        offset = as_index(offset)  # first: its __index__ could resize dest
        with writable_bytes(dest) as memory:
            return region.read_into(memory, offset)

    def write_at(self, src: Any, offset: SupportsIndex) -> int:
        """Copies ``src``, any C-contiguous buffer, to ``offset``; returns the bytes copied.

        That is all of ``src``, or less where the accessible part ends before: a short count is not an error.
        ``OutOfBoundsError`` where ``offset`` itself is not accessible.
        """
        region = self._region
        if type(src) is bytes and type(offset) is int:
            return region.write_from(src, offset)
        offset = as_index(offset)  # first: its __index__ could resize src
        with readable_bytes(src) as memory:
            return region.write_from(memory, offset)

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
        wanted = region.length if max_length is None else as_size(max_length, "max_length")
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
        return region.write_from(encoded, offset) if encoded else 0

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
            except NOT_THIS_WAY:
                pass
            else:
                if not region.state[0]:
                    return found if type(key) is slice else found[0]
        if not isinstance(key, slice):
            return region.read(self._item(key), 1)[0]
        span = as_range(key, region.length)
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
            and (whole := region.writable) is not None
        ):
            try:
                # In bounds: it clips as this File does, and what is cut short does not match; alive: region.
                whole[key] = value
            except NOT_THIS_WAY:
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
        span = as_range(key, region.length)  # first: an __index__ in it could resize value
        with readable_bytes(value) as memory:
            size = len(memory)
            if size != len(span):
                raise ValueError(f"a slice of {len(span)} bytes cannot be assigned {size} bytes")
            if not span:
                region.check()
                region.require_writable()
            elif span.step == 1:
                region.copy_all(memory, span[0], writing=True)
                region.writable = region.whole  # it is dirty now
            else:
                low = min(span[0], span[-1])
                region.require(low, abs(span[-1] - span[0]) + 1, writing=True)
                for position, byte in zip(span, exact_bytes(memory)):
                    self.write_uint8_at(byte, position)

    def _item(self, key: SupportsIndex) -> int:
        try:
            position = as_index(key)
        except TypeError:
            raise TypeError(f"indexes must be integers or slices, not {type(key).__name__}") from None
        length = self._region.length
        if position < -length:
            raise OutOfBoundsError(f"index {position} is outside the mapping of {length} bytes")
        return position if position >= 0 else position + length

    def __iter__(self) -> Iterator[int]:
        """The bytes as ints. ``OutOfBoundsError`` at the first that is not accessible."""
        return (self[position] for position in range(len(self)))

    def __reversed__(self) -> Iterator[int]:
        """The same from the end."""
        return (self[position] for position in reversed(range(len(self))))

    def __contains__(self, item: Any) -> bool:
        """Whether a byte or a sequence of bytes stands anywhere in what is accessible, as for ``bytes``."""
        with suppress(TypeError):  # of a buffer
            item = bytes((as_index(item),))
        return self.find(item) >= 0

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
        count = as_size(count, "count")
        region = self._region
        offset = as_index(offset)
        empty: array[Any] = array(typecode, (0,))
        region.require(offset, count * empty.itemsize)
        items = empty * count
        if count:
            with writable_bytes(items) as memory:
                region.copy_all(memory, offset, writing=False)
        return items

    def write_array_at(self, values: Any, offset: SupportsIndex) -> int:
        """Writes ``values``, any C-contiguous buffer, to ``offset``; returns the bytes written: all of them.

        ``OutOfBoundsError`` unless all of them are accessible; nothing is written then.
        """
        offset = as_index(offset)  # first: its __index__ could resize values
        region = self._region
        with readable_bytes(values) as memory:
            size = len(memory)
            region.copy_all(memory, offset, writing=True)
        return size

    def read_struct_at(self, format: str | bytes | Struct, offset: SupportsIndex) -> tuple[Any, ...]:
        """Unpacks a record from ``offset``; see the ``struct`` module for ``format``.

        ``OutOfBoundsError`` unless all of it is accessible.
        """
        layout = format if isinstance(format, Struct) else _layout(format)
        region = self._region
        if type(layout) is Struct and type(offset) is int and offset >= 0:
            try:
                # In bounds: it ends at the limit; alive: region.
                values = layout.unpack_from(region.readable, offset)
            except (struct_error, OverflowError):
                pass
            else:
                if not region.state[0]:
                    return values
        return layout.unpack(region.read(as_index(offset), layout.size))

    def write_struct_at(self, format: str | bytes | Struct, offset: SupportsIndex, *values: Any) -> None:
        """Packs ``values`` and writes the record to ``offset``; see the ``struct`` module for ``format``.

        It is packed first and copied once: unlike with ``struct.pack_into``, nobody sees it zero-filled
        before. ``OutOfBoundsError`` unless all of it is accessible; nothing is written then.
        """
        layout = format if isinstance(format, Struct) else _layout(format)
        record = layout.pack(*values)
        self._region.write_record(record, offset if type(offset) is int else as_index(offset))

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
        length = self._region.length
        span = as_range(slice(start, end), length)
        past_the_end = start is not None and as_index(start) > length
        return span.start + past_the_end, span.stop

    def fill(self, byte: SupportsIndex, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> None:
        """Sets ``length`` bytes from ``offset``, or all to the end of the mapping, to ``byte``.

        ``OutOfBoundsError`` unless all of them are accessible; nothing is written then.
        """
        byte = as_index(byte)
        if not 0 <= byte <= 255:
            raise ValueError(f"a byte must be in range(0, 256), not {byte}")
        region = self._region
        region.fill(byte, *region.span(offset, length))

    def move(self, dest: SupportsIndex, src: SupportsIndex, count: SupportsIndex) -> None:
        """Copies ``count`` bytes from ``src`` to ``dest``, both offsets; the ranges may overlap.

        ``OutOfBoundsError`` unless both are accessible; nothing is written then.
        """
        self._region.move(as_index(dest), as_index(src), as_size(count, "count"))

    # ---- other ways in ----

    def stream(self, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> Stream:
        """An ``io.RawIOBase`` over ``length`` bytes from ``offset``, with a position of its own.

        Without a length, to the end of the mapping; it grows with the file then. See ``Stream``.
        """
        return Stream(self._region, *self._region.span(offset, length))

    def view(
        self, offset: SupportsIndex = 0, length: SupportsIndex | None = None, *, readonly: bool | None = None
    ) -> memoryview:
        """A ``memoryview`` of ``length`` accessible bytes from ``offset``: the one door to the memory itself.

        Without a length, to the end of what is accessible. ``readonly`` is the default where the mapping is.
        Its memory stays valid for as long as anything refers to it, also after ``unmap()``: it can go stale,
        it can't dangle. (PyPy keeps the address range for good.) What it gives up: where the kernel cannot supply
        a page it shows zeros, and what is written is lost, without an exception; ``check()`` raises then. While a
        writable one may be alive the mapping counts as dirty. ``OutOfBoundsError`` unless all of the range is
        accessible.
        """
        region = self._region
        offset = as_index(offset)
        size = max(0, region.refresh() - offset) if length is None else as_size(length, "length")
        return region.view(offset, size, readonly=not region.is_writable if readonly is None else readonly)
