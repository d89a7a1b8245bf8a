"""Many values at once: ``read_array_at`` and ``write_array_at`` move all of them, or none and say why."""

from __future__ import annotations

import ctypes
import io
import struct
import sys
from array import array

import pytest
from child import output
from hypothesis import given
from hypothesis import strategies as st

import sharedmmap
from sharedmmap import OutOfBoundsError, UnmappedMemoryError

LENGTH = 4096
TYPECODES = "bBhHiIqQfd"
FILLED = bytes(range(1, 256)) * 17  # no two neighbours alike, no zero


def extremes(typecode):
    """Values that use every bit of the type."""
    if typecode in "fd":
        return [0.0, -0.0, 1.5, float("inf"), float("-inf"), 2.0**-126]
    bits = 8 * struct.calcsize(f"<{typecode}")
    low, high = (0, 2**bits - 1) if typecode.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return [low, high, 0, 1, high // 3]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("arrays") / "file"


@pytest.fixture
def m(path):
    with sharedmmap.open(path, "w+", length=LENGTH) as m:
        m[:] = FILLED[:LENGTH]
        yield m


@pytest.mark.parametrize("offset", [0, 8, 13])
@pytest.mark.parametrize("typecode", TYPECODES)
class TestEveryTypecode:
    def test_reads_what_struct_packed(self, m, typecode, offset):
        values = extremes(typecode)
        packed = struct.pack(f"<{len(values)}{typecode}", *values)
        m[offset : offset + len(packed)] = packed
        found = m.read_array_at(typecode, offset, len(values))
        assert (type(found), found.typecode, found.tobytes()) == (array, typecode, packed)
        assert found.tolist() == values

    def test_writes_what_struct_unpacks_and_nothing_beside_it(self, m, typecode, offset):
        values = array(typecode, extremes(typecode))
        before = m[:]
        written = m.write_array_at(values, offset)
        end = offset + written
        assert written == len(values) * values.itemsize
        assert struct.unpack(f"<{len(values)}{typecode}", m[offset:end]) == tuple(values)
        assert (m[:offset], m[end:]) == (before[:offset], before[end:])


@pytest.mark.parametrize("bits", [0x7F80_0001, 0xFFC1_2345], ids=["signalling", "quiet"])
def test_a_nan_keeps_its_payload(m, bits):
    m.write_uint32_at(bits, 16)
    m.write_array_at(m.read_array_at("f", 16, 1), 64)
    assert m.read_uint32_at(64) == bits


@pytest.mark.parametrize("typecode", ["l", "L", "u", "w", "n", "e", "", "ii", "<i", "\0", b"i", None, 1])
def test_a_typecode_whose_size_is_not_the_same_everywhere_is_refused(m, typecode):
    with pytest.raises(ValueError, match="b, B, h, H, i, I, q, Q, f, d"):
        m.read_array_at(typecode, 0, 1)


def test_the_array_is_a_copy(m):
    found = m.read_array_at("B", 0, 8)
    found[0] = 99
    assert m[0] == FILLED[0]
    m[1] = 99
    assert found[1] == FILLED[1]


@pytest.mark.parametrize(
    "values",
    [
        b"12345678",
        bytearray(b"12345678"),
        memoryview(b"x12345678x")[1:9],
        memoryview(b"12345678").cast("B", (2, 2, 2)),
        array("h", b"12345678"),
        (ctypes.c_char * 8)(*b"12345678"),
        io.BytesIO(b"12345678").getbuffer(),
    ],
    ids=["bytes", "bytearray", "part", "three dimensions", "array", "ctypes", "getbuffer"],
)
def test_any_buffer_can_be_written(m, values):
    assert m.write_array_at(values, 5) == 8
    assert m[4:14] == FILLED[4:5] + b"12345678" + FILLED[13:14]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        (memoryview(b"12345678")[::2], (BufferError, ValueError)),
        (memoryview(b"12345678")[::-1], (BufferError, ValueError)),
        ("text", TypeError),
        ([1, 2], TypeError),
        (7, TypeError),
        (None, TypeError),
    ],
    ids=["every other", "backwards", "str", "list", "int", "None"],
)
def test_what_is_no_contiguous_buffer_is_refused_and_nothing_written(m, values, error):
    with pytest.raises(error):
        m.write_array_at(values, 0)
    assert m[:] == FILLED[:LENGTH]


@pytest.mark.parametrize("offset", [-1, -8, LENGTH - 7, LENGTH, 2**63 - 1, 2**63, 2**64, -(2**64)])
def test_what_does_not_fit_into_the_mapping_is_refused_whole(m, offset):
    with pytest.raises(OutOfBoundsError, match=f"outside the mapping of {LENGTH} bytes"):
        m.write_array_at(array("H", [1, 2, 3, 4]), offset)
    with pytest.raises(OutOfBoundsError, match=f"outside the mapping of {LENGTH} bytes"):
        m.read_array_at("H", offset, 4)
    assert m[:] == FILLED[:LENGTH]


