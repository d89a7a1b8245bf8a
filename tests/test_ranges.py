"""Calls over a range: ``flush`` and the dirty flag, ``advise``, ``lock``, ``residency``, ``reserve``."""

from __future__ import annotations

import io
import mmap
import os
import re
import sys
from contextlib import suppress

import pytest
from child import output

import sharedmmap
from sharedmmap import Advice, MappingFaultError, OutOfBoundsError, Sync
from sharedmmap._scalar_names import SCALARS

PAGE = mmap.PAGESIZE
END = 3 * PAGE + 100
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="what Linux does")

RANGED = {
    "flush": lambda m, *range_: m.flush(Sync.SYNC, *range_),
    "advise": lambda m, *range_: m.advise(Advice.NORMAL, *range_),
    "lock": lambda m, *range_: m.lock(*range_),
    "unlock": lambda m, *range_: m.unlock(*range_),
    "residency": lambda m, *range_: m.residency(*range_),
}

WRITES = {
    "write_at bytes": lambda m: m.write_at(b"x", 0),
    "write_at bytearray": lambda m: m.write_at(bytearray(1), 0),
    "write_at memoryview": lambda m: m.write_at(memoryview(b"x"), 0),
    "write_at short": lambda m: m.write_at(b"xyz", END - 1),
    "write_string_at": lambda m: m.write_string_at("x", 0),
    "item": lambda m: m.__setitem__(0, 1),
    "negative item": lambda m: m.__setitem__(-1, 1),
    "slice": lambda m: m.__setitem__(slice(2), b"xy"),
    "slice of bytearray": lambda m: m.__setitem__(slice(2), bytearray(2)),
    "slice with a step": lambda m: m.__setitem__(slice(0, 4, 2), b"xy"),
    **{f"write_{name}_at": lambda m, name=name: getattr(m, f"write_{name}_at")(1, 0) for name in SCALARS},
}

READS = {
    "read_at": lambda m: m.read_at(bytearray(5), 0),
    "read_string_at": lambda m: m.read_string_at(0, 5, errors="replace"),
    "item": lambda m: m[0],
    "slice": lambda m: m[:],
    "slice with a step": lambda m: m[::3],
    "accessible": lambda m: m.accessible,
    "residency": lambda m: m.residency(),
    "lock": lambda m: m.lock(),
    "advise": lambda m: m.advise(Advice.WILLNEED),
    "reserve": lambda m: m.reserve(END),
    "restore": lambda m: m.restore(),
}


# ---- ranges ----


@pytest.mark.parametrize("name", RANGED)
@pytest.mark.parametrize(
    "range_", [(), (0,), (0, END), (1,), (PAGE + 7, 5), (5, 2 * PAGE), (END - 1, 1), (END,), (END, 0), (7, 0)]
)
def test_a_range_needs_no_alignment(m, name, range_):
    m[0] = 1
    RANGED[name](m, *range_)


@pytest.mark.parametrize("name", RANGED)
@pytest.mark.parametrize(
    "range_", [(-1,), (END + 1,), (END + 1, 0), (0, END + 1), (END, 1), (1, END), (2**70,), (0, 2**70), (-5, 10)]
)
def test_a_range_outside_is_out_of_bounds(m, name, range_):
    m[0] = 1
    with pytest.raises(OutOfBoundsError, match="outside the mapping"):
        RANGED[name](m, *range_)


@pytest.mark.parametrize("name", RANGED)
@pytest.mark.parametrize("length", [-1, -PAGE, -(2**70)])
def test_a_negative_length_is_a_value_error(m, name, length):
    m[0] = 1
    with pytest.raises(ValueError, match="negative"):
        RANGED[name](m, 5, length)


@pytest.mark.parametrize("name", RANGED)
@pytest.mark.parametrize("range_", [("1",), (1.0,), (0, 1.0), (0, b"1"), (None,)])
def test_a_range_of_another_type_is_a_type_error(m, name, range_):
    with pytest.raises(TypeError):
        RANGED[name](m, *range_)


@pytest.mark.parametrize("name", RANGED)
def test_a_range_may_lie_anywhere_in_a_mapping_with_an_odd_offset(path, name):
    with path.open("r+b") as f:
        m = sharedmmap.File(f, PAGE - 3, PAGE + 7)
        m[0] = 1
        for range_ in ((), (0, 1), (2, 2), (3, PAGE), (PAGE + 6, 1), (PAGE + 7,)):
            RANGED[name](m, *range_)


