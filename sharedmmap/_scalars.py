"""Single values: a reader and a writer for each row of the table, made from one description.

An accessor has two forms. CPython makes one call into C that does everything and keeps the GIL; PyPy goes
through a pointer, which its compiler turns into the check, the load or store, and nothing else. What does not
go the common way (an odd type, a value or an offset out of range, a region that is not live) takes one
slow path, the same for both.
"""

from __future__ import annotations

import math
import re
import sys
from contextlib import suppress
from typing import Any, Callable, NamedTuple, Protocol, SupportsFloat, SupportsIndex, TypeVar, Union

from ._arguments import as_index
from ._native import PYPY, ffi, quick
from ._region import Region

__all__ = ["by_call", "by_pointer", "float_accessors", "int_accessors"]

V_co = TypeVar("V_co", covariant=True)
V_contra = TypeVar("V_contra", contravariant=True)


class _Read(Protocol[V_co]):
    def __call__(self, offset: SupportsIndex) -> V_co: ...


class _Write(Protocol[V_contra]):
    def __call__(self, value: V_contra, offset: SupportsIndex) -> None: ...


class _Method(Protocol[V_co]):
    """How a type checker sees a function that becomes a method."""

    def __get__(self, instance: object, owner: type | None = None) -> V_co: ...


IntReader = _Method[_Read[int]]
IntWriter = _Method[_Write[SupportsIndex]]
FloatReader = _Method[_Read[float]]
FloatWriter = _Method[_Write[Union[SupportsFloat, SupportsIndex]]]

_NOT_EXACT = (OverflowError, TypeError)
"""What a quick call raises for an argument that is no ``int``, or that does not fit."""

_NO_VALUE = (*_NOT_EXACT, LookupError)
"""What a quick load raises besides where nothing is accessible."""

_GREATEST_FLOAT32 = float.fromhex("0x1.fffffep127")
_OVERFLOWS_FLOAT32 = float.fromhex("0x1.ffffffp127")  # half way from the greatest float32 to the next power


class Row(NamedTuple):
    """One row of the table."""

    name: str
    size: int  # bytes
    low: float  # the range of an integer; a float outside of it is looked at again
    high: float
    load: Callable[[Any, SupportsIndex], Any]
    store: Callable[[Any, SupportsIndex, Any], int]  # not 0 where the slow path must tell what happened

    @property
    def is_float(self) -> bool:
        return self.name.startswith("float")

    def read_slowly(self, region: Region, offset: SupportsIndex) -> Any:
        offset = as_index(offset)
        while True:
            region.require(offset, self.size)
            with suppress(LookupError):  # the limit or the state changed after require(): ask again
                value = self.load(region.c, offset)
                # On PyPy there is no exception, but a 0.
                if value or (offset <= region.c.limit - self.size and not region.state[0]):
                    return value

    def write_slowly(self, region: Region, value: Any, offset: SupportsIndex) -> None:
        if self.is_float:
            if type(value) is not float:
                value = math.ldexp(value, 0)  # an exact one: its __float__ is asked once
            if self.size == 4 and math.isfinite(value) and math.fabs(value) >= _OVERFLOWS_FLOAT32:
                raise OverflowError(f"{value!r} is too large for {self.name}")
        else:
            value = as_index(value)
            if not self.low <= value <= self.high:
                raise OverflowError(f"{value} is out of range for {self.name}: {self.low} to {self.high}")
        offset = as_index(offset)
        region.require(offset, self.size, writing=True)
        while self.store(region.c, offset, value):
            region.require(offset, self.size, writing=True)


def _row(name: str) -> Row:
    size = int(re.sub(r"\D", "", name)) // 8
    low: float
    high: float
    if name.startswith("float"):
        high = _GREATEST_FLOAT32 if size == 4 else math.inf
        low = -high
    elif name.startswith("u"):
        low, high = 0, 2 ** (8 * size) - 1
    else:
        high = sys.maxsize >> 64 - 8 * size  # not from a power of two: what was a long once stays one on PyPy
        low = -high - 1
    return Row(name, size, low, high, getattr(quick, f"load_{name}"), getattr(quick, f"store_{name}"))


