"""Views: the memory itself. They can go stale, they can't dangle."""

from __future__ import annotations

import gc
import io
import mmap
import os
import re
import struct
import sys
import threading
import zlib

import pytest
from child import output

import sharedmmap
from sharedmmap import OutOfBoundsError, Sync, UnmappedMemoryError

PAGE = mmap.PAGESIZE
SIZE = 3 * PAGE
PYPY = sys.implementation.name == "pypy"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello" + bytes(SIZE - 10) + b"world")
    return path


@pytest.fixture
def m(path):
    with sharedmmap.open(path) as m:
        yield m


def collect():
    for _ in range(3):
        gc.collect()


# ---- what it shows ----


def test_a_view_shows_the_memory_both_ways(m, path):
    view = m.view()
    assert (view.nbytes, view.format, view.readonly, view.c_contiguous) == (SIZE, "B", False, True)
    assert bytes(view) == m[:]
    m[:5] = b"HELLO"
    assert bytes(view[:5]) == b"HELLO"
    view[-5:] = b"WORLD"
    assert m[-5:] == b"WORLD"
    assert path.read_bytes() == bytes(view)


def test_a_view_of_a_range_shows_that_range(m):
    assert bytes(m.view(1, 4)) == b"ello"
    assert bytes(m.view(SIZE - 4)) == b"orld"
    assert m.view(5, 0).nbytes == m.view(SIZE).nbytes == 0


def test_views_and_mappings_of_one_file_show_the_same(m, path):
    with sharedmmap.open(path, offset=PAGE + 1) as other:
        m.view()[PAGE + 1] = 7
        assert (other.view()[0], m.view(PAGE)[1]) == (7, 7)


def test_a_view_can_be_cast(m):
    view = m.view(8, 16).cast("Q")
    view[1] = 2**64 - 2
    assert m.read_uint64_at(16) == 2**64 - 2


def test_a_view_goes_to_the_end_of_the_file(path):
    with sharedmmap.open(path, capacity=10 * PAGE) as m:
        assert m.view().nbytes == SIZE
        m.reserve(SIZE + 1)
        assert m.view().nbytes == SIZE + 1


@pytest.mark.parametrize(
    "bounds", [(-1,), (-1, 1), (0, SIZE + 1), (SIZE, 1), (SIZE + 1,), (SIZE + 1, 0), (2**63,), (0, 2**64)], ids=str
)
def test_a_view_outside_the_mapping_is_out_of_bounds(m, bounds):
    with pytest.raises(OutOfBoundsError):
        m.view(*bounds)
    assert not m.dirty


@pytest.mark.parametrize("bounds", [(0, SIZE + 1), (SIZE + 1,), (SIZE, 1)], ids=str)
def test_a_view_past_the_end_of_the_file_is_out_of_bounds(path, bounds):
    with sharedmmap.open(path, capacity=10 * PAGE) as m, pytest.raises(OutOfBoundsError):
        m.view(*bounds)


def test_a_negative_length_is_refused(m):
    with pytest.raises(ValueError, match="-1"):
        m.view(5, -1)


# ---- reading only ----


def test_a_readonly_view_cannot_be_written(m):
    view = m.view(readonly=True)
    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 1
    with pytest.raises((TypeError, ValueError, BufferError)):
        io.BytesIO(b"xyz").readinto(view)
    assert m[:5] == b"hello"


def test_a_view_of_a_read_only_mapping_is_readonly(path):
    with sharedmmap.open(path, "r") as m:
        assert m.view().readonly
        assert m.view(readonly=True).readonly
        with pytest.raises(io.UnsupportedOperation):
            m.view(readonly=False)


# ---- dirty ----


def test_a_writable_view_keeps_the_mapping_dirty_as_long_as_it_lives(m):
    view = m.view()
    assert m.dirty
    m.flush()
    assert m.dirty
    view[0] = 1
    del view
    collect()
    assert m.dirty
    m.flush()
    assert not m.dirty


