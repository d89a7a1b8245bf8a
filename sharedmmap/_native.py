"""The compiled modules, and the way in which this interpreter touches mapped memory.

There are two ways, with the same calls (``quick``) and the same answers. A call that cannot do what it is asked
for raises ``RefusedError``, or returns a status that is not success; the checked path then does it, or raises
the right exception.

- On CPython each operation is one call into C. It checks the range, touches the memory and checks the state.
  ``ffi.memmove`` and ``ffi.cast("uint64_t *")`` could touch the memory as well, but on CPython each of them takes
  longer than that whole call, and ``ffi.memmove`` keeps the GIL until it is done.
- On PyPy the checks are in Python, and slices of cdata, ``ffi.cast`` and ``ffi.buffer`` touch the memory: its
  compiler turns these into a few machine instructions. (``ffi.memmove`` is slower; it copies what overlaps.)
  What takes longer is a call into C there too: searching, filling, moving, long copies, atomic words,
  mutexes. All of this, and everything else that is different on PyPy, is in ``_pypy.py``.

This is the only module that asks which interpreter runs; the build does, too.
"""

from __future__ import annotations

import os
import sys

if sys.platform not in ("linux", "darwin") or sys.byteorder != "little" or sys.maxsize < 2**63 - 1:
    raise ImportError(
        "sharedmmap needs Linux or macOS on a 64-bit little-endian machine; "
        f"this is {sys.platform}, {sys.maxsize.bit_length() + 1}-bit, {sys.byteorder}-endian"
    )

try:
    from ._ffi import ffi, lib
    from ._quick import lib as _quick
except ModuleNotFoundError as error:
    raise ImportError(
        "sharedmmap's compiled modules are missing; install the package (pip install .), "
        "or build them in place (python build_ffi.py)"
    ) from error

from . import _errors

TYPE_CHECKING = False  # in all modules: importing typing would take half as long as all of the package
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    Function = TypeVar("Function", bound=Callable[..., Any])

__all__ = [
    "BYTES_PIECE",
    "PAGE",
    "PIECE",
    "RefusedError",
    "before_mapping",
    "before_view",
    "ffi",
    "lib",
    "memory_of",
    "pointer_to",
    "quick",
    "used_by_all",
]

PAGE = os.sysconf("SC_PAGESIZE")

PIECE: int = lib.PIECE
"""Copies of so many bytes, or more, release the GIL. A copy looks for a fault each time it has copied so many."""

RefusedError: Any = _errors.RefusedError
quick: Any
if sys.implementation.name == "pypy":
    from . import _pypy as quick
    from ._pypy import BYTES_PIECE, before_mapping, before_view, memory_of
else:
    quick = _quick
    # If the package was imported before in this process, this is the class of the first import.
    RefusedError = quick.refuse_with(RefusedError)
    _BYTES = ffi.typeof("char[]")
    BYTES_PIECE = PIECE

    def memory_of(buffer: Any, writable: bool) -> Any:
        """A context manager for the memory of a C-contiguous buffer: ``char[]``. Else ``BufferError``."""
        try:
            return ffi.from_buffer(_BYTES, buffer, writable)
        except ValueError as error:  # numpy's, of what is not contiguous
            reason = str(error)
        raise BufferError(reason)

    def before_mapping() -> None:
        """Called before a file is mapped. There is nothing to do: CPython frees a dropped mapping at once."""

    def before_view(c: Any) -> None:
        """Called before a view is made. There is nothing to do: here a ``memoryview`` keeps its memory alive."""


FREE_THREADED = "t" in getattr(sys, "abiflags", "")
if FREE_THREADED:  # for the same reason as in used_by_all()
    for _name in dir(quick):
        quick.defer_counts(getattr(quick, _name))


def pointer_to(structure: str) -> Any:
    """The type of a pointer to a structure. Call this when a module is imported, not later.

    cffi looks up a type when it is first named, and the fields of a structure when one of them is first used. If
    two threads do that at the same time, without a GIL, cffi 1.17 ends the process.
    """
    pointer = ffi.typeof(f"struct {structure} *")
    len(pointer.item.fields)  # looks them up
    return pointer


def used_by_all(function: Function) -> Function:
    """Defers the reference counts of a function that is defined in another function; returns it.

    Else, on a CPython without the GIL, all threads that call it write to these counts and slow each other down.
    The interpreter itself defers those of a function that is defined in a module or in a class.
    """
    if FREE_THREADED:
        for part in (function, *(function.__closure__ or ())):
            quick.defer_counts(part)
    return function