@pytest.mark.parametrize("count", [LENGTH // 8 + 1, 2**60, 2**63, 2**80])
def test_a_count_that_cannot_fit_is_refused_before_memory_is_taken_for_it(m, count):
    with pytest.raises(OutOfBoundsError):
        m.read_array_at("d", 0, count)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0, -1), ValueError),
        ((0, 1.0), TypeError),
        ((0, "1"), TypeError),
        ((0.0, 1), TypeError),
        ((None, 1), TypeError),
    ],
)
def test_a_wrong_count_or_offset_is_refused(m, arguments, error):
    with pytest.raises(error):
        m.read_array_at("B", *arguments)


def test_all_of_the_mapping_and_nothing_of_it_can_be_moved(m):
    assert m.read_array_at("q", 0, LENGTH // 8).tobytes() == FILLED[:LENGTH]
    assert m.write_array_at(m.read_array_at("B", 0, LENGTH), 0) == LENGTH
    assert m.read_array_at("q", 0, 0) == array("q")
    assert m.write_array_at(b"", 0) == 0
    assert m[:] == FILLED[:LENGTH]


@pytest.mark.parametrize(
    "make", [bytes, bytearray, lambda data: array("d", data)], ids=["bytes", "bytearray", "array"]
)
def test_megabytes_arrive_whole(path, make):
    data = FILLED[:255] * 8 * 1500
    with sharedmmap.open(path, "w+", length=len(data) + 3) as m:
        assert m.write_array_at(make(data), 3) == len(data)
        assert m.read_array_at("d", 3, len(data) // 8).tobytes() == data


def test_past_the_end_of_the_file_nothing_is_moved_until_it_grows(path):
    with sharedmmap.open(path, "w+", length=100, capacity=LENGTH) as m:
        with pytest.raises(OutOfBoundsError, match=f"backs 100 of the mapping's {LENGTH} bytes"):
            m.write_array_at(b"12345678", 96)
        with pytest.raises(OutOfBoundsError, match=f"backs 100 of the mapping's {LENGTH} bytes"):
            m.read_array_at("q", 96, 1)
        assert path.read_bytes() == bytes(100)
        m.reserve(104)
        assert m.write_array_at(b"12345678", 96) == 8
        assert m.read_array_at("B", 96, 8).tobytes() == path.read_bytes()[96:] == b"12345678"


def test_a_file_cut_short_raises(path):
    code = """
    from array import array
    os.truncate(path, 2 * PAGE)
    m = File(os.open(path, os.O_RDWR))
    os.truncate(path, PAGE)
    for call in lambda: m.read_array_at("q", PAGE - 8, 2), lambda: m.write_array_at(array("q", [1, 2]), PAGE - 8):
        try:
            call()
        except MappingFaultError as error:
            print(error.offset == PAGE)
    """
    path.touch()
    assert output(code, path).split() == ["True", "True"]


def test_a_read_only_mapping_can_be_read_only(m, path):
    with sharedmmap.open(path, "r") as reader:
        assert reader.read_array_at("B", 0, 4).tobytes() == FILLED[:4]
        with pytest.raises(io.UnsupportedOperation, match="read-only"):
            reader.write_array_at(b"1234", 0)
    assert m[:] == FILLED[:LENGTH]


@pytest.mark.parametrize("values", [b"1234", b""], ids=["some", "none"])
def test_after_unmap_it_raises(m, values):
    m.unmap()
    with pytest.raises(UnmappedMemoryError):
        m.read_array_at("B", 0, len(values))
    with pytest.raises(UnmappedMemoryError):
        m.write_array_at(values, 0)


@given(data=st.data())
def test_it_does_what_a_bytearray_would(path, data):
    model = bytearray(FILLED[:64])
    with sharedmmap.open(path, "w+", length=64) as m:
        m[:] = bytes(model)
        for _ in range(data.draw(st.integers(1, 5))):
            typecode = data.draw(st.sampled_from(TYPECODES))
            itemsize = array(typecode).itemsize
            count, offset = data.draw(st.integers(0, 64 // itemsize + 1)), data.draw(st.integers(-4, 68))
            size = count * itemsize
            fits = 0 <= offset <= 64 - size
            values = array(typecode, data.draw(st.binary(min_size=size, max_size=size)))
            if fits:
                assert m.read_array_at(typecode, offset, count).tobytes() == model[offset : offset + size]
                assert m.write_array_at(values, offset) == size
                model[offset : offset + size] = values.tobytes()
            else:
                with pytest.raises(OutOfBoundsError):
                    m.read_array_at(typecode, offset, count)
                with pytest.raises(OutOfBoundsError):
                    m.write_array_at(values, offset)
            assert m[:] == model


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="NumPy is tried on CPython")
def test_numpy_arrays_go_in_and_come_out(m):
    numpy = pytest.importorskip("numpy")
    square = numpy.arange(16, dtype="<u4").reshape(4, 4)
    assert m.write_array_at(square, 8) == 64
    assert (numpy.array(m.read_array_at("I", 8, 16)).reshape(4, 4) == square).all()
    with pytest.raises((BufferError, ValueError)):
        m.write_array_at(square[:, 1], 8)
