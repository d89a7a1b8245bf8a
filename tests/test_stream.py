"""Streams: a mapping as a raw file, and what the standard library does with one."""

from __future__ import annotations

import copy
import csv
import ctypes
import errno
import gc
import gzip
import io
import lzma
import os
import pickle
import shutil
import tarfile
import tempfile
import weakref
import zipfile
from array import array
from collections import UserList

import pytest
from child import output
from hypothesis import given, settings
from hypothesis import strategies as st

import sharedmmap
from sharedmmap import File, OutOfBoundsError, UnmappedMemoryError

MIB = 1 << 20
TEXT = b"hello world\nsecond line\n\nlast"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.fixture
def m(path):
    with sharedmmap.open(path, "w+", length=MIB) as m:
        yield m


@pytest.fixture
def small(tmp_path):
    (tmp_path / "small").write_bytes(TEXT)
    with sharedmmap.open(tmp_path / "small") as m:
        yield m


# ---- a raw file, as io.FileIO is one ----


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


def filled(f, buffer):
    return f.readinto(buffer), bytes(buffer), f.tell()


def written(f, data):
    return f.write(data), f.tell(), f.seek(0), f.read()


def two_by_two():
    return memoryview(bytearray(b"abcdefgh")).cast("H", shape=[2, 2])


