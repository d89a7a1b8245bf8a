"""``m[i]`` and slices, as ``bytearray`` and ``mmap.mmap`` have them but for the length, which never changes."""

from __future__ import annotations

import array
import ctypes
import mmap
import os
import sys

import pytest
from child import output
from hypothesis import example, given
from hypothesis import strategies as st

import sharedmmap
from sharedmmap import OutOfBoundsError, UnmappedMemoryError

SIZE = 40
CONTENTS = bytes(range(100, 100 + SIZE))
FAR = st.integers(-(2**70), 2**70)


def bounds():
    near = st.integers(-SIZE - 5, SIZE + 5)
    return st.none() | near | near | FAR


STEPS = st.none() | st.integers(-9, 9).filter(bool) | FAR.filter(bool)
SLICES = st.builds(slice, bounds(), bounds(), STEPS)


@pytest.fixture
def contents():
    return CONTENTS


@pytest.fixture
def twin():
    with mmap.mmap(-1, SIZE) as twin:
        twin[:] = CONTENTS
        yield twin


# ---- reading ----


@given(key=SLICES)
def test_a_slice_reads_as_that_of_bytes_and_of_mmap(m, twin, key):
    assert m[key] == CONTENTS[key] == twin[key]


@pytest.mark.parametrize("key", [slice(0, 0), slice(5, 5), slice(9, 3), slice(SIZE, None), slice(3, 3, -2)])
@pytest.mark.parametrize("value", [b"", bytearray()])
def test_assigning_nothing_leaves_the_mapping_clean_and_raises_where_it_is_unmapped(m, key, value):
    m.flush()
    m[key] = value
    assert not m.dirty
    m.unmap()
    with pytest.raises(UnmappedMemoryError):
        m[key] = value
    with pytest.raises(UnmappedMemoryError):
        m[key]


@pytest.mark.parametrize("value", [300, -1])
def test_of_an_index_outside_and_no_byte_the_index_is_told(m, twin, value):
    """As with ``mmap.mmap`` before CPython 3.14, where it looks at the value first."""
    for one in (m, twin) if sys.version_info < (3, 14) else (m,):
        with pytest.raises(IndexError):
            one[SIZE] = value


def contrary(method):
    """A kind of ``int`` that compares, or adds, as it likes."""
    return type("Contrary", (int,), {method: lambda self, other: True, "__hash__": int.__hash__})


@pytest.mark.parametrize("method", ["__lt__", "__gt__", "__le__", "__ge__", "__eq__", "__add__"])
@pytest.mark.parametrize(
    ("start", "stop"), [(10, 20), (20, 10), (SIZE, None), (SIZE + 5, None), (None, 5), (-5, -1)]
)
def test_a_slice_heeds_the_value_of_its_bounds_and_not_what_they_say(m, method, start, stop):
    kind = contrary(method)
    key = slice(*(bound if bound is None else kind(bound) for bound in (start, stop)))
    assert m[key] == CONTENTS[start:stop]
    new = bytearray(CONTENTS)
    new[start:stop] = b"x" * len(CONTENTS[start:stop])
    m[key] = b"x" * len(CONTENTS[start:stop])
    assert m[:] == new


@pytest.mark.parametrize("i", [*range(-SIZE, SIZE)])
def test_an_item_reads_as_that_of_bytes_and_of_mmap(m, twin, i):
    assert m[i] == CONTENTS[i] == twin[i]


@pytest.mark.parametrize("i", [SIZE, SIZE + 1, -SIZE - 1, 2**31, -(2**31), 2**63, -(2**63) - 1, 2**70, -(2**70)])
def test_an_index_outside_is_out_of_bounds(m, i):
    with pytest.raises(OutOfBoundsError):
        m[i]
    with pytest.raises(OutOfBoundsError):
        m[i] = 1
    assert not m.dirty


@pytest.mark.parametrize("key", ["1", b"1", 1.0, None, (1, 2), [], object(), ..., slice("a", "b"), slice(1.0)])
def test_a_key_of_another_type_is_a_type_error(m, key):
    with pytest.raises(TypeError):
        m[key]
    with pytest.raises(TypeError):
        m[key] = 1
    with pytest.raises(TypeError):
        m[key] = b"x"
    assert not m.dirty