@pytest.mark.parametrize("name", RANGED)
def test_a_range_may_reach_past_the_end_of_the_file(path, name):
    with sharedmmap.open(path, capacity=20 * PAGE) as m:
        m[0] = 1
        RANGED[name](m)
        RANGED[name](m, 10 * PAGE)


# ---- flush and the dirty flag ----


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_makes_it_dirty_until_it_is_flushed(m, write):
    assert not m.dirty
    write(m)
    assert m.dirty
    m.flush()
    assert not m.dirty
    write(m)
    assert m.dirty


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_what_is_no_write_leaves_the_dirty_flag_alone(m, read):
    read(m)
    assert not m.dirty
    m[0] = 1
    read(m)
    assert m.dirty


@pytest.mark.parametrize(
    "flush",
    [
        lambda m: m.flush(),
        lambda m: m.flush(Sync.SYNC),
        lambda m: m.flush(Sync.SYNC | Sync.INVALIDATE),
        lambda m: m.flush(int(Sync.SYNC)),
        lambda m: m.flush(offset=0),
        lambda m: m.flush(length=END),
    ],
)
def test_a_synchronous_flush_of_everything_settles_it(m, flush):
    m[0] = 1
    flush(m)
    assert not m.dirty


@pytest.mark.parametrize(
    "flush",
    [
        lambda m: m.flush(Sync.ASYNC),
        lambda m: m.flush(Sync.ASYNC | Sync.INVALIDATE),
        lambda m: m.flush(offset=PAGE),
        lambda m: m.flush(length=END - 1),
        lambda m: m.flush(length=0),
        lambda m: m.flush(offset=END),
        lambda m: m.flush(offset=5, length=5),
    ],
)
def test_any_other_flush_leaves_it_dirty(m, flush):
    m[0] = 1
    flush(m)
    assert m.dirty
    m.flush()
    assert not m.dirty


@pytest.mark.parametrize(
    "flags", [pytest.param(0x1000, marks=LINUX_ONLY, id="unknown"), int(Sync.SYNC) | int(Sync.ASYNC)]
)
def test_a_flush_the_kernel_refuses_leaves_it_dirty(m, flags):
    m[0] = 1
    with pytest.raises(OSError, match="msync"):
        m.flush(flags)
    assert m.dirty


@pytest.mark.parametrize("flags", ["SYNC", None, 4.0])
def test_flags_of_another_type_are_a_type_error(m, flags):
    with pytest.raises(TypeError):
        m.flush(flags)


def test_flushing_what_was_not_written_makes_no_system_call(m):
    """The kernel refuses these flags, and is not asked."""
    m.flush(0x1000)
    m[0] = 1
    m.flush()
    m.flush(0x1000)


@pytest.mark.parametrize("size", [0, 100, 3 * PAGE])
def test_a_flush_that_finds_the_file_shorter_raises_and_leaves_it_dirty(m, path, size):
    m[-1] = 1
    os.truncate(path, size)
    for _ in range(2):
        with pytest.raises(MappingFaultError, match=f"backs {size} of the {END} bytes"):
            m.flush()
        assert m.dirty


def test_a_file_that_grows_again_is_still_known_to_have_lost_what_was_written(path):
    with sharedmmap.open(path) as m:
        m[-1] = 1
        os.truncate(path, 100)
        with pytest.raises(MappingFaultError):
            m.flush()
        m.restore()
        m.flush()
        assert not m.dirty


def test_a_flush_that_raised_does_not_fault_the_mapping(m, path, contents):
    m[0] = 1
    os.truncate(path, 100)
    with pytest.raises(MappingFaultError):
        m.flush()
    assert m[1:100] == contents[1:100]


def test_a_flush_takes_the_data_to_the_file(m, path):
    m.write_at(b"flushed", 5)
    m.flush(Sync.SYNC, 5, 7)
    assert path.read_bytes()[5:12] == b"flushed"


def test_a_read_only_mapping_is_never_dirty_and_flushes(read_only):
    read_only.flush()
    read_only.restore()
    assert not read_only.dirty


