"""Atomic words in one process: each operation's result, its range, and when it raises instead."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from child import output
from hypothesis import given
from hypothesis import strategies as st

import sharedmmap
from sharedmmap import AtomicUint32, AtomicUint64, File, OutOfBoundsError, UnmappedMemoryError

LENGTH = 256
PAGE = os.sysconf("SC_PAGESIZE")

# The value afterwards, before it wraps.
FETCHES = {
    "exchange": lambda value, operand: operand,
    "fetch_add": lambda value, operand: value + operand,
    "fetch_sub": lambda value, operand: value - operand,
    "fetch_and": lambda value, operand: value & operand,
    "fetch_or": lambda value, operand: value | operand,
    "fetch_xor": lambda value, operand: value ^ operand,
}
WRITES = {
    "store": lambda word: word.store(0),
    "compare_exchange": lambda word: word.compare_exchange(0, 0),
    "failing compare_exchange": lambda word: word.compare_exchange(1, 2),
    **{name: lambda word, name=name: getattr(word, name)(0) for name in FETCHES},
}
CALLS = {"load": lambda word: word.load(), **WRITES}
WAITS = {
    "wait": lambda word: word.wait(0, 0),
    "wait for another": lambda word: word.wait(1, 0),
    "notify": lambda word: word.notify(),
}

EVERY_WIDTH = pytest.mark.parametrize("bits", [32, 64])
EVERY_CALL = pytest.mark.parametrize(
    ("bits", "call"),
    [
        pytest.param(bits, call, id=f"{bits} {name}")
        for bits in (32, 64)
        for name, call in {**CALLS, **(WAITS if bits == 32 else {})}.items()
    ],
)


def atomic(m, bits, offset):
    return m.atomic_uint32_at(offset) if bits == 32 else m.atomic_uint64_at(offset)


def plain(m, bits, offset):
    return m.read_uint32_at(offset) if bits == 32 else m.read_uint64_at(offset)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("atomics") / "file"


@pytest.fixture
def m(path):
    with sharedmmap.open(path, "w+", length=LENGTH) as m:
        yield m


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A mapping for many examples, each of which sets what it reads."""
    with sharedmmap.open(tmp_path_factory.mktemp("atomics") / "kept", "w+", length=LENGTH) as m:
        yield m


def numbers(bits):
    """All of them, and the ends of the range often."""
    return st.sampled_from([0, 1, 2 ** (bits - 1) - 1, 2 ** (bits - 1), 2**bits - 1]) | st.integers(0, 2**bits - 1)


@EVERY_WIDTH
@pytest.mark.parametrize("name", FETCHES)
@given(data=st.data())
def test_a_fetch_returns_the_value_before_and_wraps(kept, bits, name, data):
    before, operand = data.draw(numbers(bits)), data.draw(numbers(bits))
    word = atomic(kept, bits, 16)
    word.store(before)
    assert getattr(word, name)(operand) == before
    assert word.load() == plain(kept, bits, 16) == FETCHES[name](before, operand) % 2**bits


@EVERY_WIDTH
@given(data=st.data())
def test_compare_exchange_exchanges_only_what_was_expected(kept, bits, data):
    before, desired = data.draw(numbers(bits)), data.draw(numbers(bits))
    expected = data.draw(st.just(before) | numbers(bits))
    word = atomic(kept, bits, 16)
    word.store(before)
    assert word.compare_exchange(expected, desired) == (before == expected, before)
    assert word.load() == (desired if before == expected else before)


