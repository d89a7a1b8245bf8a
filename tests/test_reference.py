"""What the tests of grandecola/mmap say of it, retold for this package."""

from __future__ import annotations

import io
import os
import zipfile

import pytest

import sharedmmap
from sharedmmap import Advice, Error, File, MappingFaultError, OutOfBoundsError, Prot, Sync, UnmappedMemoryError
from sharedmmap._scalar_names import SCALARS


@pytest.fixture
def contents():
    return b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.fixture
def m(path, contents):
    with path.open("r+b") as f, File(f, 0, len(contents), Prot.READ | Prot.WRITE) as m:
        yield m


# ---- read and write ----


def test_all_of_the_mapping_is_read(m, contents):
    dest = bytearray(len(contents))
    assert m.read_at(dest, 0) == len(contents)
    assert dest == contents


def test_a_destination_longer_than_the_mapping_is_filled_as_far_as_it_goes(m, contents):
    dest = bytearray(len(contents) + 10)
    assert m.read_at(dest, 0) == len(contents)
    assert dest == contents + bytes(10)


def test_the_last_bytes_are_read(m):
    dest = bytearray(5)
    assert m.read_at(dest, 34) == 2
    assert dest == b"YZ\0\0\0"


def test_a_write_is_in_the_file_after_a_flush(m, path):
    assert m.write_at(b"a", 9) == 1
    m.flush(Sync.SYNC)
    assert path.read_bytes() == b"012345678aABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_a_write_that_does_not_fit_is_cut_at_the_end(m, path):
    assert m.write_at(b"abc", 34) == 2
    m.flush(Sync.SYNC)
    assert path.read_bytes() == b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXab"


@pytest.mark.parametrize("offset", [36, 100, -1])
def test_reading_and_writing_outside_is_out_of_bounds(m, path, contents, offset):
    for call in (
        lambda: m.read_at(bytearray(1), offset),
        lambda: m.write_at(b"a", offset),
        lambda: m.read_string_at(offset, 10),
        lambda: m.write_string_at("a", offset),
        lambda: m.read_uint64_at(offset),
        lambda: m.write_uint64_at(1, offset),
    ):
        with pytest.raises(OutOfBoundsError):
            call()
    assert path.read_bytes() == contents


# ---- strings ----


@pytest.mark.parametrize("length", [36, 34, 1, 0, 46])
def test_a_string_is_read_up_to_its_length_or_the_end(m, contents, length):
    assert m.read_string_at(0, length) == contents[:length].decode()


def test_a_string_is_written(m, path):
    assert m.write_string_at("a", 9) == 1
    m.flush(Sync.SYNC)
    assert path.read_bytes() == b"012345678aABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_a_string_that_does_not_fit_is_cut_at_the_end(m, path):
    assert m.write_string_at("abc", 34) == 2
    m.flush(Sync.SYNC)
    assert path.read_bytes() == b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXab"


# ---- uint64 ----

TEN_BILLION = b"\x00\xe4\x0b\x54\x02\x00\x00\x00"


def test_a_uint64_is_read_as_little_endian(m):
    assert m.write_at(TEN_BILLION, 0) == 8
    assert m.read_uint64_at(0) == 10**10


def test_a_uint64_is_written_as_little_endian(m):
    m.write_uint64_at(10**10, 0)
    dest = bytearray(8)
    assert m.read_at(dest, 0) == 8
    assert dest == TEN_BILLION


@pytest.mark.parametrize("before_the_end", range(1, 8))
def test_a_uint64_in_the_last_7_bytes_is_out_of_bounds(m, path, contents, before_the_end):
    with pytest.raises(OutOfBoundsError):
        m.read_uint64_at(len(contents) - before_the_end)
    with pytest.raises(OutOfBoundsError):
        m.write_uint64_at(10**10, len(contents) - before_the_end)
    assert path.read_bytes() == contents


def test_a_uint64_fits_in_the_last_8_bytes(m, contents):
    m.write_uint64_at(10**10, len(contents) - 8)
    assert m.read_uint64_at(len(contents) - 8) == 10**10


# ---- advise, lock, unlock ----


def test_advice_is_given(m, contents):
    m.advise(Advice.SEQUENTIAL)
    assert m[:] == contents


def test_the_mapping_is_locked_and_unlocked(m, contents):
    m.lock()
    assert m[:] == contents
    m.unlock()
    assert m[:] == contents


# ---- life ----


def test_a_negative_length_is_refused(path):
    with path.open("r+b") as f, pytest.raises(ValueError, match="length"):
        File(f, 0, -1)


def test_the_file_may_be_closed_right_after_mapping(path, contents):
    f = path.open("r+b")
    m = File(f, 0, len(contents))
    f.close()
    m.write_uint64_at(10**10, 0)
    assert m.read_uint64_at(0) == 10**10
    m.unmap()
    assert path.read_bytes() == TEN_BILLION + contents[8:]


