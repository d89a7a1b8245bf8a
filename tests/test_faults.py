"""Pages the kernel cannot supply: every operation raises, none ends the process, and no write is lost."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys

import pytest
from child import RESERVE_TOO_MUCH, output

import sharedmmap
from sharedmmap import MappingFaultError, OutOfBoundsError, Sync

PAGE = mmap.PAGESIZE
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="what Linux does")

# Each touches some of the 48 bytes from `at`, and nothing else.
READS = {
    "uint64": "m.read_uint64_at(at)",
    "uint64 unaligned": "m.read_uint64_at(at + 1)",
    "int8": "m.read_int8_at(at)",
    "float32": "m.read_float32_at(at)",
    "float64": "m.read_float64_at(at)",
    "item": "m[at]",
    "slice": "m[at : at + 16]",
    "slice with a step": "m[at : at + 48 : 3]",
    "slice backwards": "m[at + 15 : at - 1 : -1]",
    "bytearray": "read_into(bytearray(16))",
    "memoryview": "read_into(memoryview(bytearray(16)))",
    "string": "m.read_string_at(at, 16)",
}
WRITES = {
    "uint64": "m.write_uint64_at(7, at)",
    "uint64 unaligned": "m.write_uint64_at(2**64 - 1, at + 1)",
    "int8": "m.write_int8_at(-7, at)",
    "float32": "m.write_float32_at(7.0, at)",
    "float64": "m.write_float64_at(7.0, at)",
    "item": "m.__setitem__(at, 7)",
    "slice": "m.__setitem__(slice(at, at + 16), b'w' * 16)",
    "slice with a step": "m.__setitem__(slice(at, at + 48, 3), b'w' * 16)",
    "bytes": "m.write_at(b'w' * 16, at)",
    "bytearray": "m.write_at(bytearray(b'w' * 16), at)",
    "string": "m.write_string_at('w' * 16, at)",
}
TOUCHES = [pytest.param(code, id=f"read {name}") for name, code in READS.items()]
TOUCHES += [pytest.param(code, id=f"write {name}") for name, code in WRITES.items()]

# Four pages, of which the last is about to be lost.
MAPPED = """
at = 3 * PAGE + 8
m = File(os.open(path, os.O_RDWR))

def read_into(dest):
    assert m.read_at(dest, at) == len(dest)
    return bytes(dest)
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"U" * 4 * PAGE)
    return path


@pytest.mark.parametrize("size", [0, PAGE, PAGE + 100], ids=["to nothing", "to a page", "mid-page"])
@pytest.mark.parametrize("touch", TOUCHES)
def test_touching_a_lost_page_raises_until_the_mapping_is_restored(path, touch, size):
    code = f"""
    os.truncate(path, int(args[0]))
    for attempt in range(2):
        try:
            {touch}
        except MappingFaultError as error:
            assert error.errno == errno.ENXIO and at - 8 <= error.offset < at + 48, error.offset
            print(error)
    m.restore()
    assert m.accessible == int(args[0])
    os.truncate(path, 4 * PAGE)
    {touch}
    """
    lines = output(code, path, size, setup=MAPPED).splitlines()
    assert len(lines) == 2
    assert all(line.endswith(f"the file is {size} bytes long now") for line in lines)


@pytest.mark.parametrize("size", [600, 2048])
@pytest.mark.parametrize("dest", ["bytearray({size})", "memoryview(bytearray({size}))"])
def test_reading_more_of_a_lost_page_raises(path, dest, size):
    code = f"""
    os.truncate(path, PAGE)
    try:
        read_into({dest.format(size=size)})
    except MappingFaultError as error:
        print(at <= error.offset < at + {size})
    """
    assert output(code, path, setup=MAPPED) == "True"


def test_the_cause_is_told_as_it_was_found_out_first(path):
    code = """
    for size in 0, 4 * PAGE:
        os.truncate(path, size)
        try:
            m[at]
        except MappingFaultError as error:
            print(errno.errorcode[error.errno], str(error).endswith("the file is 0 bytes long now"))
    """
    assert output(code, path, setup=MAPPED).splitlines() == ["ENXIO True"] * 2


