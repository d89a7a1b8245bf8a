"""File descriptors that cannot be lost: what opens one stores it in its owner, in one step (``csrc/owned.h``)."""

from __future__ import annotations

import errno
import os
import sys

from ._native import ffi, lib, pointer_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from typing_extensions import Self

__all__ = ["Descriptor"]

_POINTER = pointer_to("owned")
_new = ffi.new_allocator(lib.owned_new, lib.owned_free, should_clear_after_alloc=False)


class Descriptor:
    """A descriptor, for a ``with``: closed at its end, or where that is never reached when it is collected."""

    __slots__ = ("c",)

    def __init__(self) -> None:
        self.c: Any = _new(_POINTER)

    @property
    def fd(self) -> int:
        """Its number, -1 while it is not open."""
        number: int = self.c.fd
        return number

    def open(self, path: Any, flags: int, directory: int | None = None) -> None:
        """What ``os.open(path, flags, 0o666, dir_fd=directory)`` does."""
        encoded = os.fsencode(path)
        if b"\0" in encoded:
            raise ValueError("embedded null byte")
        sys.audit("open", path, None, flags)
        start = lib.AT_FDCWD if directory is None else directory
        while lib.owned_open(self.c, start, encoded, flags, 0o666):
            if ffi.errno != errno.EINTR:  # after which signal handlers run
                raise OSError(ffi.errno, os.strerror(ffi.errno), path)

    def close(self) -> None:
        """Closes it, if it is open. An error is of no interest: the end of a ``with`` is where it is reported."""
        lib.owned_close(self.c)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if lib.owned_close(self.c) and exc_type is None:
            raise OSError(ffi.errno, f"close: {os.strerror(ffi.errno)}")