def test_a_step_of_zero_is_a_value_error(m):
    with pytest.raises(ValueError, match="zero"):
        m[::0]
    with pytest.raises(ValueError, match="zero"):
        m[::0] = b""


def test_iterating_gives_the_bytes_as_integers(m):
    assert list(m) == list(CONTENTS)
    assert list(reversed(m)) == list(reversed(CONTENTS))
    assert bytes(m) == CONTENTS
    assert 100 in m
    assert 99 not in m


# ---- writing ----


@given(key=SLICES, data=st.data())
def test_a_slice_is_assigned_as_that_of_bytearray_and_of_mmap(m, path, twin, key, data):
    m[:] = twin[:] = CONTENTS
    size = len(CONTENTS[key])
    value = data.draw(st.binary(min_size=size, max_size=size))
    wrap = data.draw(st.sampled_from([bytes, bytearray, memoryview]))
    expected = bytearray(CONTENTS)
    expected[key] = value
    m[key] = wrap(value)
    twin[key] = value
    assert path.read_bytes() == expected == twin[:]


@given(key=SLICES, size=st.integers(0, SIZE + 10))
@example(key=slice(5, 2), size=3)
@example(key=slice(None), size=SIZE + 1)
@example(key=slice(None, None, -1), size=SIZE - 1)
def test_a_slice_assigned_another_length_is_a_value_error_and_nothing_is_written(m, path, key, size):
    size += size == len(CONTENTS[key])
    for wrap in (bytes, bytearray):
        with pytest.raises(ValueError, match=f"{len(CONTENTS[key])} bytes cannot be assigned {size} bytes"):
            m[key] = wrap(b"x" * size)
    assert path.read_bytes() == CONTENTS
    assert not m.dirty


@pytest.mark.parametrize("i", [0, 1, SIZE - 1, -1, -SIZE])
@pytest.mark.parametrize("value", [0, 1, 127, 128, 255, True])
def test_an_item_is_assigned_as_that_of_bytearray(m, path, i, value):
    expected = bytearray(CONTENTS)
    expected[i] = value
    m[i] = value
    assert path.read_bytes() == expected


@pytest.mark.parametrize("value", [256, -1, 2**31, 2**64, -(2**70)])
def test_an_item_that_is_no_byte_is_a_value_error(m, value):
    with pytest.raises(ValueError, match="range"):
        m[0] = value
    assert not m.dirty


@pytest.mark.parametrize("value", [1.0, "x", b"x", None, []])
def test_an_item_of_another_type_is_a_type_error(m, value):
    with pytest.raises(TypeError):
        m[0] = value
    assert not m.dirty


@pytest.mark.parametrize("value", ["abcd", [1, 2, 3, 4], 4, None, 1.5])
@pytest.mark.parametrize("key", [slice(4), slice(0, 8, 2), slice(0)])
def test_a_slice_of_another_type_is_a_type_error(m, key, value):
    with pytest.raises(TypeError):
        m[key] = value
    assert not m.dirty


@pytest.mark.parametrize(
    "value",
    [
        array.array("H", [1, 2]),
        (ctypes.c_uint16 * 2)(1, 2),
        (ctypes.c_uint16.__ctype_be__ * 2)(1, 2),
        memoryview(bytearray(4)).cast("B", [2, 2]),
        (ctypes.c_uint8 * 4).from_buffer_copy(b"wxyz"),
    ],
    ids=["array", "ctypes array", "big-endian", "two dimensions", "ctypes bytes"],
)
@pytest.mark.parametrize("key", [slice(4), slice(8, 0, -2)])
def test_a_slice_takes_the_bytes_of_any_buffer(m, key, value):
    m[key] = value
    assert m[key] == bytes(memoryview(value).tobytes())


def test_items_cannot_be_deleted(m):
    with pytest.raises((TypeError, AttributeError)):
        del m[0]
    with pytest.raises((TypeError, AttributeError)):
        del m[0:2]
    assert len(m) == SIZE


# ---- past the end of the file ----


@pytest.fixture
def roomy(path):
    """Twice as much mapped as there is."""
    with sharedmmap.open(path, capacity=2 * SIZE) as m:
        yield m