@EVERY_WIDTH
def test_store_returns_nothing_and_touches_nothing_beside_the_word(m, bits):
    m.fill(0x55)
    assert atomic(m, bits, 16).store(2**bits - 1) is None
    assert m[:] == b"\x55" * 16 + b"\xff" * (bits // 8) + b"\x55" * (LENGTH - 16 - bits // 8)


def test_a_32_bit_word_is_the_low_half_of_the_64_bit_word(m):
    whole = m.atomic_uint64_at(8)
    whole.store(2**32 - 1)
    m.atomic_uint32_at(8).fetch_add(1)
    assert whole.load() == 0
    m.atomic_uint32_at(12).fetch_add(1)
    assert whole.load() == 2**32


@EVERY_WIDTH
@pytest.mark.parametrize("name", ["store", "expected", "desired", *FETCHES])
class TestOperands:
    @pytest.fixture
    def operate(self, m, bits, name):
        word = atomic(m, bits, 16)
        word.store(7)
        return {
            "expected": lambda operand: word.compare_exchange(operand, 1),
            "desired": lambda operand: word.compare_exchange(7, operand),
        }.get(name) or getattr(word, name)

    @pytest.mark.parametrize("beyond", [-1, 0, 2**64, -(2**64)], ids=["-1", "2**bits", "far above", "far below"])
    def test_out_of_range_is_refused(self, m, bits, operate, beyond):
        with pytest.raises(OverflowError, match=f"0 to {2**bits - 1}"):
            operate(beyond or 2**bits)
        assert plain(m, bits, 16) == 7

    @pytest.mark.parametrize("operand", [1.0, "1", None, b"1"])
    def test_no_integer_is_refused(self, m, bits, operate, operand):
        with pytest.raises(TypeError):
            operate(operand)
        assert plain(m, bits, 16) == 7

    def test_what_is_as_good_as_an_integer_is_taken(self, operate):
        class Seven:
            def __index__(self):
                return 7

        operate(True)
        operate(Seven())


@EVERY_WIDTH
@pytest.mark.parametrize("start", [0, 3, 4, 8, PAGE + 12])
def test_it_is_the_address_that_has_to_be_aligned(path, bits, start):
    size = bits // 8
    with sharedmmap.open(path, "w+", offset=start, length=64) as m:
        for offset in range(2 * size):
            astray = (start + offset) % size
            if astray:
                with pytest.raises(ValueError, match=f"the next that is: {offset + size - astray}$"):
                    atomic(m, bits, offset)
            else:
                atomic(m, bits, offset).store(offset + 1)
                assert plain(m, bits, offset) == offset + 1


@EVERY_WIDTH
@pytest.mark.parametrize("offset", [-8, LENGTH, 2**63 - 8, 2**64, -(2**64)])
def test_a_word_outside_the_mapping_is_refused(m, bits, offset):
    with pytest.raises(OutOfBoundsError, match=f"offset {offset} are outside the mapping of {LENGTH} bytes"):
        atomic(m, bits, offset)


def test_a_word_that_begins_inside_and_ends_outside_is_refused(path):
    with sharedmmap.open(path, "w+", length=12) as m:
        m.atomic_uint32_at(8).store(1)
        with pytest.raises(OutOfBoundsError, match="outside the mapping of 12 bytes"):
            m.atomic_uint64_at(8)


@EVERY_WIDTH
@pytest.mark.parametrize("offset", [8.0, "8", None])
def test_an_offset_that_is_no_integer_is_refused(m, bits, offset):
    with pytest.raises(TypeError):
        atomic(m, bits, offset)


@EVERY_WIDTH
@pytest.mark.parametrize("value", [0, 7])
def test_through_a_read_only_mapping_a_word_can_be_loaded_only(m, path, bits, value):
    atomic(m, bits, 16).store(value)
    with sharedmmap.open(path, "r") as reader:
        word = atomic(reader, bits, 16)
        assert word.load() == value
        for write in WRITES.values():
            with pytest.raises(io.UnsupportedOperation, match="read-only"):
                write(word)
        assert word.load() == value


def test_through_a_read_only_mapping_a_word_can_be_waited_for(m, path):
    with sharedmmap.open(path, "r") as reader:
        word = reader.atomic_uint32_at(0)
        assert (word.wait(0, 0), word.wait(1), word.notify()) == (False, True, 0)


@EVERY_CALL
@pytest.mark.parametrize("value", [0, 7])
def test_after_unmap_every_call_raises(m, bits, call, value):
    word = atomic(m, bits, 16)
    word.store(value)
    m.unmap()
    for _ in range(2):
        with pytest.raises(UnmappedMemoryError):
            call(word)


@EVERY_WIDTH
def test_after_unmap_no_word_can_be_made(m, bits):
    m.unmap()
    with pytest.raises(UnmappedMemoryError):
        atomic(m, bits, 16)


@pytest.mark.no_thread_sanitizer
@EVERY_WIDTH
def test_after_the_file_was_cut_short_every_call_raises_and_after_restore_new_words_work(path, bits):
    code = f"""
    from test_atomics import CALLS, WAITS, atomic
    os.truncate(path, 2 * PAGE)
    calls = {{**CALLS, **(WAITS if {bits} == 32 else {{}})}}
    for name, call in calls.items():
        m = File(os.open(path, os.O_RDWR))
        word = atomic(m, {bits}, PAGE)
        word.store(7)
        os.truncate(path, PAGE)
        for attempt in range(2):
            try:
                print(name, call(word))
            except MappingFaultError as error:
                assert error.errno == errno.ENXIO and error.offset == PAGE, (name, error)
        os.truncate(path, 2 * PAGE)
        m.restore()
        try:
            print(name, call(word))  # the word is the old mapping's
        except MappingFaultError:
            pass
        again = atomic(m, {bits}, PAGE)
        again.fetch_add(5)
        assert again.load() == 5, name
    """
    path.touch()
    setup = f"sys.path.insert(0, {os.path.dirname(__file__)!r})"
    assert output(code, path, setup=setup) == ""


@EVERY_WIDTH
def test_past_the_end_of_the_file_there_is_no_word_until_it_grows(path, bits):
    with sharedmmap.open(path, "w+", length=16, capacity=LENGTH) as m:
        with pytest.raises(OutOfBoundsError, match=f"backs 16 of the mapping's {LENGTH} bytes"):
            atomic(m, bits, 16)
        os.truncate(path, LENGTH)
        assert atomic(m, bits, 16).fetch_add(1) == 0


@EVERY_CALL
def test_a_word_past_the_end_raises_and_does_nothing_until_the_file_is_there_again(path, bits, call):
    with sharedmmap.open(path, "w+", length=2 * PAGE) as m:
        word = atomic(m, bits, PAGE)
        os.truncate(path, PAGE)
        assert m.accessible == PAGE
        with pytest.raises(OutOfBoundsError, match=f"backs {PAGE} of the mapping's {2 * PAGE} bytes"):
            call(word)
        os.truncate(path, 2 * PAGE)
        assert m.accessible == 2 * PAGE
        assert plain(m, bits, PAGE) == 0
        call(word)


@EVERY_WIDTH
def test_words_of_two_mappings_of_a_file_are_one(m, path, bits):
    with sharedmmap.open(path, offset=8) as other:
        ours, theirs = atomic(m, bits, 16), atomic(other, bits, 8)
        assert ours.fetch_add(5) == 0
        assert theirs.fetch_add(2) == 5
        assert ours.load() == 7


@EVERY_WIDTH
def test_threads_lose_no_addition(m, bits):
    word = atomic(m, bits, 16)

    def add(times):
        for _ in range(times):
            word.fetch_add(1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, [25_000] * 4))
    assert word.load() == 100_000


