"""All that is different on PyPy: the quick calls through a pointer, and the memory of callers' buffers.

The compiler of PyPy keeps the order of an access through a cdata pointer and a later load of ``c.state``: both
are raw memory operations to it, which it does not reorder. The processor's part is argued in
``csrc/overlay.h``.

The functions have the names, the arguments and the answers of the C functions that CPython calls in their place
(``csrc/access.h``, ``csrc/scalar.h``, ``csrc/object.h``, ``csrc/word.h``). Each has the same three steps: check
the range against the limit, touch the memory, check the state. SAFETY refers to these, as in ``csrc/access.h``:

- in bounds: checked against the limit just before; the file may shrink now, that is the SIGBUS handler's case.
- alive: the caller refers to the region.

What writes in Python marks the region dirty before the access as well as after it. Before: a signal handler may
raise between the access and the second mark. After: a flush in another thread may have cleared the first one. If
both happen during one write, the region may stay clean although a part of it was written. An exchange that is not
made marks the region, too; in C it does not.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager, nullcontext
from struct import Struct

from ._errors import RefusedError
from ._ffi import ffi, lib
from ._quick import lib as in_c
from ._scalar_names import SCALARS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Callable

PIECE: int = lib.PIECE
BYTES_PIECE: int = 4 * PIECE
"""As PIECE, for copies that make ``bytes``. Without the GIL these are made first, and filled then. For a megabyte
that takes six times as long as slicing a buffer, since ``bytes(n)`` is new memory of the system each time."""

NOT_ACCESSIBLE: int = lib.NOT_ACCESSIBLE
_BYTES = ffi.typeof("char[]")

unset_bytes = bytes  # here its memory is set to zeros
is_live = in_c.is_live
region_is_clean = in_c.region_is_clean
region_find = in_c.region_find
region_rfind = in_c.region_rfind
region_fill = in_c.region_fill
region_move = in_c.region_move
region_scatter = in_c.region_scatter
mutex_take = in_c.mutex_take
mutex_take_over = in_c.mutex_take_over
mutex_release = in_c.mutex_release
mutex_undo = in_c.mutex_undo
word_notify = in_c.word_notify


# ---- copies ----


def _copy(own: Any, memory: Any, size: int, *, writing: bool) -> None:
    """As memmove(3): from the mapping (``own``) to a caller's memory or, for ``writing``, the other way.

    Slices are assigned where that is possible, since it takes a third of the time of ffi.memmove(). But it is
    memcpy(3): what overlaps, because the caller's memory is a view of this mapping, needs ffi.memmove().
    """
    if type(memory) is bytes:
        own[0:size] = memory if len(memory) == size else memory[:size]
        return
    dest, src = (own, memory) if writing else (memory, own)
    if -size < own - memory < size:
        ffi.memmove(dest, src, size)
    else:
        dest[0:size] = src[0:size]


def region_read(c: Any, offset: int, dest: Any, size: int) -> int:
    if not 0 <= offset <= c.limit - size:
        return NOT_ACCESSIBLE
    _copy(c.base + offset, dest, size, writing=False)  # SAFETY: in bounds, alive
    return NOT_ACCESSIBLE if c.state and not is_live(c) else 0


def region_write(c: Any, offset: int, src: Any, size: int) -> int:
    if not 0 <= offset <= c.limit - size or not c.writable:
        return NOT_ACCESSIBLE
    c.dirty = 1
    _copy(c.base + offset, src, size, writing=True)  # SAFETY: in bounds, alive
    c.dirty = 1
    return NOT_ACCESSIBLE if c.state and not is_live(c) else 0


def region_bytes(c: Any, offset: int, size: int) -> bytes:
    if type(offset) is not int or not (0 <= size < BYTES_PIECE and 0 <= offset <= c.limit - size):
        raise RefusedError
    found: bytes = ffi.buffer(c.base + offset, size)[:]  # SAFETY: in bounds, alive
    if c.state and not is_live(c):
        raise RefusedError
    return found


def region_unpack(c: Any, layout: Any, offset: int) -> tuple[Any, ...]:
    size = layout.size
    if type(layout) is not Struct or type(offset) is not int or not 0 <= offset <= c.limit - size:
        raise RefusedError
    values = layout.unpack_from(ffi.buffer(c.base + offset, size))  # SAFETY: in bounds, alive
    if c.state and not is_live(c):
        raise RefusedError
    return values


def _slice_range(c: Any, key: slice) -> tuple[int, int]:
    """The first offset of ``key``, and the one after its last. The caller checks them against the limit.

    Not by ``key.indices()``: in some processes the compiler does not inline it, and a slice takes twice as long.
    """
    start, stop = key.start, key.stop
    if start is None:
        start = 0
    if stop is None:
        stop = c.length
    if type(start) is not int or type(stop) is not int or key.step is not None:
        raise RefusedError
    if start < 0:
        start += c.length
    if stop < 0:
        stop += c.length
    return start, stop


def region_get_item(c: Any, key: Any) -> Any:
    if type(key) is not slice:
        if type(key) is not int:
            raise RefusedError
        return _load_byte(c, key if key >= 0 else key + c.length)
    start, stop = _slice_range(c, key)
    return region_bytes(c, start, stop - start)


def region_set_item(c: Any, key: Any, value: Any) -> int:
    if type(key) is not slice:
        raise RefusedError
    start, stop = _slice_range(c, key)
    with memory_of(value, False) as memory:
        size = len(memory)
        if stop - start != size or not 0 < size < PIECE:
            raise RefusedError
        return region_write(c, start, memory, size)


def region_read_at(c: Any, dest: Any, offset: int) -> int:
    if type(offset) is not int:
        raise RefusedError
    with memory_of(dest, True) as memory:
        size = len(memory)
        return size if 0 < size < PIECE and not region_read(c, offset, memory, size) else 0


def region_write_at(c: Any, src: Any, offset: int) -> int:
    if type(offset) is not int:
        raise RefusedError
    with memory_of(src, False) as memory:
        size = len(memory)
        return size if 0 < size < PIECE and not region_write(c, offset, memory, size) else 0


# ---- scalars ----


def _accessors(name: str) -> tuple[Callable[..., Any], Callable[..., int]]:
    """``load_NAME`` and ``store_NAME``."""
    low: Any
    high: Any
    load_in_c, store_in_c = getattr(in_c, f"load_{name}"), getattr(in_c, f"store_{name}")
    bits = int("".join(filter(str.isdigit, name)))
    size = bits // 8
    if name.startswith("float"):
        number: Any = float
        stored_as = ffi.typeof("float *" if bits == 32 else "double *")
        high = float.fromhex("0x1.fffffep127") if bits == 32 else sys.float_info.max
        low = -high
    else:
        number = int
        stored_as = ffi.typeof(f"{name}_t *")
        # Not 2**63 - 1: PyPy keeps such a result as a long integer, which is slow to compare with.
        high = sys.maxsize >> 64 - bits if name.startswith("i") or bits == 64 else 2**bits - 1
        low = 0 if name.startswith("u") else -high - 1
    # A uint64 is loaded as a signed one, which PyPy does not box, and compared in the range of those first.
    loaded_as, wrap = (ffi.typeof("int64_t *"), 2**64) if name == "uint64" else (stored_as, 0)
    cast = ffi.cast

    def load(c: Any, offset: int) -> Any:
        if type(offset) is not int:
            raise RefusedError
        if 0 <= offset <= c.limit - size:
            value = cast(loaded_as, c.base + offset)[0]  # SAFETY: in bounds, alive
            if value != value:  # a NaN, of which a conversion may change the bits
                value = load_in_c(c, offset)
                if not value:  # which is also what it returns for no value
                    raise RefusedError
            if not c.state or is_live(c):
                return value + wrap if wrap and value < 0 else value
        raise RefusedError

    def store(c: Any, offset: int, value: Any) -> int:
        if type(offset) is not int or type(value) is not number:
            raise RefusedError
        if not (0 <= offset <= c.limit - size and c.writable):
            return NOT_ACCESSIBLE
        if not (low <= value and (value <= high or value < wrap)):
            if number is int:
                raise RefusedError
            status: int = store_in_c(c, offset, value)  # a NaN, an infinity, or too large
            return status
        c.dirty = 1
        cast(stored_as, c.base + offset)[0] = value  # SAFETY: in bounds, alive
        c.dirty = 1
        return NOT_ACCESSIBLE if c.state and not is_live(c) else 0

    return load, store


for _name in SCALARS:
    globals()[f"load_{_name}"], globals()[f"store_{_name}"] = _accessors(_name)
_load_byte = globals()["load_uint8"]

# ---- atomic words ----


def _word_calls(name: str) -> dict[str, Callable[..., int]]:
    size = ffi.sizeof(f"{name}_t")
    # Two bounds, since comparing with a long is slow.
    high, highest = min(sys.maxsize, 2 ** (8 * size) - 1), 2 ** (8 * size) - 1
    load_at, exchange_at = getattr(in_c, f"load_at_{name}"), getattr(in_c, f"compare_exchange_at_{name}")

    def load(word: Any) -> int:
        c, offset = word.region, word.offset
        if offset > c.limit - size:
            raise RefusedError
        value: int = load_at(c.base + offset)  # SAFETY: in bounds, alive
        if c.state and not is_live(c):
            raise RefusedError
        return value

    def compare_exchange(word: Any, expected: int, desired: int) -> int:
        c, offset = word.region, word.offset
        if offset > c.limit - size or not c.writable:
            raise RefusedError
        c.dirty = 1
        seen: int = exchange_at(c.base + offset, expected, desired)  # SAFETY: in bounds, alive
        c.dirty = 1
        if c.state and not is_live(c):
            raise RefusedError
        return seen

    def fetch(operation: str) -> Callable[[Any, int], int]:
        operate_at = getattr(in_c, f"{operation}_at_{name}")

        def operate(word: Any, operand: int) -> int:
            c, offset = word.region, word.offset
            if type(operand) is not int or not (operand >= 0 and (operand <= high or operand <= highest)):
                raise RefusedError
            if offset > c.limit - size or not c.writable:
                raise RefusedError
            c.dirty = 1
            before: int = operate_at(c.base + offset, operand)  # SAFETY: in bounds, alive
            c.dirty = 1
            if c.state and not is_live(c):
                raise RefusedError
            return before

        return operate

    return {
        f"load_word_{name}": load,
        f"compare_exchange_{name}": compare_exchange,
        **{
            f"{operation}_{name}": fetch(operation)
            for operation in ("exchange", "fetch_add", "fetch_sub", "fetch_and", "fetch_or", "fetch_xor")
        },
    }


globals().update(_word_calls("uint32"), **_word_calls("uint64"))

# ---- callers' buffers ----


def memory_of(buffer: Any, writable: bool) -> Any:
    """A context manager for the memory of a C-contiguous buffer: ``char[]`` or ``bytes``. Else ``BufferError``.

    A ``bytearray`` that is only read is copied to ``bytes`` in one step. PyPy before 8.0 lets a signal handler,
    or another thread, resize it while its address is in use.
    """
    if type(buffer) in (bytes, bytearray) and not writable and len(buffer) < PIECE:
        return nullcontext(bytes(buffer))
    try:
        if not isinstance(buffer, memoryview) or buffer.c_contiguous:  # else from_buffer() takes the wrong bytes
            return ffi.from_buffer(_BYTES, buffer, writable)
    except (TypeError, SystemError, ValueError):
        pass  # it has no address (PyPy 8.0: SystemError, for a view of one item with a step), or numpy refuses
    try:
        view = memoryview(buffer)
    except ValueError as error:  # it is released
        raise BufferError(str(error)) from None
    _require_memory(view, writable)
    return _copy_of(view, writable)


def _require_memory(view: memoryview, writable: bool) -> None:
    if not view.c_contiguous:
        raise BufferError("the buffer is not C-contiguous")
    if writable and view.readonly:
        raise BufferError("the buffer is read-only")


@contextmanager
def _copy_of(view: memoryview, writable: bool) -> Iterator[Any]:
    with view, view.cast("B") as row:
        memory = ffi.new(_BYTES, len(row))
        ffi.buffer(memory)[:] = row.tobytes()
        yield memory
        if writable:
            row[:] = ffi.buffer(memory)[:]


# ---- dropped mappings ----

_many_descriptors = 256


def before_mapping() -> None:
    """Called before a file is mapped: objects are collected late here, and dropped mappings may hold all
    descriptors."""
    global _many_descriptors
    if lib.open_descriptors() >= _many_descriptors:
        gc.collect()
        _many_descriptors = max(256, 2 * lib.open_descriptors())


def before_view(c: Any) -> None:
    """Called before a view is made: here what searches or unpacks a ``memoryview`` keeps only its address."""
    lib.region_keep(c)
