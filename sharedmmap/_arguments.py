"""What callers hand in: numbers made exact, and the memory of their buffers."""

from __future__ import annotations

from operator import index

from ._native import memory_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, SupportsIndex

__all__ = ["as_byte", "as_index", "as_range", "as_size", "readable_memory", "writable_memory"]


def as_index(value: SupportsIndex) -> int:
    """An exact ``int``: a subclass could compare as it likes, a numpy integer wraps."""
    value = index(value)
    return value if type(value) is int else int.__add__(value, 0)


def as_size(value: SupportsIndex, name: str) -> int:
    """The same, of what must not be negative."""
    size = as_index(value)
    if size < 0:
        raise ValueError(f"{name} {size} is negative")
    return size


def as_byte(value: SupportsIndex) -> int:
    """The same, of what must fit into a byte."""
    byte = as_index(value)
    if not 0 <= byte <= 255:
        raise ValueError(f"a byte must be in range(0, 256), not {byte}")
    return byte


def as_range(key: slice, length: int) -> range:
    """The indices that ``key`` selects of ``length``. Its bounds are made exact: ``indices`` trusts them."""
    bounds = (None if bound is None else as_index(bound) for bound in (key.start, key.stop, key.step))
    return range(*slice(*bounds).indices(length))


def readable_memory(source: Any) -> Any:
    """The memory of any C-contiguous buffer, for a ``with``; its ``len`` is in bytes. Else ``BufferError``.

    A ``with``, since an exception keeps the frames, and those would keep the memory: where all that is garbage
    together with the memoryview it belongs to, CPython before 3.12.7 crashes (gh-77894). No signal handler runs
    between the call and the ``with``.
    """
    return memory_of(source, False)


def writable_memory(dest: Any) -> Any:
    """The same of any writable C-contiguous buffer."""
    return memory_of(dest, True)
