"""Single values: a reader and a writer for each row of the table of scalars, made from one description.

The fast path is one quick call, that checks the range, touches the memory and checks the state. What it refuses
(an odd type, a value or an offset out of range, a region that is not live) takes the checked path.
"""

from __future__ import annotations

import math

from ._arguments import as_index
from ._native import RefusedError, lib, quick, used_by_all
from ._region import Region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Protocol, SupportsFloat, SupportsIndex, TypeVar, Union

    V_co = TypeVar("V_co", covariant=True)
    V_contra = TypeVar("V_contra", contravariant=True)

    class _Read(Protocol[V_co]):
        def __call__(self, offset: SupportsIndex) -> V_co: ...

    class _Write(Protocol[V_contra]):
        def __call__(self, value: V_contra, offset: SupportsIndex) -> None: ...

    class Method(Protocol[V_co]):
        """How a type checker sees a function that becomes a method."""

        def __get__(self, instance: object, owner: type | None = None) -> V_co: ...

    IntReader = Method[_Read[int]]
    IntWriter = Method[_Write[SupportsIndex]]
    FloatReader = Method[_Read[float]]
    FloatWriter = Method[_Write[Union[SupportsFloat, SupportsIndex]]]

__all__ = ["accessors", "float_accessors", "int_accessors"]


class Row:
    """One row of the table."""

    def __init__(self, name: str, calls: Any) -> None:
        bits = int("".join(filter(str.isdigit, name)))
        self.name = name
        self.is_float = name.startswith("float")
        self.size = bits // 8  # bytes
        self.low, self.high = 0, 2**bits - 1  # the range of an integer
        if not name.startswith("uint"):
            self.low, self.high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        self.load: Callable[[Any, SupportsIndex], Any] = getattr(calls, f"load_{name}")
        # 0, or not 0 where it was not done
        self.store: Callable[[Any, SupportsIndex, Any], int] = getattr(calls, f"store_{name}")

    def checked_read(self, region: Region, offset: SupportsIndex) -> Any:
        offset = as_index(offset)
        while True:
            region.require(offset, self.size)
            try:
                return self.load(region.c, offset)
            except RefusedError:  # the limit or the state has changed since
                continue

    def checked_write(self, region: Region, value: Any, offset: SupportsIndex) -> None:
        if self.is_float:
            value = math.ldexp(value, 0)  # an exact one: its __float__ is asked once
        else:
            value = as_index(value)
            if not self.low <= value <= self.high:
                raise OverflowError(f"{value} is out of range for {self.name}: {self.low} to {self.high}")
        offset = as_index(offset)
        region.require(offset, self.size, writing=True)
        while status := self.store(region.c, offset, value):
            if status == lib.TOO_LARGE:
                raise OverflowError(f"{value!r} is too large for {self.name}")
            region.require(offset, self.size, writing=True)


def accessors(name: str, calls: Any = quick) -> tuple[Any, Any]:
    """``read_NAME_at`` and ``write_NAME_at``; the tests try them with the calls of either interpreter."""
    row = Row(name, calls)
    load, store, checked_read, checked_write = row.load, row.store, row.checked_read, row.checked_write

    def read(self: Any, offset: SupportsIndex) -> Any:
        region = self._region
        try:
            return load(region.c, offset)
        except RefusedError:
            pass
        return checked_read(region, offset)

    def write(self: Any, value: Any, offset: SupportsIndex) -> None:
        region = self._region
        try:
            if not store(region.c, offset, value):
                return
        except RefusedError:
            pass
        checked_write(region, value, offset)

    kind = "float" if row.is_float else "int"
    for function, verb, types in (
        (read, "read", {"offset": "SupportsIndex", "return": kind}),
        (write, "write", {"value": kind, "offset": "SupportsIndex", "return": "None"}),
    ):
        function.__name__ = f"{verb}_{name}_at"
        function.__qualname__ = f"File.{verb}_{name}_at"
        function.__annotations__ = types
        function.__doc__ = _docstring(row, verb)
    return used_by_all(read), used_by_all(write)


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
    return accessors(name)


def float_accessors(name: str) -> tuple[FloatReader, FloatWriter]:
    """The same, for a floating-point type."""
    return accessors(name)