SCRIPTS = {
    "read some": lambda f: [f.read(5), f.read(0), f.tell(), f.read(100), f.read(1), f.read()],
    "read all": lambda f: [f.readall(), f.readall(), f.tell()],
    "read with no size": lambda f: [f.seek(6), f.read(), f.seek(3), f.read(-1), f.seek(9), f.read(None)],
    "read negative": lambda f: f.read(-7),
    "read with an index": lambda f: f.read(Index(5)),
    "seek with an index": lambda f: [f.seek(Index(5)), f.read(3)],
    "read with a float": lambda f: f.read(2.0),
    "read with a str": lambda f: f.read("2"),
    "readline": lambda f: [f.readline(), f.readline(3), f.readline(0), f.readline(None), f.readline(), f.tell()],
    "readlines": lambda f: [f.readlines(1), f.readlines(None), f.readlines()],
    "iterate": lambda f: [list(f), list(f), f.tell()],
    "next at the end": lambda f: [f.seek(0, 2), next(f, None)],
    "seek from the start": lambda f: [f.seek(7), f.tell(), f.seek(0, io.SEEK_SET), f.tell()],
    "seek from here": lambda f: [f.seek(7), f.seek(3, 1), f.seek(-4, 1), f.seek(0, 1), f.read(2)],
    "seek from the end": lambda f: [f.seek(-6, 2), f.read(4), f.seek(0, 2), f.read(4), f.seek(-len(TEXT), 2)],
    "seek past the end": lambda f: [f.seek(1000), f.tell(), f.read(5), f.readall(), f.readinto(bytearray(3))],
    "seek past the end and back": lambda f: [f.seek(9, 2), f.seek(-10, 1), f.read()],
    "seek before the start": lambda f: f.seek(-1),
    "seek before the start from here": lambda f: [f.seek(3), f.seek(-4, 1)],
    "seek before the start from the end": lambda f: f.seek(-len(TEXT) - 1, 2),
    "seek with a float": lambda f: f.seek(0.0),
    "seek with None": lambda f: f.seek(None),
    "seek with a bad whence": lambda f: f.seek(0, 9),
    "seek with a negative whence": lambda f: f.seek(0, -1),
    "seek with a float whence": lambda f: f.seek(0, 1.0),
    "readinto a bytearray": lambda f: filled(f, bytearray(5)),
    "readinto more than there is": lambda f: [f.seek(-3, 2), filled(f, bytearray(b"abcdefgh"))],
    "readinto at the end": lambda f: [f.seek(0, 2), filled(f, bytearray(b"abc"))],
    "readinto nothing": lambda f: filled(f, bytearray()),
    "readinto a memoryview": lambda f: filled(f, memoryview(bytearray(8))[2:6]),
    "readinto two dimensions": lambda f: filled(f, two_by_two()),
    "readinto two dimensions at the end": lambda f: [f.seek(-3, 2), filled(f, two_by_two())],
    "readinto an array": lambda f: filled(f, array("b", b"abcdefgh")),
    "readinto an array of ints": lambda f: filled(f, array("I", b"abcdefgh")),
    "readinto an array of floats": lambda f: filled(f, array("d", [0.0, 1.0])),
    "readinto ctypes chars": lambda f: filled(f, ctypes.create_string_buffer(7)),
    "readinto ctypes ints": lambda f: filled(f, (ctypes.c_int * 3)()),
    "readinto a ctypes structure": lambda f: filled(f, (ctypes.c_uint16.__ctype_be__ * 4)()),
    "readinto bytes": lambda f: f.readinto(b"abc"),
    "readinto bytes at the end": lambda f: [f.seek(0, 2), f.readinto(b"abc")],
    "readinto a str": lambda f: f.readinto("abc"),
    "readinto with a step": lambda f: f.readinto(memoryview(bytearray(8))[::2]),
    "readinto nothing at all": lambda f: f.readinto(),
    "write bytes": lambda f: written(f, b"blah."),
    "write nothing": lambda f: written(f, b""),
    "write nothing past the end": lambda f: [f.seek(1000), f.write(b""), f.tell()],
    "write a bytearray": lambda f: written(f, bytearray(b"blah.")),
    "write a memoryview": lambda f: written(f, memoryview(b"..blah...")[2:6]),
    "write two dimensions": lambda f: written(f, two_by_two()),
    "write an array": lambda f: written(f, array("H", [1, 2, 3])),
    "write ctypes ints": lambda f: written(f, (ctypes.c_int * 3)(1, 2, 3)),
    "write big-endian ctypes ints": lambda f: written(f, (ctypes.c_uint16.__ctype_be__ * 3)(1, 2, 3)),
    "write a str": lambda f: f.write("Hello!"),
    "write None": lambda f: f.write(None),
    "write an int": lambda f: f.write(5),
    "writelines": lambda f: [f.writelines([b"123", b"456"]), f.tell(), f.seek(0), f.read()],
    "writelines of a UserList": lambda f: [f.writelines(UserList([b"123", b"456"])), f.tell()],
    "writelines of ints": lambda f: f.writelines([1, 2, 3]),
    "writelines of None": lambda f: f.writelines(None),
    "writelines of a str": lambda f: f.writelines("abc"),
    "write, then seek and read": lambda f: [f.write(b"Hello."), f.seek(-1, 1), f.write(b" world"), f.seek(-1, 2)],
    "abilities": lambda f: [f.readable(), f.writable(), f.seekable(), f.isatty(), f.closed],
    "flush": lambda f: [f.flush(), f.tell()],
    "set closed": lambda f: setattr(f, "closed", True),
    "no text": lambda f: io.TextIOBase in type(f).__mro__,
}
AFTER_CLOSE = {
    **{name: lambda f, name=name: getattr(f, name)() for name in ["readable", "writable", "seekable", "isatty"]},
    **{name: lambda f, name=name: getattr(f, name)() for name in ["read", "readall", "readline", "readlines"]},
    **{name: lambda f, name=name: getattr(f, name)() for name in ["tell", "flush", "truncate", "__enter__"]},
    "readinto": lambda f: f.readinto(bytearray(1)),
    "seek": lambda f: f.seek(0),
    "write": lambda f: f.write(b"x"),
    "write nothing": lambda f: f.write(b""),
    "writelines": lambda f: f.writelines([b"x"]),
    "iterate": list,
    "next": next,
    "close": lambda f: f.close(),
    "closed": lambda f: f.closed,
}
SAME_REFUSAL = {
    TypeError: "type",
    BufferError: "type",
    AttributeError: "type",
    ValueError: "value",
    OSError: "value",
}