def by_call(row: Row) -> tuple[Any, Any]:
    """The accessors as one C call each; it checks the range before the access and the state after it."""
    load, store = row.load, row.store
    read_slowly, write_slowly = row.read_slowly, row.write_slowly

    def read(self: Any, offset: SupportsIndex) -> Any:
        region = self._region
        try:
            return load(region.c, offset)
        except _NO_VALUE:
            pass
        return read_slowly(region, offset)

    def write(self: Any, value: Any, offset: SupportsIndex) -> None:
        region = self._region
        try:
            if not store(region.c, offset, value):
                return
        except _NOT_EXACT:
            pass
        write_slowly(region, value, offset)

    return read, write


def by_pointer(row: Row) -> tuple[Any, Any]:
    """The accessors through a pointer, checked here."""
    size, low, high, number = row.size, row.low, row.high, float if row.is_float else int
    read_slowly, write_slowly = row.read_slowly, row.write_slowly
    stored_as = ffi.typeof({"float32": "float *", "float64": "double *"}.get(row.name, f"{row.name}_t *"))
    # A uint64 is loaded as a signed one, which PyPy does not box, and compared in the range of those first; what
    # does not fit is corrected. A NaN goes the slow way, which differs from itself: a conversion could change its
    # bits.
    loaded_as, wrap = stored_as, 0
    if row.name == "uint64":
        loaded_as, high, wrap = ffi.typeof("int64_t *"), sys.maxsize, 2**64
    view = ffi.cast

    def read(self: Any, offset: SupportsIndex) -> Any:
        region = self._region
        c = region.c
        if type(offset) is int and 0 <= offset <= c.limit - size:
            value = view(loaded_as, c.base + offset)[0]  # in bounds: checked above; alive: region
            if not c.state and value == value:
                return value if not wrap or value >= 0 else value + wrap
        return read_slowly(region, offset)

    def write(self: Any, value: Any, offset: SupportsIndex) -> None:
        region = self._region
        c = region.c
        if (
            type(offset) is int
            and type(value) is number
            and 0 <= offset <= c.limit - size
            and c.writable
            and low <= value
            and (value <= high or value < wrap)
        ):
            c.dirty = 1  # now and after the store: a signal handler that raises may come between
            view(stored_as, c.base + offset)[0] = value  # in bounds: checked above; alive: region
            c.dirty = 1
            if not c.state:
                return
        write_slowly(region, value, offset)

    return read, write


def _accessors(name: str) -> tuple[Any, Any]:
    row = _row(name)
    read, write = by_pointer(row) if PYPY else by_call(row)
    kind = "float" if row.is_float else "int"
    for function, verb, types in (
        (read, "read", {"offset": "SupportsIndex", "return": kind}),
        (write, "write", {"value": kind, "offset": "SupportsIndex", "return": "None"}),
    ):
        function.__name__ = f"{verb}_{name}_at"
        function.__qualname__ = f"File.{verb}_{name}_at"
        function.__annotations__ = types
        function.__doc__ = _docstring(row, verb)
    return read, write


def _docstring(row: Row, verb: str) -> str:
    count = "byte" if row.size == 1 else f"{row.size} bytes"
    text = f"{verb.title()} the {count} at ``offset`` as {row.name}, little-endian.\n\n"
    if row.size > 1:
        text += "Any alignment; where the address is aligned the access is one load or store and never tears.\n"
    text += f"``OutOfBoundsError`` unless the {count} from ``offset`` are all accessible.\n"
    if verb == "write" and row.name == "float32":
        text += "``OverflowError`` if a finite ``value`` is too large.\n"
    elif verb == "write" and not row.is_float:
        text += f"``OverflowError`` unless {row.low} <= ``value`` <= {row.high}; nothing is written.\n"
    return text


def int_accessors(name: str) -> tuple[IntReader, IntWriter]:
    """``read_NAME_at`` and ``write_NAME_at``, for the body of a class with a ``_region``."""
    return _accessors(name)


def float_accessors(name: str) -> tuple[FloatReader, FloatWriter]:
    """The same, for a floating-point type."""
    return _accessors(name)