def test_a_page_that_the_file_has_again_a_part_of_was_not_lost_for_its_length(path):
    code = """
    view = m.view()
    os.truncate(path, 0)
    assert view[at] == 0
    os.truncate(path, 3 * PAGE + 1)
    try:
        m.check()
    except MappingFaultError as error:
        print(errno.errorcode[error.errno], error.offset == at)
    """
    assert output(code, path, setup=MAPPED) == "EIO True"


@pytest.mark.parametrize("where", ["0", "len(m) - 1"])
def test_the_first_and_the_last_byte_are_guarded(path, where):
    code = f"""
    os.truncate(path, 0)
    try:
        m[{where}]
    except MappingFaultError as error:
        print(error.offset == {where})
    """
    assert output(code, path, setup=MAPPED) == "True"


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_reading_behind_an_end_inside_the_page_gives_zeros_or_raises(path, read):
    """POSIX has no fault there: the rest of the file's last page reads as zeros."""
    code = f"""
    os.truncate(path, 3 * PAGE + 4)
    try:
        assert {read} in (0, bytes(16), "\\0" * 16)
    except OutOfBoundsError:
        pass
    """
    assert output(code, path, setup=MAPPED) == ""


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writing_behind_an_end_inside_the_page_raises_at_the_flush_at_last(path, write):
    """POSIX has no fault there either, so it is the flush that says the write did not reach the file."""
    code = f"""
    os.truncate(path, 3 * PAGE + 4)
    try:
        {write}
    except OutOfBoundsError:
        print("lost")
    else:
        try:
            m.flush()
        except MappingFaultError:
            assert m.dirty
            print("lost")
    """
    assert output(code, path, setup=MAPPED) == "lost"


def test_a_value_across_the_end_of_the_last_page_raises(path):
    code = """
    os.truncate(path, 3 * PAGE)
    for operation in lambda: m.write_uint64_at(7, 3 * PAGE - 4), lambda: m.read_uint64_at(3 * PAGE - 4):
        try:
            operation()
        except MappingFaultError as error:
            print(error.offset == 3 * PAGE)
    """
    assert output(code, path, setup=MAPPED).split() == ["True", "True"]


# What asks the system and touches no memory; the file is cut to a page, to the middle of one, or to nothing.
CALLS = {
    "m.flush()": "MappingFaultError",
    "m.flush(Sync.ASYNC)": "MappingFaultError",
    "m.flush(Sync.SYNC, 3 * PAGE, PAGE)": "MappingFaultError",
    "m.advise(sharedmmap.Advice.WILLNEED)": "None",
    "m.advise(sharedmmap.Advice.DONTNEED)": "None",
    "m.lock()": "None",
    "m.unlock()": "None",
    "len(m.residency())": "4",
    "m.accessible == os.stat(path).st_size": "True",
    "m.restore()": "None",
    "m.reserve(4 * PAGE)": "None",
    "m.unmap()": "None",
}