def outcome(f, script):
    """What the script returns or how it is refused; and where that leaves the file."""
    try:
        result = script(f)
    except tuple(SAME_REFUSAL) as error:
        result = next(kind for error_type, kind in SAME_REFUSAL.items() if isinstance(error, error_type))
    if f.closed:
        return result
    position = f.tell()
    f.seek(0)
    return result, position, f.read()


@pytest.fixture
def real(tmp_path):
    (tmp_path / "real").write_bytes(TEXT)
    with io.FileIO(tmp_path / "real", "r+") as f:
        yield f


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_a_stream_behaves_as_a_raw_file(small, real, script):
    assert outcome(small.stream(), script) == outcome(real, script)


@pytest.mark.parametrize("script", AFTER_CLOSE.values(), ids=AFTER_CLOSE)
def test_a_closed_stream_behaves_as_a_closed_raw_file(small, real, script):
    stream = small.stream()
    stream.close()
    real.close()
    assert outcome(stream, script) == outcome(real, script)


STEPS = st.one_of(
    st.tuples(st.just("seek"), st.integers(-40, 40), st.integers(0, 2)),
    st.tuples(st.just("read"), st.integers(-2, 40)),
    st.tuples(st.just("readline"), st.integers(-1, 20)),
    st.tuples(st.just("readinto"), st.integers(0, 40)),
    st.tuples(st.just("write"), st.binary(max_size=20)),
)


def take(f, name, *args):
    if name == "readinto":
        return filled(f, bytearray(*args))
    if name == "write":  # what fits: a real file would grow
        args = (args[0][: max(0, len(TEXT) - f.tell())],)
    try:
        return getattr(f, name)(*args), f.tell()
    except (ValueError, OSError):
        return "refused", f.tell()


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=25))
def test_any_sequence_of_steps_goes_as_on_a_raw_file(steps):
    with tempfile.TemporaryFile(buffering=0) as real, tempfile.TemporaryFile(buffering=0) as backing:
        for f in real, backing:
            f.write(TEXT)
        real.seek(0)
        with File(backing) as m:
            stream = m.stream()
            for step in steps:
                assert take(stream, *step) == take(real, *step)
            real.seek(0)
            assert m[:] == real.read()


def test_a_write_of_a_buffer_with_a_step_is_refused(small):
    stream = small.stream()
    with pytest.raises((BufferError, TypeError)):
        stream.write(memoryview(b"abcdefgh")[::2])
    assert (stream.tell(), small[:]) == (0, TEXT)


@pytest.mark.parametrize("step", [(2**63,), (-(2**63) - 1,), (2**70, io.SEEK_END), (-1,), (-1, io.SEEK_CUR)])
def test_a_position_that_no_file_has_is_refused_as_by_a_raw_file(m, path, step):
    with path.open("rb", buffering=0) as raw:
        refusals = []
        for file in m.stream(), raw:
            with pytest.raises((OSError, OverflowError)) as refused:
                file.seek(*step)
            refusals.append((type(refused.value), getattr(refused.value, "errno", None)))
            assert file.tell() == 0
    assert refusals[0] == refusals[1]


def test_a_position_is_no_greater_than_a_file_offset(m):
    stream = m.stream()
    assert stream.seek(2**63 - 1) == 2**63 - 1
    for step in (1, io.SEEK_CUR), (2**63 - 1, io.SEEK_END):
        with pytest.raises(OSError, match=rf"\[Errno {errno.EINVAL}\]"):
            stream.seek(*step)
        assert stream.tell() == 2**63 - 1


def test_reading_into_what_is_read_only_is_a_type_error_as_with_a_raw_file(m, path):
    with path.open("rb", buffering=0) as raw:
        for file in m.stream(), raw:
            for dest in b"12345", memoryview(b"12345"), memoryview(bytearray(5)).toreadonly():
                with pytest.raises(TypeError):
                    file.readinto(dest)


