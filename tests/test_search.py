"""find, rfind, fill and move: as bytes and bytearray have them, over any range, across every seam."""

from __future__ import annotations

import io
import itertools
import mmap
import os
import tempfile

import pytest
from child import output
from hypothesis import example, given, settings
from hypothesis import strategies as st

import sharedmmap
from sharedmmap import File, OutOfBoundsError, UnmappedMemoryError

PAGE = mmap.PAGESIZE
MIB = 1 << 20
WINDOW = 1 << 16


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.fixture
def mapped(path):
    """Maps a file of the given content."""
    opened = []

    def make(content, **kwargs):
        path.write_bytes(content)
        opened.append(sharedmmap.open(path, **kwargs))
        return opened[-1]

    yield make
    for m in opened:
        m.close()


@pytest.fixture
def m(mapped):
    return mapped(bytes(range(256)))


# ---- find and rfind ----


def assert_agrees(m, content, sub, *bounds):
    assert m.find(sub, *bounds) == content.find(sub, *bounds)
    assert m.rfind(sub, *bounds) == content.rfind(sub, *bounds)


@pytest.mark.parametrize("content", [b"", b"a", b"abaab"])
def test_every_start_and_end_agree_with_bytes(mapped, content):
    m = mapped(content)
    edges = [None, *range(-7, 8), 2**31, 2**63 - 1, 2**63, -(2**63), -(2**64)]
    for sub in b"", b"a", b"ab", b"ba", b"abaab", b"abaaba", b"c":
        assert_agrees(m, content, sub)
        for start in edges:
            assert_agrees(m, content, sub, start)
            for end in edges:
                assert_agrees(m, content, sub, start, end)


AB = st.binary().map(lambda drawn: bytes(b"ab"[byte & 1] for byte in drawn))
EDGE = st.none() | st.integers(-400, 400) | st.integers()


@settings(max_examples=200)
@given(st.binary(max_size=300) | AB, st.data())
def test_any_search_agrees_with_bytes(content, data):
    piece = st.builds(lambda i, n: content[i : i + n], st.integers(0, len(content)), st.integers(0, len(content)))
    sub = data.draw(piece | AB | st.binary(max_size=4) | piece.map(lambda found: found + b"a"))
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(content)
        with File(file) as m:
            assert_agrees(m, content, sub, data.draw(EDGE), data.draw(EDGE))


