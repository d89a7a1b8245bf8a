"""Single values of ten types, through both forms of the accessors, on every interpreter."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import struct
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import pytest
from child import output
from hypothesis import given
from hypothesis import strategies as st

import sharedmmap
from sharedmmap import File, OutOfBoundsError, _pypy
from sharedmmap._native import RefusedError
from sharedmmap._scalar_names import SCALARS
from sharedmmap._scalars import accessors

PAGE = mmap.PAGESIZE
FORMATS = dict(zip(SCALARS, ["<b", "<B", "<h", "<H", "<i", "<I", "<q", "<Q", "<f", "<d"]))
SIZES = {name: struct.calcsize(code) for name, code in FORMATS.items()}
INTEGERS = [name for name in SCALARS if "int" in name]
FLOATS = ["float32", "float64"]
RANGES = {
    name: (0, 2 ** (8 * SIZES[name]) - 1)
    if name.startswith("u")
    else (-(2 ** (8 * SIZES[name] - 1)), 2 ** (8 * SIZES[name] - 1) - 1)
    for name in INTEGERS
}
LARGEST_FLOAT32 = float.fromhex("0x1.fffffep127")
TOO_LARGE_FLOAT32 = float.fromhex("0x1.ffffffp127")  # half way to the next power of two: rounds up


class FileByPointer(File):
    """The accessors as PyPy has them, on every interpreter."""

    for name in SCALARS:
        locals()[f"read_{name}_at"], locals()[f"write_{name}_at"] = accessors(name, _pypy)


@pytest.fixture(params=[File, FileByPointer])
def kind(request):
    return request.param


@pytest.fixture
def m(kind, path):
    with path.open("r+b") as f, kind(f) as m:
        yield m


@pytest.fixture
def read(m):
    """``read("int8", offset)``"""
    return lambda name, offset: getattr(m, f"read_{name}_at")(offset)


@pytest.fixture
def write(m):
    """``write("int8", value, offset)``"""
    return lambda name, value, offset: getattr(m, f"write_{name}_at")(value, offset)


def cases(values):
    return [pytest.param(name, value, id=f"{name} {value!r}") for name in SCALARS for value in values(name)]


def boundaries(name):
    if name in FLOATS:
        return [0.0, -0.0, 1.5, -1.5, math.inf, -math.inf, 2.0**-149, LARGEST_FLOAT32, -LARGEST_FLOAT32]
    low, high = RANGES[name]
    near = {low, low + 1, -1, 0, 1, high // 2, high // 2 + 1, high - 1, high}
    return sorted(value for value in near if low <= value)


# ---- values ----


@pytest.mark.parametrize(("name", "value"), cases(boundaries))
def test_a_value_is_laid_out_as_struct_does_and_comes_back(m, path, contents, read, write, name, value):
    packed = struct.pack(FORMATS[name], value)
    for offset in (0, 1, 8, PAGE - 1, PAGE - 4, PAGE + 3):
        m[:] = contents
        assert write(name, value, offset) is None
        assert path.read_bytes() == contents[:offset] + packed + contents[offset + len(packed) :]
        assert read(name, offset) == value
        assert type(read(name, offset)) is type(value)
        assert struct.pack(FORMATS[name], read(name, offset)) == packed  # tells the zeros apart


@given(bits=st.binary(min_size=8, max_size=8), offset=st.integers(0, PAGE + 8), name=st.sampled_from(SCALARS))
def test_any_bits_are_read_as_struct_reads_them_and_survive_a_copy(m, read, write, bits, offset, name):
    size = SIZES[name]
    m[offset : offset + 8] = bits
    value = read(name, offset)
    (expected,) = struct.unpack(FORMATS[name], bits[:size])
    assert value == expected or (math.isnan(value) and math.isnan(expected))
    write(name, value, 2 * PAGE)
    assert m[2 * PAGE : 2 * PAGE + size] == bits[:size]


NANS = {
    "float32": [0x7FC00000, 0xFFC00000, 0x7FC12345, 0xFFFFFFFF, 0x7F800001, 0x7FA00000, 0xFF812345, 0x7FBFFFFF],
    "float64": [
        0x7FF8000000000000,
        0xFFF8000000000000,
        0x7FF8123456789ABC,
        0xFFFFFFFFFFFFFFFF,
        0x7FF0000000000001,
        0x7FF4000000000000,
        0xFFF0123456789ABC,
        0x7FF7FFFFFFFFFFFF,
    ],
}


@pytest.mark.parametrize(("name", "bits"), [(name, bits) for name in NANS for bits in NANS[name]])
def test_a_nan_keeps_its_sign_its_payload_and_its_signal(m, read, write, name, bits):
    raw = bits.to_bytes(SIZES[name], "little")
    m[: len(raw)] = raw
    assert math.isnan(read(name, 0))
    for offset in (16, 33):
        write(name, read(name, 0), offset)
        assert m[offset : offset + len(raw)] == raw


@pytest.mark.parametrize("payload", [1, 2**28, 2**29 - 1])
def test_a_nan_whose_payload_does_not_fit_stays_a_nan(read, write, payload):
    (value,) = struct.unpack("<d", (0x7FF0000000000000 | payload).to_bytes(8, "little"))
    write("float32", value, 0)
    assert math.isnan(read("float32", 0))


@pytest.mark.parametrize("name", FLOATS)
def test_a_nan_that_is_cut_off_while_it_is_read_is_not_a_zero(path, monkeypatch, name):
    """On PyPy it is read through a pointer, and then by a call into C, which returns 0 if it is out of range."""

    def cut_off_and_load(c, offset):
        os.truncate(path, 0)
        assert m.accessible == 0
        return load_in_c(c, offset)

    load_in_c, store_in_c = getattr(_pypy.in_c, f"load_{name}"), getattr(_pypy.in_c, f"store_{name}")
    calls = {f"load_{name}": cut_off_and_load, f"store_{name}": store_in_c}
    monkeypatch.setattr(_pypy, "in_c", SimpleNamespace(**calls))
    load, store = _pypy._accessors(name)
    with sharedmmap.open(path) as m:
        store(m._region.c, 0, math.nan)
        with pytest.raises(RefusedError):
            load(m._region.c, 0)


def test_a_float32_is_rounded_to_the_nearest(read, write):
    for value in (0.1, 1 / 3, 16777217.0, 1e-46, 5e-324, TOO_LARGE_FLOAT32 * (1 - 2**-53)):
        write("float32", value, 3)
        assert read("float32", 3) == struct.unpack("<f", struct.pack("<f", value))[0]


# ---- values that do not fit ----


@pytest.mark.parametrize(
    ("name", "value"), cases(lambda name: [] if name in FLOATS else [RANGES[name][0] - 1, RANGES[name][1] + 1])
)
def test_an_integer_out_of_range_is_an_overflow_error_that_names_the_range(m, path, contents, write, name, value):
    low, high = RANGES[name]
    for far in (value, value * 2**32 - 1, value * 2**64 - 1):
        with pytest.raises(OverflowError, match=f"{far} is out of range for {name}: {low} to {high}"):
            write(name, far, 0)
    assert not m.dirty
    assert path.read_bytes() == contents


@pytest.mark.parametrize("value", [TOO_LARGE_FLOAT32, -TOO_LARGE_FLOAT32, 1e39, -1.7e308, 10**39, -(10**300)])
def test_a_finite_value_too_large_for_float32_is_an_overflow_error(m, path, contents, write, value):
    with pytest.raises(OverflowError, match="float32"):
        write("float32", value, 0)
    assert not m.dirty
    assert path.read_bytes() == contents


def test_what_rounds_up_to_too_large_for_float32_is_an_overflow_error(path):
    """These are below the limit, and what they are converted to is not."""
    code = """
        from fractions import Fraction
        class Modest(float):
            def __abs__(self):
                return 0.0
        m = sharedmmap.open(path)
        limit = 2**128 - 2**103
        for value in (limit - 1, 1 - limit, Fraction(3 * limit - 1, 3), Modest(1e300)):
            try:
                m.write_float32_at(value, 0)
            except OverflowError:
                print(m.dirty)
    """
    assert output(code, path).split() == ["False"] * 4


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_an_integer_too_large_for_any_float_is_an_overflow_error(m, write, name, value):
    with pytest.raises(OverflowError):
        write(name, value, 0)
    assert not m.dirty


@pytest.mark.parametrize(
    ("name", "value"), cases(lambda name: ["1", b"1", None, [1], 1j] + [1.0, Decimal(1)] * (name in INTEGERS))
)
def test_a_value_of_another_type_is_a_type_error(m, write, name, value):
    with pytest.raises(TypeError):
        write(name, value, 0)
    with pytest.raises(TypeError):
        write(name, value, Index(0))
    assert not m.dirty


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


class Real:
    def __float__(self):
        return 1.5


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [True, False, Index(100), type("Sub", (int,), {})(100)])
def test_whatever_is_an_index_is_an_integer(read, write, name, value):
    write(name, value, 5)
    assert read(name, 5) == value.__index__()


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize(
    "value", [True, 3, Fraction(3, 2), Decimal("1.5"), Real(), type("Sub", (float,), {})(1.5)]
)
@pytest.mark.parametrize("offset", [0, Index(7)])
def test_whatever_converts_to_float_is_a_float(read, write, name, value, offset):
    write(name, value, offset)
    assert read(name, offset) == float(value)


@pytest.mark.parametrize("value", [Real(), Fraction(3, 2), 3])
@pytest.mark.parametrize("name", FLOATS)
def test_whatever_converts_to_float_is_out_of_bounds_where_a_float_is(write, name, value):
    with pytest.raises(OutOfBoundsError):
        write(name, value, 10 * PAGE)


class Liar(int):
    """Says that it is within every range."""

    def __lt__(self, other):
        return other > 0

    def __gt__(self, other):
        return False

    def __le__(self, other):
        return True

    __ge__ = __eq__ = __le__
    __hash__ = int.__hash__


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [2**70, -(2**70), 2**64])
def test_a_value_that_lies_in_comparisons_is_taken_for_what_it_is(m, write, name, value):
    with pytest.raises(OverflowError):
        write(name, Liar(value), 0)
    assert not m.dirty


# ---- offsets ----

END = 3 * PAGE + 100
FAR = [-1, -8, -(2**31), -(2**63), -(2**63) - 1, -(2**64), 2**31, 2**32, 2**63 - 8, 2**63 - 1, 2**63, 2**64, 2**70]


@pytest.mark.parametrize("name", SCALARS)
def test_an_offset_outside_is_out_of_bounds(m, path, contents, read, write, name):
    for offset in (*FAR, Index(2**63 - 1), Index(-1), Liar(-1)):
        with pytest.raises(OutOfBoundsError, match="outside the mapping"):
            read(name, offset)
        with pytest.raises(OutOfBoundsError, match="outside the mapping"):
            write(name, 1, offset)
    assert not m.dirty
    assert path.read_bytes() == contents


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_has_to_be_inside_too(m, path, contents, write, name, value):
    for offset in FAR:
        with pytest.raises(OutOfBoundsError, match="outside the mapping"):
            write(name, value, offset)
    assert path.read_bytes() == contents


@pytest.mark.parametrize("name", SCALARS)
def test_all_of_the_value_has_to_be_accessible(m, path, contents, read, write, name):
    last = END - SIZES[name]
    write(name, 1, last)
    assert read(name, last) == 1
    m[:] = contents
    for offset in range(last + 1, END + 1):
        with pytest.raises(OutOfBoundsError, match=f"{SIZES[name]} bytes at offset {offset}"):
            read(name, offset)
        with pytest.raises(OutOfBoundsError):
            write(name, 1, offset)
    assert path.read_bytes() == contents


@pytest.mark.parametrize("name", SCALARS)
def test_an_offset_of_another_type_is_a_type_error(m, read, write, name):
    for offset in (1.0, "1", b"1", None, [], 1j):
        with pytest.raises(TypeError):
            read(name, offset)
        with pytest.raises(TypeError):
            write(name, 1, offset)
    assert not m.dirty


@pytest.mark.parametrize("name", SCALARS)
def test_whatever_is_an_index_is_an_offset(m, read, write, name):
    for value, offset in enumerate([True, Index(1), type("Sub", (int,), {})(1)]):
        write(name, value, offset)
        assert m[1 : 1 + SIZES[name]] == struct.pack(FORMATS[name], value)
        assert read(name, offset) == value


@pytest.mark.parametrize("name", SCALARS)
def test_values_and_offsets_may_be_numpy_scalars_near_the_limit_of_their_type(m, read, write, name):
    numpy = pytest.importorskip("numpy")
    number = getattr(numpy, name)
    for offset in (numpy.int8(127), numpy.uint8(255), numpy.int16(3), numpy.uint64(5)):
        write(name, number(99), offset)
        assert read(name, offset) == 99
        assert m[int(offset) : int(offset) + SIZES[name]] == number(99).tobytes()
    for offset in (numpy.int64(2**63 - 1), numpy.uint64(2**64 - 1), numpy.int8(-1), numpy.int64(-(2**63))):
        with pytest.raises(OutOfBoundsError):
            read(name, offset)
        with pytest.raises(OutOfBoundsError):
            write(name, number(1), offset)


@pytest.mark.parametrize("name", SCALARS)
def test_arguments_may_be_named(m, name):
    getattr(m, f"write_{name}_at")(value=3, offset=2)
    assert getattr(m, f"read_{name}_at")(offset=2) == 3


# ---- the end of the file ----


@pytest.mark.parametrize("name", SCALARS)
def test_values_become_accessible_as_the_file_grows(kind, path, name):
    size = SIZES[name]
    with path.open("r+b") as f:
        m = kind(f, length=10 * PAGE)
        for end in (END + size - 1, 5 * PAGE, 10 * PAGE):
            os.truncate(path, end)
            with pytest.raises(OutOfBoundsError):
                getattr(m, f"read_{name}_at")(end - size + 1)
            with pytest.raises(OutOfBoundsError):
                getattr(m, f"write_{name}_at")(1, end - size + 1)
            getattr(m, f"write_{name}_at")(1, end - size)
            assert getattr(m, f"read_{name}_at")(end - size) == 1
        assert path.stat().st_size == 10 * PAGE


@pytest.mark.parametrize("name", SCALARS)
def test_any_offset_into_the_file_will_do(kind, path, contents, name):
    size = SIZES[name]
    with path.open("r+b") as f:
        for offset in (1, 2, 3, 7, PAGE + 5):
            m = kind(f, offset)
            raw = contents[offset + PAGE : offset + PAGE + size]
            assert struct.pack(FORMATS[name], getattr(m, f"read_{name}_at")(PAGE)) == raw
            getattr(m, f"write_{name}_at")(1, 3)
            assert path.read_bytes()[offset + 3 : offset + 3 + size] == struct.pack(FORMATS[name], 1)


@pytest.mark.parametrize("name", SCALARS)
def test_reading_leaves_the_mapping_clean(m, read, name):
    m[:16] = bytes(16)
    m.flush()
    for offset in (0, 3, 16):
        read(name, offset)
    assert not m.dirty


@pytest.mark.parametrize("name", FLOATS)
def test_a_value_that_changes_is_asked_once(m, name):
    class Changing:
        asked = 0

        def __float__(self):
            self.asked += 1
            return 1.5 if self.asked in (2, 3) else 1e300

    value = Changing()
    with contextlib.suppress(OverflowError):
        getattr(m, f"write_{name}_at")(value, 0)
    assert value.asked == 1


def test_a_value_that_is_rounded_up_to_infinity_is_too_large(path):
    code = f"""
    import ctypes, platform

    upward = {{"x86_64": 0x800, "aarch64": 0x400000}}.get(platform.machine())
    libm = ctypes.CDLL(None if sys.platform == "darwin" else "libm.so.6")
    m = sharedmmap.open(path, "w+", length=8)
    value = float.fromhex("0x1.fffffe0000001p127")  # just above the greatest float32
    m.write_float32_at(value, 0)
    print(m.read_float32_at(0) == {LARGEST_FLOAT32!r})
    if upward is not None:
        assert libm.fesetround(upward) == 0
        try:
            m.write_float32_at(value, 0)
        except OverflowError as error:
            print("too large" in str(error))
    """
    assert set(output(code, path).split()) == {"True"}