def test_a_stream_is_a_raw_file_to_isinstance(m):
    assert isinstance(m.stream(), io.RawIOBase)


@pytest.mark.parametrize("name", ["truncate", "fileno"])
def test_what_a_stream_cannot_do_is_unsupported(m, name):
    with pytest.raises(io.UnsupportedOperation):
        getattr(m.stream(), name)()


def test_a_stream_that_is_dropped_can_be_collected(m):
    stream = m.stream()
    dropped = weakref.ref(stream)
    del stream
    gc.collect()
    assert dropped() is None
    assert not m.closed


# ---- the range ----


def test_positions_are_independent(small):
    first, second = small.stream(), small.stream()
    assert first.read(6) == b"hello "
    assert second.tell() == 0
    second.write(b"HELLO WORLD")
    assert first.read(5) == b"WORLD"


def test_a_stream_keeps_to_its_range(small):
    stream = small.stream(6, 5)
    assert stream.read() == b"world"
    assert stream.seek(0, 2) == 5
    assert stream.seek(-2, 2) == 3
    assert stream.write(b"LD") == 2
    assert small[:13] == b"hello worLD\ns"


def test_a_write_that_does_not_fit_writes_nothing_and_names_the_room(small):
    stream = small.stream(6, 5)
    stream.seek(3)
    with pytest.raises(OSError, match="4 bytes do not fit into the 2 from position 3") as caught:
        stream.write(b"1234")
    assert caught.value.errno == errno.ENOSPC
    assert stream.tell() == 3
    assert small[6:13] == b"world\ns"
    assert stream.write(b"12") == 2
    assert small[6:13] == b"wor12\ns"


def test_a_write_from_past_the_end_raises_and_leaves_no_trace(small):
    stream = small.stream()
    stream.seek(1000)
    with pytest.raises(OSError, match="fit into the 0 from position 1000") as caught:
        stream.write(b"x")
    assert caught.value.errno == errno.ENOSPC
    assert small[:] == TEXT


@pytest.mark.parametrize(
    "bounds",
    [
        (-1,),
        (-1, 1),
        (0, len(TEXT) + 1),
        (len(TEXT), 1),
        (len(TEXT) + 1,),
        (len(TEXT) + 1, 0),
        (2**63, 1),
        (2**80,),
    ],
    ids=str,
)
def test_a_range_outside_the_mapping_is_out_of_bounds(small, bounds):
    with pytest.raises(OutOfBoundsError):
        small.stream(*bounds)


def test_a_negative_length_is_refused(small):
    with pytest.raises(ValueError, match="-1"):
        small.stream(0, -1)


def test_an_empty_range_is_at_its_end(small):
    stream = small.stream(len(TEXT))
    assert stream.read() == b""
    assert stream.seek(0, 2) == 0
    with pytest.raises(OSError, match="No space left"):
        stream.write(b"x")


def test_a_stream_ends_where_the_file_does_and_grows_with_it(path):
    with sharedmmap.open(path, "w+", length=3, capacity=MIB) as m:
        stream, limited = m.stream(), m.stream(0, 5)
        with pytest.raises(OSError, match="fit into the 3 from"):
            stream.write(b"abcd")
        assert stream.write(b"abc") == 3
        assert stream.read() == b""
        m.reserve(7)
        assert stream.write(b"defg") == 4
        assert stream.seek(0, 2) == 7
        assert limited.read() == b"abcde"
        with path.open("r+b") as other:
            other.truncate(2)
        stream.seek(0)
        assert stream.read() == b"ab"
        assert stream.seek(0, 2) == 2


