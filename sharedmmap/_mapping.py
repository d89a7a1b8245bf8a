"""A file mapped: its life, what is known of it, and the system calls over a range of it."""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, SupportsIndex

from ._arguments import as_index, as_size
from ._errors import MappingFaultError, OutOfBoundsError, UnmappedMemoryError, os_error
from ._flags import Advice, Prot, Sync
from ._native import ffi, lib, quick
from ._region import PAGE, Region

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["MAX_OFFSET", "READ_ONLY", "READ_WRITE", "Mapping", "rest_of"]

MAX_OFFSET = 2**63 - 1
READ_ONLY = Prot.READ
READ_WRITE = Prot.READ | Prot.WRITE


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class Mapping:
    """What a ``File`` is before anything is read or written."""

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
        self._region = Region(fd, offset, length, prot, bool(trackfd))

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
            region = region.successor.get("region")  # which restore() may be about to put in its place
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
        if region.state[0] == lib.LIVE:
            peak = region.c.peak
            with suppress(MappingFaultError):  # one that happens just now
                if region.refresh() >= peak:
                    return
        try:
            with region.descriptor("restore") as fd:
                fresh = Region(fd, region.offset, region.length, region.prot, True)
            fresh.c.dirty = region.is_writable
            region.fail()
            # Where several restore the same region the first one's is taken by all, in one step: a region that
            # was in use for a moment and then replaced would take its dirty flag along.
            region.successor.setdefault("region", fresh)
            lib.region_leave(region.c)
        except io.UnsupportedOperation:
            if not region.successor:
                raise
        while (latest := region.latest()) is not self._region:  # which others may have restored meanwhile
            self._region = latest
        if region.state[0] == lib.UNMAPPED:  # meanwhile, and perhaps before there was a fresh one to see
            self._end()
            raise UnmappedMemoryError

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: map the file again instead")

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
        return bool(self._region.state[0] == lib.UNMAPPED)

    @property
    def dirty(self) -> bool:
        """Whether something was written since the last complete flush."""
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
        state = {lib.LIVE: "mapped", lib.FAULTED: "faulted", lib.UNMAPPED: "unmapped"}[region.state[0]]
        prot = "READ|WRITE" if region.is_writable else "READ"
        return f"<{type(self).__name__} offset={region.offset} length={region.length} prot={prot} {state}>"

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
        region = self._region
        flags = as_index(flags)
        start, size = region.pages(offset, length)
        if quick.region_is_clean(region.c):
            return
        complete = bool(flags & Sync.SYNC) and size == region.pages(0, None)[1]
        if complete:
            region.writable = None
        outcome = lib.region_flush(region.c, start, size, flags, complete)
        reason = ffi.errno
        limit = region.note_limit()
        region.check()
        if outcome in (lib.NOT_WRITTEN, lib.NOT_ASKED):
            raise os_error(reason, "msync" if outcome == lib.NOT_WRITTEN else "fstat")
        if outcome == lib.SHORTER:
            raise MappingFaultError(
                errno.ENXIO,
                f"the file backs {limit} of the {region.c.peak} bytes that could be written before; "
                "what was written to the rest is lost (restore() accepts that)",
                limit,
            )

    def advise(self, advice: int, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> None:
        """Tells the kernel how the range will be used; see madvise(2).

        ``ValueError`` for advice that is no member of ``Advice``: it could destroy data.
        """
        advice = Advice(as_index(advice))
        region = self._region
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
        start, size = region.pages(offset, length)
        if size and lib.munlock(start, size):
            raise os_error(ffi.errno, "munlock")
        region.check()

    def residency(self, offset: SupportsIndex = 0, length: SupportsIndex | None = None) -> bytes:
        """One byte for each page that the range touches: 1 if it is in memory, else 0; see mincore(2)."""
        region = self._region
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
        if not 0 <= length <= region.length:
            raise OutOfBoundsError(f"length {length} is outside the mapping of {region.length} bytes")
        with region.descriptor("reserve") as fd:
            while length and lib.allocate(fd, region.offset, length):
                if ffi.errno != errno.EINTR:
                    raise os_error(ffi.errno, "fallocate")
        region.refresh()


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


def rest_of(fd: int, offset: int) -> int:
    """The bytes from ``offset`` to the end of the file."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"descriptor {fd} is not a regular file, so a length must be given")
    if offset > status.st_size:
        raise ValueError(f"offset {offset} is past the end of the file, which is {status.st_size} bytes long")
    return status.st_size - offset
