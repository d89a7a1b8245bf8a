"""The system calls over a range of a mapping: what ``File.flush``, ``advise``, ``lock`` and their like do.

Each function takes the region that its operation took, and arguments as the caller gave them.
"""

from __future__ import annotations

import errno

from ._arguments import as_index
from ._errors import MappingFaultError, OutOfBoundsError, os_error
from ._flags import Advice, Sync
from ._native import PAGE, ffi, lib, quick
from ._region import Region, call_failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import SupportsIndex

__all__ = ["advise", "flush", "lock", "reserve", "residency", "unlock"]

_BYTES = ffi.typeof("unsigned char[]")


def _require_success(region: Region, failed: int, call: str) -> None:
    """Raises if the region is not live; the call was about zero pages then. Else if ``call`` failed, its error."""
    reason = ffi.errno
    region.check()
    if failed:
        raise os_error(reason, call)


def flush(region: Region, flags: int, offset: SupportsIndex, length: SupportsIndex | None) -> None:
    flags = as_index(flags)
    start, size = region.pages(offset, length)
    if quick.region_is_clean(region.c):
        return
    complete = bool(flags & Sync.SYNC) and size == region.pages(0, None)[1]
    outcome = lib.region_flush(region.c, start, size, flags, complete)
    failed = outcome in (lib.NOT_WRITTEN, lib.NOT_ASKED)
    _require_success(region, failed, "msync" if outcome == lib.NOT_WRITTEN else "fstat")
    if outcome == lib.SHORTER:
        limit = region.c.limit
        raise MappingFaultError(
            errno.ENXIO,
            f"the file backs {limit} of the {region.c.peak} bytes that could be written before; "
            "what was written to the rest is lost (restore() accepts that)",
            limit,
        )


def advise(region: Region, advice: int, offset: SupportsIndex, length: SupportsIndex | None) -> None:
    advice = Advice(as_index(advice))
    start, size = region.pages(offset, length)
    _require_success(region, size and lib.madvise(start, size, advice), "madvise")


def lock(region: Region, offset: SupportsIndex, length: SupportsIndex | None, on_fault: bool) -> None:
    limit = region.refresh()
    start, size = region.pages(offset, length, limit)
    while size and lib.region_lock(region.c, start, size, on_fault):
        failed = os_error(ffi.errno, "mlock")
        shorter = region.refresh()
        if shorter >= limit:  # else the file was cut meanwhile: lock what is left
            raise failed
        limit = shorter
        start, size = region.pages(offset, length, limit)
    region.check()


def unlock(region: Region, offset: SupportsIndex, length: SupportsIndex | None) -> None:
    start, size = region.pages(offset, length)
    _require_success(region, size and lib.munlock(start, size), "munlock")


def residency(region: Region, offset: SupportsIndex, length: SupportsIndex | None) -> bytes:
    start, size = region.pages(offset, length)
    found = ffi.new(_BYTES, -(-size // PAGE))
    _require_success(region, size and lib.mincore(start, size, found), "mincore")
    return bytes(byte & 1 for byte in ffi.buffer(found)[:])


def reserve(region: Region, length: SupportsIndex) -> None:
    length = as_index(length)
    region.check()
    region.require_writable()
    if not 0 <= length <= region.length:
        raise OutOfBoundsError(f"length {length} is outside the mapping of {region.length} bytes")
    while failed := lib.region_reserve(region.c, length):
        if ffi.errno != errno.EINTR:  # after which signal handlers run
            error = call_failed(ffi.string(failed).decode(), ffi.errno, "reserve")
            region.check_mapped()
            raise error
    region.check()