def test_data_of_many_pieces_goes_through_whole(path):
    content = bytes(range(251)) * (3 * MIB // 251)
    with sharedmmap.open(path, "w+", length=len(content)) as m:
        stream = m.stream()
        assert stream.write(content) == len(content)
        stream.seek(1)
        dest = bytearray(len(content))
        assert stream.readinto(dest) == len(content) - 1
        assert dest[:-1] == content[1:]
        stream.seek(0)
        assert stream.readall() == content == path.read_bytes()


def test_writing_makes_the_mapping_dirty_and_reading_does_not(small):
    stream = small.stream()
    stream.read()
    assert not small.dirty
    stream.seek(0)
    stream.write(b"x")
    assert small.dirty


def test_a_stream_over_a_read_only_mapping_only_reads(small, tmp_path):
    with sharedmmap.open(tmp_path / "small", "r") as m:
        stream = m.stream()
        assert not stream.writable()
        assert stream.readable()
        for data in b"x", b"":
            with pytest.raises(io.UnsupportedOperation):
                stream.write(data)
        assert stream.tell() == 0
        assert stream.read() == TEXT
        with pytest.raises(io.UnsupportedOperation):
            io.BufferedWriter(m.stream())


# ---- life ----


def test_closing_a_stream_leaves_the_mapping(small):
    other = small.stream()
    with small.stream() as stream:
        stream.read(3)
    stream.close()
    assert stream.closed
    assert not small.closed
    assert other.read() == small[:] == TEXT


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s.read(),
        lambda s: s.read(0),
        lambda s: s.readall(),
        lambda s: s.readinto(bytearray(1)),
        lambda s: s.readinto(bytearray()),
        lambda s: s.readline(),
        lambda s: s.write(b"x"),
        lambda s: s.write(b""),
        lambda s: s.seek(0),
        lambda s: s.seek(0, 2),
        lambda s: s.tell(),
        lambda s: s.readable(),
        lambda s: s.writable(),
        lambda s: s.seekable(),
        lambda s: io.BufferedReader(s).read(1),
    ],
)
def test_any_use_after_unmap_raises(small, use):
    with small.stream() as stream:
        stream.seek(100)
        small.unmap()
        with pytest.raises(UnmappedMemoryError):
            use(stream)
    assert stream.closed


def test_a_buffered_reader_raises_once_the_mapping_is_gone(small):
    reader = io.BufferedReader(small.stream(), buffer_size=4)
    assert reader.read(2) == b"he"
    small.unmap()
    with pytest.raises(UnmappedMemoryError):
        reader.read()


def test_no_stream_of_an_unmapped_file(small):
    small.unmap()
    with pytest.raises(UnmappedMemoryError):
        small.stream()


FAULTED = """
from io import BufferedReader
with open(path, "wb") as file:
    file.write(b"x" * (2 * PAGE))
m = sharedmmap.open(path)
stream = m.stream()
assert stream.read(3) == b"xxx"
os.truncate(path, 0)
try:
    m[PAGE]
except MappingFaultError:
    os.truncate(path, PAGE)

def raises(use):
    try:
        use()
    except MappingFaultError as error:
        return error.errno == errno.ENXIO
"""


def test_a_stream_made_before_a_restore_keeps_raising(path):
    assert (
        output(
            """
            uses = [stream.read, stream.tell, lambda: stream.write(b"lost"), lambda: stream.seek(0)]
            assert all(map(raises, uses))
            m.restore()
            assert all(map(raises, uses))
            print(m.stream().read() == bytes(PAGE))
            """,
            path,
            setup=FAULTED,
        )
        == "True"
    )


# ---- what the standard library does with it ----