def test_what_is_made_from_a_writable_view_keeps_the_mapping_dirty_too(m):
    part = m.view()[PAGE:].cast("I")
    collect()
    m.flush()
    assert m.dirty
    part[0] = 1
    assert m.read_uint32_at(PAGE) == 1
    del part
    collect()
    m.flush()
    assert not m.dirty


def test_of_two_writable_views_the_last_counts(m):
    first, second = m.view(0, 5), m.view(5, 5)
    del first
    collect()
    m.flush()
    assert m.dirty
    del second
    collect()
    m.flush()
    assert not m.dirty


@pytest.mark.skipif(PYPY, reason="PyPy lets go of the memory when the view is collected")
def test_releasing_a_writable_view_ends_it(m):
    with m.view() as view:
        view[0] = 1
    m.flush()
    assert not m.dirty


def test_a_readonly_view_leaves_the_mapping_clean(m):
    view = m.view(readonly=True)
    assert not m.dirty
    assert bytes(view[:5]) == b"hello"


def test_of_readonly_views_nothing_is_left_when_they_are_gone(m):
    for _ in range(3):
        m.view(readonly=True).release()
    gc.collect()
    m[0] = 1
    m.flush()
    assert not m.dirty


@pytest.mark.parametrize("flags", [Sync.ASYNC, Sync.SYNC])
def test_a_flush_carries_what_a_view_wrote(m, path, flags):
    m.view()[:5] = b"HELLO"
    m.flush(flags)
    assert path.read_bytes()[:5] == b"HELLO"


# ---- after unmap ----


def test_unmap_goes_ahead_with_a_live_view(m):
    view, stepped = m.view(), m.view()[::2]
    m.unmap()
    assert m.closed
    assert bytes(view[:5]) in (b"hello", bytes(5))
    assert len(stepped) == (SIZE + 1) // 2


def test_no_view_of_an_unmapped_file(m):
    m.unmap()
    for bounds in (), (0, 0):
        with pytest.raises(UnmappedMemoryError):
            m.view(*bounds)
    with pytest.raises(UnmappedMemoryError):
        m.check()


STALE = """
def stale(*made):
    m = sharedmmap.open(path)
    kept = [make(m) for make in made]
    m.unmap()
    del m
    for _ in range(3):
        gc.collect()
    return kept

def is_zero_or(shown, last):
    return bytes(shown) in (bytes(len(last)), last)
"""


def test_a_view_outlives_its_file(path):
    content = path.read_bytes()
    code = """
    content = bytes_of(path)
    whole, part, words, readonly = stale(
        lambda m: m.view(),
        lambda m: m.view()[PAGE + 1 : -1],
        lambda m: m.view(8, 16).cast("Q"),
        lambda m: m.view(readonly=True),
    )
    assert is_zero_or(whole, content) and is_zero_or(readonly, content)
    assert is_zero_or(part, content[PAGE + 1 : -1])
    whole[:] = b"w" * len(whole)
    part[0], words[1] = 1, 2
    del whole, words, readonly
    gc.collect()
    part[1] = 3
    print(bytes(part[:2]) == bytes([1, 3]))
    """
    assert output(code, path, setup=STALE) == "True"
    assert path.read_bytes() == content


