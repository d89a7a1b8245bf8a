"""Atomic words: what processes agree on without a lock."""

from __future__ import annotations

import math
import time

from ._arguments import as_index, as_size
from ._native import RefusedError, ffi, lib, pointer_to, quick, used_by_all
from ._region import Region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, ClassVar, NoReturn, Protocol, SupportsIndex

    from ._scalars import Method

    class _Load(Protocol):
        def __call__(self) -> int: ...

    class _Operate(Protocol):
        def __call__(self, operand: SupportsIndex) -> int: ...

    class _CompareExchange(Protocol):
        def __call__(self, expected: SupportsIndex, desired: SupportsIndex) -> tuple[bool, int]: ...


__all__ = ["AtomicUint32", "AtomicUint64"]

_POINTER = pointer_to("word")

_SLICES = 0.05, 1.0
"""Seconds that a waiter sleeps before it returns to Python: the first time, and at the most. A signal that arrives
just before it falls asleep is handled so much later."""

_notify = quick.word_notify


_OPERATIONS = {
    "exchange": "Sets the value to ``operand``; returns the one before.",
    "fetch_add": "Adds ``operand``, wrapping; returns the value before.",
    "fetch_sub": "Subtracts ``operand``, wrapping; returns the value before.",
    "fetch_and": "Keeps the bits that ``operand`` has; returns the value before.",
    "fetch_or": "Sets the bits that ``operand`` has; returns the value before.",
    "fetch_xor": "Flips the bits that ``operand`` has; returns the value before.",
}


def _loading(call: Callable[[Any], int]) -> Callable[..., Any]:
    def load(self: _AtomicWord) -> int:
        """The value."""
        try:
            return call(self._word)
        except RefusedError:
            pass
        return self._checked(call)

    return load


def _operation(name: str, call: Callable[[Any, Any], int]) -> Callable[..., Any]:
    def operate(self: _AtomicWord, operand: SupportsIndex) -> int:
        try:
            return call(self._word, operand)  # it refuses what is no int
        except RefusedError:
            pass
        return self._checked(call, self._operand(operand))

    operate.__name__ = name
    operate.__doc__ = _OPERATIONS[name]
    return operate


def _comparing(call: Callable[[Any, Any, Any], int]) -> Callable[..., Any]:
    def compare_exchange(self: _AtomicWord, expected: SupportsIndex, desired: SupportsIndex) -> tuple[bool, int]:
        """Sets the value to ``desired`` if it is ``expected``; returns whether it was, and the one seen."""
        expected, desired = self._operand(expected), self._operand(desired)
        try:
            seen = call(self._word, expected, desired)
            return seen == expected, seen
        except RefusedError:
            pass
        seen = self._checked(call, expected, desired)
        return seen == expected, seen

    return compare_exchange


