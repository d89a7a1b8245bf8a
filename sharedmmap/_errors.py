"""The error tree."""

from __future__ import annotations

import os
from errno import EACCES, EAGAIN, EMFILE, ENOMEM, EOPNOTSUPP, EPERM

__all__ = [
    "Error",
    "MappingFaultError",
    "OutOfBoundsError",
    "OwnerDiedError",
    "RefusedError",
    "UnmappedMemoryError",
    "os_error",
]


class Error(Exception):
    """The base of every error that is sharedmmap's own."""


class UnmappedMemoryError(Error, ValueError):
    """The file is not mapped any more: ``unmap()`` or ``close()`` was called."""

    def __init__(self, message: str = "the file is not mapped any more") -> None:
        super().__init__(message)


class OutOfBoundsError(Error, IndexError):
    """An offset or a range lies outside the mapping, or past the end of the file; the text says which."""


class OwnerDiedError(Error):
    """The owner of a ``Mutex`` died while it held it, and nobody said what to do then."""


class MappingFaultError(Error, OSError):
    """The kernel could not supply a page of the mapping.

    ``errno`` and the text name the cause as found out afterwards: ``ENXIO``, the file is shorter than the
    mapping; ``ENOSPC``, no space left on the device; ``EIO``, anything else. ``offset`` is where it happened,
    in bytes from the start of the mapping. Every call raises it until ``File.restore()``, which maps the file
    again; where only a ``flush`` found the file shorter, only every ``flush`` does.
    """

    def __init__(self, errno: int, text: str, offset: int) -> None:
        super().__init__(errno, text)
        self.offset = offset

    def __reduce__(self) -> tuple[type[MappingFaultError], tuple[int, str, int]]:
        return type(self), (self.errno or 0, self.strerror or "", self.offset)


class RefusedError(Exception):
    """A quick call (``_native.py``) cannot do what it is asked for. Nobody sees it: the checked path is taken."""


def os_error(errno: int, call: str) -> OSError:
    """The ``OSError`` (or its subclass) for a system call that failed, with the limit and the remedy."""
    import resource  # here: Windows has none, and _native.py is to say so

    hint = ""
    if call in ("mmap", "SIGBUS handler") and errno == ENOMEM:
        hint = "; the process may have reached vm.max_map_count mappings, or its address space limit"
    elif call == "mmap" and errno == EACCES:
        hint = "; the descriptor must be open for reading, and for writing too if the mapping is to be"
    elif call in ("fcntl", "open") and errno == EMFILE:
        hint = f"; RLIMIT_NOFILE is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
    elif call == "mlock" and errno in (ENOMEM, EAGAIN, EPERM):
        hint = f"; RLIMIT_MEMLOCK is {resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]} bytes"
    elif call == "fallocate" and errno == EOPNOTSUPP:
        hint = "; the file system cannot allocate space ahead"
    return OSError(errno, f"{call}: {os.strerror(errno)}{hint}")