@pytest.mark.parametrize("unmap", ["m.unmap()", "pass"])
def test_what_searches_or_unpacks_a_view_outlives_its_file(path, unmap):
    """On PyPy these keep the address, and nothing else."""
    code = f"""
    import re, struct

    def made(make):
        m = sharedmmap.open(path)
        kept = make(m.view(0, 40))
        {unmap}
        return kept

    uses = [
        (lambda view: struct.iter_unpack("<Q", view), next),
        (lambda view: re.finditer(b"(?s).", view), lambda matches: next(matches).group()),
        (lambda view: re.search(b"(?s).", view), lambda match: match.group()),
        (lambda view: re.search(b"(?s).", view), lambda match: bytes(match.string[:3])),
        (lambda view: re.compile(b"(?s).").scanner(view), lambda scanner: scanner.search().group()),
        (iter, next),
        (lambda view: view.obj, lambda buffer: buffer[:3]),
    ]
    for make, use in uses:
        kept = made(make)
        for _ in range(3):
            gc.collect()
        taken = [mmap.mmap(-1, 4 * PAGE) for _ in range(20)]  # of the addresses, if they are free
        for memory in taken:
            memory[:] = b"t" * len(memory)
        assert use(kept) not in (b"t", b"ttt", ord("t"), (int.from_bytes(b"t" * 8, "little"),))
    """
    assert output(code, path) == ""


def test_a_stale_view_shares_memory_with_nobody(path):
    code = """
    content = bytes_of(path)
    views = [view for _ in range(50) for view in stale(lambda m: m.view())]
    fresh = [sharedmmap.open(path) for _ in range(50)]
    anonymous = [mmap.mmap(-1, len(content)) for _ in range(50)]
    for view in views:
        view[:] = b"w" * len(view)
    assert not any(any(memory[:]) for memory in anonymous)
    print({m[:] for m in fresh} == {content})
    """
    assert output(code, path, setup=STALE) == "True"


def test_a_file_dropped_without_unmap_leaves_its_view_fresh(path):
    code = """
    view = sharedmmap.open(path).view()
    for _ in range(3):
        gc.collect()
    view[:5] = b"HELLO"
    print(bytes_of(path)[:5].decode(), bytes(view[-5:]).decode())
    """
    assert output(code, path) == "HELLO world"


def test_a_view_may_be_all_that_is_left_at_exit(path):
    code = """
    m = sharedmmap.open(path)
    sys.view = m.view()
    m.unmap()
    other = sharedmmap.open(path)
    sys.other = other.view()
    cycle = [sharedmmap.open(path).view()]
    cycle.append(cycle)
    print("done")
    """
    assert output(code, path) == "done"


def test_views_are_used_and_dropped_while_others_unmap(path):
    code = """
    for _ in range(30):
        m = sharedmmap.open(path)
        made, started = [], threading.Barrier(3)

        def use():
            started.wait()
            try:
                while True:
                    view = m.view()
                    made.append(bytes(view[:5]))
                    view[5] = 1
            except UnmappedMemoryError:
                pass

        threads = [threading.Thread(target=use) for _ in range(2)]
        for thread in threads:
            thread.start()
        started.wait()
        while not made:
            pass
        m.unmap()
        for thread in threads:
            thread.join()
        assert set(made) <= {b"hello", bytes(5)}
    print("done")
    """
    assert output(code, path) == "done"


# ---- lost pages ----


def test_a_view_shows_zeros_where_pages_are_lost_and_check_tells(path):
    code = """
    m = sharedmmap.open(path)
    m.check()
    view = m.view()
    os.truncate(path, PAGE)
    assert bytes(view[-5:]) == bytes(5)
    for _ in range(2):
        try:
            m.check()
        except MappingFaultError as error:
            assert error.errno == errno.ENXIO and error.offset // PAGE == 2, error
        else:
            print("not told")
    view[-1] = 1
    m.restore()
    m.check()
    assert m[:5] == b"hello" and bytes(m.view()[:5]) == b"hello"
    view[:5] = b"stale"
    del view
    gc.collect()
    print(m[:5].decode(), bytes_of(path)[:5].decode())
    """
    assert output(code, path) == "hello hello"


def test_no_view_of_a_faulted_mapping(path):
    code = """
    m = sharedmmap.open(path)
    view = m.view()
    os.truncate(path, 0)
    view[0]
    try:
        m.view()
    except MappingFaultError:
        print("raised")
    """
    assert output(code, path) == "raised"