@pytest.mark.parametrize("size", [0, PAGE, 3 * PAGE + 4], ids=["to nothing", "to a page", "mid-page"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_on_a_shortened_file_tells_what_it_found(path, call, size):
    code = f"""
    m.write_uint64_at(7, at)
    os.truncate(path, int(args[0]))
    try:
        print({call})
    except MappingFaultError as error:
        print(type(error).__name__)
    """
    assert output(code, path, size, setup=MAPPED) == CALLS[call]


@LINUX_ONLY
def test_populating_lost_pages_raises(path):
    code = """
    os.truncate(path, PAGE)
    for advice in sharedmmap.Advice.POPULATE_READ, sharedmmap.Advice.POPULATE_WRITE:
        try:
            m.advise(advice)
        except OSError as error:
            print(errno.errorcode[error.errno])
    """
    assert output(code, path, setup=MAPPED).split() == ["EFAULT", "EFAULT"]


def test_every_call_on_a_faulted_mapping_raises_the_fault(path):
    code = """
    os.truncate(path, 0)
    for call in (
        lambda: m[0],
        lambda: m[at:at],
        m.flush,
        m.lock,
        m.unlock,
        m.residency,
        lambda: m.accessible,
        lambda: m.reserve(PAGE),
        lambda: m.advise(sharedmmap.Advice.NORMAL),
    ):
        try:
            print("passed", call())
        except MappingFaultError as error:
            assert error.errno == errno.ENXIO and "0 bytes long" in str(error)
    print(repr(m), len(m), m.closed)
    m.unmap()
    print(m.closed)
    """
    state = f"<File offset=0 length={4 * PAGE} prot=READ|WRITE faulted> {4 * PAGE} False"
    assert output(code, path, setup=MAPPED).splitlines() == [state, "True"]


# ---- hostile arguments ----

HOSTILE = [
    -1,
    -(2**63),
    2**31,
    2**63 - 1,
    2**63,
    2**64 - 4,
    2**64,
    10**30,
    "Wrapping()",
    "Liar(2**62)",
    "1.0",
    "None",
]


@pytest.mark.parametrize("offset", HOSTILE)
def test_a_hostile_offset_raises_and_writes_nothing(path, offset):
    code = f"""
    class Wrapping:  # as a numpy integer near the limit of its type
        def __index__(self):
            return 2**63 - 1
        def __add__(self, other):
            return 0
        __radd__ = __sub__ = __rsub__ = __add__

    class Liar(int):
        def __lt__(self, other):
            return True
        __le__ = __gt__ = __ge__ = __eq__ = __lt__
        __hash__ = int.__hash__

    offset = {offset}
    for operation in (
        lambda: m.read_uint64_at(offset),
        lambda: m.read_float32_at(offset),
        lambda: m.write_uint64_at(7, offset),
        lambda: m.write_float32_at(7.0, offset),
        lambda: m.read_at(bytearray(8), offset),
        lambda: m.write_at(b"w" * 8, offset),
        lambda: m.read_string_at(offset),
        lambda: m.write_string_at("w" * 8, offset),
        lambda: m.flush(Sync.SYNC, offset),
        lambda: m.lock(offset),
        lambda: m.residency(offset),
        lambda: m.advise(sharedmmap.Advice.NORMAL, offset),
    ):
        try:
            print(operation())
        except (OutOfBoundsError, TypeError):
            pass
    """
    assert output(code, path, setup=MAPPED) == ""
    assert path.read_bytes() == b"U" * 4 * PAGE


# ---- long copies, and another process that cuts the file ----

BIG = 64 << 20


@pytest.mark.no_sanitizer
@pytest.mark.parametrize("copy", ["m.read_at(block, 0)", "m.write_at(block, 0)", "m[:]", "m.read_string_at(0)"])
def test_a_copy_that_loses_most_of_its_file_raises_and_costs_no_memory(tmp_path, copy):
    code = f"""
    if sys.platform == "linux":  # without huge pages: one may be of 32 MiB (arm64 with pages of 16 KiB)
        import ctypes
        PR_SET_THP_DISABLE = 41
        ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, *map(ctypes.c_ulong, (1, 0, 0, 0)))
    m = sharedmmap.open(path, "w+", length={BIG})
    m.write_at(b"w" * {BIG // 8}, 0)
    block = bytearray({BIG})
    os.truncate(path, {BIG // 8})
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        {copy}
    except MappingFaultError as error:
        assert error.offset >= {BIG // 8}
        print("the file is {BIG // 8} bytes long now" in str(error))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    assert grown < {BIG // 2}, grown
    """
    assert output(code, tmp_path / "file") == "True"


# Cuts the file and lets it grow again, until nobody listens any more.
TOGGLER = """
import os, select, sys
path, length, *sizes = sys.argv[1:]
print(flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for size in sizes:
        os.truncate(path, int(size))
        os.truncate(path, int(length))
"""

TOGGLED = f"""
def toggle(length, *sizes):
    command = [sys.executable, "-c", {TOGGLER!r}, path, str(length), *map(str, sizes)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    return process
"""


@pytest.mark.parametrize("copy", ["m.read_at(block, 0)", "m.write_at(block, 0)", "len(m[:])"])
def test_a_file_cut_by_another_process_in_the_middle_of_a_copy_raises(tmp_path, copy):
    """Repeated until the fault is not at the first byte, so that the cut fell into the copy."""
    code = f"""
    m = sharedmmap.open(path, "w+", length={BIG})
    block = bytearray({BIG})
    in_the_middle = False
    with toggle({BIG}, 0) as process:
        while not in_the_middle:
            try:
                {copy}
            except MappingFaultError as error:
                in_the_middle = error.offset > 0
                m.restore()
            except OutOfBoundsError:
                pass
        process.stdin.close()
    assert m.accessible == {BIG}
    assert {copy} == {BIG}
    """
    assert output(code, tmp_path / "file", setup=TOGGLED) == ""


def test_no_operation_crashes_while_another_process_cuts_the_file(path):
    operations = ", ".join(f"lambda: {code}" for code in [*READS.values(), *WRITES.values(), *CALLS][:-1])
    code = f"""
    operations = ({operations})
    faults = 0
    with toggle(4 * PAGE, 0, PAGE, 2 * PAGE + 100) as process:
        while faults < 100:
            for operation in operations:
                try:
                    operation()
                except MappingFaultError:
                    faults += 1
                    m.restore()
                except OutOfBoundsError:
                    pass
                except OSError as error:  # of mlock(2), which finds a page gone
                    assert error.errno == errno.ENOMEM
        process.stdin.close()
    assert m.accessible == 4 * PAGE
    """
    assert output(code, path, setup=MAPPED + TOGGLED) == ""


# ---- a full disk ----


@pytest.fixture
def small_disk(tmp_path):
    """The path of a file on a file system of 16 pages."""
    point = tmp_path / "disk"
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={16 * PAGE}", "tmpfs", str(point)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"cannot mount a tmpfs: {getattr(error, 'stderr', None) or error}")
    yield point / "file"
    subprocess.run(["umount", str(point)], check=True)


@pytest.mark.no_thread_sanitizer
@pytest.mark.parametrize(
    "fill",
    [
        "m.write_at(b'w' * len(m), 0)",
        "m.write_at(bytearray(b'w' * len(m)), 0)",
        "m.write_string_at('w' * len(m), 0)",
        "m[:] = b'w' * len(m)",
        "for at in range(0, len(m), PAGE): m.write_uint64_at(0x7777777777777777, at)",
    ],
)
def test_a_full_disk_raises_and_all_works_again_once_there_is_space(small_disk, fill):
    code = f"""
    ballast = path + ".ballast"
    with open(ballast, "wb") as file:
        file.write(bytes(8 * PAGE))
    m = sharedmmap.open(path, "w+", length=16 << 20)
    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        {fill}
    except MappingFaultError as error:
        assert error.errno == errno.ENOSPC
        print(error)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    assert grown < 32 << 20, grown
    with open(path, "rb") as file:
        assert not file.read().translate(None, b"w\\0")
    try:
        m.flush()
    except MappingFaultError:
        print("still faulted")
    os.unlink(ballast)
    m.restore()
    written = b"again" * 6000
    assert m.write_at(written, 1 << 20) == len(written)
    m.flush()
    with open(path, "rb") as file:
        file.seek(1 << 20)
        assert file.read(len(written)) == written
    """
    full, still = output(code, small_disk).splitlines()
    assert os.strerror(errno.ENOSPC) in full
    assert still == "still faulted"


def test_reserving_more_than_the_disk_has_raises_without_a_fault(small_disk):
    assert output(RESERVE_TOO_MUCH, small_disk) == "ENOSPC False"


# ---- no silent loss: writes ----


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_that_hit_zero_pages_raises_though_another_thread_restores_meanwhile(path, write):
    """The other thread restores when the write is done and its state not yet read."""
    code = f"""
    from sharedmmap._region import Region

    check = Region.check
    faulted = m._region

    def check_late(region):
        if region is faulted and m._region is faulted and region.c.state:
            os.truncate(path, 4 * PAGE)
            other = threading.Thread(target=m.restore)
            other.start()
            other.join()
        check(region)

    Region.check = check_late
    os.truncate(path, 0)
    try:
        {write}
    except MappingFaultError:
        print("raised", m._region is not faulted)
    """
    assert output(code, path, setup=MAPPED) == "raised True"
    assert not any(path.read_bytes())


@pytest.mark.parametrize(
    "write",
    [
        "m.write_uint64_at(7, late)",
        "m.write_float64_at(7.0, late)",
        "m.write_at(b'w' * 8, late)",
        "m.write_at(bytearray(b'w' * 8), late)",
        "m.write_string_at('w' * 8, late)",
        "m.__setitem__(slice(late, at + 8), b'w' * 8)",
        "m.__setitem__(late, 7)",
    ],
)
def test_a_write_that_began_before_a_restore_raises_or_reaches_the_file(path, write):
    """The fault and the restore happen inside the write, when it asks for its offset."""
    code = f"""
    class Late:
        def __index__(self):
            os.truncate(path, 0)
            try:
                m[0]
            except MappingFaultError:
                os.truncate(path, 4 * PAGE)
                m.restore()
            return at

    late = Late()
    try:
        {write}
    except MappingFaultError:
        print("raised")
    else:
        with open(path, "rb") as file:
            print("reached" if any(file.read()) else "lost")
    """
    assert output(code, path, setup=MAPPED) in ("raised", "reached")


def test_a_fault_in_one_thread_raises_in_every_other(path):
    code = """
    outcomes = []

    def write(number):
        faulted.wait()
        try:
            m.write_uint64_at(number, number * 8)  # in the first page, which the file still has
        except MappingFaultError:
            outcomes.append("raised")

    faulted = threading.Event()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    os.truncate(path, PAGE)
    try:
        m[at]
    except MappingFaultError:
        faulted.set()
    for thread in threads:
        thread.join()
    print(*outcomes)
    """
    assert output(code, path, setup=MAPPED).split() == ["raised"] * 4
    assert path.read_bytes() == b"U" * PAGE


def test_what_threads_reported_as_written_is_in_the_file_whoever_faults_and_restores(small_disk):
    """Four threads count up in pages of their own, most of which the disk has no room for."""
    code = """
    sys.setswitchinterval(1e-6)
    PAGES, ROUNDS = 64, 100
    m = sharedmmap.open(path, "w+", length=PAGES * PAGE)
    reported, tried = [0] * PAGES, [0] * PAGES
    failed = []

    def count(number):
        for round in range(1, ROUNDS + 1):
            for page in range(number, PAGES, 4):
                tried[page] = round
                try:
                    m.write_uint64_at(round, page * PAGE)
                    reported[page] = round
                except MappingFaultError as error:
                    failed.append(error.errno)
                    m.restore()

    threads = [threading.Thread(target=count, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with open(path, "rb") as file:
        for page in range(PAGES):
            file.seek(page * PAGE)
            found = int.from_bytes(file.read(8), "little")
            assert reported[page] <= found <= tried[page], (page, reported[page], found, tried[page])
    print(sum(map(bool, reported)) >= 8, set(failed) == {errno.ENOSPC})
    """
    assert output(code, small_disk) == "True True"


def test_a_fault_in_the_middle_of_a_restore_is_restored_too(path):
    """The restore has found the mapping live, and asks how long the file is."""
    code = """
    from sharedmmap._region import Region

    refresh = Region.refresh

    def fault_first(region):
        Region.refresh = refresh
        os.truncate(path, 0)
        try:
            m[0]
        except MappingFaultError:
            os.truncate(path, 4 * PAGE)
        return refresh(region)

    Region.refresh = fault_first
    m.restore()
    m[0] = 7
    print(m[0])
    """
    assert output(code, path, setup=MAPPED) == "7"


# ---- no silent loss: flushes ----


@pytest.fixture
def mapped(path):
    with sharedmmap.open(path) as mapped:
        mapped[PAGE] = 7
        yield mapped


@pytest.mark.parametrize(
    ("flags", "offset", "length"),
    [
        pytest.param(Sync.ASYNC, 0, None, id="asynchronous"),
        pytest.param(Sync.SYNC, 0, PAGE, id="of the front"),
        pytest.param(Sync.SYNC, PAGE, None, id="of the rest"),
        pytest.param(Sync.SYNC, 0, 0, id="of nothing"),
    ],
)
def test_an_incomplete_flush_leaves_dirty(mapped, flags, offset, length):
    mapped.flush(flags, offset, length)
    assert mapped.dirty
    mapped.flush()
    assert not mapped.dirty


@pytest.mark.no_sanitizer
@LINUX_ONLY
def test_a_failed_flush_raises_and_leaves_dirty(mapped):
    mapped.lock(0, 1)
    with pytest.raises(OSError, match="msync") as raised:  # invalidating what is locked
        mapped.flush(Sync.SYNC | Sync.INVALIDATE)
    assert raised.value.errno == errno.EBUSY
    assert mapped.dirty
    mapped.unlock()
    mapped.flush(Sync.SYNC | Sync.INVALIDATE)
    assert not mapped.dirty


@pytest.mark.parametrize("size", [0, PAGE - 1, 3 * PAGE, 4 * PAGE - 1])
def test_a_flush_of_a_shortened_file_raises_until_that_is_accepted(mapped, path, size):
    os.truncate(path, size)
    for _ in range(2):
        with pytest.raises(MappingFaultError, match=f"backs {size} of the {4 * PAGE} bytes") as raised:
            mapped.flush()
        assert raised.value.errno == errno.ENXIO
        assert mapped.dirty
    mapped.restore()
    mapped.flush()
    assert not mapped.dirty


def test_a_restored_mapping_is_dirty(path):
    code = """
    m.write_uint64_at(7, 0)
    m.flush()
    assert not m.dirty
    os.truncate(path, 0)
    try:
        m[0]
    except MappingFaultError:
        m.restore()
    print(m.dirty)
    """
    assert output(code, path, setup=MAPPED) == "True"


def test_a_slice_assigned_around_a_flush_is_owed(mapped):
    class Flushing:
        def __index__(self):
            mapped.flush()
            return 0

    mapped[:8] = b"earlier."
    mapped[Flushing() : 8] = b"written."
    assert mapped.dirty


def test_writes_that_fail_fill_no_memory(path):
    code = """
    unit = 1 if sys.platform == "darwin" else 1024
    size = 64 << 20
    os.truncate(path, size)
    m = File(os.open(path, os.O_RDWR))
    m[:4] = b"once"
    os.truncate(path, 0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for at in range(0, size, PAGE):
        try:
            m[at : at + 8] = b"written."
        except MappingFaultError:
            continue
        print("written at", at)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    assert grown < size // 4, grown
    """
    assert output(code, path) == ""


def test_a_slice_that_the_file_shrinks_under_is_not_cut_short_in_silence(mapped, path, monkeypatch):
    def write_part(region, memory, offset, size):
        os.truncate(path, PAGE)
        region.refresh()
        return whole(region, memory, offset, size)

    whole = sharedmmap._copies.write_part
    monkeypatch.setattr("sharedmmap._copies.write_part", write_part)
    monkeypatch.setattr("sharedmmap._file._set_item", lambda *_: -1)  # so the checked path is taken
    with pytest.raises(OutOfBoundsError, match=f"backs {PAGE} "):
        mapped[: 2 * PAGE] = bytes(2 * PAGE)


# ---- restore, of a file that was only found shorter ----


def test_a_restore_of_a_shorter_file_ends_what_was_made_before(mapped, path):
    word, stream, view = mapped.atomic_uint64_at(0), mapped.stream(), mapped.view()
    word.store(5)
    os.truncate(path, 4 * PAGE - 1)
    mapped.restore()
    for operation in (word.load, stream.read):
        with pytest.raises(MappingFaultError, match=f"backed {4 * PAGE - 1} bytes") as raised:
            operation()
        assert (raised.value.errno, raised.value.offset) == (errno.ENXIO, 4 * PAGE - 1)
    view[0] = 7
    assert (mapped[0], mapped.dirty, mapped.atomic_uint64_at(0).load()) == (5, True, 5)
    mapped.flush()
    assert not mapped.dirty


@pytest.mark.parametrize("size", [0, 4 * PAGE - 1])
def test_what_was_restored_keeps_no_descriptor(path, size):
    code = f"""
    fds = len(os.listdir("/dev/fd"))
    words = []
    for _ in range(10):
        words.append(m.atomic_uint64_at(0))
        os.truncate(path, {size})
        try:
            m[0]
        except MappingFaultError:
            pass
        m.restore()
        os.truncate(path, 4 * PAGE)
        m[0]
    print(len(os.listdir("/dev/fd")) - fds)
    """
    assert output(code, path, setup=MAPPED) == "0"


def test_a_write_that_is_under_way_while_a_shorter_file_is_accepted_raises(path):
    """What it writes to the part that was cut off is lost, and no flush would tell."""
    code = """
    SIZE = 64 << 20
    source = b"w" * SIZE

    def write():
        try:
            found.append(m.write_at(source, 0))
        except (MappingFaultError, OutOfBoundsError) as error:
            found.append(type(error).__name__)

    for _ in range(50):  # it may have ended, and only not said so
        m, found = sharedmmap.open(path, "w+", length=SIZE), []
        thread = threading.Thread(target=write)
        thread.start()
        while not m.dirty:
            pass
        os.truncate(path, SIZE - 100)
        m.restore()
        thread.join()
        m.close()
        if found == ["MappingFaultError"]:
            break
    print(found)
    """
    assert output(code, path) == "['MappingFaultError']"
