"""A file object over a range of a mapping."""

from __future__ import annotations

import errno
import io
import os
from typing import Any

from ._arguments import as_index, readable_bytes
from ._region import Region

__all__ = ["Stream"]


class Stream(io.RawIOBase):
    """An ``io.RawIOBase`` with a position of its own over ``length`` bytes of a mapping from ``offset``.

    It ends where the range does, or where the file ends before. Writing past its end writes what fits, and
    then raises ``OSError`` with ``ENOSPC``. Closing it does not unmap; using it after ``File.unmap()`` raises
    ``UnmappedMemoryError``, and after ``File.restore()`` one made before it keeps raising.
    """

    def __init__(self, region: Region, offset: int, length: int) -> None:
        self._region = region
        self._start = offset
        self._length = length
        self._position = 0

    def _open_region(self) -> Region:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        self._region.check()
        return self._region

    def _end(self) -> int:
        """Where the data ends now."""
        return max(0, min(self._length, self._open_region().refresh() - self._start))

    def readable(self) -> bool:
        """Whether it can be read: always."""
        self._open_region()
        return True

    def writable(self) -> bool:
        """Whether the mapping is."""
        return self._open_region().is_writable

    def seekable(self) -> bool:
        """Whether it has a position that can be set: always."""
        self._open_region()
        return True

    def tell(self) -> int:
        """The position in bytes from the start of the range."""
        self._open_region()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Sets the position, relative to the start, the position or the end of the data; returns it."""
        offset, whence = as_index(offset), as_index(whence)
        self._open_region()
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            offset += self._end()
        elif whence != io.SEEK_SET:
            raise ValueError(f"whence must be 0, 1 or 2, not {whence!r}")
        if offset < 0:
            raise ValueError(f"position {offset} is negative")
        self._position = offset
        return offset

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads up to ``size`` bytes, or to the end of the data; b"" at the end."""
        region = self._open_region()
        start = self._start + self._position
        left = max(0, self._end() - self._position)
        asked = -1 if size is None else as_index(size)
        wanted = left if asked < 0 else min(asked, left)
        found = region.read(start, wanted) if wanted else b""
        self._position += len(found)
        return found

    def readall(self) -> bytes:
        """Reads to the end of the data."""
        return self.read()

    def readinto(self, buffer: Any, /) -> int:
        """Reads into ``buffer``, as much as it holds and is left; returns the bytes read, 0 at the end."""
        with memoryview(buffer) as view:
            if view.readonly or not view.c_contiguous:
                raise TypeError("a writable C-contiguous buffer is needed")
            found = self.read(view.nbytes)
            if found:
                view.cast("B")[: len(found)] = found
        return len(found)

    def write(self, data: Any, /) -> int:
        """Writes as much of ``data`` as fits; returns the bytes written. ``OSError`` if none does."""
        region = self._open_region()
        region.require_writable()
        with memoryview(data) as view:
            if not view.nbytes:
                return 0
            with view.cast("B") as row, row[: max(0, self._end() - self._position)] as fitting:
                if not fitting:
                    raise OSError(
                        errno.ENOSPC,
                        f"{os.strerror(errno.ENOSPC)}: the stream ends at {self._end()}, "
                        f"position {self._position} is past that",
                    )
                with readable_bytes(fitting) as memory:
                    count = region.write_from(memory, self._start + self._position)
        self._position += count
        return count
