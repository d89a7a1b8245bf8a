"""Records: ``read_struct_at`` and ``write_struct_at`` are ``struct`` over the mapping, each record one copy."""

from __future__ import annotations

import io
import struct
from struct import Struct

import pytest
from child import output
from hypothesis import given
from hypothesis import strategies as st

import sharedmmap
from sharedmmap import OutOfBoundsError, UnmappedMemoryError

LENGTH = 256
FILLED = bytes(range(1, 256)) + b"\xff"  # no zero

RECORDS = {
    "integers": ("<bBhHiIqQ", (-1, 255, -2, 65535, -3, 2**32 - 1, -4, 2**64 - 1)),
    "big-endian": (">HIQ", (1, 2, 3)),
    "floats": ("<efd", (1.5, -2.5, float("inf"))),
    "native size": ("nN", (-5, 6)),
    "native pads": ("@bQhi", (1, 2, 3, 4)),
    "native pads at the end": ("@Qb0Q", (1, 2)),
    "explicit pads": ("<3xB2xB4x", (1, 2)),
    "bools": ("<???", (True, False, True)),
    "strings": ("<4s6p3sc", (b"abcd", b"pasc", b"xyz", b"!")),
    "repeated": ("<3H2?", (1, 2, 3, True, False)),
    "nothing": ("", ()),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("structs") / "file"


@pytest.fixture
def m(path):
    with sharedmmap.open(path, "w+", length=LENGTH) as m:
        m[:] = FILLED
        yield m


@pytest.mark.parametrize("given_as", [str, str.encode, Struct], ids=["str", "bytes", "Struct"])
@pytest.mark.parametrize("offset", [0, 16, 37])
@pytest.mark.parametrize(("format", "values"), RECORDS.values(), ids=RECORDS)
def test_a_record_is_what_struct_makes_of_it(m, format, values, offset, given_as):
    packed = struct.pack(format, *values)
    assert m.write_struct_at(given_as(format), offset, *values) is None
    assert m[:] == FILLED[:offset] + packed + FILLED[offset + len(packed) :]
    assert m.read_struct_at(given_as(format), offset) == values


@pytest.mark.parametrize(
    ("format", "values", "error"),
    [
        ("<BB", (1, 256), struct.error),
        ("<BB", (1, -1), struct.error),
        ("<BB", (1,), struct.error),
        ("<BB", (1, 2, 3), struct.error),
        ("<BB", (1, "2"), struct.error),
        ("<BB", (1, None), struct.error),
        ("<Bf", (1, 1e300), OverflowError),
        ("<B!", (1, 2), struct.error),
        ("<Bn", (1, 2), struct.error),
        (7, (1,), TypeError),
        (None, (1,), TypeError),
    ],
)
def test_what_struct_refuses_is_not_written(m, format, values, error):
    with pytest.raises(error):
        m.write_struct_at(format, 0, *values)
    assert m[:] == FILLED


@pytest.mark.parametrize("offset", [-1, -8, LENGTH - 11, LENGTH, 2**63 - 1, 2**64, -(2**64)])
def test_an_unfitting_record_is_refused_whole(m, offset):
    with pytest.raises(OutOfBoundsError, match=f"12 bytes at offset {offset} are outside the mapping"):
        m.write_struct_at("<IQ", offset, 0, 0)
    with pytest.raises(OutOfBoundsError, match=f"12 bytes at offset {offset} are outside the mapping"):
        m.read_struct_at("<IQ", offset)
    assert m[:] == FILLED


@pytest.mark.parametrize("offset", [-1, LENGTH + 1, 2**70])
def test_an_empty_record_has_to_stand_within_the_mapping_too(m, offset):
    for access in (lambda: m.read_struct_at("", offset), lambda: m.write_struct_at("", offset)):
        with pytest.raises(OutOfBoundsError):
            access()
    assert m.read_struct_at("", LENGTH) == ()


def test_a_record_that_just_fits_is_written(m):
    m.write_struct_at("<IQ", LENGTH - 12, 1, 2)
    assert m.read_struct_at("<IQ", LENGTH - 12) == (1, 2)


@pytest.mark.parametrize("offset", [1.0, "1", None])
def test_an_offset_that_is_no_integer_is_refused(m, offset):
    with pytest.raises(TypeError):
        m.write_struct_at("<B", offset, 1)
    with pytest.raises(TypeError):
        m.read_struct_at("<B", offset)
    assert m[:] == FILLED


def test_past_the_end_of_the_file_nothing_is_written_until_it_grows(path):
    with sharedmmap.open(path, "w+", length=100, capacity=LENGTH) as m:
        with pytest.raises(OutOfBoundsError, match=f"backs 100 of the mapping's {LENGTH} bytes"):
            m.write_struct_at("<IQ", 96, 1, 2)
        with pytest.raises(OutOfBoundsError, match=f"backs 100 of the mapping's {LENGTH} bytes"):
            m.read_struct_at("<IQ", 96)
        assert path.read_bytes() == bytes(100)
        m.reserve(108)
        m.write_struct_at("<IQ", 96, 1, 2)
        assert path.read_bytes()[96:] == struct.pack("<IQ", 1, 2)


def test_a_file_cut_short_raises(path):
    code = """
    os.truncate(path, 2 * PAGE)
    m = File(os.open(path, os.O_RDWR))
    os.truncate(path, PAGE)
    for call in lambda: m.read_struct_at("<QQ", PAGE - 8), lambda: m.write_struct_at("<QQ", PAGE - 8, 1, 2):
        try:
            call()
        except MappingFaultError as error:
            print(error.offset == PAGE)
    """
    path.touch()
    assert output(code, path).split() == ["True", "True"]


def test_a_read_only_mapping_can_be_read_only(m, path):
    with sharedmmap.open(path, "r") as reader:
        assert reader.read_struct_at("<BB", 0) == (1, 2)
        with pytest.raises(io.UnsupportedOperation, match="read-only"):
            reader.write_struct_at("<BB", 0, 3, 4)
    assert m[:] == FILLED


@pytest.mark.parametrize(("format", "values"), [("<B", (1,)), ("", ())], ids=["some", "nothing"])
def test_after_unmap_it_raises(m, format, values):
    m.unmap()
    with pytest.raises(UnmappedMemoryError):
        m.read_struct_at(format, 0)
    with pytest.raises(UnmappedMemoryError):
        m.write_struct_at(format, 0, *values)


@given(
    fields=st.lists(st.sampled_from([*"bBhHiIqQnN?x", "3x", "0Q"])),
    offset=st.integers(-2, LENGTH + 2),
    content=st.binary(min_size=LENGTH, max_size=LENGTH),
)
def test_native_records_agree_with_struct(path, fields, offset, content):
    layout = Struct("".join(fields))
    with sharedmmap.open(path, "w+", length=LENGTH) as m:
        m[:] = content
        if not 0 <= offset <= LENGTH - layout.size:
            with pytest.raises(OutOfBoundsError):
                m.read_struct_at(layout, offset)
            return
        values = m.read_struct_at(layout, offset)
        assert values == layout.unpack_from(content, offset)
        m.fill(0xFF)
        m.write_struct_at(layout, offset, *values)
        model = bytearray(b"\xff" * LENGTH)
        layout.pack_into(model, offset, *values)
        assert m[:] == model


@pytest.mark.parametrize(("size", "error"), [(-5, ValueError), (None, TypeError), (LENGTH + 1, OutOfBoundsError)])
def test_a_struct_that_does_not_know_its_size_is_refused(path, size, error):
    """In a process of its own: it should not go on for ever."""
    code = """
    import struct
    class Odd(struct.Struct):
        size = eval(args[0])
    with sharedmmap.open(path) as m:
        try:
            m.read_struct_at(Odd("<b"), 0)
        except (TypeError, ValueError, IndexError) as error:
            print(type(error).__name__)
    """
    assert output(code, path, size) == error.__name__


def test_what_a_struct_packs_is_written_as_long_as_it_is(m, path):
    class Packed(bytes):
        def __len__(self):
            return 60

    class Odd(struct.Struct):
        def pack(self, *values):
            return Packed(super().pack(*values))

    m.write_struct_at(Odd("<b"), 0, 77)
    assert m[:] == b"M" + FILLED[1:]
