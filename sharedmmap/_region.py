"""One mapping of a file: its memory, how much of it the file backs, its state.

With ``_scalars`` this is the only Python that touches mapped memory. A ``File`` holds one ``Region`` at a time
and ``File.restore`` puts a new one in its place, so an operation takes the region **once**, at its start:
pointer, limit and state then belong together, and what began before a restore cannot end as if nothing had
happened. The memory of a region stays valid for as long as anything refers to the region, whatever the kernel,
other threads and other processes do; ``guard.h`` says how.

Each access goes in three steps: check the range against the limit, touch the memory, read the state. Anything
but ``LIVE`` then means that the access went astray, and raises.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import stat
import sys
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, SupportsIndex, TypeVar

from ._arguments import as_index, as_size, readable_bytes
from ._errors import MappingFaultError, OutOfBoundsError, UnmappedMemoryError, os_error
from ._native import PYPY, ffi, lib, quick

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LIVE_AND_DIRTY", "NOT_THIS_WAY", "PAGE", "PIECE", "Region"]

PAGE = os.sysconf("SC_PAGESIZE")

PIECE = 1 << 20
"""Copies of so many bytes, or more, release the GIL; a fault is noticed after so many at the latest."""

NOT_THIS_WAY = (IndexError, OverflowError, TypeError, ValueError, NotImplementedError)
"""What slicing a buffer raises for what does not fit, is read-only or is no index: the slow way tells."""

_SLICE = 1 << 16
_BYTE = ffi.typeof("uint8_t *")
_BYTES = ffi.typeof("char[]")
_PAIR = ffi.typeof("uint16_t *")
_FAILED = ffi.cast("void *", -1)

LIVE_AND_DIRTY = lib.LIVE | 1 << 8
"""The state and the dirty flag of a live region that has been written to, as ``marks`` shows them."""

T = TypeVar("T")


def _collecting(make: Callable[[], T]) -> T:
    """Makes it; if what is short may be held by dropped mappings, collects them and tries once more."""
    try:
        return make()
    except OSError as error:
        if error.errno not in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            raise
    gc.collect()
    return make()


def _after(cdata: Any, call: Callable[..., None], *args: Any) -> None:
    """Calls it when nothing refers to ``cdata`` any more, and never before.

    Not ``ffi.gc``: in a cycle CPython calls that destructor together with the ``__del__`` methods there, which
    may use the memory yet, or make it reachable again. A plain cdata is nothing the cycle collector looks at.
    """
    weakref.finalize(cdata, call, *args).atexit = False  # what is left at exit goes with the process


_many_descriptors = 256


def _collect_dropped() -> None:
    """Keeps mappings that were dropped, not closed, from using up the descriptors where collection is late."""
    global _many_descriptors
    if lib.open_descriptors() >= _many_descriptors:
        gc.collect()
        _many_descriptors = max(256, 2 * lib.open_descriptors())


def _copying_in_c(*, writing: bool) -> Callable[[Region, Any, int], int]:
    """A copy in C, which checks the range itself: the first try asks nothing, what fails is looked into."""
    name = "region_write" if writing else "region_read"
    quick_copy, long_copy = getattr(quick, name), getattr(lib, name)

    def copy(self: Region, memory: Any, offset: int) -> int:
        size = len(memory)
        call = quick_copy if size < PIECE else long_copy
        if size and 0 <= offset <= self.length and not call(self.c, offset, memory, size):
            return size
        size = self.room(offset, size, writing=writing)
        while size and call(self.c, offset, memory, size):
            size = self.room(offset, size, writing=writing)
        return size

    return copy


def _copying_in_pieces(*, writing: bool) -> Callable[[Region, Any, int], int]:
    """A copy for PyPy, which does not keep the memory of a caller's object from moving.

    So no pointer to it is held while the GIL is released: ``ffi.memmove`` keeps it, and slices do.
    """

    def copy_piece(self: Region, memory: Any, offset: int, done: int, end: int) -> None:
        if writing:
            self.c.dirty = 1  # now and after the copy: a signal handler that raises may come between
        # In bounds: the caller asked; alive: self.
        if not isinstance(memory, ffi.CData):
            if writing:
                piece = memory if end - done == len(memory) else memory[done:end]
                self.buffer[offset + done : offset + end] = piece
            else:
                memory[done:end] = self.buffer[offset + done : offset + end]
        elif writing:
            ffi.memmove(self.c.base + offset + done, memory + done, end - done)
        else:
            ffi.memmove(memory + done, self.c.base + offset + done, end - done)
        if writing:
            self.wrote()
        else:
            self.check()

    def copy(self: Region, memory: Any, offset: int) -> int:
        size = len(memory)
        if not size or offset < 0 or offset > self.c.limit - size or (writing and not self.is_writable):
            size = self.room(offset, size, writing=writing)
        if 0 < size <= PIECE:  # no loop: it would be a trace of its own
            copy_piece(self, memory, offset, 0, size)
        else:
            if type(memory) is bytes:  # so many do not move, and nobody can resize them
                memory = ffi.from_buffer(_BYTES, memory)
            # A slice is a copy of its own, which has to fit into the cache.
            step = PIECE if isinstance(memory, ffi.CData) else _SLICE
            for done in range(0, size, step):
                copy_piece(self, memory, offset, done, min(done + step, size))
        return size

    return copy


_copying = _copying_in_pieces if PYPY else _copying_in_c


class Region:
    __slots__ = (
        "buffer",
        "c",
        "cause",
        "dirty",
        "is_writable",
        "length",
        "marks",
        "offset",
        "prot",
        "readable",
        "state",
        "successor",
        "whole",
        "window",
        "writable",
    )

    def __init__(self, fd: int, offset: int, length: int, prot: int, trackfd: bool) -> None:
        sys.audit("sharedmmap.File", fd, offset, length, prot)
        self.offset = offset
        self.length = length
        self.prot = prot
        self.is_writable = bool(prot & lib.PROT_WRITE)
        self.cause: tuple[int, str, int] | None = None
        if PYPY:
            _collect_dropped()
        self.successor: dict[str, Region] = {}
        self.c = _collecting(lambda: self._map(fd, trackfd))
        # Sound: the fields live in the registry's slot, which is ours until self.c is gone.
        self.state = ffi.cast(_BYTE, ffi.addressof(self.c, "state"))
        self.dirty = self.state + 1  # guard.h sees to that
        self.marks = ffi.cast(_PAIR, self.state)
        # Sound: [base, base + length) is mapped. Never handed out; sliced within the limit only.
        self.buffer = ffi.buffer(self.c.base, length) if length else ffi.buffer(self.state, 0)
        self.note_limit()

    def _map(self, fd: int, trackfd: bool) -> Any:
        lead = self.offset % PAGE
        size = lead + self.length if self.length else 0
        start = ffi.NULL
        if size:
            start = lib.mmap(ffi.NULL, size, self.prot, lib.MAP_SHARED, fd, self.offset - lead)
            if start == _FAILED:
                raise os_error(ffi.errno, "mmap")
        c = lib.region_open(start, lead, self.length, fd, self.offset, self.is_writable, trackfd)
        if not c:
            failed = os_error(ffi.errno, "File")
            if size:
                lib.munmap(start, size)
            raise failed
        # What it is given must not be c itself, or c would never go.
        _after(c, lib.region_close, ffi.cast(ffi.typeof(c), c))
        return c

    # ---- the limit and the state ----

    def note_limit(self) -> int:
        """Makes what the common calls use without asking: buffers that end at the limit. Returns that.

        ``whole`` is the one of them that slices as the ``File`` itself does: where all of it is accessible.
        ``writable`` is the same where it may be written to and the region is dirty already, so that a signal
        handler that raises between a copy and its mark makes nothing undone.
        """
        limit: int = self.c.limit
        everything = limit == self.length
        self.readable = self.buffer if everything else ffi.buffer(self.c.base, limit)
        self.window = memoryview(self.readable)
        self.writable: Any = None
        self.whole = self.buffer if everything else None
        return limit

    def refresh(self) -> int:
        """Asks how many bytes the file backs now; the limit from here on."""
        limit: int = lib.region_refresh(self.c)
        if limit < 0:
            failed = os_error(ffi.errno, "fstat")
            self.check()
            raise failed
        self.note_limit()
        self.check()
        return limit

    def check(self) -> None:
        """Raises unless the region is live."""
        state = self.state[0]
        if state != lib.LIVE:
            self.whole = self.writable = None  # no more writes to the zero pages
            self.check_mapped()
            raise MappingFaultError(*self._known_cause())

    def _known_cause(self) -> tuple[int, str, int]:
        found = self.cause or self._find_cause()
        self.cause = self.cause or found  # fail() found it, where there is no descriptor any more to be asked
        return self.cause

    def _find_cause(self) -> tuple[int, str, int]:
        where = lib.region_fault(self.c)
        at = f"no page for offset {where} of the mapping"
        fd = lib.region_acquire(self.c)
        if fd < 0:
            reason = ffi.errno
            why = "its descriptor is not kept" if reason == errno.EBADF else os.strerror(reason)
            return errno.EIO, f"{at}: {why}, so the cause cannot be asked", where
        try:
            status, space = os.fstat(fd), os.fstatvfs(fd)
        except OSError as error:
            return errno.EIO, f"{at}: {error.strerror}, so the cause cannot be asked", where
        finally:
            lib.region_release(self.c)
        if stat.S_ISREG(status.st_mode) and (self.offset + where) // PAGE * PAGE >= status.st_size:
            return errno.ENXIO, f"{at}: the file is {status.st_size} bytes long now", where
        if space.f_bavail * space.f_frsize < PAGE:
            return errno.ENOSPC, f"{at}: {os.strerror(errno.ENOSPC)}", where
        return errno.EIO, f"{at}: {os.strerror(errno.EIO)}, or the file was shorter for a moment", where

    def fail(self) -> None:
        """Ends it, for another to take its place: what is writing to it now may be writing to what was cut off."""
        if self.state[0] == lib.LIVE:
            limit: int = self.c.limit
            self.cause = errno.ENXIO, f"the file was restored when it backed {limit} bytes of the mapping", limit
        else:
            self._known_cause()
        lib.region_fail(self.c)

    def latest(self) -> Region:
        """The last of those that ``File.restore`` has put in each other's place, from this one on."""
        latest = self
        while (later := latest.successor.get("region")) is not None:
            latest = later
        return latest

    def check_mapped(self) -> None:
        if self.state[0] == lib.UNMAPPED:
            raise UnmappedMemoryError

    @contextmanager
    def descriptor(self, purpose: str) -> Iterator[int]:
        """The descriptor of the file, which no ``unmap()`` closes meanwhile."""
        fd = lib.region_acquire(self.c)
        if fd < 0:
            reason = ffi.errno
            self.check_mapped()
            if reason != errno.EBADF:
                raise os_error(reason, "fstat")
            raise io.UnsupportedOperation(
                f"{purpose} needs the descriptor, which is not kept (trackfd=False), or was closed by others"
            )
        try:
            yield fd
        finally:
            lib.region_release(self.c)

    # ---- the one range check ----

    def require(self, offset: int, size: int, *, writing: bool = False) -> None:
        """Raises unless ``size`` bytes from ``offset`` are accessible (and writable, for ``writing``)."""
        self.check()
        if writing:
            self.require_writable()
        self._require_inside(offset, size)
        if offset > self.c.limit - size and offset > (limit := self.refresh()) - size:
            raise OutOfBoundsError(
                f"{size} bytes at offset {offset} reach past the end of the file, "
                f"which backs {limit} of the mapping's {self.length} bytes"
            )

    def _require_inside(self, offset: int, size: int) -> None:
        if offset < 0 or offset > self.length - size:
            raise OutOfBoundsError(
                f"{size} bytes at offset {offset} are outside the mapping of {self.length} bytes"
            )

    def require_writable(self) -> None:
        if not self.is_writable:
            raise io.UnsupportedOperation("the mapping is read-only")

    def room(self, offset: int, wanted: int, *, writing: bool = False) -> int:
        """How many of ``wanted`` bytes from ``offset`` are accessible; raises if not even one is."""
        while True:
            self.require(offset, 1, writing=writing)
            limit: int = self.c.limit
            if offset > limit - wanted:
                limit = self.refresh()
            if offset < limit:
                return min(wanted, limit - offset)

    def span(self, offset: SupportsIndex, length: SupportsIndex | None) -> tuple[int, int]:
        """A range of the mapping, accessible or not; without a length it goes to the end."""
        offset = as_index(offset)
        length = max(0, self.length - offset) if length is None else as_size(length, "length")
        self.check()
        self._require_inside(offset, length)
        return offset, length

    def pages(
        self, offset: SupportsIndex, length: SupportsIndex | None, end: int | None = None
    ) -> tuple[Any, int]:
        """Where the pages of a range start, and how many bytes it is from there to its end.

        What lies past ``end`` is left out.
        """
        offset, length = self.span(offset, length)
        if end is not None:
            length = max(0, min(length, end - offset))
        before = (self.offset + offset) % PAGE
        return self.c.base + offset - before, length + before if length else 0

    # ---- copies ----

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset``, all of which must be accessible."""
        found: bytes
        if size > 0 and offset >= 0:
            found = self.readable[offset : offset + size]  # in bounds: it ends at the limit; alive: self
            if len(found) == size and not self.state[0]:
                return found
        self.require(offset, size)
        found = self.buffer[offset : offset + size]  # in bounds: required; alive: self
        self.check()
        return found

    def wrote(self) -> None:
        """Marks the region dirty; raises unless it is live, so unless what was written reached the file."""
        self.dirty[0] = 1
        self.check()

    read_into = _copying(writing=False)
    """Copies to ``memory`` from ``offset``, as much as it holds and is accessible; the bytes copied."""

    write_from = _copying(writing=True)
    """Copies ``memory`` to ``offset``, as much as is accessible there; the bytes copied."""

    def copy_all(self, memory: Any, offset: int, *, writing: bool) -> None:
        """Copies all of ``memory``, or raises."""
        size = len(memory)
        self.require(offset, size, writing=writing)
        copy = self.write_from if writing else self.read_into
        if size and copy(memory, offset) < size:  # the file has shrunk since
            self.require(offset, size, writing=writing)
            raise OutOfBoundsError(f"the file shrank while {size} bytes at offset {offset} were copied")

    def write_record(self, record: bytes, offset: int) -> None:
        """The same for a few bytes to be written, sooner where one call can do it all."""
        # A Struct may be a subclass, and what it packs something that lies about its length.
        astray = PYPY or type(record) is not bytes or not record or not 0 <= offset <= self.length
        if astray or quick.region_write(self.c, offset, record, len(record)):
            with readable_bytes(record) as source:
                self.copy_all(source, offset, writing=True)

    def view(self, offset: int, size: int, *, readonly: bool) -> memoryview:
        """The memory itself; what was read through it cannot be checked, and what is written is not noticed."""
        self.require(offset, size, writing=not readonly)
        if not size:
            found = memoryview(bytearray())
        else:
            # In bounds: required; alive: the memoryview keeps the buffer, that keeps the pointer, and while
            # there is the pointer what comes after it keeps self.
            pointer = self.c.base + offset
            if not readonly:
                lib.region_add_view(self.c)
            if PYPY:  # what searches or unpacks a memoryview keeps only the address
                lib.region_keep(self.c)
            _after(pointer, self._drop_view, readonly)
            found = memoryview(ffi.buffer(pointer, size))
        return found.toreadonly() if readonly else found

    def _drop_view(self, readonly: bool) -> None:
        if not readonly:
            lib.region_drop_view(self.c)

    def find(self, call: str, sub: Any, start: int, end: int) -> int:
        """``region_find`` or ``region_rfind`` within what is accessible of ``start`` to ``end``."""
        with memoryview(sub) as given:
            needle = given.tobytes()
        while True:
            self.check()
            limit = self.c.limit
            if end > limit:
                limit = self.refresh()
            stop = min(end, limit)
            if start > stop or stop - start < len(needle):
                return -1
            if not needle:
                return start if call == "region_find" else stop
            calls = quick if stop - start < PIECE else lib
            found: int = getattr(calls, call)(self.c, start, stop, needle, len(needle))
            if found != lib.ASTRAY:
                return found

    def fill(self, byte: int, offset: int, size: int) -> None:
        self.require(offset, size, writing=True)
        while (quick if size < PIECE else lib).region_fill(self.c, offset, byte, size):
            self.require(offset, size, writing=True)

    def move(self, dest: int, src: int, size: int) -> None:
        self.require(src, size)
        self.require(dest, size, writing=True)
        while (quick if size < PIECE else lib).region_move(self.c, dest, src, size):
            self.require(src, size)
            self.require(dest, size, writing=True)
