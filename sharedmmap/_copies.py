"""The checked paths of copies: reading, writing, searching and moving; and views.

Each function takes the region that its operation took, and takes every argument that the public method takes;
``File`` tries a quick call first. A copy is repeated where the limit or the state changed between the check and
the copy: ``require`` then raises, or finds that there is more room now.
"""

from __future__ import annotations

from functools import partial

from ._arguments import as_byte, as_index, as_range, readable_memory
from ._errors import OutOfBoundsError
from ._native import BYTES_PIECE, PIECE, RefusedError, before_view, ffi, lib, pointer_to, quick
from ._region import Region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, SupportsIndex

__all__ = [
    "copy_all",
    "fill",
    "find",
    "get_item",
    "move",
    "read",
    "read_part",
    "scatter",
    "set_item",
    "view",
    "write_part",
]

_VIEW = pointer_to("view")


def _calls(size: int) -> Any:
    """The module whose calls copy so many bytes: from PIECE on, one whose calls release the GIL."""
    return quick if size < PIECE else lib


def _copying(name: str, *, writing: bool) -> Callable[[Region, Any, int, int], int]:
    quick_copy, long_copy = getattr(quick, name), getattr(lib, name)

    def copy_part(region: Region, memory: Any, offset: int, size: int) -> int:
        while True:  # the copy checks the range itself: only where it fails the system is asked
            if size and 0 <= offset < region.length:
                copy = quick_copy if size < PIECE else long_copy
                if not copy(region.c, offset, memory, size):
                    return size
            size = region.accessible_part(offset, size, writing=writing)
            if not size:
                return 0

    return copy_part


read_part = _copying("region_read", writing=False)
"""Copies to ``memory`` from ``offset``, of so many bytes what is accessible; returns the bytes copied."""

write_part = _copying("region_write", writing=True)
"""Copies ``memory`` to ``offset``, of so many bytes what is accessible there; returns the bytes copied."""


def copy_all(region: Region, memory: Any, offset: int, size: int, *, writing: bool) -> None:
    """Copies ``size`` bytes, or raises."""
    region.require(offset, size, writing=writing)
    copy = write_part if writing else read_part
    if size and copy(region, memory, offset, size) < size:  # the file has shrunk since
        region.require(offset, size, writing=writing)
        raise OutOfBoundsError(f"the file shrank while {size} bytes at offset {offset} were copied")


def read(region: Region, offset: int, size: int) -> bytes:
    """``size`` bytes from ``offset``, all of which must be accessible."""
    region.require(offset, size)
    if size < BYTES_PIECE:
        while True:
            try:
                found: bytes = quick.region_bytes(region.c, offset, size)
            except RefusedError:
                region.require(offset, size)
            else:
                return found
    # Nobody else has seen this object yet, so it may be filled, and without the GIL.
    found = quick.unset_bytes(size)
    with readable_memory(found) as memory:
        copy_all(region, memory, offset, size, writing=False)
    return found


def get_item(region: Region, key: Any) -> int | bytes:
    """``m[key]``."""
    if not isinstance(key, slice):
        return read(region, _item(region, key), 1)[0]
    span = as_range(key, region.length)
    if not span:
        region.check()
        return b""
    low = min(span[0], span[-1])
    return read(region, low, abs(span[-1] - span[0]) + 1)[:: span.step]


def set_item(region: Region, key: Any, value: Any) -> None:
    """``m[key] = value``."""
    if not isinstance(key, slice):
        offset = _item(region, key)
        if offset >= region.length:  # before anything is said of the value, as with mmap.mmap
            region.require(offset, 1, writing=True)
        copy_all(region, bytes((as_byte(value),)), offset, 1, writing=True)
        return
    span = as_range(key, region.length)  # first: an __index__ in it could resize value
    with readable_memory(value) as memory:
        size = len(memory)
        if size != len(span):
            raise ValueError(f"a slice of {len(span)} bytes cannot be assigned {size} bytes")
        if not span:
            region.check()
            region.require_writable()
        elif span.step == 1 or size == 1:
            copy_all(region, memory, span[0], size, writing=True)
        else:
            scatter(region, span, memory)


def _item(region: Region, key: SupportsIndex) -> int:
    try:
        position = as_index(key)
    except TypeError:
        raise TypeError(f"indexes must be integers or slices, not {type(key).__name__}") from None
    if position < -region.length:
        raise OutOfBoundsError(f"index {position} is outside the mapping of {region.length} bytes")
    return position if position >= 0 else position + region.length


def scatter(region: Region, span: range, memory: Any) -> None:
    """Writes a byte of ``memory`` to each offset of ``span``, or raises."""
    low, size = min(span[0], span[-1]), abs(span[-1] - span[0]) + 1
    region.require(low, size, writing=True)
    while _calls(size).region_scatter(region.c, span[0], span.step, memory, len(span)):
        region.require(low, size, writing=True)


def find(region: Region, call: str, sub: Any, start: int, end: int) -> int:
    """``region_find`` or ``region_rfind`` within what is accessible of ``start`` to ``end``."""
    needle: bytes = sub
    # A copy of what may change: then memmem(3) might never end, or read elsewhere.
    if type(sub) is not bytes:
        with readable_memory(sub) as memory:
            needle = memory if type(memory) is bytes else ffi.buffer(memory)[:]
    while True:
        region.check()
        limit = region.c.limit
        if end > limit:
            limit = region.refresh()
        stop = min(end, limit)
        if stop - start < len(needle):
            return -1
        if not needle:
            return start if call == "region_find" else stop
        found: int = getattr(_calls(stop - start), call)(region.c, start, stop, needle, len(needle))
        if found != lib.SEARCH_FAILED:
            return found


def fill(region: Region, byte: int, offset: int, size: int) -> None:
    region.require(offset, size, writing=True)
    while _calls(size).region_fill(region.c, offset, byte, size):
        region.require(offset, size, writing=True)


def move(region: Region, dest: int, src: int, size: int) -> None:
    region.require(src, size)
    region.require(dest, size, writing=True)
    while _calls(size).region_move(region.c, dest, src, size):
        region.require(src, size)
        region.require(dest, size, writing=True)


def view(region: Region, offset: int, size: int, *, readonly: bool) -> memoryview:
    """The memory itself: what is read through it cannot be checked, and what is written is not noticed."""
    region.require(offset, size, writing=not readonly)
    if not size:
        found = memoryview(bytearray())
    else:
        # As with a region's own c (_region.py), the owner of the view and its end are one step. The memoryview
        # refers to the buffer, the buffer to the owner, the owner to view_close(), and that to the region.
        before_view(region.c)
        allocate = ffi.new_allocator(
            partial(lib.view_open, region.c, offset, not readonly),
            partial(lib.view_close, region.c, not readonly),
            should_clear_after_alloc=False,
        )
        # SAFETY: in bounds, required above; alive, as the view keeps the region.
        found = memoryview(ffi.buffer(allocate(_VIEW, {"rest": size - 1}), size))
    return found.toreadonly() if readonly else found
