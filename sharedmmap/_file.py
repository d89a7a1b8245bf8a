"""``File``: the life of a mapping, and what goes in and out of it."""

from __future__ import annotations

import io
import os
import stat
from array import array
from contextlib import suppress
from functools import lru_cache
from struct import Struct

from . import _copies, _ranges
from ._arguments import as_byte, as_index, as_range, as_size, readable_memory, writable_memory
from ._atomic import AtomicUint32, AtomicUint64
from ._errors import MappingFaultError, UnmappedMemoryError
from ._flags import Prot, Sync
from ._mutex import Mutex
from ._native import PAGE, RefusedError, lib, quick
from ._region import Region
from ._scalars import float_accessors, int_accessors
from ._stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any, Callable, Protocol, SupportsIndex, overload

    from typing_extensions import Self

    class HasFileno(Protocol):
        def fileno(self) -> int: ...


__all__ = ["MAX_OFFSET", "READ_ONLY", "READ_WRITE", "File", "rest_of"]

MAX_OFFSET = 2**63 - 1
READ_ONLY = Prot.READ
READ_WRITE = Prot.READ | Prot.WRITE

_TYPECODES = tuple("bBhHiIqQfd")
_layout = lru_cache(maxsize=256)(Struct)

# The quick calls (_native.py) that the methods try first.
_get_item, _set_item = quick.region_get_item, quick.region_set_item
_read_at, _write_at, _read_bytes = quick.region_read_at, quick.region_write_at, quick.region_bytes
_unpack = getattr(quick, "region_unpack", None)  # where that is sooner than to unpack bytes


