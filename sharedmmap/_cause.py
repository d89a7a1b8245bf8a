"""Why the kernel could not supply a page: found out after the fault, from the file and its file system."""

from __future__ import annotations

import errno
import os

from ._native import PAGE, ffi, lib, pointer_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["cause_of_fault"]

RESERVED = 16 << 20
"""Where fewer bytes than these are free, a file system may refuse a page for which it needs space.

XFS and btrfs keep space for themselves. Disks of 128 to 1,000 MB were seen to refuse pages while 0.04 to 1.9 MB
were free; this is well above.
"""

_POINTER = pointer_to("explanation")


def cause_of_fault(c: Any) -> tuple[int, str, int]:
    """The ``errno``, the text and the offset of a ``MappingFaultError``, for a region that has faulted."""
    offset: int = lib.region_fault(c)
    at = f"no page for offset {offset} of the mapping"
    found = ffi.new(_POINTER)
    if lib.region_explain(c, found):
        reason = ffi.errno
        why = "its descriptor is not kept" if reason == errno.EBADF else os.strerror(reason)
        return errno.EIO, f"{at}: {why}, so the cause cannot be asked", offset
    if 0 <= found.size <= (c.offset + offset) // PAGE * PAGE:
        return errno.ENXIO, f"{at}: the file is {found.size} bytes long now", offset
    moment = "or the file was shorter for a moment"
    if found.free < PAGE:
        return errno.ENOSPC, f"{at}: {os.strerror(errno.ENOSPC)}", offset
    if found.free < RESERVED and found.needs_space:
        return errno.ENOSPC, f"{at}: {os.strerror(errno.ENOSPC)}, {moment}", offset
    return errno.EIO, f"{at}: {os.strerror(errno.EIO)}, or a disk quota was reached, {moment}", offset
