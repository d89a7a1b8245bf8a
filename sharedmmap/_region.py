"""One mapping of a file: how much of it the file backs, its state, and the range check of the checked paths.

A ``File`` holds one ``Region`` at a time. ``File.restore`` puts a new one in its place, so an operation takes
the region **once**, at its start: pointer, limit and state then belong together, and what began before a
restore cannot end as if nothing had happened. The memory of a region stays valid for as long as anything refers
to ``c``, whatever the kernel, other threads and other processes do; ``csrc/region.h`` says how. What is made
from it (``c.base + n``, ``word.region``) keeps nothing alive.

The frequent operations have a fast path, one quick call (``_native.py``); the others, ``fill`` or ``find``,
only the checked path. It is taken as well where the quick call refuses: ``require`` or ``accessible_part`` asks
the system again, and raises the right exception; or, if all is well now, the call is made once more.

No module in Python touches mapped memory but ``_pypy.py``, and a view is memory handed out. ``git grep SAFETY``
finds each such line in Python, and each function or group of functions in C.
"""

from __future__ import annotations

import errno
import gc
import io
import sys

from ._arguments import as_index, as_size
from ._cause import cause_of_fault
from ._descriptor import Descriptor
from ._errors import MappingFaultError, OutOfBoundsError, UnmappedMemoryError, os_error
from ._native import PAGE, before_mapping, ffi, lib, pointer_to, quick

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, SupportsIndex

__all__ = ["Region", "call_failed"]

_POINTER = pointer_to("region")
_new = ffi.new_allocator(lib.region_new, lib.region_close, should_clear_after_alloc=False)


class Region:
    __slots__ = ("c", "cause", "length", "offset", "prot", "successors")

    def __init__(self, fd: int, offset: int, length: int, prot: int, map_into: Callable[[Any], Any]) -> None:
        """``map_into`` is the C call that maps ``fd``, given what it is to be mapped into."""
        sys.audit("sharedmmap.File", fd, offset, length, prot)
        before_mapping()
        self.offset = offset
        self.length = length
        self.prot = prot
        self.cause: tuple[int, str, int] | None = None
        self.successors: list[Region] = []
        # The owner of the mapping exists before the mapping does, and it is no Python code that unmaps when the
        # owner goes: a signal handler that raises can leak nothing. It is not ffi.gc(), whose destructor
        # CPython's cycle collector calls together with the __del__ methods of a cycle, which may use the memory
        # yet. What an allocator of cffi returns for a struct is nothing that the cycle collector looks at.
        self.c: Any = _new(_POINTER)
        failed = map_into(self.c)
        if failed and ffi.errno in (errno.ENOMEM, errno.EMFILE, errno.ENFILE):
            gc.collect()  # what is short may be held by dropped mappings
            failed = map_into(self.c)
        if failed:
            raise call_failed(ffi.string(failed).decode(), ffi.errno, "restore")

    @classmethod
    def of(cls, fd: int, offset: int, length: int, prot: int, trackfd: bool) -> Region:
        """Maps ``fd``."""
        writable = bool(prot & lib.PROT_WRITE)
        return cls(fd, offset, length, prot, lambda c: lib.region_map(c, fd, offset, length, writable, trackfd))

    def again(self) -> Region:
        """Maps the same range of the same file afresh."""
        old = self.c
        return Region(old.fd, self.offset, self.length, self.prot, lambda c: lib.region_map_again(c, old))

    def duplicate(self) -> Descriptor:
        """A duplicate of its descriptor, for another process to map the same file."""
        duplicate = Descriptor()
        failed = lib.region_duplicate(self.c, duplicate.c)
        reason = ffi.errno
        self.check_mapped()  # after it: another call may have kept the descriptor of an unmapped region open
        if failed:
            raise call_failed(ffi.string(failed).decode(), reason, "handing a File to another process")
        return duplicate

    # ---- the limit and the state ----

    def check(self) -> None:
        """Raises unless the region is live: unless the accesses so far reached the file.

        What has faulted can release none of its mutexes: it gives up their owner id first.
        """
        if not quick.is_live(self.c):
            self.check_mapped()
            lib.region_disown(self.c)
            raise MappingFaultError(*self.known_cause())

    def check_mapped(self) -> None:
        """Raises if the region is unmapped."""
        if self.c.state == lib.UNMAPPED:
            raise UnmappedMemoryError

    def known_cause(self) -> tuple[int, str, int]:
        """Why it faulted, as found out when this was first asked."""
        found = self.cause or cause_of_fault(self.c)
        self.cause = self.cause or found  # end() may have set it meanwhile, and restore() closed the descriptor
        return self.cause

    def refresh(self) -> int:
        """Asks how many bytes the file backs now; the limit from here on."""
        limit: int = lib.region_refresh(self.c)
        if limit < 0:
            failed = os_error(ffi.errno, "fstat")
            self.check()
            raise failed
        self.check()
        return limit

    def end(self) -> None:
        """Ends it, for another to take its place: what is writing to it now may be writing to zero pages."""
        if quick.is_live(self.c):
            limit: int = self.c.limit
            self.cause = errno.ENXIO, f"the file was restored when it backed {limit} bytes of the mapping", limit
        else:
            self.known_cause()
        lib.region_end(self.c)

    def latest(self) -> Region:
        """The last of those that ``File.restore`` has put in each other's place, from this one on."""
        latest = self
        while latest.successors:
            latest = latest.successors[0]
        return latest

    # ---- the range check of the checked paths ----

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
        if not self.c.writable:
            raise io.UnsupportedOperation("the mapping is read-only")

    def accessible_part(self, offset: int, wanted: int, *, writing: bool = False) -> int:
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


def call_failed(call: str, reason: int, purpose: str) -> OSError:
    """The exception for a C call that returned the name of the system call that failed, with errno ``reason``."""
    if call == "descriptor" and reason == errno.EBADF:
        return io.UnsupportedOperation(
            f"{purpose} needs the descriptor, which is not kept (trackfd=False), or was closed by others"
        )
    return os_error(reason, "fstat" if call == "descriptor" else call)