# ---- advise ----


def test_there_is_advice_for_the_common_patterns():
    assert {"NORMAL", "RANDOM", "SEQUENTIAL", "WILLNEED", "DONTNEED"} <= set(Advice.__members__)


@pytest.mark.parametrize("advice", Advice, ids=lambda advice: advice.name)
def test_no_advice_changes_what_the_file_holds(m, path, contents, advice):
    m[0:5] = b"dirty"
    with suppress(OSError):  # not every kernel has it
        m.advise(advice)
        m.advise(advice, PAGE + 1, 3)
    assert m[:] == b"dirty" + contents[5:]
    assert path.read_bytes() == b"dirty" + contents[5:]


@pytest.mark.parametrize("name", ["NORMAL", "RANDOM", "SEQUENTIAL", "WILLNEED", "DONTNEED"])
def test_the_advice_of_the_mmap_module_is_accepted(m, name):
    m.advise(getattr(mmap, f"MADV_{name}"))
    assert getattr(Advice, name) == getattr(mmap, f"MADV_{name}")


HARMFUL = ["REMOVE", "DONTFORK", "DOFORK", "HWPOISON", "SOFT_OFFLINE", "MERGEABLE", "UNMERGEABLE", "FREE"]


@pytest.mark.parametrize(
    "advice", [getattr(mmap, f"MADV_{name}", 10**6) for name in HARMFUL] + [18, 19, 102, 103, -1, 2**70]
)
def test_advice_that_could_do_harm_or_does_not_exist_is_a_value_error(m, contents, advice):
    with pytest.raises(ValueError, match=str(advice)):
        m.advise(advice)
    assert m[:] == contents


@pytest.mark.parametrize("advice", ["NORMAL", None, 1.0])
def test_advice_of_another_type_is_a_type_error(m, advice):
    with pytest.raises(TypeError):
        m.advise(advice)


# ---- lock and unlock ----


def locked_bytes():
    with open("/proc/self/status") as status:
        return int(re.search(r"VmLck:\s+(\d+) kB", status.read())[1]) * 1024


@LINUX_ONLY
@pytest.mark.parametrize("on_fault", [False, True])
def test_locks_are_of_whole_pages_and_undone(m, on_fault):
    before = locked_bytes()
    m.lock(PAGE - 1, 2, on_fault=on_fault)
    assert locked_bytes() - before == 2 * PAGE
    m.lock(on_fault=on_fault)
    assert locked_bytes() - before == 4 * PAGE
    m.unlock(0, 1)
    assert locked_bytes() - before == 3 * PAGE
    m.unlock()
    assert locked_bytes() == before


@LINUX_ONLY
@pytest.mark.parametrize("on_fault", [False, True])
def test_only_what_is_accessible_is_locked(path, on_fault):
    before = locked_bytes()
    with sharedmmap.open(path, capacity=100 * PAGE) as m:
        m.lock(on_fault=on_fault)
        assert locked_bytes() - before == 4 * PAGE
        m.lock(50 * PAGE, on_fault=on_fault)
        assert locked_bytes() - before == 4 * PAGE
    assert locked_bytes() == before


@LINUX_ONLY
def test_an_empty_range_has_no_pages_wherever_it_is(m):
    before = locked_bytes()
    for offset in 0, 5, PAGE - 1, PAGE, len(m):
        m.lock(offset, 0)
        assert locked_bytes() == before
        assert m.residency(offset, 0) == b""


@LINUX_ONLY
@pytest.mark.parametrize("on_fault", [None, "yes", 2, []])
def test_on_fault_is_any_truth_value(m, on_fault):
    before = locked_bytes()
    m.lock(on_fault=on_fault)
    assert locked_bytes() - before == 4 * PAGE
    m.unlock()


@LINUX_ONLY
def test_what_is_locked_on_fault_is_in_memory_when_it_is_touched_and_not_before(tmp_path):
    path = tmp_path / "new"
    path.touch()
    os.truncate(path, 4 * PAGE)
    with sharedmmap.open(path) as m:
        m.lock(on_fault=True)
        assert m.residency() == bytes(4)
        m.lock()
        assert m.residency() == b"\1" * 4


@LINUX_ONLY
def test_unmapping_unlocks(m):
    before = locked_bytes()
    m.lock()
    m.unmap()
    assert locked_bytes() == before


