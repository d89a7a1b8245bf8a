"""Mapping a file by its path."""

from __future__ import annotations

import errno
import os

from ._arguments import as_index, as_size
from ._create import open_or_create_whole
from ._descriptor import Descriptor
from ._errors import os_error
from ._file import MAX_OFFSET, READ_ONLY, READ_WRITE, File, rest_of
from ._native import PAGE, ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, SupportsIndex

__all__ = ["open"]

_MODES = {
    "r": os.O_RDONLY,
    "r+": os.O_RDWR,
    "w+": os.O_RDWR | os.O_CREAT,
    "x+": os.O_RDWR | os.O_CREAT | os.O_EXCL,
    "a+": os.O_RDWR | os.O_CREAT,
}


def open(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    mode: str = "r+",
    *,
    offset: SupportsIndex = 0,
    length: SupportsIndex | None = None,
    capacity: SupportsIndex | None = None,
    initialize: Callable[[File], object] | None = None,
) -> File:
    """Opens a file and maps it.

    ``mode``: ``"r"``, read-only; ``"r+"``, read and write, it must exist; ``"w+"``, created or truncated;
    ``"x+"``, created, it must not exist; ``"a+"``, created if it is not there, kept as it is if it is. ``offset``
    and ``length`` are in bytes; without a length, to the end of the file. In the writing modes a file shorter than
    ``offset + length`` is extended to it (sparse: see ``File.reserve``). ``capacity`` is how many bytes to map, at
    least ``length``: room to grow into. Where the kernel refuses the mapping afterwards, the file stays created,
    truncated or extended.

    ``initialize(file)``, for ``"x+"`` and ``"a+"`` with a length, is called with a new file that nobody else can
    see yet: ``offset + length`` bytes of zeros, mapped. What it leaves there is written to disk (msync(2),
    fsync(2)) and appears at ``path`` in one step (link(2)); then the directory is written to disk. So whoever sees
    the path, after a power cut too, sees a file that one call of ``initialize`` has filled, and a process that is
    killed leaves nothing half done. Where another process was faster, ``"a+"`` maps its file, and ours vanishes;
    ``"x+"`` raises ``FileExistsError``. What ``initialize`` raises comes through, and nothing is created then.
    Where the directory cannot be written to disk, that is an ``OSError``, and the file stays. The file system must
    have hard links. Where it has no unnamed files (``O_TMPFILE``, open(2)) the new file is called ``.sharedmmap-``
    and 16 digits, in the same directory, until it is complete; what a killed process leaves of that the next
    creator deletes.
    """
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {', '.join(map(repr, _MODES))}, not {mode!r}")
    offset = as_size(offset, "offset")
    length = None if length is None else as_index(length)
    capacity = None if capacity is None else as_index(capacity)
    for name, value in (("length", length), ("capacity", capacity)):
        if value is not None and not 1 <= value <= MAX_OFFSET - PAGE - offset:
            raise ValueError(f"{name} must be at least 1 and end in a file offset, not {value}")
    if capacity is not None and length is not None and capacity < length:
        raise ValueError(f"capacity {capacity} is less than length {length}")
    if mode in ("w+", "x+") and length is None and offset > 0:
        raise ValueError(f"offset {offset} is past the end of an empty file: a length must be given")
    if initialize is not None and mode not in ("x+", "a+"):
        raise ValueError(f"initialize is for the modes 'x+' and 'a+', which create a file, not for {mode!r}")
    if initialize is not None and length is None:
        raise ValueError("initialize needs a length, that of the file to be created; length is None")

    def map_file(fd: int) -> File:
        if mode != "r" and length is not None:
            _extend(fd, offset + length)
        if capacity is not None and length is None and capacity < rest_of(fd, offset):
            raise ValueError(f"capacity {capacity} is less than the {rest_of(fd, offset)} bytes of the file")
        return File(fd, offset, capacity or length, READ_ONLY if mode == "r" else READ_WRITE)

    if initialize is not None:
        return open_or_create_whole(path, map_file, initialize, exclusive=mode == "x+")
    with Descriptor() as opened:
        opened.open(path, _MODES[mode])
        if mode == "w+":
            os.ftruncate(opened.fd, 0)
        return map_file(opened.fd)


def _extend(fd: int, end: int) -> None:
    """Makes the file at least ``end`` bytes long, and never shorter, whatever other processes do meanwhile."""
    while lib.extend(fd, end):
        if ffi.errno != errno.EINTR:  # after which signal handlers run
            raise os_error(ffi.errno, "fallocate")