def test_what_a_view_wrote_into_lost_pages_is_not_reported_as_flushed(path):
    code = """
    m = sharedmmap.open(path)
    view = m.view()
    os.truncate(path, 0)
    view[0] = 1
    try:
        m.flush()
    except MappingFaultError:
        print("raised")
    """
    assert output(code, path) == "raised"


def test_check_passes_on_a_sound_mapping(m):
    assert m.check() is None


# ---- what is done with it ----


def test_a_view_can_be_searched_with_a_pattern(m):
    view = m.view()
    found = re.search(rb"(w)(or)ld", view)
    assert found.span() == (SIZE - 5, SIZE)
    assert [bytes(group) for group in found.groups()] == [b"w", b"or"]
    assert [match.start() for match in re.finditer(b"[hw]", m.view(readonly=True))] == [0, SIZE - 5]
    m.unmap()
    assert re.search(b"absent", view) is None


def test_a_view_serves_where_a_buffer_does(m, tmp_path):
    view = m.view()
    assert zlib.crc32(view) == zlib.crc32(m[:])
    assert struct.unpack_from("5s", view, SIZE - 5) == (b"world",)
    struct.pack_into("<Q", view, 8, 77)
    assert m.read_uint64_at(8) == 77
    (tmp_path / "copy").write_bytes(view)
    assert (tmp_path / "copy").read_bytes() == m[:]
    assert io.BytesIO(b"HELLO").readinto(view) == 5
    assert m[:5] == b"HELLO"


def test_system_calls_take_a_view_that_another_thread_unmaps(m):
    view = m.view(0, 5)
    reader, writer = (os.fdopen(fd, mode, buffering=0) for fd, mode in zip(os.pipe(), ("rb", "wb")))
    with reader, writer:
        thread = threading.Thread(target=reader.readinto, args=(view,))
        thread.start()
        m.unmap()
        writer.write(b"later")
        thread.join()
    assert bytes(view) == b"later"


def test_a_view_can_be_copied_from_and_into_its_own_mapping(m):
    view = m.view()
    assert m.write_at(view[:5], 3) == 5
    assert m[:8] == b"helhello"
    assert m.read_at(view[1:9], 0) == 8
    assert m[:9] == b"hhelhello"


def test_numpy_works_over_a_view(m):
    numpy = pytest.importorskip("numpy")
    words = numpy.frombuffer(m.view(), numpy.uint64)
    words[1] = 5
    assert (m.read_uint64_at(8), m.dirty) == (5, True)
    m.write_uint64_at(6, 16)
    assert words[:3].tolist() == [int.from_bytes(b"hello", "little"), 5, 6]
    assert numpy.asarray(m.view(8, 16)).sum() == 11
    assert not numpy.frombuffer(m.view(readonly=True), "u1").flags.writeable


def test_a_numpy_array_outlives_its_file(path):
    pytest.importorskip("numpy")
    code = """
    import numpy
    array, table = stale(
        lambda m: numpy.frombuffer(m.view(), "u1"),
        lambda m: numpy.frombuffer(m.view(8, 96), "<f8").reshape(3, 4).T,
    )
    assert is_zero_or(array[:5].tobytes(), b"hello")
    array += 1
    table[:] = 2.0
    print(table.sum())
    """
    assert output(code, path, setup=STALE) == "24.0"


@pytest.mark.skipif(PYPY, reason="os.write() copies the view there, and faults as any access does")
def test_a_system_call_on_a_view_whose_page_is_lost_fails_by_itself(path):
    """The kernel answers EFAULT, and sends no signal: the mapping has not faulted."""
    code = """
    m = sharedmmap.open(path)
    view = m.view()
    os.truncate(path, 0)
    with open(path + ".other", "wb") as other:
        try:
            os.write(other.fileno(), view)
        except OSError as error:
            print(errno.errorcode[error.errno])
    m.check()
    try:
        view[0]
        m.check()
    except MappingFaultError:
        print("faulted")
    """
    assert output(code, path).split() == ["EFAULT", "faulted"]