@given(key=st.builds(slice, *[st.none() | st.integers(-2 * SIZE - 5, 2 * SIZE + 5)] * 2, STEPS))
def test_a_slice_that_is_not_all_accessible_is_out_of_bounds_and_nothing_is_written(roomy, path, key):
    positions = range(2 * SIZE)[key]
    expected = bytearray(CONTENTS)
    if any(position >= SIZE for position in positions):
        with pytest.raises(OutOfBoundsError):
            roomy[key]
        with pytest.raises(OutOfBoundsError):
            roomy[key] = bytes(len(positions))
    else:
        assert roomy[key] == bytes(CONTENTS[position] for position in positions)
        for position in positions:
            expected[position] = 1
        roomy[key] = b"\1" * len(positions)
    assert path.read_bytes() == expected
    path.write_bytes(CONTENTS)


def test_indexes_are_relative_to_the_mapping_not_to_the_file(roomy, path):
    assert roomy[-2 * SIZE] == CONTENTS[0]
    for i in (-1, -SIZE, SIZE):
        with pytest.raises(OutOfBoundsError, match="past the end of the file"):
            roomy[i]
        with pytest.raises(OutOfBoundsError, match="past the end of the file"):
            roomy[i] = 1
    os.truncate(path, 2 * SIZE)
    roomy[-1] = 9
    assert roomy[SIZE:] == bytes(SIZE - 1) + b"\t"


# ---- odd integers ----


def test_integers_of_numpy_are_indexes(m):
    numpy = pytest.importorskip("numpy")
    assert m[numpy.uint8(3)] == m[numpy.int64(3)] == CONTENTS[3]
    assert m[numpy.int8(-3)] == CONTENTS[-3]
    assert m[numpy.uint8(3) : numpy.int16(9) : numpy.int64(2)] == CONTENTS[3:9:2]
    m[numpy.uint8(3)] = numpy.uint8(255)
    assert m[3] == 255
    for i in (numpy.uint64(2**64 - 1), numpy.int64(2**63 - 1), numpy.int64(-(2**63)), numpy.int8(127)):
        with pytest.raises(OutOfBoundsError):
            m[i]


# Evaluates every one of `calls`, and prints what did not raise the `expected` error.
JUDGE = """
def judge(calls, expected):
    for call in calls:
        try:
            print(call, "gave", eval(call))
        except expected:
            continue
        except Exception as error:
            print(call, "raised", repr(error))
"""


def test_an_argument_that_unmaps_while_it_is_looked_at_is_survived(path):
    code = """
        class Evil:
            def __index__(self):
                m.close()
                return 0
            def __float__(self):
                return float(self.__index__())
        evil = Evil()
        for call in (
            "m[evil]",
            "m[evil:]",
            "m[evil:20:3]",
            "m.__setitem__(evil, 1)",
            "m.__setitem__(0, evil)",
            "m.__setitem__(slice(evil, 5), b'abcde')",
            "m.__setitem__(slice(evil, 6, 2), bytearray(b'abc'))",
            "m.read_at(bytearray(8), evil)",
            "m.write_at(b'x' * 8, evil)",
            "m.write_at(bytearray(8), evil)",
            "m.read_string_at(evil, 4)",
            "m.read_string_at(0, evil)",
            "m.write_string_at('x', evil)",
            "m.read_uint64_at(evil)",
            "m.write_uint64_at(1, evil)",
            "m.write_uint64_at(evil, 0)",
            "m.write_float64_at(evil, 0)",
            "m.write_float32_at(evil, 0)",
            "m.flush(Sync.SYNC, evil)",
            "m.lock(evil)",
            "m.residency(evil)",
            "m.reserve(evil)",
        ):
            m = sharedmmap.open(path)
            m[39] = 1
            judge([call], UnmappedMemoryError)
    """
    assert output(code, path, setup=JUDGE) == ""
    assert path.read_bytes() == CONTENTS[:-1] + b"\1"


