"""A file object over a range of a mapping."""

from __future__ import annotations

import errno
import io
import os

from . import _copies
from ._arguments import as_index, readable_memory, writable_memory
from ._region import Region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Stream"]

_MAX_POSITION = 2**63 - 1


class Stream(io.RawIOBase):
    """An ``io.RawIOBase`` with a position of its own over ``length`` bytes of a mapping from ``offset``.

    It behaves as ``io.FileIO`` does, but for two things. Its end is fixed: where the range ends, or where the
    file ends before. ``write`` writes all of its argument or nothing: where there is no room for all, it raises
    ``OSError`` with ``ENOSPC``, since nearly nobody who writes looks at a short count. And it is for one thread
    at a time: two that use its position at once may read or write the same place. Give each thread a stream of
    its own, or a lock. Closing it does not unmap; using it after ``File.unmap()`` raises
    ``UnmappedMemoryError``, and after ``File.restore()`` one made before it keeps raising.
    """

    def __init__(self, region: Region, offset: int, length: int) -> None:
        self._region = region
        self._start = offset
        self._length = length
        self._position = 0

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: make another from its File")

    def _open_region(self) -> Region:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        self._region.check()
        return self._region

    def _end(self) -> int:
        """Where the data ends now."""
        return max(0, min(self._length, self._open_region().refresh() - self._start))

    def _left(self) -> int:
        """How many bytes there are now from the position to the end of the data."""
        return max(0, self._end() - self._position)

    def readable(self) -> bool:
        """Whether it can be read: always."""
        self._open_region()
        return True

    def writable(self) -> bool:
        """Whether the mapping is."""
        return bool(self._open_region().c.writable)

    def seekable(self) -> bool:
        """Whether it has a position that can be set: always."""
        self._open_region()
        return True

    def tell(self) -> int:
        """The position in bytes from the start of the range."""
        self._open_region()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Sets the position, relative to the start, the position or the end of the data; returns it.

        ``OSError`` with ``EINVAL`` for a negative position and for another ``whence``, ``OverflowError`` for
        what no file offset can be, as ``io.FileIO`` has it. The position may lie past the end.
        """
        offset, whence = as_index(offset), as_index(whence)
        self._open_region()
        if not ~_MAX_POSITION <= offset <= _MAX_POSITION:
            raise OverflowError(f"{offset} is no file offset: they end at {_MAX_POSITION}")
        origins = {io.SEEK_SET: lambda: 0, io.SEEK_CUR: lambda: self._position, io.SEEK_END: self._end}
        if whence not in origins:
            raise OSError(errno.EINVAL, f"whence must be 0, 1 or 2, not {whence}")
        position = origins[whence]() + offset
        if not 0 <= position <= _MAX_POSITION:
            raise OSError(errno.EINVAL, f"the position would be {position}")
        self._position = position
        return position

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads up to ``size`` bytes, or to the end of the data; b"" at the end."""
        size = -1 if size is None else as_index(size)
        left = self._left()
        return self._take(left if size < 0 else min(size, left))

    def readall(self) -> bytes:
        """Reads to the end of the data."""
        return self.read()

    def readline(self, size: int | None = -1, /) -> bytes:
        """Reads up to a newline, which is read too, or to the end of the data, and no more than ``size`` bytes."""
        size = -1 if size is None else as_index(size)
        left = self._left()
        most = left if size < 0 else min(size, left)
        if not most:
            return b""
        start = self._start + self._position
        newline = _copies.find(self._region, "region_find", b"\n", start, start + most)
        return self._take(most if newline < 0 else newline + 1 - start)

    def _take(self, size: int) -> bytes:
        found = _copies.read(self._region, self._start + self._position, size) if size else b""
        self._position += size
        return found

    def readinto(self, buffer: Any, /) -> int:
        """Reads into ``buffer``, as much as it holds and is left; returns the bytes read, 0 at the end."""
        region = self._open_region()
        try:
            writable = writable_memory(buffer)
        except BufferError:
            with readable_memory(buffer):  # so it is contiguous
                pass
            raise TypeError(f"a writable buffer is needed, not a read-only {type(buffer).__name__}") from None
        with writable as memory:
            size = min(len(memory), self._left())
            if size:
                size = _copies.read_part(region, memory, self._start + self._position, size)
        self._position += size
        return size

    def write(self, data: Any, /) -> int:
        """Writes all of ``data``; returns the bytes written. ``OSError`` with ``ENOSPC`` if not all of it fits."""
        region = self._open_region()
        region.require_writable()
        with readable_memory(data) as memory:
            size = len(memory)
            if not size:
                return 0
            left = self._left()
            if size > left:
                raise OSError(
                    errno.ENOSPC,
                    f"{os.strerror(errno.ENOSPC)}: {size} bytes do not fit into the {left} from position "
                    f"{self._position} to the end of the stream at {self._end()}",
                )
            _copies.copy_all(region, memory, self._start + self._position, size, writing=True)
        self._position += size
        return size
