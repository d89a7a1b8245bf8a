"""A mutex that processes share, and that survives the death of its owner. ``csrc/mutex.h`` says how it works."""

from __future__ import annotations

import errno
import io
import math
import os
import time
from itertools import count

from ._atomic import AtomicUint32
from ._errors import OwnerDiedError
from ._native import ffi, lib, pointer_to, quick
from ._region import Region, call_failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, SupportsIndex

    from typing_extensions import Self

    from ._file import File

__all__ = ["Mutex"]

_SLICE = 0.05
"""Seconds that a waiter sleeps at the most before it asks whether the owner lives. A signal that arrives just
before it falls asleep is handled so much later."""

_POINTER = pointer_to("mutex")

_next_call = count(1).__next__
_take, _release, _undo = quick.mutex_take, quick.mutex_release, quick.mutex_undo


class Mutex:
    """A lock in 4 bytes of the mapping, for all threads and processes that map the file.

    Its owner is the ``File`` that it was made from: any thread of the process may release what another one has
    acquired through the same ``File``. Two ``File`` objects of one file exclude each other, also in one process.
    It is not recursive: a thread that acquires it twice waits for itself. The 4 bytes are zeros while nobody
    holds it, so a new file needs no initialization.

    **A dead owner.** If a process ends, in whatever way, while it holds the mutex, a waiter finds that out within
    a twentieth of a second. ``on_owner_died(file)`` is then called in one waiter, with the mutex held, to mend
    what the dead owner has left half done; after that its ``acquire`` returns. If it raises, the mutex is left as
    it was found, and the exception goes to the caller of ``acquire``. It may be called again for the same death,
    if a signal handler raises just after it. Without ``on_owner_died`` every ``acquire`` raises
    ``OwnerDiedError``. An owner that can no longer release the mutex counts as dead too: a ``File`` that was
    unmapped or restored, or whose mapping was found to have faulted.

    **Other locks of the file.** To show that it lives, an owner keeps a second descriptor of the file, with a
    lock on one byte past offset 2**62 (F_OFD_SETLK in fcntl(2)). Who closes that descriptor (``os.closerange``)
    makes it a dead owner to the others, which take over what it still holds. So ``fcntl.lockf`` of a whole file
    fails, or waits, as long as it has an owner; and while somebody holds such a lock there can be no new owner:
    ``mutex_at`` raises ``BlockingIOError``. Beside mutexes use ``fcntl.flock``, or ``fcntl.lockf`` with a
    length.

    **Signals.** Where a signal handler raises within ``acquire``, or within the entry of a ``with``, the mutex is
    not held. (CPython 3.9 and PyPy may run handlers between any two bytecodes. There it can stay held if one
    raises at the return from the call, or a second one at the moment when the first has raised.) As with
    ``threading.Lock``, a handler that raises after the call has returned, or before ``release`` or the exit of the
    ``with`` has done its work, leaves the mutex held.

    **Children.** A child made by ``vfork`` or ``posix_spawn``, also by ``subprocess``, has all descriptors until
    it executes its program. If its parent dies meanwhile, that is noticed when the child has come so far.

    After ``fork`` the child is another owner: what the parent holds is the parent's. So a child that was forked
    within a ``with`` cannot leave it: the exit raises ``RuntimeError``. A mutex that was made before
    ``File.restore`` keeps raising: make it anew.

    Every method raises ``UnmappedMemoryError`` after ``unmap()``, ``MappingFaultError`` after a fault, and
    ``OutOfBoundsError`` while the file is known to end before the 4 bytes. Where it is cut within their page, they
    read as zeros until that is noticed: the mutex counts as free.
    """

    __slots__ = ("__weakref__", "_file", "_mutex", "_on_owner_died", "_region", "_word")

    def __init__(
        self,
        file: File,
        region: Region,
        offset: SupportsIndex,
        on_owner_died: Callable[[File], object] | None,
    ) -> None:
        if on_owner_died is not None and not callable(on_owner_died):
            raise TypeError(f"on_owner_died must be callable, not {type(on_owner_died).__name__}")
        region.check()
        region.require_writable()
        self._word = AtomicUint32(region, offset)
        _ensure_owner(region)
        self._file = file
        self._region = region
        self._on_owner_died = on_owner_died
        # It refers to the word, which self keeps.
        self._mutex = ffi.new(_POINTER, {"word": self._word._word})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} offset={self.offset}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: make it anew from its File")

    @property
    def offset(self) -> int:
        """Where in the mapping the mutex is, in bytes."""
        return self._word.offset

    # ---- acquiring ----

    def acquire(self, timeout: float | None = None) -> bool:
        """Waits until the mutex is free, and takes it. ``timeout`` is in seconds: False if it has passed.

        With a timeout of 0 or less it does not wait, though a dead owner is found then too. Signal handlers run
        meanwhile, and ``unmap()`` in another thread ends the wait with ``UnmappedMemoryError``. Where the owner
        died, ``on_owner_died`` is called, or ``OwnerDiedError`` raised. See futex(2).
        """
        if timeout is not None and math.isnan(timeout):
            raise ValueError("timeout is not a number")
        call = _next_call()
        try:
            return _take(self._mutex, call) or self._wait(call, timeout)
        except BaseException:
            _undo(self._mutex, call)
            raise

    def __enter__(self) -> Self:
        call = _next_call()
        try:
            if not _take(self._mutex, call):
                self._wait(call, None)
            return self
        except BaseException:
            _undo(self._mutex, call)
            raise

    def _wait(self, call: int, timeout: float | None) -> bool:
        """The checked path of ``acquire``, which undoes what it may have taken when it raises."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            self._require()
            _ensure_owner(self._region)
            left = deadline - time.monotonic()
            span = int(max(0.0, min(left, _SLICE)) * 1e9)
            seen: int = lib.mutex_wait(self._mutex, call, span)
            if seen == lib.TAKEN:
                return True
            if seen != lib.NOT_ACCESSIBLE:
                if not self._is_alive(seen) and self._take_over(call, seen):
                    return True
                if time.monotonic() >= deadline:
                    return False

    def _take_over(self, call: int, seen: int) -> bool:
        """Takes the mutex over from a dead owner; False if somebody else was faster."""
        if self._on_owner_died is None:
            raise OwnerDiedError(
                f"the owner of the mutex at offset {self.offset} died while it held it; mutex_at(offset, "
                "on_owner_died=function) takes a function that mends what it left half done"
            )
        if not quick.mutex_take_over(self._mutex, call, seen):
            return False
        self._on_owner_died(self._file)
        self._mutex.found = 0
        return True

    # ---- releasing ----

    def release(self) -> None:
        """Gives the mutex back. ``RuntimeError`` unless this ``File`` holds it."""
        if _release(self._mutex):
            self._checked_release()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if _release(self._mutex):
            self._checked_release()

    def _checked_release(self) -> None:
        while True:
            self._require()
            outcome: int = _release(self._mutex)
            if outcome == lib.RELEASED:
                return
            if outcome == lib.NOT_HELD:
                raise RuntimeError(f"the mutex at offset {self.offset} is not held by this File")

    # ---- looking ----

    def locked(self) -> bool:
        """Whether somebody holds the mutex now, be it a dead owner."""
        return bool(self._word.load() & lib.OWNER)

    def owner_alive(self) -> bool:
        """False if the owner died while it held the mutex; True if it lives, and where nobody holds it."""
        seen = self._word.load()
        return not seen & lib.OWNER or self._is_alive(seen)

    def _is_alive(self, seen: int) -> bool:
        """False if the owner in ``seen`` died with the mutex held: it is dead, and ``seen`` is still the word."""
        owner = seen & lib.OWNER
        if owner == self._region.c.owner:
            return True
        alive: int = lib.liveness_of(self._region.c, owner)
        if alive < 0:
            error = _refusal("descriptor" if ffi.errno == errno.EBADF else "fcntl", ffi.errno)
            self._region.check()
            raise error
        return bool(alive) or self._word.load() != seen

    def _require(self) -> None:
        self._region.require(self.offset, 4, writing=True)


def _ensure_owner(region: Region) -> None:
    """Draws an owner id for the region, unless it has one."""
    if region.c.owner:
        return
    failed = lib.liveness_open(region.c)
    if failed:
        error = _refusal(ffi.string(failed).decode(), ffi.errno)
        region.check()
        raise error


def _refusal(call: str, reason: int) -> OSError:
    """What to raise where there can be no owner."""
    if call == "open" and reason == errno.ENOENT:
        return io.UnsupportedOperation("a mutex needs /proc, through which the file is opened afresh")
    if reason == errno.ENOSYS or (call == "fcntl" and reason == errno.EINVAL):
        return io.UnsupportedOperation(
            "a mutex needs open-file-description locks, which this system does not have"
        )
    if call == "open" and reason in (errno.EACCES, errno.EPERM):
        return PermissionError(
            reason,
            f"open: {os.strerror(reason)}; a mutex opens the file afresh for reading and writing, which this "
            "process may not do any more (mutex_at does it, so call that before privileges are dropped)",
        )
    if call == "fcntl" and reason == errno.EAGAIN:
        return BlockingIOError(
            reason,
            "fcntl: every byte that a mutex could lock is locked; perhaps somebody holds a lock of the whole file "
            "(fcntl.lockf), beside which there can be no mutex: use fcntl.flock",
        )
    return call_failed(call, reason, "a mutex")
