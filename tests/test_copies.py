"""Copies in and out: ``read_at``, ``write_at``, ``read_string_at``, ``write_string_at``."""

from __future__ import annotations

import array
import ctypes
import io
import mmap
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sharedmmap
from sharedmmap import OutOfBoundsError

PAGE = mmap.PAGESIZE
OUTSIDE = [-1, -8, -(2**31), -(2**63), -(2**70), 3 * PAGE + 100, 3 * PAGE + 101, 2**31, 2**63 - 1, 2**64, 2**70]
NO_OFFSETS = [1.0, "1", b"1", None, [], 1j]
MANY = [2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20 + 5]  # around where copies begin to go in pieces

# Buffers of n bytes, which is divisible by 8.
BUFFERS = {
    "bytearray": bytearray,
    "memoryview": lambda n: memoryview(bytearray(n)),
    "memoryview inside another": lambda n: memoryview(bytearray(n + 16))[8:-8],
    "memoryview of two dimensions": lambda n: memoryview(bytearray(n)).cast("B", [n // 4, 4]),
    "array of 8-byte items": lambda n: array.array("Q", bytes(n)),
    "ctypes array": lambda n: (ctypes.c_uint16 * (n // 2))(),
    "mmap": lambda n: mmap.mmap(-1, n),
}


@pytest.fixture(params=BUFFERS)
def make(request):
    return BUFFERS[request.param]


def to_bytes(buffer):
    return memoryview(buffer).tobytes()


# ---- bytes ----


@pytest.mark.parametrize("offset", [0, 1, 7, PAGE - 4, 2 * PAGE + 1])
@pytest.mark.parametrize("size", [8, 64, 4096, 4104])
def test_a_copy_out_fills_any_buffer(m, contents, make, offset, size):
    dest = make(size)
    assert m.read_at(dest, offset) == size
    assert to_bytes(dest) == contents[offset : offset + size]
    assert not m.dirty


@pytest.mark.parametrize("offset", [0, 1, 7, PAGE - 4, 2 * PAGE + 1])
@pytest.mark.parametrize("size", [8, 64, 4096, 4104])
def test_a_copy_in_takes_any_buffer(m, path, contents, make, offset, size):
    src = make(size)
    memoryview(src).cast("B")[:] = bytes(reversed(contents[:size]))
    assert m.write_at(src, offset) == size
    assert path.read_bytes() == contents[:offset] + contents[:size][::-1] + contents[offset + size :]


@pytest.mark.parametrize("src", [b"bytes", memoryview(b"bytes"), type("Sub", (bytes,), {})(b"bytes")])
def test_a_copy_in_takes_what_is_read_only(m, src):
    assert m.write_at(src, 3) == 5
    assert m[3:8] == b"bytes"


@pytest.mark.parametrize("left", [1, 7, 8, 40])
def test_a_copy_out_longer_than_what_is_left_is_short_and_leaves_the_rest(m, contents, make, left):
    dest = make(48)
    memoryview(dest).cast("B")[:] = b"#" * 48
    assert m.read_at(dest, len(contents) - left) == left
    assert to_bytes(dest) == contents[-left:] + b"#" * (48 - left)


@pytest.mark.parametrize("left", [1, 7, 8, 40])
def test_a_copy_in_longer_than_what_is_left_is_short_and_does_not_extend_the_file(m, path, contents, make, left):
    src = make(48)
    memoryview(src).cast("B")[:] = bytes(range(48))
    assert m.write_at(src, len(contents) - left) == left
    assert path.read_bytes() == contents[:-left] + bytes(range(left))


@pytest.mark.parametrize("offset", OUTSIDE)
def test_an_offset_that_is_not_accessible_is_out_of_bounds_and_nothing_is_copied(m, path, contents, make, offset):
    dest = make(8)
    with pytest.raises(OutOfBoundsError, match=str(offset)):
        m.read_at(dest, offset)
    with pytest.raises(OutOfBoundsError, match=str(offset)):
        m.write_at(dest, offset)
    assert to_bytes(dest) == bytes(8)
    assert not m.dirty
    assert path.read_bytes() == contents


@pytest.mark.parametrize("offset", NO_OFFSETS)
def test_an_offset_of_another_type_is_a_type_error(m, offset):
    for call in (
        lambda: m.read_at(bytearray(1), offset),
        lambda: m.read_at(memoryview(bytearray(1)), offset),
        lambda: m.write_at(b"x", offset),
        lambda: m.write_at(bytearray(1), offset),
        lambda: m.read_string_at(offset),
        lambda: m.write_string_at("x", offset),
    ):
        with pytest.raises(TypeError):
            call()
    assert not m.dirty


def test_copying_nothing_succeeds_where_something_is_accessible(m, contents):
    assert m.read_at(bytearray(), len(contents) - 1) == 0
    assert m.write_at(b"", len(contents) - 1) == 0
    assert not m.dirty
    for offset in (-1, len(contents)):
        with pytest.raises(OutOfBoundsError):
            m.read_at(bytearray(), offset)
        with pytest.raises(OutOfBoundsError):
            m.write_at(b"", offset)


def test_copying_nothing_past_the_end_of_the_file_is_out_of_bounds(path, contents):
    with sharedmmap.open(path, capacity=10 * PAGE) as m:
        for offset in len(contents), 9 * PAGE:
            with pytest.raises(OutOfBoundsError, match="past the end of the file"):
                m.read_at(bytearray(), offset)
            with pytest.raises(OutOfBoundsError, match="past the end of the file"):
                m.write_at(b"", offset)


COPIES = {
    "read_at": lambda m: m.read_at(bytearray(8 * PAGE), 0),
    "write_at": lambda m: m.write_at(bytes(8 * PAGE), 0),
    "read_string_at": lambda m: len(m.read_string_at(0, 8 * PAGE, encoding="latin-1")),
    "write_string_at": lambda m: m.write_string_at("x" * 8 * PAGE, 0),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_goes_as_far_as_the_file_has_grown(path, copy):
    with sharedmmap.open(path, capacity=10 * PAGE) as m:
        for size in 4 * PAGE, 5 * PAGE + 7, 9 * PAGE:
            os.truncate(path, size)
            assert copy(m) == min(size, 8 * PAGE)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", MANY)
@pytest.mark.parametrize("offset", [0, 3])
def test_long_copies_arrive_whole(tmp_path, wrap, size, offset):
    pattern = bytes(range(251)) * (size // 251 + 1)
    with sharedmmap.open(tmp_path / "long", "x+", offset=PAGE + 1, length=size + 10) as m:
        assert m.write_at(wrap(pattern[:size]), offset) == size
        assert m[:] == bytes(offset) + pattern[:size] + bytes(10 - offset)
        dest = bytearray(size)
        assert m.read_at(dest if wrap is bytearray else memoryview(dest), offset) == size
        assert dest == pattern[:size]


@pytest.mark.parametrize("size", MANY)
def test_long_copies_are_short_at_the_end(tmp_path, size):
    with sharedmmap.open(tmp_path / "long", "x+", length=size, capacity=2 * size) as m:
        assert m.write_at(b"x" * 2 * size, 5) == size - 5
        assert m.read_at(bytearray(2 * size), 5) == size - 5
        assert m.read_string_at(5, 2 * size) == "x" * (size - 5)


@pytest.mark.parametrize(
    "dest", [b"bytes", memoryview(b"bytes"), memoryview(bytearray(8))[::2], memoryview(bytearray(8))[::-1]]
)
def test_a_destination_that_is_read_only_or_has_gaps_is_refused(m, dest):
    before = to_bytes(dest)
    with pytest.raises((TypeError, BufferError)):
        m.read_at(dest, 0)
    assert to_bytes(dest) == before


@pytest.mark.parametrize("src", [memoryview(b"01234567")[::2], memoryview(b"01234567")[::-1]])
def test_a_source_with_gaps_is_refused_or_copied_item_by_item(m, contents, src):
    """CPython refuses it; PyPy hands out the bytes that ``tobytes()`` would."""
    try:
        assert m.write_at(src, 0) == src.nbytes
    except (TypeError, BufferError):
        assert m[:10] == contents[:10]
    else:
        assert m[:10] == src.tobytes() + contents[src.nbytes : 10]


@pytest.mark.parametrize("what", [None, 5, "text", 1.5, [1, 2], object()])
def test_what_is_no_buffer_is_a_type_error(m, what):
    with pytest.raises(TypeError):
        m.read_at(what, 0)
    with pytest.raises(TypeError):
        m.write_at(what, 0)
    assert not m.dirty


def test_arrays_of_numpy_go_in_and_out(m, path):
    numpy = pytest.importorskip("numpy")
    numbers = numpy.arange(30, dtype="<f8").reshape(5, 6)
    assert m.write_at(numbers, 3) == 240
    read = numpy.zeros((5, 6), dtype="<f8")
    assert m.read_at(read, numpy.int8(3)) == 240
    assert (read == numbers).all()
    with pytest.raises((ValueError, BufferError)):
        m.read_at(read[:, 1], 0)
    with pytest.raises((ValueError, BufferError)):
        m.write_at(numpy.asfortranarray(numbers), 0)


@pytest.mark.parametrize(
    "write",
    [
        lambda m, offset: m.write_at(b"bytes", offset),
        lambda m, offset: m.write_at(bytearray(5), offset),
        lambda m, offset: m.write_at(b"", offset),
        lambda m, offset: m.write_string_at("text", offset),
        lambda m, offset: m.write_uint64_at(5, offset),
        lambda m, offset: m.write_float32_at(5.0, offset),
        lambda m, offset: m.__setitem__(offset, 5),
        lambda m, offset: m.__setitem__(slice(offset, offset + 2), b"xy"),
        lambda m, offset: m.__setitem__(slice(offset, offset + 8, 2), b"wxyz"),
        lambda m, offset: m.__setitem__(slice(offset, offset), b""),
        lambda m, offset: m.reserve(offset + 1),
    ],
)
@pytest.mark.parametrize("offset", [0, 3])
def test_writing_through_a_read_only_mapping_is_unsupported(read_only, path, contents, write, offset):
    with pytest.raises(io.UnsupportedOperation, match="read-only"):
        write(read_only, offset)
    assert not read_only.dirty
    assert path.read_bytes() == contents


# ---- text ----


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be", "cp1252"])
def test_text_comes_back(m, encoding):
    text = "naïve café €"
    count = m.write_string_at(text, 5, encoding=encoding)
    assert count == len(text.encode(encoding))
    assert m[5 : 5 + count] == text.encode(encoding)
    assert m.read_string_at(5, count, encoding=encoding) == text


def test_text_is_utf_8_by_default(m):
    assert m.write_string_at("é€", 0) == 5
    assert m[:5] == b"\xc3\xa9\xe2\x82\xac"


def test_reading_text_without_a_length_goes_to_the_end(m, contents):
    assert m.read_string_at(7, encoding="latin-1") == contents[7:].decode("latin-1")


@pytest.mark.parametrize("max_length", [0, 1, 50, 100, 101, 2**31, 2**70])
def test_reading_text_stops_after_the_length_or_at_the_end(m, contents, max_length):
    start = len(contents) - 100
    assert m.read_string_at(start, max_length, encoding="latin-1") == contents[start:][:max_length].decode(
        "latin-1"
    )


def test_reading_text_stops_where_the_file_does(path, contents):
    with sharedmmap.open(path, capacity=10 * PAGE) as m:
        assert m.read_string_at(0, encoding="latin-1") == contents.decode("latin-1")


def test_a_negative_length_of_text_is_a_value_error(m):
    with pytest.raises(ValueError, match="negative"):
        m.read_string_at(0, -1)


@pytest.mark.parametrize("offset", OUTSIDE)
@pytest.mark.parametrize("text", ["text", ""])
def test_text_outside_is_out_of_bounds(m, offset, text):
    with pytest.raises(OutOfBoundsError):
        m.read_string_at(offset, len(text))
    with pytest.raises(OutOfBoundsError):
        m.write_string_at(text, offset)
    assert not m.dirty


@given(
    text=st.text(max_size=12), room=st.integers(1, 24), encoding=st.sampled_from(["utf-8", "utf-16-le", "utf-16"])
)
def test_only_whole_characters_are_written(m, text, room, encoding):
    errors = "surrogatepass"
    start = len(m) - room
    m[start:] = b"#" * room
    count = m.write_string_at(text, start, encoding=encoding, errors=errors)
    prefixes = [b""] + [text[:n].encode(encoding, errors) for n in range(min(1, len(text)), len(text) + 1)]
    longest = max((prefix for prefix in prefixes if len(prefix) <= room), key=len)
    assert count == len(longest)
    assert m[start:] == longest.ljust(room, b"#")


def test_the_error_handler_is_used_both_ways(m):
    m.write_at(b"a\xffb", 0)
    with pytest.raises(UnicodeDecodeError):
        m.read_string_at(0, 3)
    assert m.read_string_at(0, 3, errors="replace") == "a\N{REPLACEMENT CHARACTER}b"
    with pytest.raises(UnicodeEncodeError):
        m.write_string_at("€", 0, encoding="ascii")
    assert m.write_string_at("€", 0, encoding="ascii", errors="replace") == 1
    assert m[:3] == b"?\xffb"


def test_an_unknown_encoding_is_a_lookup_error(m):
    with pytest.raises(LookupError):
        m.read_string_at(0, 3, encoding="no such")
    with pytest.raises(LookupError):
        m.write_string_at("x", 0, encoding="no such")


@pytest.mark.parametrize("what", [b"bytes", None, 5])
def test_what_is_no_text_is_a_type_error(m, what):
    with pytest.raises(TypeError):
        m.write_string_at(what, 0)