@EVERY_WIDTH
def test_a_word_outlives_its_file_object(path, bits):
    word = atomic(sharedmmap.open(path, "w+", length=LENGTH), bits, 16)
    gc.collect()
    assert word.fetch_add(3) == 0
    assert word.load() == 3
    assert path.read_bytes()[16] == 3


@EVERY_WIDTH
def test_writing_makes_the_mapping_dirty_and_loading_does_not(m, bits):
    word = atomic(m, bits, 16)
    word.load()
    assert not m.dirty
    for name, write in WRITES.items():
        m.flush()
        write(word)
        assert m.dirty or name == "failing compare_exchange"


@EVERY_WIDTH
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_word_cannot_be_copied_or_pickled(m, bits, duplicate):
    with pytest.raises(TypeError, match=f"AtomicUint{bits} cannot be pickled or copied"):
        duplicate(atomic(m, bits, 16))


@EVERY_WIDTH
def test_it_says_what_and_where_it_is(m, bits):
    word = atomic(m, bits, 16)
    assert type(word) is {32: AtomicUint32, 64: AtomicUint64}[bits]
    assert word.offset == 16
    assert repr(word) == f"<AtomicUint{bits} offset=16>"


@pytest.mark.parametrize("name", ["wait", "notify"])
def test_waiting_for_64_bits_says_what_to_do_instead(m, name):
    word = m.atomic_uint64_at(0)
    with pytest.raises(AttributeError, match="AtomicUint32 has"):
        getattr(word, name)
    assert not hasattr(word, name)
    assert not hasattr(word, "fetch_mul")


def test_an_empty_file_has_no_words(path):
    path.write_bytes(b"")
    with path.open("r+b") as f, File(f) as m, pytest.raises(OutOfBoundsError):
        m.atomic_uint32_at(0)