class File:
    """A file mapped into memory, shared with every process that maps it too.

    ``f`` is a descriptor or an object with ``fileno()``; it may be closed at once. ``length=None``
    maps to the end of the file as it is now; an empty rest gives an empty ``File``. The mapping may
    reach past the end of the file. ``prot`` must contain ``Prot.READ``. ``trackfd=False`` keeps no
    duplicate of the descriptor (closing one drops the POSIX record locks that the process holds on
    the file): the whole mapping then counts as accessible. ``reserve`` and mutexes are refused then,
    and so is ``restore`` after a fault. ``sharedmmap.open`` opens a file by its path and maps it.

    Raises ``ValueError`` for an offset or a length that no mapping can have, and ``OSError`` where
    the kernel refuses; see mmap(2).

    Copies and integers go in and out; the memory is handed out by ``view`` alone. Offsets and
    lengths are in bytes, and offsets count from the start of the mapping. The file may be shorter
    than the mapping, grow, shrink, or lose its disk while it is mapped, and any thread may unmap it
    at any time: a call then raises, and the process goes on (``help(sharedmmap)`` has the exceptions).

    Every method raises ``UnmappedMemoryError`` after ``unmap()``, ``MappingFaultError`` after a
    fault, ``OutOfBoundsError`` for what is outside the mapping or past the end of the file, and
    ``io.UnsupportedOperation`` for a write to a read-only mapping. ``help(sharedmmap)`` says what
    is guaranteed, and what is not. The methods, in groups; each is described in full further down:

    **Mapping**::

        open(path, mode, *, offset, length, capacity, initialize)   the function sharedmmap.open
        File(f, offset=0, length=None, prot=READ|WRITE, *, trackfd=True)
        unmap(), close(), with          unmap; close() may be called again
        reserve(length)                 the file backs so many bytes, on allocated disk space
        accessible                      the bytes that the file backs now
        restore()                       maps the file again after a fault
        check()                         raises if the mapping has faulted or is unmapped
        len(m), offset, prot, closed, dirty

    >>> import io, os, sharedmmap
    >>> m = sharedmmap.open("example", "w+", length=100, capacity=1 << 20)
    >>> len(m), m.accessible, m.dirty
    (1048576, 100, False)
    >>> m.reserve(4096)  # the file grows, and the mapping stays as it is
    >>> m.accessible, os.path.getsize("example")
    (4096, 4096)

    **Copies**::

        read_at(dest, offset)           into a writable buffer; the bytes copied
        write_at(src, offset)           from a buffer; the bytes copied
        read_string_at(offset, max_length=None, *, encoding, errors)
        write_string_at(text, offset, *, encoding, errors)
        m[i], m[a:b], m[a:b:c]          and assignment: ints and bytes, as mmap.mmap has them
        fill(byte, offset=0, length=None)
        move(dest, src, count)          within the mapping; the ranges may overlap
        find(sub, start, end), rfind    as bytes has them; also in, iter(), reversed()

    >>> m.write_at(b"tide and time", 0)
    13
    >>> part = bytearray(4)
    >>> m.read_at(part, 9), part
    (4, bytearray(b'time'))
    >>> m[0:4] = b"Tide"
    >>> m.read_string_at(0, 13), m.find(b"time"), m[0]
    ('Tide and time', 9, 84)
    >>> m.move(16, 0, 4)
    >>> m.fill(ord("."), 20, 3)
    >>> m[16:23]
    b'Tide...'

    **Values, arrays, records**, little-endian, at any alignment. Where ``m.offset + offset`` is a
    multiple of its size, a single value is one load or store, which never tears::

        read_T_at(offset), write_T_at(value, offset)
            T: int8 uint8 int16 uint16 int32 uint32 int64 uint64 float32 float64
        read_array_at(typecode, offset, count)      an array.array
        write_array_at(values, offset)              from a buffer: all of it or none
        read_struct_at(format, offset)              a record, as in the struct module
        write_struct_at(format, offset, *values)    packed first, and copied once

    >>> m.write_uint64_at(2**64 - 59, 33)
    >>> m.read_uint64_at(33)
    18446744073709551557
    >>> m.write_uint8_at(256, 0)
    Traceback (most recent call last):
      ...
    OverflowError: 256 is out of range for uint8: 0 to 255
    >>> m.read_uint8_at(-1)
    Traceback (most recent call last):
      ...
    sharedmmap.OutOfBoundsError: 1 bytes at offset -1 are outside the mapping of 1048576 bytes
    >>> m.write_struct_at("<QQd", 64, 1, 2, 3.0)
    >>> m.read_struct_at("<QQd", 64), m.read_array_at("Q", 64, 2)
    ((1, 2, 3.0), array('Q', [1, 2]))

    **Atomic words and mutexes**, for all threads and processes that map the file;
    ``m.offset + offset`` must be a multiple of the size::

        atomic_uint64_at(offset), atomic_uint32_at(offset)
            load store exchange compare_exchange fetch_add fetch_sub fetch_and fetch_or fetch_xor
            of 32 bits also: wait notify
        mutex_at(offset, *, on_owner_died=None)     4 bytes, free while they are zeros; Linux
            acquire release with locked owner_alive

    >>> word = m.atomic_uint64_at(128)
    >>> word.fetch_add(5), word.compare_exchange(5, 7), word.load()
    (0, (True, 5), 7)
    >>> with m.mutex_at(136) as mutex:
    ...     mutex.locked(), mutex.acquire(timeout=0)
    (True, False)

    **Streams and views**::

        stream(offset=0, length=None)   an io.RawIOBase with a position of its own
        view(offset=0, length=None, *, readonly=None)   a memoryview of the memory: zero-copy

    >>> with io.TextIOWrapper(io.BufferedWriter(m.stream(256, 100))) as text:
    ...     print("a line", file=text)
    >>> view = m.view(256, 6)
    >>> bytes(view)
    b'a line'

    **System calls over a range**; without a length, to the end of the mapping. Ranges need no
    alignment::

        flush(flags=Sync.SYNC, offset=0, length=None)           msync(2)
        advise(advice, offset=0, length=None)                   madvise(2)
        lock(offset=0, length=None, *, on_fault=False), unlock  mlock(2), mlock2(2), munlock(2)
        residency(offset=0, length=None)                        mincore(2)

    ``Sync``, ``Advice`` and ``Prot`` are enums; the constants of the mmap module are accepted too.

    >>> m.flush()
    >>> m.dirty  # while a writable view exists, anything may have been written
    True
    >>> m.residency(0, 4096)[:1]
    b'\\x01'
    >>> m.advise(sharedmmap.Advice.SEQUENTIAL)

    **After a fault** every call raises, until ``restore()``:

    >>> os.truncate("example", 0)
    >>> m.read_uint64_at(64)
    Traceback (most recent call last):
      ...
    sharedmmap.MappingFaultError: [Errno 6] no page for offset 64 of the mapping: the file is 0 bytes long now
    >>> m.restore()
    >>> m.accessible
    0
    >>> m.close()
    >>> m.read_uint64_at(64)
    Traceback (most recent call last):
      ...
    sharedmmap.UnmappedMemoryError: the file is not mapped any more

    A ``File`` may be handed to a process of ``multiprocessing``: as an argument, or through a
    ``Queue``, a ``Pipe`` or a ``Pool``. It is mapped there, through a duplicate of the descriptor,
    with the same offset, length and protection, and belongs to that process. ``pickle`` and
    ``copy`` refuse it.
    """

    __slots__ = ("__weakref__", "_region")

    _region: Region

    def __init__(
        self,
        f: int | HasFileno,
        offset: SupportsIndex = 0,
        length: SupportsIndex | None = None,
        prot: int = READ_WRITE,
        *,
        trackfd: bool = True,
    ) -> None:
        fd = _descriptor(f)
        prot = as_index(prot)
        if prot not in (READ_ONLY, READ_WRITE):
            raise ValueError(f"prot must be Prot.READ or Prot.READ | Prot.WRITE, not {prot}")
        offset = as_size(offset, "offset")
        if length is None:
            length = rest_of(fd, offset)
        else:
            length = as_index(length)
            if length < 1:
                raise ValueError(f"length must be at least 1, not {length}")
        if offset > MAX_OFFSET - PAGE - length:
            raise ValueError(f"offset {offset} and length {length} reach past the largest file offset")
        self._region = Region.of(fd, offset, length, prot, bool(trackfd))

    # ---- life ----

    def unmap(self) -> None:
        """Unmaps. The file, its pages and its locks are released before this returns.

        Succeeds whatever other threads are doing; they get ``UnmappedMemoryError``, as does a second call. (At
        ``vm.max_map_count`` the kernel may refuse what that takes: then they are released at collection.)
        What was written stays written, as with munmap(2); ``flush`` first to have it on disk.
        """
        if not self._end():
            raise UnmappedMemoryError

    def close(self) -> None:
        """Unmaps, unless that has been done."""
        self._end()

    def _end(self) -> bool:
        """Whether this call is the one that unmapped."""
        ended = False
        region: Region | None = getattr(self, "_region", None)  # none where the constructor raised
        while region is not None:
            ended = lib.region_unmap(region.c) == 0 or ended
            region = region.successors[0] if region.successors else None  # restore() may be about to put it here
        return ended

    def __enter__(self) -> Self:
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
        """Maps the file afresh after a ``MappingFaultError``, from ``flush`` too.

        The new mapping counts as dirty, since what was written before the fault may not be on disk. Nothing
        happens where there was no fault and the file is not found shorter than it was. Raises what the constructor
        raises; the ``File`` is as before then.
        """
        region = self._region
        region.check_mapped()
        if quick.is_live(region.c):
            peak = region.c.peak
            with suppress(MappingFaultError):  # one that happens just now
                if region.refresh() >= peak:
                    return
        try:
            fresh = region.again()
            fresh.c.dirty = fresh.c.writable
            region.end()
            # Several threads may restore the same region. All of them go on with the mapping that is appended
            # first: for what is written to another, before that is replaced, no flush would be responsible.
            region.successors.append(fresh)
            if region.successors[0] is not fresh:
                lib.region_unmap(fresh.c)
            lib.descriptor_detach(region.c)  # not before: others may be about to restore through it
        except io.UnsupportedOperation:
            if not region.successors:
                region.check_mapped()
                raise
        while (latest := region.latest()) is not self._region:  # which others may have restored meanwhile
            self._region = latest
        if region.c.state == lib.UNMAPPED:  # meanwhile, and perhaps before there was a fresh one to see
            self._end()
            raise UnmappedMemoryError

    def __reduce__(self) -> Any:
        name = type(self).__name__
        raise TypeError(
            f"{name} cannot be pickled or copied: hand a File to multiprocessing, or map the file again"
        )

    def check(self) -> None:
        """Raises ``MappingFaultError`` if the mapping has faulted, ``UnmappedMemoryError`` if it is unmapped."""
        self._region.check()

    # ---- what it is ----

    def __len__(self) -> int:
        """The mapped length in bytes."""
        region = self._region
        region.check_mapped()
        return region.length

    @property
    def offset(self) -> int:
        """Where in the file the mapping starts, in bytes."""
        return self._region.offset

    @property
    def prot(self) -> Prot:
        """What the mapping may be used for."""
        return Prot(self._region.prot)

    @property
    def closed(self) -> bool:
        """Whether it is unmapped."""
        return bool(self._region.c.state == lib.UNMAPPED)

    @property
    def dirty(self) -> bool:
        """Whether something was written since the last complete flush began; True while one is in progress."""
        region = self._region
        region.check_mapped()
        return not quick.region_is_clean(region.c)

    @property
    def accessible(self) -> int:
        """How many bytes from the start of the mapping the file backs now; asks the system.

        For what is not a regular file, and with ``trackfd=False``, the length of the mapping.
        """
        region = self._region
        region.check()
        return region.refresh()

    def __repr__(self) -> str:
        region = self._region
        state = {lib.FAULTED: "faulted", lib.UNMAPPED: "unmapped"}.get(region.c.state, "mapped")
        prot = "READ|WRITE" if region.c.writable else "READ"
        return f"<{type(self).__name__} offset={region.offset} length={region.length} prot={prot} {state}>"

    # ---- copies ----

    def read_at(self, dest: Any, offset: SupportsIndex) -> int:
        """Copies from ``offset`` into ``dest``, any writable C-contiguous buffer; returns the bytes copied.

        That is as many as ``dest`` holds, or fewer where the accessible part ends before. ``OutOfBoundsError``
        where ``offset`` itself is not accessible. When it raises, ``dest`` may hold a part of what was asked.
        """
        region = self._region
        try:
            copied: int = _read_at(region.c, dest, offset)
            if copied:
                return copied
        except RefusedError:
            pass
        offset = as_index(offset)  # first: its __index__ could resize dest
        with writable_memory(dest) as memory:
            return _copies.read_part(region, memory, offset, len(memory))

    def write_at(self, src: Any, offset: SupportsIndex) -> int:
        """Copies ``src``, any C-contiguous buffer, to ``offset``; returns the bytes copied.

        That is all of ``src``, or less where the accessible part ends before: a short count is not an error.
        ``OutOfBoundsError`` where ``offset`` itself is not accessible.
        """
        region = self._region
        try:
            copied: int = _write_at(region.c, src, offset)
            if copied:
                return copied
        except RefusedError:
            pass
        offset = as_index(offset)  # first: its __index__ could resize src
        with readable_memory(src) as memory:
            return _copies.write_part(region, memory, offset, len(memory))

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
        size = region.accessible_part(offset, wanted)
        return _copies.read(region, offset, size).decode(encoding, errors)

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
        room = region.accessible_part(offset, len(encoded), writing=True)
        if room < len(encoded):
            fits, too_many = 0, len(text)
            while too_many - fits > 1:
                middle = (fits + too_many) // 2
                if len(text[:middle].encode(encoding, errors)) <= room:
                    fits = middle
                else:
                    too_many = middle
            encoded = text[:fits].encode(encoding, errors) if fits else b""
        with readable_memory(encoded) as memory:
            return _copies.write_part(region, memory, offset, len(encoded)) if encoded else 0

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, key: SupportsIndex) -> int: ...
        @overload
        def __getitem__(self, key: slice) -> bytes: ...

    def __getitem__(self, key: SupportsIndex | slice) -> int | bytes:
        """``m[i]``: the byte as an int; ``m[a:b]``, ``m[a:b:c]``: ``bytes``. As ``mmap.mmap`` has them.

        ``OutOfBoundsError`` where a part is not accessible.
        """
        region = self._region
        try:
            found: int | bytes = _get_item(region.c, key)
            return found
        except RefusedError:
            pass
        return _copies.get_item(region, key)

    if TYPE_CHECKING:

        @overload
        def __setitem__(self, key: SupportsIndex, value: SupportsIndex) -> None: ...
        @overload
        def __setitem__(self, key: slice, value: Any) -> None: ...

    def __setitem__(self, key: SupportsIndex | slice, value: Any) -> None:
        """``m[i] = 65``; ``m[a:b] = b"..."`` of the same length, else ``ValueError``.

        ``OutOfBoundsError`` where a part is not accessible.
        """
        region = self._region
        try:
            if not _set_item(region.c, key, value):
                return
        except RefusedError:
            pass
        _copies.set_item(region, key, value)

    def __delitem__(self, key: Any) -> None:
        raise TypeError("the length of a mapping is fixed: nothing can be deleted from it")

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
            with writable_memory(items) as memory:
                _copies.copy_all(region, memory, offset, len(memory), writing=False)
        return items

    def write_array_at(self, values: Any, offset: SupportsIndex) -> int:
        """Writes ``values``, any C-contiguous buffer, to ``offset``; returns the bytes written: all of them.

        ``OutOfBoundsError`` unless all of them are accessible. That is what is checked first: a file that is cut
        in the middle of the copy can leave a part written, and the call raises.
        """
        offset = as_index(offset)  # first: its __index__ could resize values
        region = self._region
        with readable_memory(values) as memory:
            size = len(memory)
            _copies.copy_all(region, memory, offset, size, writing=True)
        return size

    def read_struct_at(self, format: str | bytes | Struct, offset: SupportsIndex) -> tuple[Any, ...]:
        """Unpacks a record from ``offset``; see the ``struct`` module for ``format``.

        ``OutOfBoundsError`` unless all of it is accessible.
        """
        layout = format if isinstance(format, Struct) else _layout(format)
        region = self._region
        try:
            if _unpack is not None:
                values: tuple[Any, ...] = _unpack(region.c, layout, offset)
                return values
            return layout.unpack(_read_bytes(region.c, offset, layout.size))
        except RefusedError:
            pass
        size = as_size(layout.size, "size")  # a subclass could say anything
        return layout.unpack(_copies.read(region, as_index(offset), size))

    def write_struct_at(self, format: str | bytes | Struct, offset: SupportsIndex, *values: Any) -> None:
        """Packs ``values`` and writes the record to ``offset``; see the ``struct`` module for ``format``.

        It is packed first and copied once: unlike with ``struct.pack_into``, nobody sees it zero-filled
        before. ``OutOfBoundsError`` unless all of it is accessible.
        """
        layout = format if isinstance(format, Struct) else _layout(format)
        record = layout.pack(*values)
        region = self._region
        try:
            if _write_at(region.c, record, offset):
                return
        except RefusedError:
            pass
        offset = as_index(offset)
        with readable_memory(record) as memory:
            _copies.copy_all(region, memory, offset, len(memory), writing=True)

    # ---- atomic words and mutexes ----

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

    def mutex_at(self, offset: SupportsIndex, *, on_owner_died: Callable[[File], object] | None = None) -> Mutex:
        """The 4 bytes at ``offset`` as a mutex, shared by all processes; see ``Mutex`` for ``on_owner_died``.

        ``ValueError`` unless ``self.offset + offset`` is a multiple of 4; the text names the next one.
        ``io.UnsupportedOperation`` for a read-only mapping, with ``trackfd=False``, without /proc, and where
        there are no open-file-description locks (macOS). ``PermissionError`` where the process may not open the
        file for reading and writing any more. ``BlockingIOError`` while somebody has locked the whole file. See
        fcntl(2), F_OFD_SETLK.
        """
        return Mutex(self, self._region, offset, on_owner_died)

    # ---- searching and rearranging ----

    def find(self, sub: Any, start: SupportsIndex | None = None, end: SupportsIndex | None = None) -> int:
        """The lowest offset in ``m[start:end]`` where ``sub``, a buffer, stands; -1 if it does not.

        As ``bytes.find`` has it. What is not accessible holds nothing to be found.
        """
        region = self._region
        return _copies.find(region, "region_find", sub, *_bounds(start, end, region.length))

    def rfind(self, sub: Any, start: SupportsIndex | None = None, end: SupportsIndex | None = None) -> int:
        """The highest offset in ``m[start:end]`` where ``sub``, a buffer, stands; -1 if it does not."""
        region = self._region
        return _copies.find(region, "region_rfind", sub, *_bounds(start, end, region.length))

    def fill(self, byte: SupportsIndex, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> None:
        """Sets ``length`` bytes from ``offset``, or all to the end of the mapping, to ``byte``.

        ``OutOfBoundsError`` unless all of them are accessible.
        """
        byte = as_byte(byte)
        region = self._region
        _copies.fill(region, byte, *region.span(offset, length))

    def move(self, dest: SupportsIndex, src: SupportsIndex, count: SupportsIndex) -> None:
        """Copies ``count`` bytes from ``src`` to ``dest``, both offsets; the ranges may overlap.

        ``OutOfBoundsError`` unless both are accessible.
        """
        _copies.move(self._region, as_index(dest), as_index(src), as_size(count, "count"))

    # ---- other ways in ----

    def stream(self, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> Stream:
        """An ``io.RawIOBase`` over ``length`` bytes from ``offset``, with a position of its own.

        Without a length, to the end of the mapping; it grows with the file then. See ``Stream``.
        """
        region = self._region
        return Stream(region, *region.span(offset, length))

    def view(
        self, offset: SupportsIndex = 0, length: SupportsIndex | None = None, *, readonly: bool | None = None
    ) -> memoryview:
        """A ``memoryview`` of ``length`` accessible bytes from ``offset``: the one door to the memory itself.

        Without a length, to the end of what is accessible. ``readonly`` is the default where the mapping is.
        Its memory stays valid for as long as anything refers to it, also after ``unmap()``: it can go stale, it
        can't dangle. (PyPy keeps the address range for good.) What it gives up: where the kernel cannot supply
        a page it shows zeros, and what is written is lost, without an exception; ``check()`` raises then. (A
        system call that is given the view fails with ``EFAULT`` instead, and ``check()`` says nothing.) While a
        writable one may be alive the mapping counts as dirty. ``OutOfBoundsError`` unless all of the range is
        accessible.
        """
        region = self._region
        offset = as_index(offset)
        size = max(0, region.refresh() - offset) if length is None else as_size(length, "length")
        readonly = not region.c.writable if readonly is None else readonly
        return _copies.view(region, offset, size, readonly=readonly)

    # ---- system calls over a range ----

    def flush(
        self, flags: int = Sync.SYNC, offset: SupportsIndex = 0, length: SupportsIndex | None = None
    ) -> None:
        """Writes what changed in the range to the file; see msync(2).

        No system call is made when nothing was written since the last complete flush: one of the whole mapping
        with ``Sync.SYNC`` that succeeded. Any other leaves ``dirty`` set. What counts is what this ``File`` wrote
        in this process, not what other processes and other mappings of the file did. ``MappingFaultError`` where
        the file is found shorter than what could be written: the rest is lost. ``OSError`` where msync(2) fails,
        for this flush or for another that was under way meanwhile. After any error ``dirty`` stays.
        """
        _ranges.flush(self._region, flags, offset, length)

    def advise(self, advice: int, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> None:
        """Tells the kernel how the range will be used; see madvise(2).

        ``ValueError`` for advice that is no member of ``Advice``: it could destroy data.
        """
        _ranges.advise(self._region, advice, offset, length)

    def lock(
        self, offset: SupportsIndex = 0, length: SupportsIndex | None = None, *, on_fault: bool = False
    ) -> None:
        """Locks the accessible part of the range into memory; see mlock(2).

        ``on_fault``: each page when it is first touched. ``OSError`` names ``RLIMIT_MEMLOCK`` if that is what
        stands in the way; the range is left unlocked then.
        """
        _ranges.lock(self._region, offset, length, bool(on_fault))

    def unlock(self, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> None:
        """Unlocks the range; see munlock(2)."""
        _ranges.unlock(self._region, offset, length)

    def residency(self, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> bytes:
        """One byte for each page that the range touches: 1 if it is in memory, else 0; see mincore(2)."""
        return _ranges.residency(self._region, offset, length)

    def reserve(self, length: SupportsIndex) -> None:
        """Makes the file back at least the first ``length`` bytes of the mapping, on allocated disk space.

        The file grows if it is shorter; every process that mapped it with room sees that. ``OSError`` with
        ``ENOSPC`` on a full disk, here and not as a fault later, and with ``EOPNOTSUPP`` where the file system
        cannot allocate; see fallocate(2). (macOS fills no holes: only what is missing at the end is allocated
        there.)
        """
        _ranges.reserve(self._region, length)


def _descriptor(f: int | HasFileno) -> int:
    fd = f if isinstance(f, int) else f.fileno() if hasattr(f, "fileno") else None
    if not isinstance(fd, int):
        raise TypeError(
            f"a descriptor or an object with fileno() is needed, not {type(f).__name__}"
            + ("" if fd is None else f" whose fileno() is {fd!r}")
        )
    fd = as_index(fd)
    if not 0 <= fd < 2**31:
        raise ValueError(f"{fd} is no file descriptor")
    return fd


def _bounds(start: SupportsIndex | None, end: SupportsIndex | None, length: int) -> tuple[int, int]:
    """As ``bytes.find`` takes them: a start past the end finds nothing, not even the empty string there."""
    start = 0 if start is None else as_index(start)
    span = as_range(slice(start, end), length)
    return (start if start > length else span.start), span.stop


def rest_of(fd: int, offset: int) -> int:
    """The bytes from ``offset`` to the end of the file."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"descriptor {fd} is not a regular file, so a length must be given")
    if offset > status.st_size:
        raise ValueError(f"offset {offset} is past the end of the file, which is {status.st_size} bytes long")
    return status.st_size - offset
