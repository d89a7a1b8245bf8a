"""Operations interrupted, or overtaken, between any two steps of the package's own code."""

from __future__ import annotations

import contextlib
import errno
import gc
import mmap
import operator
import os
import sys

import pytest
from child import RAISING, interrupts_fstat, output
from interrupts import Interrupt, every_step, interrupt

import sharedmmap
from sharedmmap import File, MappingFaultError, OutOfBoundsError, UnmappedMemoryError

pytestmark = pytest.mark.slow

PAGE = mmap.PAGESIZE


def held(path):
    """What the process holds of the file: its descriptors and, where the system tells them, its mappings."""
    status = os.stat(path)
    descriptors = sum(os.fstat(fd)[1:3] == status[1:3] for fd in open_descriptors())
    try:
        with open("/proc/self/maps") as maps:
            return descriptors, maps.read().count(str(path))
    except FileNotFoundError:
        return descriptors, 0


def open_descriptors():
    for entry in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            os.fstat(int(entry))
            yield int(entry)


def assert_held(path, before, step):
    if held(path) != before:
        gc.collect()
        gc.collect()
        assert held(path) == before, f"before step {step.number}"


MAPPING = {
    "File": lambda path, fd: File(fd),
    "File of nothing": lambda path, fd: File(fd, os.fstat(fd).st_size),
    "open": lambda path, fd: sharedmmap.open(path),
    "open and extend": lambda path, fd: sharedmmap.open(path, length=5 * PAGE),
    "open and truncate": lambda path, fd: sharedmmap.open(path, "w+", length=PAGE),
    "with": lambda path, fd: File(fd).__enter__().__exit__(None, None, None),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("make", MAPPING.values(), ids=MAPPING)
def test_an_interrupted_mapping_leaves_no_mapping_and_no_descriptor(path, make):
    fd = os.open(path, os.O_RDWR)
    before = held(path)
    for step in every_step(at_least=6):
        with contextlib.suppress(Interrupt):
            step.do_before(interrupt, lambda: make(path, fd))
        assert_held(path, before, step)
    os.close(fd)


USES = {
    "accessible": lambda m: m.accessible,
    "reserve": lambda m: m.reserve(2 * PAGE),
    "flush": lambda m: (m.write_at(b"dirty", 0), m.flush()),
    "lock": lambda m: m.lock(0, 1),
    "view": lambda m: m.view()[0],
    "stream": lambda m: m.stream().read(),
    "atomic": lambda m: m.atomic_uint64_at(0).fetch_add(1),
    "read past the end": lambda m: m.read_at(bytearray(10 * PAGE), 0),
    "close": lambda m: m.close(),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_an_interrupted_use_leaves_nothing_once_the_file_is_closed(path, use):
    before = held(path)
    for step in every_step(at_least=2):
        with sharedmmap.open(path, capacity=8 * PAGE) as m, contextlib.suppress(Interrupt):
            step.do_before(interrupt, lambda m=m: use(m))
        assert_held(path, before, step)


def lose(path, m, contents):
    """The page is lost, and has been missed. Then the file is whole again."""
    os.truncate(path, 0)
    with pytest.raises(MappingFaultError):
        m[0]
    path.write_bytes(contents)


def test_an_interrupted_restore_can_be_made_again(path, contents):
    before = held(path)
    for step in every_step(at_least=10):
        m = sharedmmap.open(path)
        lose(path, m, contents)
        with contextlib.suppress(Interrupt):
            step.do_before(interrupt, m.restore)
        m.restore()
        assert m[:] == contents
        m.close()
        assert_held(path, before, step)


def test_a_restore_that_others_have_overtaken_goes_on_with_their_mapping(path, contents):
    """They restore twice in the middle of it, and use what they got."""
    for step in every_step(at_least=10):
        m, words = sharedmmap.open(path), []
        lose(path, m, contents)

        def restore_twice(m=m, words=words):
            m.restore()
            lose(path, m, contents)
            m.restore()
            words.append(m.atomic_uint64_at(0))

        step.do_before(restore_twice, m.restore)
        assert m[:] == contents, step.number
        m.close()
        for word in words:
            with pytest.raises(UnmappedMemoryError):
                word.load()


def test_closing_in_the_middle_of_a_restore_leaves_nothing_mapped(path, contents):
    before = held(path)
    for step in every_step(at_least=10):
        m = sharedmmap.open(path)
        lose(path, m, contents)
        with contextlib.suppress(UnmappedMemoryError):
            step.do_before(m.close, m.restore)
        assert m.closed or not step.is_taken, step.number
        m.close()
        assert_held(path, before, step)


def test_a_fault_that_a_restore_comes_into_tells_its_cause(path, contents):
    """The restore asks for the cause, and closes the descriptor that it is asked through."""

    def touch(m):
        with pytest.raises((MappingFaultError, OutOfBoundsError)) as raised:  # the latter: it was restored first
            m[0]
        assert raised.type is OutOfBoundsError or raised.value.errno == errno.ENXIO, step.number

    for step in every_step(at_least=10):
        path.write_bytes(contents)
        m = sharedmmap.open(path)
        os.truncate(path, 0)
        step.do_before(m.restore, lambda m=m: touch(m))
        m.close()


def test_an_interrupted_fault_tells_its_cause_the_next_time(path):
    before = held(path)

    def touch(m):
        with pytest.raises(MappingFaultError):
            m[0]

    for step in every_step(at_least=10):
        path.write_bytes(bytes(PAGE))
        m = sharedmmap.open(path)
        os.truncate(path, 0)
        with contextlib.suppress(Interrupt):
            step.do_before(interrupt, lambda m=m: touch(m))
        with pytest.raises(MappingFaultError, match="0 bytes long now"):
            m[0]
        m.close()
        assert_held(path, before, step)


WRITES = {
    "bytes": lambda m: m.write_at(b"written", 0),
    "bytearray": lambda m: m.write_at(bytearray(b"written"), 0),
    "any buffer": lambda m: m.write_at(memoryview(b"written"), 0),
    "many bytes": lambda m: m.write_at(b"w" * len(m), 0),
    "uint64": lambda m: m.write_uint64_at(1 << 60, 0),
    "float32": lambda m: m.write_float32_at(1.5, 0),
    "record": lambda m: m.write_struct_at("<q", 0, 99),
    "string": lambda m: m.write_string_at("written", 0),
    "item": lambda m: operator.setitem(m, 0, 99),
    "slice": lambda m: operator.setitem(m, slice(0, 7), b"written"),
    "slice with a step": lambda m: operator.setitem(m, slice(0, 14, 2), b"written"),
    "fill": lambda m: m.fill(7),
    "move": lambda m: m.move(0, PAGE, 16),
    "fetch_add": lambda m: m.atomic_uint64_at(0).fetch_add(1 << 60),
    "stream": lambda m: m.stream().write(b"written"),
}
EARLIER = bytes(PAGE) + b"\1" * PAGE


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_that_a_signal_handler_interrupted_is_owed(path, write):
    """The interrupt comes before the bytes are there, or after: if they are, the mapping is dirty."""
    path.write_bytes(EARLIER)
    with sharedmmap.open(path) as m:
        for step in every_step(at_least=0):
            m[:] = EARLIER
            m.flush()
            with contextlib.suppress(Interrupt):
                step.do_before(interrupt, lambda: write(m))
            assert m.dirty or m[:] == EARLIER, step.number
        assert m.dirty


READS = {
    "bytearray": lambda m: m.read_at(bytearray(9), 0),
    "uint64": lambda m: m.read_uint64_at(0),
    "record": lambda m: m.read_struct_at("<q", 0),
    "item": lambda m: m[0],
    "slice": lambda m: m[0:7],
    "load": lambda m: m.atomic_uint64_at(0).load(),
}


@pytest.mark.parametrize(
    "use", [*WRITES.values(), *READS.values()], ids=[*WRITES, *(f"read {name}" for name in READS)]
)
def test_any_error_that_a_signal_handler_raises_comes_through(m, use):
    def fail():
        raise LookupError

    for step in every_step(at_least=2):
        try:
            step.do_before(fail, lambda: use(m))
        except LookupError:
            pass
        else:
            assert not step.is_taken, f"not the one before step {step.number}"


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_that_another_thread_flushes_in_the_middle_of_is_owed(path, write):
    path.write_bytes(EARLIER)
    with sharedmmap.open(path) as m:
        for step in every_step(at_least=0):
            m[:] = EARLIER
            m.flush()
            flushed = []
            step.do_before(lambda f=flushed: f.append((m.flush(), m[:])), lambda: write(m))
            assert m.dirty or flushed == [(None, m[:])], step.number


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_that_a_restore_comes_into_is_whole_or_raises(path, write):
    path.write_bytes(EARLIER)
    with sharedmmap.open(path) as m:
        write(m)
    expected = path.read_bytes()
    for step in every_step(at_least=0):
        path.write_bytes(EARLIER)
        m, done_before = sharedmmap.open(path), []

        def lose_and_restore(m=m, done_before=done_before):
            done_before.append(path.read_bytes() == expected)
            lose(path, m, EARLIER)
            m.restore()

        raised = False
        try:
            step.do_before(lose_and_restore, lambda m=m: write(m))
        except MappingFaultError:
            raised = True
        assert path.read_bytes() == (EARLIER if raised or done_before == [True] else expected), step.number
        m.close()


@interrupts_fstat
@pytest.mark.skipif(sys.implementation.name == "pypy", reason="a dropped File is collected late there")
def test_files_dropped_under_a_signal_handler_that_raises_leak_nothing(path):
    code = """
    def held():
        with open("/proc/self/maps") as maps:
            return len(os.listdir("/proc/self/fd")), maps.read().count(path)

    fd = os.open(path, os.O_RDWR)
    File(fd)
    before = held()
    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 5e-5, 5e-5)
    while interrupts < 2000:
        try:
            armed = True
            while True:
                File(fd)
        except Interrupt:
            pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.collect()
    print(held() == before, held(), before)
    """
    assert output(code, path, setup=RAISING).startswith("True")