class _AtomicWord:
    """An unsigned integer of the mapping, on which every operation is one step for all threads and processes.

    Sequentially consistent; results wrap. ``OverflowError`` for an operand out of range,
    ``UnmappedMemoryError`` after ``unmap()``, ``OutOfBoundsError`` while the file ends before the word,
    ``io.UnsupportedOperation`` for what writes where the mapping is read-only.
    One made before ``File.restore()`` keeps raising: make it anew.
    """

    __slots__ = ("__weakref__", "_offset", "_region", "_word")

    _SIZE: ClassVar[int]
    load: ClassVar[Method[_Load]]
    exchange: ClassVar[Method[_Operate]]
    fetch_add: ClassVar[Method[_Operate]]
    fetch_sub: ClassVar[Method[_Operate]]
    fetch_and: ClassVar[Method[_Operate]]
    fetch_or: ClassVar[Method[_Operate]]
    fetch_xor: ClassVar[Method[_Operate]]
    compare_exchange: ClassVar[Method[_CompareExchange]]

    def __init_subclass__(cls, *, scalar: str) -> None:
        cls._SIZE = ffi.sizeof(f"{scalar}_t")
        for method in (
            _loading(getattr(quick, f"load_word_{scalar}")),
            *(_operation(name, getattr(quick, f"{name}_{scalar}")) for name in _OPERATIONS),
            _comparing(getattr(quick, f"compare_exchange_{scalar}")),
        ):
            method.__qualname__ = f"{cls.__name__}.{method.__name__}"
            setattr(cls, method.__name__, used_by_all(method))

    def __init__(self, region: Region, offset: SupportsIndex) -> None:
        offset = as_index(offset)
        region.require(offset, self._SIZE)
        excess = (region.offset + offset) % self._SIZE
        if excess:
            raise ValueError(
                f"offset {offset} is not aligned to {self._SIZE} bytes in the file; "
                f"the next that is: {offset + self._SIZE - excess}"
            )
        self._region = region
        self._offset = offset
        # The word refers to the region, which self keeps.
        self._word = ffi.new(_POINTER, {"region": region.c, "offset": offset})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} offset={self._offset}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: make it anew from its File")

    @property
    def offset(self) -> int:
        """Where in the mapping the word is, in bytes."""
        return self._offset

    def _checked(self, call: Callable[..., int], *operands: int) -> int:
        """The checked path. The operation was not made yet; or the region is not live, and ``require`` raises."""
        writing = bool(operands)
        while True:
            self._region.require(self._offset, self._SIZE, writing=writing)
            try:
                return call(self._word, *operands)
            except RefusedError:  # the limit or the state has changed since
                continue

    def _operand(self, value: SupportsIndex) -> int:
        value = as_index(value)
        if not 0 <= value < 1 << 8 * self._SIZE:
            raise OverflowError(
                f"{value} is out of range for {8 * self._SIZE} bits: 0 to {(1 << 8 * self._SIZE) - 1}"
            )
        return value

    def store(self, operand: SupportsIndex) -> None:
        """Sets the value to ``operand``."""
        self.exchange(operand)


class AtomicUint64(_AtomicWord, scalar="uint64"):
    __doc__ = _AtomicWord.__doc__
    __slots__ = ()

    @property
    def wait(self) -> NoReturn:
        """Raises ``AttributeError``: there is no such method."""
        raise AttributeError(
            "AtomicUint64 has no wait() and no notify(): the kernel waits on 32 bits. "
            "AtomicUint32 has them; one at the same offset is the low half of this word"
        )

    notify = wait


class AtomicUint32(_AtomicWord, scalar="uint32"):
    __doc__ = _AtomicWord.__doc__
    __slots__ = ()

    def wait(self, expected: SupportsIndex, timeout: float | None = None) -> bool:
        """Waits while the value is ``expected``, until another thread or process changes it and calls ``notify``.

        Returns at once where the value differs. ``timeout`` is in seconds: False if it has passed. True says
        that it is time to look at the value again, not that it has changed. A ``notify`` without a change may come
        while nobody sleeps, between two looks; then it wakes nobody. Before it sleeps it may look at the
        value for up to 50 microseconds: where that has paid off before, and the process may run on more than one
        core. Signal handlers run meanwhile; ``unmap()`` in another thread ends the wait with
        ``UnmappedMemoryError``. See futex(2).
        """
        expected = self._operand(expected)
        if timeout is not None and math.isnan(timeout):
            raise ValueError("timeout is not a number")
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        span, longest = _SLICES
        while True:
            left = deadline - time.monotonic()
            outcome: int = lib.word_wait(self._word, expected, int(max(0.0, min(left, span)) * 1e9))
            if outcome > 0:
                return True
            if outcome < 0:
                self.load()
            elif left <= 0:
                return False
            else:
                self._region.refresh()  # where the file is cut within the page of the word, there is no fault
                span = min(2 * span, longest)

    def notify(self, count: SupportsIndex = 1) -> int:
        """Wakes up to ``count`` of those that wait for the word; returns how many. See futex(2).

        Before macOS 14.4 it returns 0: there a waiter is not woken, but looks at the value once a millisecond.
        """
        count = min(as_size(count, "count"), 2**31 - 1)
        if not count:  # for futex(2) that is one
            self.load()
            return 0
        woken: int = _notify(self._word, count)
        if woken < 0:
            self.load()
            woken = max(0, _notify(self._word, count))  # where the kernel cannot wait for the word, nobody sleeps
        return woken
