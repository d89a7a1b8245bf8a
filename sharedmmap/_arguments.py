"""What callers hand in: numbers made exact, and the memory of their buffers."""

from __future__ import annotations

from contextlib import nullcontext
from operator import index
from typing import Any, SupportsIndex

from ._native import PYPY, ffi

__all__ = ["as_index", "as_range", "as_size", "exact_bytes", "readable_bytes", "writable_bytes"]

_BYTES = ffi.typeof("char[]")


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


def as_range(key: slice, length: int) -> range:
    """The indices that ``key`` selects of ``length``. Its bounds are made exact: ``indices`` trusts them."""
    bounds = (None if bound is None else as_index(bound) for bound in (key.start, key.stop, key.step))
    return range(*slice(*bounds).indices(length))


def readable_bytes(source: Any) -> Any:
    """What ``Region.write_from`` copies from, for a ``with``; its length is in bytes. Of any C-contiguous buffer.

    A ``with``, since an exception keeps the frames, and those would keep the memory: where all that is garbage
    together with the memoryview it belongs to, CPython before 3.12.7 crashes (gh-77894). No signal handler runs
    between the call and the ``with``.
    """
    return _pypy_memory(source, False) if PYPY else ffi.from_buffer(_BYTES, source)


def writable_bytes(dest: Any) -> Any:
    """The same of any writable one, for ``Region.read_into`` to copy to."""
    return _pypy_memory(dest, True) if PYPY else ffi.from_buffer(_BYTES, dest, True)


def exact_bytes(memory: Any) -> bytes:
    """A copy of what the ``with`` of either gave."""
    return ffi.buffer(memory)[:] if isinstance(memory, ffi.CData) else bytes(memory)


def _pypy_memory(target: Any, writable: bool) -> Any:
    """The same on PyPy: cdata, or where that would not be safe or cannot be had, something to be sliced.

    PyPy lets another thread resize a bytearray while cdata points into it.
    """
    if isinstance(target, bytearray) or (type(target) is bytes and not writable):
        return nullcontext(target)
    view = target if type(target) is memoryview else memoryview(target)
    if not view.c_contiguous:
        raise BufferError("the buffer is not C-contiguous")
    if writable and view.readonly:
        raise BufferError("the buffer is read-only")
    try:
        return ffi.from_buffer(_BYTES, target, writable)
    except TypeError:  # it has no address
        return view.cast("B")