@pytest.mark.parametrize("far", [10**12, -(10**12)])
def test_an_integer_that_lies_in_comparisons_is_taken_for_what_it_is(path, far):
    code = """
        class Liar(int):
            def __lt__(self, other):
                return other > 0  # so it is less than every limit, and not less than 0
            def __gt__(self, other):
                return False
            def __le__(self, other):
                return True
            __ge__ = __eq__ = __le__
            def __hash__(self):
                return 0
            def __int__(self):
                return self
            __index__ = __trunc__ = __int__
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))  # were it believed, it would fill the disk
        m, far = sharedmmap.open(path), Liar(args[0])
        judge(
            [
                "m[far]",
                "m.__setitem__(far, 1)",
                "m.read_at(bytearray(8), far)",
                "m.read_at(memoryview(bytearray(8)), far)",
                "m.write_at(b'x' * 8, far)",
                "m.write_at(bytearray(8), far)",
                "m.read_string_at(far, 5)",
                "m.write_string_at('x', far)",
                "m.read_uint8_at(far)",
                "m.write_uint8_at(1, far)",
                "m.write_float64_at(1.0, far)",
                "m.reserve(far)",
                "m.lock(far)",
                "m.residency(far)",
            ],
            OutOfBoundsError,
        )
    """
    assert output(code, path, far, setup=JUDGE) == ""
    assert path.read_bytes() == CONTENTS


LIARS = """
    class Liar(int):  # all comparisons fail, and arithmetic gives what fits
        __lt__ = __gt__ = __le__ = __ge__ = __eq__ = lambda self, other: False
        __hash__ = int.__hash__
        __sub__ = __rsub__ = lambda self, other: 64
        __add__ = __radd__ = lambda self, other: self
    class SmallLiar(Liar):
        __lt__ = lambda self, other: int.__ne__(other, 0)
    m = sharedmmap.open(path)
    before = m[:]
"""


@pytest.mark.parametrize("liar", ["Liar", "SmallLiar"])
@pytest.mark.parametrize(
    "call",
    [
        "m[far:64] = array('b', bytes(64))",
        "m[0:far] = b'x' * 64",
        "m[far:]",
        "m.find(b'B', far)",
        "m.rfind(b'B', 0, far)",
    ],
)
def test_a_bound_that_lies_is_taken_for_what_it_is(path, liar, call):
    code = f"""
    from array import array
    {LIARS}
    far = {liar}(1 << 40)
    try:
        {call}
    except ValueError:
        pass
    print(m[:] == before)
    """
    assert output(code, path) == "True"


@pytest.mark.parametrize("kind", ["bytearray", "array"])
def test_a_value_that_a_bound_resizes_is_written_as_it_is_then_or_not_at_all(path, kind):
    code = f"""
    from array import array
    m = sharedmmap.open(path)
    value = {'array("b", bytes(len(m)))' if kind == "array" else "bytearray(len(m))"}
    class Bound:
        def __index__(self):
            del value[:]
            return 0
    try:
        m[Bound():len(m)] = value
    except (BufferError, ValueError):
        print("refused")
    """
    assert output(code, path) == "refused"
    assert path.read_bytes() == CONTENTS


def test_iterating_gives_the_bytes_from_either_end(path):
    with sharedmmap.open(path) as m:
        assert bytes(iter(m)) == CONTENTS
        assert bytes(reversed(m)) == CONTENTS[::-1]


@pytest.mark.parametrize("walk", [iter, reversed])
def test_iterating_over_what_the_file_does_not_back_raises(tmp_path, walk):
    m = sharedmmap.open(tmp_path / "short", "w+", length=5, capacity=10)
    with pytest.raises(OutOfBoundsError):
        list(walk(m))


def test_a_byte_or_a_sequence_is_in_it_as_in_bytes(tmp_path):
    m = sharedmmap.open(tmp_path / "short", "w+", length=3)
    m[:] = b"abc"
    assert 97 in m
    assert b"bc" in m
    assert bytearray(b"") in m
    assert 100 not in m
    assert b"ac" not in m
    with pytest.raises(ValueError, match="range"):
        256 in m  # noqa: B015
    with pytest.raises(TypeError):
        "a" in m  # noqa: B015


def test_an_index_past_the_end_is_wrong_before_the_value_is(m):
    for key in len(m), len(m) + 5, -len(m) - 1:
        for value in 300, -1, 7:
            with pytest.raises(IndexError):
                m[key] = value


def test_nothing_can_be_deleted(m, path):
    before = path.read_bytes()
    for key in 0, slice(0, 5), slice(None):
        with pytest.raises(TypeError, match="the length of a mapping is fixed"):
            del m[key]
    assert path.read_bytes() == before