FILES = {"a.txt": b"a" * 5000, "empty": b"", "dir/b.bin": bytes(range(256)) * 300}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("wrap", [lambda raw: raw, io.BufferedRandom], ids=["raw", "buffered"])
def test_a_zip_archive_is_written_and_read_back(m, wrap, compression):
    target = wrap(m.stream())
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    target.flush()
    used = target.tell()
    with zipfile.ZipFile(wrap(m.stream(0, used))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
        with archive.open("a.txt") as first, archive.open("dir/b.bin") as second:
            assert (first.read(3), second.read(3), first.read(3)) == (b"aaa", b"\x00\x01\x02", b"aaa")


def test_a_damaged_zip_archive_is_found_out(m):
    with zipfile.ZipFile(m.stream(), "w") as archive:
        archive.writestr("a", b"content")
    used = m.rfind(b"PK\x05\x06") + 22
    m[m.find(b"content")] ^= 1
    with zipfile.ZipFile(m.stream(0, used)) as archive:
        assert archive.testzip() == "a"


def test_a_zip_archive_too_large_for_the_range_raises(m):
    archive = zipfile.ZipFile(m.stream(0, 100), "w")
    archive.writestr("a", b"")
    with pytest.raises(OSError, match="No space left"), archive:
        archive.writestr("b" * 100, b"content")
    archive.fp = None  # or its finalizer tries again


@pytest.mark.parametrize("compression", ["", "gz"])
def test_a_tar_archive_is_written_and_read_back(m, compression):
    with tarfile.open(fileobj=m.stream(), mode=f"w:{compression}") as archive:
        for name, content in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with tarfile.open(fileobj=m.stream(), mode=f"r:{compression}") as archive:
        assert {member.name: archive.extractfile(member).read() for member in archive} == FILES


def test_gzip_is_written_and_read_back(m):
    target = m.stream()
    with gzip.GzipFile(fileobj=target, mode="wb", mtime=0) as packed:
        packed.write(FILES["dir/b.bin"])
    with gzip.open(m.stream(0, target.tell())) as packed:
        assert packed.read() == FILES["dir/b.bin"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_written_and_read_back_one_by_one(m, protocol):
    values = [{"a": [1, 2.5, None]}, "é" * 1000, b"x" * 200_000, list(range(3000))]
    target, source = m.stream(), m.stream()
    for value in values:
        pickle.dump(value, target, protocol)
    assert [pickle.load(source) for _ in values] == values


def test_csv_through_text_is_written_and_read_back(m):
    rows = [["name", "value"], ["é, quoted", "1"], ['"', "two\nlines"], ["", "€" * 3000]]
    with io.TextIOWrapper(io.BufferedWriter(m.stream()), encoding="utf-8", newline="") as text:
        csv.writer(text).writerows(rows)
        text.flush()
        used = text.buffer.raw.tell()
    with io.TextIOWrapper(io.BufferedReader(m.stream(0, used)), encoding="utf-8", newline="") as text:
        assert list(csv.reader(text)) == rows


def test_copyfileobj_copies_in_and_out(m, tmp_path):
    content = bytes(range(256)) * (MIB // 256)
    shutil.copyfileobj(io.BytesIO(content), m.stream())
    assert m[:] == content
    with (tmp_path / "copy").open("wb") as copy:
        shutil.copyfileobj(m.stream(1000), copy, 4097)
    assert (tmp_path / "copy").read_bytes() == content[1000:]


def test_a_buffered_reader_reads_peeks_and_seeks(small):
    reader = io.BufferedReader(small.stream(), buffer_size=8)
    assert reader.peek(1)[:1] == b"h"
    assert reader.readline() == b"hello world\n"
    assert reader.seek(-4, 2) == len(TEXT) - 4
    assert reader.read(10) == b"last"
    reader.seek(6)
    dest = bytearray(5)
    assert reader.readinto(dest) == 5
    assert dest == b"world"


def test_a_buffered_writer_writes_on_flush_and_close(small):
    writer = io.BufferedWriter(small.stream())
    writer.write(b"HELLO")
    assert small[:5] == b"hello"
    writer.flush()
    assert small[:5] == b"HELLO"
    writer.write(b"-")
    writer.close()
    assert small[:6] == b"HELLO-"
    assert not small.closed


def test_a_buffered_writer_past_the_end_raises_and_writes_nothing(small):
    writer = io.BufferedWriter(small.stream(6, 5))
    writer.write(b"123456789")
    with pytest.raises(OSError, match="No space left") as caught:
        writer.close()
    assert caught.value.errno == errno.ENOSPC
    assert small[6:13] == b"world\ns"


def test_a_buffered_random_mixes_reads_and_writes(small):
    with io.BufferedRandom(small.stream(), buffer_size=8) as both:
        assert both.read(6) == b"hello "
        both.write(b"WORLD")
        assert both.read(7) == b"\nsecond"
        both.seek(0)
        assert both.read(12) == b"hello WORLD\n"
    assert small[:12] == b"hello WORLD\n"


# ---- as FileIO has it ----


def test_a_position_is_refused_as_file_io_refuses_it(small, tmp_path):
    with io.FileIO(tmp_path / "twin", "w+") as twin:
        for stream in small.stream(), twin:
            for arguments in (-1,), (-1, 1), (-1000, 2), (0, 9), (-(2**63), 0):
                stream.seek(0)
                with pytest.raises(OSError, match=r"\[Errno 22\]") as caught:
                    stream.seek(*arguments)
                assert caught.value.errno == errno.EINVAL
                assert stream.tell() == 0
            for offset in 2**100, -(2**100), 2**63:
                with pytest.raises(OverflowError):
                    stream.seek(offset)
            for offset in 1.0, "1", None:
                with pytest.raises(TypeError):
                    stream.seek(offset)
            assert stream.seek(2**40) == 2**40
            assert stream.read() == b""


def test_a_stream_cannot_be_copied(small):
    for make in copy.copy, copy.deepcopy, pickle.dumps:
        with pytest.raises(TypeError, match="make another from its File"):
            make(small.stream())


@given(st.binary().map(lambda text: text.replace(b"\1", b"\n")), st.lists(st.integers(-2, 5)))
def test_lines_are_those_of_bytes_io(path, text, sizes):
    text += b"\n\nlast"
    path.write_bytes(text)
    with sharedmmap.open(path, capacity=len(text) + 100) as m:
        assert list(m.stream()) == list(io.BytesIO(text))
        assert m.stream().readlines() == io.BytesIO(text).readlines()
        stream, twin = m.stream(), io.BytesIO(text)
        for size in sizes:
            assert stream.readline(size) == twin.readline(size)
            assert stream.tell() == twin.tell()
        assert m.stream(1, 2).readline() == io.BytesIO(text[1:3]).readline()


def archive_in_zip(stream):
    with zipfile.ZipFile(stream, "w") as target:
        target.writestr("name", os.urandom(5000))


def archive_in_lzma(stream):
    with lzma.LZMAFile(stream, "w") as target:
        target.write(os.urandom(5000))


def archive_in_tar(stream):
    with tarfile.TarFile(fileobj=stream, mode="w") as target:
        target.addfile(tarfile.TarInfo("name"))


WRITERS = {
    "pickle": lambda stream: pickle.dump(bytes(range(256)) * 20, stream),
    "copyfileobj": lambda stream: shutil.copyfileobj(io.BytesIO(bytes(5000)), stream),
    "writelines": lambda stream: stream.writelines([bytes(300)] * 10),
    "zipfile": archive_in_zip,
    "tarfile": archive_in_tar,
    "lzma": archive_in_lzma,
    "text": lambda stream: print("x" * 5000, file=io.TextIOWrapper(stream, write_through=True)),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_writer_whose_end_does_not_fit_raises(path, write):
    """None of them looks at the count that write() returns."""
    with sharedmmap.open(path, "w+", length=200) as m, pytest.raises(OSError, match="do not fit") as caught:
        write(m.stream())
    assert caught.value.errno == errno.ENOSPC


def test_numpy_raises_where_an_array_does_not_fit(path):
    numpy = pytest.importorskip("numpy")
    with sharedmmap.open(path, "w+", length=200) as m, pytest.raises(OSError, match="do not fit"):
        numpy.save(m.stream(), numpy.zeros(100))


def test_an_empty_archive_can_be_opened(path):
    with sharedmmap.open(path, "w+", length=100) as m:
        with zipfile.ZipFile(m.stream(0, 22), "w"):
            pass
        with zipfile.ZipFile(m.stream(0, 22)) as archive:
            assert archive.namelist() == []