@settings(max_examples=60)
@given(
    unit=st.binary(min_size=1, max_size=5),
    size=st.integers(0, 3 * WINDOW) | st.integers(MIB - 3, MIB + 3),
    planted=st.binary(min_size=1, max_size=9),
    at=st.integers(0, 2 * WINDOW) | st.integers(WINDOW - 9, WINDOW + 9),
    start=st.integers(-WINDOW - 9, 2 * WINDOW),
    end=st.none() | st.integers(-WINDOW, 3 * WINDOW),
)
@example(b"a", MIB, b"b", 0, 0, None)
@example(b"a", MIB + 1, b"ab", MIB - 1, 1, None)
@example(b"ab", 2 * WINDOW + 1, b"bab", 0, 0, None)
def test_a_search_in_much_agrees_with_bytes(unit, size, planted, at, start, end):
    content = bytearray(unit * (size // len(unit) + 1))[:size]
    content[at : at + len(planted)] = planted
    content = bytes(content)
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(content)
        with File(file) as m:
            for sub in planted, planted * 2, unit * 3 + planted, planted + unit * 3:
                assert_agrees(m, content, sub, start, end)


@pytest.mark.parametrize("from_end", [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW, MIB - 1, MIB, 2 * MIB])
def test_the_last_of_two_is_found_wherever_it_stands(mapped, from_end):
    sub = b"needle"
    content = bytearray(3 * MIB)
    at = len(content) - len(sub) - from_end
    for place in 5, at:
        content[place : place + len(sub)] = sub
    m = mapped(content)
    assert (m.find(sub), m.rfind(sub)) == (5, at)
    assert m.rfind(sub, 0, at + len(sub) - 1) == 5
    assert m.find(sub, 6) == at
    assert m.find(sub, at + 1) == m.rfind(sub, at + 1) == -1


N = MIB // 2
HARD = {
    "aaab in abab": (b"ab" * N, b"aaab", -1, -1),
    "baaa in abab": (b"ab" * N, b"baaa", -1, -1),
    "a run that ends wrong": (b"a" * 2 * N, b"a" * 500 + b"b", -1, -1),
    "a run that begins wrong": (b"a" * 2 * N, b"b" + b"a" * 500, -1, -1),
    "a run everywhere": (b"a" * 2 * N, b"a" * 500, 0, 2 * N - 500),
    "a long period broken": (b"ab" * N, b"ab" * 5000 + b"b", -1, -1),
    "a long period everywhere": (b"ab" * N, b"ab" * 5000, 0, 2 * N - 10000),
    "a long period once": (b"ab" * N + b"b" + b"ab" * N, b"abb" + b"ab" * 5000, 2 * N - 2, 2 * N - 2),
    "nearly all of it": (b"a" * 2 * N, b"a" * (2 * N - 1), 0, 1),
    "all of it": (b"a" * 2 * N, b"a" * 2 * N, 0, 0),
    "more than all of it": (b"a" * 2 * N, b"a" * (2 * N + 1), -1, -1),
    "more than a window": (b"\0" * 2 * N + b"x" * 3 * WINDOW, b"\0" * 2 * WINDOW + b"x", 2 * N - 2 * WINDOW, None),
    "nul bytes": (b"\0" * 2 * N, b"\0\0\1", -1, -1),
}


@pytest.mark.parametrize(("content", "sub", "first", "last"), HARD.values(), ids=HARD)
def test_hard_periodic_searches_are_right(mapped, content, sub, first, last):
    m = mapped(content)
    assert m.find(sub) == first
    assert m.rfind(sub) == (first if last is None else last)


def test_any_buffer_can_be_searched_for(m):
    for sub in bytearray(b"\x05\x06"), memoryview(b"\x05\x06"), m.view(5, 2):
        assert m.find(sub) == m.rfind(sub) == 5
        assert sub in m


def test_a_buffer_that_is_not_contiguous_cannot_be_searched_for(m):
    sub = memoryview(b"\x05-\x06-")[::2]
    for search in m.find, m.rfind, m.__contains__:
        with pytest.raises(BufferError):
            search(sub)


@pytest.mark.parametrize("sub", ["a", 5, None, [5]])
def test_what_is_no_buffer_cannot_be_searched_for(m, sub):
    for search in m.find, m.rfind:
        with pytest.raises(TypeError):
            search(sub)


def test_bounds_must_be_integers(m):
    for search in m.find, m.rfind:
        for bounds in (0.0,), ("0",), (0, 1.0):
            with pytest.raises(TypeError):
                search(b"", *bounds)


def test_a_search_ends_where_the_file_does_and_sees_it_grow(mapped, path):
    m = mapped(b"-a-a", capacity=2 * PAGE)
    assert (m.find(b"a"), m.rfind(b"a"), m.find(b"\0"), m.rfind(b"")) == (1, 3, -1, 4)
    with path.open("ab") as other:
        other.write(b"--aa")
    assert (m.find(b"aa"), m.rfind(b"a"), m.rfind(b"")) == (6, 7, 8)
    os.truncate(path, 2)
    assert m.accessible == 2
    assert (m.find(b"a"), m.rfind(b"a"), m.find(b"a", 2), m.find(b"", 3)) == (1, 1, -1, -1)


def test_a_search_keeps_to_the_range_of_the_mapping(mapped):
    m = mapped(b"x" + b"-" * PAGE + b"abc" + b"x", offset=1, length=PAGE + 3)
    assert (m.find(b"x"), m.rfind(b"x"), m.find(b"cx")) == (-1, -1, -1)
    assert m.find(b"abc") == m.rfind(b"abc") == PAGE


def test_searching_leaves_the_mapping_clean(m):
    m.find(b"\x07")
    m.rfind(b"\x07")
    assert not m.dirty


# ---- fill ----


def test_fill_sets_a_range(m):
    expected = bytearray(m[:])
    for byte, offset, length in (7, 3, 5), (0, 0, 1), (255, 255, 1), (9, 100, 0), (9, 256, 0):
        m.fill(byte, offset, length)
        expected[offset : offset + length] = bytes([byte]) * length
        assert m[:] == expected
    assert m.dirty


def test_fill_without_a_length_goes_to_the_end(m):
    m.fill(1, 250)
    assert m[:] == bytes(range(250)) + b"\x01" * 6
    m.fill(2)
    assert m[:] == b"\x02" * 256


SEAMS = [MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + PAGE + 1]


@pytest.mark.parametrize("length", SEAMS)
def test_fill_goes_across_pieces(mapped, path, length):
    m = mapped(b"-" * (length + 6), offset=1, length=length + 5)
    m.fill(42, 2, length)
    assert path.read_bytes() == b"---" + b"*" * length + b"---"


@pytest.mark.parametrize("byte", [-1, 256, 2**64])
def test_fill_takes_a_byte(m, byte):
    with pytest.raises(ValueError, match=str(byte)):
        m.fill(byte)
    assert m[:] == bytes(range(256))
    assert not m.dirty


# ---- move ----


@settings(max_examples=300)
@given(st.integers(0, 64), st.integers(0, 64), st.integers(0, 64))
def test_any_move_goes_as_in_a_bytearray(dest, src, count):
    expected = bytearray(range(64))
    fits = max(dest, src) + count <= 64
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(expected)
        with File(file) as m:
            if fits:
                m.move(dest, src, count)
                expected[dest : dest + count] = expected[src : src + count]
            else:
                with pytest.raises(OutOfBoundsError):
                    m.move(dest, src, count)
            assert m[:] == expected
            assert m.dirty == (fits and count > 0) or count == 0


OVERLAPPING = {
    "move": lambda m, dest, src, count: m.move(dest, src, count),
    "read_at": lambda m, dest, src, count: m.read_at(m.view(dest, count), src),
    "write_at": lambda m, dest, src, count: m.write_at(m.view(src, count), dest),
    "slice": lambda m, dest, src, count: m.__setitem__(slice(dest, dest + count), m.view(src, count)),
}


@pytest.mark.parametrize("copy", OVERLAPPING.values(), ids=OVERLAPPING)
@pytest.mark.parametrize("distance", [1, 7, PAGE, MIB - 1, MIB, MIB + 1, 2 * MIB + 3])
@pytest.mark.parametrize("length", SEAMS)
def test_overlapping_copies_go_across_pieces_both_ways(mapped, path, length, distance, copy):
    content = bytes(itertools.islice(itertools.cycle(range(251)), length + distance))
    m = mapped(content)
    copy(m, distance, 0, length)
    assert path.read_bytes() == content[:distance] + content[:length]
    m[:] = content
    copy(m, 0, distance, length)
    assert path.read_bytes() == content[distance:] + content[length:]


def test_a_move_onto_itself_changes_nothing(m):
    m.move(3, 3, 200)
    assert m[:] == bytes(range(256))


# ---- what is refused ----

OUT_OF_BOUNDS = {
    "fill too long": lambda m: m.fill(1, 0, 257),
    "fill too far": lambda m: m.fill(1, 200, 57),
    "fill from before the start": lambda m: m.fill(1, -1, 1),
    "fill the rest from before the start": lambda m: m.fill(1, -1),
    "fill the rest from past the end": lambda m: m.fill(1, 257),
    "fill from far": lambda m: m.fill(1, 2**63, 1),
    "fill very long": lambda m: m.fill(1, 1, 2**64),
    "move from past the end": lambda m: m.move(0, 200, 57),
    "move to past the end": lambda m: m.move(200, 0, 57),
    "move from before the start": lambda m: m.move(0, -1, 1),
    "move to before the start": lambda m: m.move(-1, 0, 1),
    "move from far": lambda m: m.move(0, 2**63, 1),
    "move to far": lambda m: m.move(2**80, 0, 1),
    "move very much": lambda m: m.move(1, 0, 2**63 - 1),
}
NEGATIVE = {"fill": lambda m: m.fill(1, 5, -1), "move": lambda m: m.move(1, 5, -1)}
CHANGES = {"fill": lambda m: m.fill(1, 0, 10), "move": lambda m: m.move(1, 0, 10)}
SEARCHES = {
    "find": lambda m: m.find(b"\1"),
    "rfind": lambda m: m.rfind(b"\1"),
    "find empty": lambda m: m.find(b""),
}


@pytest.mark.parametrize("change", OUT_OF_BOUNDS.values(), ids=OUT_OF_BOUNDS)
def test_a_range_outside_the_mapping_is_out_of_bounds(m, change):
    with pytest.raises(OutOfBoundsError):
        change(m)
    assert m[:] == bytes(range(256))
    assert not m.dirty


@pytest.mark.parametrize("change", NEGATIVE.values(), ids=NEGATIVE)
def test_a_negative_length_is_refused(m, change):
    with pytest.raises(ValueError, match="-1"):
        change(m)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_read_only_mapping_is_not_changed(mapped, change):
    m = mapped(bytes(range(256)), mode="r")
    with pytest.raises(io.UnsupportedOperation):
        change(m)
    assert m[:] == bytes(range(256))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_the_file_does_not_back_is_not_changed(mapped, path, change):
    m = mapped(bytes(9), capacity=PAGE)
    with pytest.raises(OutOfBoundsError, match="9 of"):
        change(m)
    assert path.read_bytes() == bytes(9)


@pytest.mark.parametrize("call", {**CHANGES, **SEARCHES}.values(), ids={**CHANGES, **SEARCHES})
def test_nothing_works_after_unmap(m, call):
    m.unmap()
    with pytest.raises(UnmappedMemoryError):
        call(m)


# ---- lost pages ----

TOUCHES = {
    "find": "m.find(b'x')",
    "find in more than a piece": "m.find(b'x', 1)",
    "rfind": "m.rfind(b'x')",
    "fill": "m.fill(1, len(m) - 10, 10)",
    "fill across pieces": "m.fill(1)",
    "move": "m.move(0, len(m) - 10, 10)",
    "move across pieces": "m.move(0, 2 * PAGE, len(m) - 2 * PAGE)",
    "move backwards across pieces": "m.move(2 * PAGE, 0, len(m) - 2 * PAGE)",
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
@pytest.mark.parametrize("size", [4, 3 * MIB // PAGE], ids=["small", "large"])
def test_lost_pages_are_an_error_and_not_the_end(path, touch, size):
    path.write_bytes(bytes(size * PAGE))
    code = f"""
    m = File(os.open(path, os.O_RDWR))
    m[0]
    os.truncate(path, PAGE)
    for expected in errno.ENXIO, errno.ENXIO:
        try:
            print({touch})
        except MappingFaultError as error:
            assert error.errno == expected, error
    m.restore()
    print(m.find(b"x"), m.accessible == PAGE)
    """
    assert output(code, path) == "-1 True"


def test_a_search_races_with_unmap_and_ends_well(path):
    path.write_bytes(b"\0" * (4 * MIB) + b"x")
    code = """
    end = os.path.getsize(path) - 1
    for _ in range(20):
        m = sharedmmap.open(path)
        found, started = [], threading.Barrier(3)

        def search(call):
            started.wait()
            try:
                while True:
                    found.append(call(b"x", 0 if call == m.find else None))
            except UnmappedMemoryError:
                pass

        threads = [threading.Thread(target=search, args=(call,)) for call in (m.find, m.rfind)]
        for thread in threads:
            thread.start()
        started.wait()
        while not found:
            pass
        m.unmap()
        for thread in threads:
            thread.join()
        assert set(found) == {end}, set(found)
    """
    assert output(code, path) == ""


@pytest.mark.parametrize("size", [3, 4, 5, 16, 256, 257])
def test_it_is_found_wherever_it_starts(tmp_path, size):
    needle = bytes(1 + i % 255 for i in range(size))
    m = sharedmmap.open(tmp_path / "found", "w+", length=size + 60)
    for place in range(len(m) - size + 1):
        m.fill(0)
        m[place : place + size] = needle
        assert (m.find(needle), m.find(needle, place), m.find(needle, place + 1)) == (place, place, -1)


def test_it_is_found_behind_many_places_that_begin_like_it(tmp_path):
    text = b"aaaab" * 20_000 + b"aaaac" + b"aaaab" * 10
    m = sharedmmap.open(tmp_path / "found", "w+", length=len(text))
    m[:] = text
    for needle in b"aaaac", b"baaaac", b"aaaab" * 9 + b"aaaac", b"aaaad":
        assert m.find(needle) == text.find(needle)


def test_what_is_searched_for_is_taken_as_it_is_at_the_call(m, monkeypatch):
    """Another thread may change it meanwhile, of which memmem(3) knows nothing."""
    sub = bytearray(b"\x05\x06")

    class Changing:
        def __getattr__(self, name):
            sub[:] = b"\x09\x0a"
            return getattr(quick, name)

    quick = sharedmmap._copies.quick
    monkeypatch.setattr("sharedmmap._copies.quick", Changing())
    assert m.find(sub) == 5
