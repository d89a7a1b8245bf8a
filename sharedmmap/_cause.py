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
"""In bytes. A file system that has less free space than this may be full for a page that needs new space.

XFS and btrfs keep some space for themselves. On disks of 128 to 1,000 MB they refused a page when 0.04 to 1.9 MB
were free. This limit is well above that.
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
    else_shorter = "or the file was shorter for a moment"
    if found.free < PAGE:
        return errno.ENOSPC, f"{at}: {os.strerror(errno.ENOSPC)}", offset
    if found.free < RESERVED and found.needs_space:
        return errno.ENOSPC, f"{at}: {os.strerror(errno.ENOSPC)}, {else_shorter}", offset
    return errno.EIO, f"{at}: {os.strerror(errno.EIO)}, or a disk quota was reached, {else_shorter}", offset