@LINUX_ONLY
@pytest.mark.parametrize("on_fault", [False, True])
def test_locking_over_the_limit_names_it_and_leaves_nothing_locked(path, on_fault):
    code = f"""
        m = sharedmmap.open(path)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (PAGE, PAGE))
        if os.getuid() == 0:
            os.setuid(65534)  # the limit is not for root
        try:
            m.lock(on_fault={on_fault})
        except OSError as error:
            print(error.errno in (errno.ENOMEM, errno.EAGAIN), f"RLIMIT_MEMLOCK is {{PAGE}} bytes" in str(error))
        locked = bytes_of("/proc/self/status").partition(b"VmLck:")[2]
        print(int(locked.split()[0]))
        m.lock(0, 1)
    """
    assert output(code, path).split() == ["True", "True", "0"]


# ---- residency ----


@pytest.mark.parametrize(
    ("range_", "pages"), [((), 4), ((0, 0), 0), ((0, 1), 1), ((PAGE - 1, 2), 2), ((1, PAGE), 2), ((3 * PAGE,), 1)]
)
def test_residency_has_one_byte_for_each_page_of_the_range(m, range_, pages):
    m[:]
    residency = m.residency(*range_)
    assert type(residency) is bytes
    assert residency == b"\1" * pages


def test_residency_counts_the_pages_of_the_file_not_of_the_mapping(path):
    with path.open("r+b") as f:
        assert len(sharedmmap.File(f, PAGE - 1, 2).residency()) == 2


@LINUX_ONLY
def test_what_is_not_there_is_not_resident(tmp_path):
    with sharedmmap.open(tmp_path / "sparse", "x+", length=2**26) as m:
        m[-1] = 1
        residency = m.residency()
        assert residency[-1] == 1
        assert residency[0] == 0


# ---- reserve ----


@pytest.mark.parametrize("mapped_from", [0, 1, PAGE + 5])
def test_reserving_grows_the_file_within_the_mapping(path, contents, mapped_from):
    with sharedmmap.open(path, offset=mapped_from, capacity=10 * PAGE) as m:
        m.reserve(5 * PAGE + 1)
        assert m.accessible == 5 * PAGE + 1
        assert path.stat().st_size == mapped_from + 5 * PAGE + 1
        m[5 * PAGE] = 7
        m.reserve(10 * PAGE)
        m[-1] = 8
    assert path.read_bytes()[: len(contents)] == contents


@pytest.mark.parametrize("length", [0, 1, 100, END])
def test_reserving_what_is_there_changes_nothing(path, contents, length):
    with sharedmmap.open(path, capacity=10 * PAGE) as m:
        m.reserve(length)
        assert m.accessible == END
    assert path.read_bytes() == contents


def test_reserving_fills_holes_with_disk_space(tmp_path):
    with sharedmmap.open(tmp_path / "sparse", "x+", length=2**20) as m:
        m[5] = 5
        m.reserve(2**20)
        assert (tmp_path / "sparse").stat().st_blocks * 512 >= 2**20
        assert m[:7] == bytes(5) + b"\5\0"


@pytest.mark.parametrize("length", [-1, END + 1, 2**63, 2**70, -(2**70)])
def test_reserving_more_than_the_mapping_is_out_of_bounds(m, path, contents, length):
    with pytest.raises(OutOfBoundsError, match="outside the mapping"):
        m.reserve(length)
    assert path.read_bytes() == contents


@pytest.mark.parametrize("length", [1.0, "1", None])
def test_reserving_what_is_no_length_is_a_type_error(m, length):
    with pytest.raises(TypeError):
        m.reserve(length)


def test_reserving_through_a_read_only_mapping_is_unsupported(read_only):
    with pytest.raises(io.UnsupportedOperation, match="read-only"):
        read_only.reserve(1)


def test_reserving_over_the_file_size_limit_is_an_os_error(path):
    code = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        m, limit = sharedmmap.open(path, capacity=16 << 20), 8 << 20
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            m.reserve(16 << 20)
        except OSError as error:
            print(error.errno == errno.EFBIG)
        m.reserve(limit)
        print(m.accessible == limit)
    """
    assert output(code, path).split() == ["True", "True"]
