"""Files that are created whole, or not at all: what ``open`` does with ``initialize``.

A process that creates a file and then fills it shows everybody else an empty file, and then a half filled one, and
leaves that behind where it is killed. So:

 1. The file is made without a name (``O_TMPFILE``, open(2)). The kernel deletes it however its creator ends.
 2. It is given its length, mapped and initialized, and written to disk.
 3. It is linked to its path, in one step that fails where the path exists: of several creators one wins. The
    others open the winner's file, and theirs vanish. Nobody sees a file that is not complete.
 4. The file is written to disk again, now that it has a name, and then the directory. So after a power cut, too,
    there is a complete file or none.

Where the file system has no unnamed files, or there is no /proc through which one is linked, the file gets a
temporary name in the same directory in step 1. A creator that is killed leaves it behind. The next creator that
makes a temporary name deletes it, and can tell it from one in use:

 5. A creator holds the flock(2) of its file until the temporary name is gone; the kernel releases the lock with
    the creator. It takes the lock right after it has made the file. Where another process holds the lock by then,
    or the name is gone by then, another creator has taken the file for an abandoned one; a new file is made.
 6. Who finds a temporary name and gets the lock deletes the name, and keeps the lock meanwhile. This may be a
    second name of a published file (its creator was killed between link(2) and unlink(2)); the file itself stays.
 7. The creator releases the lock before anybody gets the ``File``, which shares the open file description: users
    of the published file may use flock(2) themselves.

Rejected: a lock file beside the path, which everybody who opens the file would have to take, and which stays.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from contextlib import suppress

from ._descriptor import Descriptor
from ._native import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any, Callable

    from typing_extensions import Self

    from ._file import File

__all__ = ["open_or_create_whole"]

# A try fails where somebody else created the path and removed it before it could be opened, or removed the
# directory. That does not happen 64 times in a row by chance. A symbolic link to nothing looks like it for ever.
TRIES = 64

O_TMPFILE: int = lib.O_TMPFILE  # 0 where the system has none

# What open(2) says of O_TMPFILE where the file system, or the kernel, does not know it.
NO_UNNAMED_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)

PREFIX, DIGITS = b".sharedmmap-", 16  # of temporary names


def open_or_create_whole(
    path: Any, map_file: Callable[[int], File], initialize: Callable[[File], object], *, exclusive: bool
) -> File:
    """Maps the file at ``path`` with ``map_file``, or publishes one there that ``initialize`` has filled.

    ``exclusive``: it must not exist.
    """
    folder, name = os.path.split(os.fsencode(path))
    if not name:  # nothing, or a directory: the error of open(2)
        return _map_existing(path, map_file)
    tries = iter(range(TRIES))
    for _ in tries:
        if exclusive:
            if os.path.lexists(path):  # asked before the work, and decided by link(2) after it
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        else:
            with suppress(FileNotFoundError):
                return _map_existing(path, map_file)
        found: File | None = None
        # No return or continue in here: PyPy 8.0 crashes where there are two, and the end of the with raises.
        with Descriptor() as directory, _Copy(directory) as copy:
            try:
                directory.open(folder or b".", os.O_RDONLY | os.O_DIRECTORY)
                copy.create()
            except OSError as error:
                if error.errno != errno.ENOENT or directory.fd < 0:  # else it has just been removed
                    raise OSError(error.errno, error.strerror, path) from None
            else:
                file = copy.fill(map_file, initialize)
                found = _publish(copy, file, name, path, map_file, exclusive, tries)
        if found is not None:
            return found
    raise FileNotFoundError(
        errno.ENOENT,
        f"a symbolic link to nothing, or a path or directory that somebody keeps removing ({TRIES} tries)",
        path,
    )


def _publish(
    copy: _Copy,
    file: File,
    name: bytes,
    path: Any,
    map_file: Callable[[int], File],
    exclusive: bool,
    tries: Iterator[int],
) -> File | None:
    """``file``, or the one that somebody else published first. None if there is no directory or no try left."""
    for _ in tries:
        try:
            copy.publish(name)
        except FileExistsError:
            if exclusive:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
            with suppress(FileNotFoundError):
                return _map_existing(path, map_file)
        except FileNotFoundError:
            return None
        else:
            return file
    return None


def _map_existing(path: Any, map_file: Callable[[int], File]) -> File:
    with Descriptor() as opened:
        opened.open(path, os.O_RDWR)
        return map_file(opened.fd)


class _Copy:
    """A file without a name, or with a temporary one. The end of the ``with`` deletes it unless published."""

    def __init__(self, directory: Descriptor) -> None:
        self._directory = directory
        self._opened = Descriptor()
        self._file: File | None = None
        self._temporary: bytes | None = None  # its name; it exists if the descriptor is open

    def create(self) -> None:
        if not self._create_unnamed():
            _delete_abandoned(self._directory.fd)
            self._create_named()

    def _create_unnamed(self) -> bool:
        """False where that, or linking it later, is not possible."""
        if not O_TMPFILE:
            return False
        opened = self._opened
        try:
            opened.open(b".", os.O_RDWR | O_TMPFILE, self._directory.fd)
        except OSError as error:
            if error.errno not in NO_UNNAMED_FILES:
                raise
            return False
        with suppress(OSError):
            if os.path.samestat(os.stat(self._in_proc()), os.fstat(opened.fd)):
                return True
        opened.close()
        return False

    def _in_proc(self) -> str:
        return f"/proc/self/fd/{self._opened.fd}"

    def _create_named(self) -> None:
        opened, directory = self._opened, self._directory.fd
        for _ in range(TRIES):
            self._temporary = PREFIX + os.urandom(DIGITS // 2).hex().encode()
            opened.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, directory)
            with suppress(BlockingIOError):
                fcntl.flock(opened.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(opened.fd).st_nlink:
                    return
            opened.close()  # another creator deletes it
        raise OSError(errno.EAGAIN, f"somebody deletes the temporary file each time ({TRIES} tries)")

    def fill(self, map_file: Callable[[int], File], initialize: Callable[[File], object]) -> File:
        self._file = file = map_file(self._opened.fd)
        initialize(file)
        file.flush()
        os.fsync(self._opened.fd)  # what went in another way than through `file`, and the length
        return file

    def publish(self, name: bytes) -> None:
        """Links it to ``name``; from then on it does not vanish."""
        directory = self._directory.fd
        if self._temporary is None:
            self._link(os.fsencode(self._in_proc()), name, lib.AT_SYMLINK_FOLLOW)
        else:
            self._link(self._temporary, name, 0)
            self._delete_temporary_name()
            fcntl.flock(self._opened.fd, fcntl.LOCK_UN)
        # btrfs logs nothing of a file without a name: after a power cut the file would be there, and empty.
        os.fsync(self._opened.fd)
        try:
            os.fsync(directory)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some file systems have no such thing for directories
                raise
        self._file = None

    def _link(self, old: bytes, new: bytes, flags: int) -> None:
        """linkat(2). os.link() passes AT_SYMLINK_FOLLOW only with a src_dir_fd, and on PyPy never."""
        directory = self._directory.fd
        sys.audit("os.link", old, new, directory, directory)
        if lib.linkat(directory, old, directory, new, flags):
            raise OSError(ffi.errno, os.strerror(ffi.errno), os.fsdecode(new))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._temporary is not None and self._opened.fd >= 0:
            self._delete_temporary_name()
        self._opened.close()

    def _delete_temporary_name(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._temporary or b"", dir_fd=self._directory.fd)
        self._temporary = None


def _is_temporary(name: bytes) -> bool:
    digits = name[len(PREFIX) :]
    return name.startswith(PREFIX) and len(digits) == DIGITS and not digits.strip(b"0123456789abcdef")


def _delete_abandoned(directory: int) -> None:
    """Deletes the temporary names of creators that are gone. What it may not touch it leaves to others."""
    for name in map(os.fsencode, os.listdir(directory)):
        if not _is_temporary(name):
            continue
        with suppress(OSError), Descriptor() as found:
            found.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, directory)
            fcntl.flock(found.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=directory)