def test_a_file_mapped_before_it_has_its_size_is_written_once_it_has(tmp_path):
    """An empty zip archive: 22 bytes, the first four of which are not zero."""
    archive = b"PK\5\6" + bytes(18)
    path = tmp_path / "io.zip"
    with path.open("w+b") as f:
        m = File(f, 0, len(archive))
    assert (len(m), m.accessible) == (len(archive), 0)
    with pytest.raises(OutOfBoundsError):
        m.write_at(archive, 0)
    os.truncate(path, len(archive))
    assert m.write_at(archive, 0) == len(archive)
    m.flush(Sync.SYNC)
    assert zipfile.ZipFile(path).namelist() == []
    assert zipfile.ZipFile(io.BytesIO(m[:])).namelist() == []


# ---- the dirty flag ----


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (lambda m: m.write_uint64_at(0, 0), lambda m: m.read_uint64_at(0)),
        (lambda m: m.write_string_at("string", 0), lambda m: m.read_string_at(0, 6)),
        (lambda m: m.write_at(b"\1\2", 0), lambda m: m.read_at(bytearray(2), 0)),
    ],
    ids=["uint64", "string", "bytes"],
)
def test_a_write_makes_it_dirty_a_flush_clean_and_a_read_changes_nothing(m, write, read):
    write(m)
    assert m.dirty
    m.flush(Sync.SYNC)
    assert not m.dirty
    read(m)
    assert not m.dirty
    m.flush(Sync.SYNC)
    assert not m.dirty


# ---- after unmap ----

CALLS = {
    "read_at": lambda m: m.read_at(bytearray(8), 0),
    "read_at of nothing": lambda m: m.read_at(bytearray(), 0),
    "read_at outside": lambda m: m.read_at(bytearray(8), 1000),
    "read_at memoryview": lambda m: m.read_at(memoryview(bytearray(8)), 0),
    "write_at": lambda m: m.write_at(b"x", 0),
    "write_at of nothing": lambda m: m.write_at(b"", 0),
    "write_at outside": lambda m: m.write_at(b"x", 1000),
    "write_at bytearray": lambda m: m.write_at(bytearray(8), 0),
    "read_string_at": lambda m: m.read_string_at(0),
    "read_string_at of nothing": lambda m: m.read_string_at(0, 0),
    "write_string_at": lambda m: m.write_string_at("x", 0),
    "write_string_at of nothing": lambda m: m.write_string_at("", 0),
    "item": lambda m: m[0],
    "item outside": lambda m: m[1000],
    "slice": lambda m: m[:],
    "empty slice": lambda m: m[5:5],
    "slice with a step": lambda m: m[::2],
    "item assigned": lambda m: m.__setitem__(0, 1),
    "slice assigned": lambda m: m.__setitem__(slice(2), b"xy"),
    "empty slice assigned": lambda m: m.__setitem__(slice(0), b""),
    "slice with a step assigned": lambda m: m.__setitem__(slice(0, 4, 2), b"xy"),
    "flush": lambda m: m.flush(),
    "flush async": lambda m: m.flush(Sync.ASYNC),
    "flush of nothing": lambda m: m.flush(length=0),
    "advise": lambda m: m.advise(Advice.NORMAL),
    "lock": lambda m: m.lock(),
    "unlock": lambda m: m.unlock(),
    "residency": lambda m: m.residency(),
    "reserve": lambda m: m.reserve(1),
    "reserve of nothing": lambda m: m.reserve(0),
    "restore": lambda m: m.restore(),
    "len": len,
    "iter": list,
    "accessible": lambda m: m.accessible,
    "dirty": lambda m: m.dirty,
    "unmap": lambda m: m.unmap(),
    "with": lambda m: m.__enter__(),
    **{f"read_{name}_at": lambda m, name=name: getattr(m, f"read_{name}_at")(0) for name in SCALARS},
    **{f"write_{name}_at": lambda m, name=name: getattr(m, f"write_{name}_at")(1, 0) for name in SCALARS},
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("written", [False, True], ids=["clean", "dirty"])
def test_every_call_after_unmap_raises(m, path, contents, call, written):
    if written:
        m[-1] = ord("!")
    m.unmap()
    with pytest.raises(UnmappedMemoryError, match="not mapped any more"):
        call(m)
    assert path.read_bytes() == (contents[:-1] + b"!" if written else contents)


def test_what_does_not_touch_the_memory_still_answers_after_unmap(m):
    m.unmap()
    assert m.closed
    assert (m.offset, m.prot) == (0, Prot.READ | Prot.WRITE)
    assert "unmapped" in repr(m)


# ---- the errors ----


@pytest.mark.parametrize(
    ("error", "builtin"),
    [(UnmappedMemoryError, ValueError), (OutOfBoundsError, IndexError), (MappingFaultError, OSError)],
)
def test_the_errors_are_of_one_family_and_of_the_builtin_kind(error, builtin):
    assert issubclass(error, Error)
    assert issubclass(error, builtin)


def test_an_error_says_where_and_how_much(m):
    with pytest.raises(OutOfBoundsError, match="8 bytes at offset 30 are outside the mapping of 36 bytes"):
        m.read_uint64_at(30)


def test_the_same_holds_for_what_open_returns(path):
    with sharedmmap.open(path) as m:
        m.write_uint64_at(10**10, 0)
    with pytest.raises(UnmappedMemoryError):
        m.read_uint64_at(0)
