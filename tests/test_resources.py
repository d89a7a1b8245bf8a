"""Descriptors, address space and limits: nothing leaks, and what runs out is named."""

from __future__ import annotations

import contextlib
import os
import sys

import pytest
from child import RAISING, interrupts_fstat, output

PAGE = os.sysconf("SC_PAGESIZE")

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is mapped")

SETUP = """
def descriptors():
    return len(os.listdir("/dev/fd"))

def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))

def limit(name, value):
    resource.setrlimit(name, (value, resource.getrlimit(name)[1]))
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"U" * 4 * PAGE)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("times", "use"),
    [
        pytest.param(70_000, "File(fd).unmap()", id="unmapped"),
        pytest.param(20_000, "File(fd)", id="dropped"),
        pytest.param(20_000, "File(fd, 0, PAGE).__setitem__(0, 7)", id="written and dropped"),
        pytest.param(2_000, "m = File(fd); m.cycle = m", id="dropped in a cycle"),
    ],
)
def test_mapping_again_and_again_leaks_nothing(path, times, use):
    """More often than a process may have mappings (vm.max_map_count) or descriptors."""
    code = f"""
    limit(resource.RLIMIT_NOFILE, 1000)

    def mappings():
        if sys.platform != "linux":
            return 0
        with open("/proc/self/maps") as maps:
            return sum(1 for line in maps)

    def addresses():
        return 0 if sys.platform != "linux" else status("VmSize")

    class File(sharedmmap.File):
        __slots__ = ("__dict__",)

    fd = os.open(path, os.O_RDWR)
    {use}
    gc.collect()
    before = mappings(), descriptors(), addresses()
    for _ in range({times}):
        {use}
    for _ in range(3):
        gc.collect()
    assert mappings() <= before[0] + 50, (mappings(), before)
    assert descriptors() <= before[1] + 1, (descriptors(), before)
    mapped = {times} * 4 * PAGE
    assert addresses() <= before[2] + mapped // 4 + (16 << 20), (addresses(), before)
    """
    assert output(code, path, setup=SETUP) == ""


@pytest.mark.parametrize(
    "failure", ["File(fd, 0, 2**62)", "File(read_only)", "File(fd, 8 * PAGE)", "File(pipe, 0, 8)"]
)
def test_a_failed_mapping_keeps_no_descriptor(path, failure):
    code = f"""
    fd, read_only, pipe = os.open(path, os.O_RDWR), os.open(path, os.O_RDONLY), os.pipe()[0]
    before = descriptors()
    for _ in range(10):
        try:
            {failure}
        except (OSError, ValueError):
            print("refused")
    assert descriptors() == before
    """
    assert output(code, path, setup=SETUP).split() == ["refused"] * 10


@pytest.mark.slow
@interrupts_fstat
def test_a_signal_handler_that_raises_while_a_file_is_opened_leaks_no_descriptor(path):
    """Not even where it runs between the system call and the next line: an int that was returned has no owner."""
    code = """
    import time

    signal.signal(signal.SIGALRM, interrupt)
    sharedmmap.open(path).close()
    gc.collect()  # what importing has left: its callbacks would swallow an exception of the handler
    before = descriptors()
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 3e-5)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        try:
            armed = True
            for _ in range(100):
                sharedmmap.open(path).close()
            armed = False
        except (Interrupt, SystemError):  # CPython 3.9 makes the one of the other in os.fstat
            pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    for _ in range(3):
        gc.collect()
    assert interrupts > 100, interrupts
    assert descriptors() == before, (descriptors(), before)
    """
    assert output(code, path, setup=SETUP + RAISING) == ""


@pytest.mark.no_sanitizer
def test_running_out_of_descriptors_names_the_limit_and_maps_nothing(path):
    code = """
    fd = os.open(path, os.O_RDWR)
    limit(resource.RLIMIT_NOFILE, 20)
    spare = []
    try:
        while True:
            spare.append(os.dup(fd))
    except OSError:
        pass
    try:
        File(fd)
    except OSError as error:
        print(errno.errorcode[error.errno], error)
    os.close(spare.pop())
    assert File(fd)[0] == ord("U")
    """
    name, text = output(code, path, setup=SETUP).split(maxsplit=1)
    assert name == "EMFILE"
    assert "RLIMIT_NOFILE is 20" in text


def test_descriptors_of_dropped_mappings_are_found_again_when_they_run_out(path):
    code = """
    class File(sharedmmap.File):
        __slots__ = ("__dict__",)

    gc.disable()
    fd = os.open(path, os.O_RDWR)
    limit(resource.RLIMIT_NOFILE, 20)
    for _ in range(100):
        m = File(fd)
        m.cycle = m
    """
    assert output(code, path, setup=SETUP) == ""


def test_dropped_mappings_leave_descriptors_to_the_rest_of_the_program(path):
    """Where collection is late, the constructor sees to it."""
    code = """
    fd = os.open(path, os.O_RDWR)
    most = 0
    for _ in range(2000):
        File(fd)
        most = max(most, descriptors())
    print(most < 600)
    """
    assert output(code, path, setup=SETUP) == "True"


def test_addresses_kept_for_a_view_are_not_kept_again(path):
    """On PyPy those of a mapping that had a view are."""
    code = """
    fd = os.open(path, os.O_RDWR)
    views = [File(fd).view(0, 8) for _ in range(300)]
    del views
    for _ in range(3):
        gc.collect()
    before = status("VmSize") if sys.platform == "linux" else 0
    os.truncate(path, 1 << 20)
    for _ in range(4000):
        File(fd)
    for _ in range(3):
        gc.collect()
    assert (status("VmSize") if sys.platform == "linux" else 0) < before + (256 << 20)
    """
    assert output(code, path, setup=SETUP) == ""


def test_the_descriptor_is_none_of_the_standard_streams(path):
    code = """
    with open(path, "r+b") as file:
        os.close(0)
        m = File(file)
    try:
        os.fstat(0)
    except OSError:
        print(m[0] == ord("U"))
    """
    assert output(code, path, setup=SETUP) == "True"


def test_another_program_does_not_inherit_the_descriptor(path):
    code = """
    m = sharedmmap.open(path)
    for name in os.listdir("/dev/fd"):
        try:
            status = os.fstat(int(name))
        except OSError:  # of the directory itself
            continue
        if os.path.samestat(status, os.stat(path)):
            print(os.get_inheritable(int(name)))
    """
    assert output(code, path, setup=SETUP) == "False"


@LINUX_ONLY
def test_without_a_descriptor_none_is_kept(path):
    code = """
    fd = os.open(path, os.O_RDWR)
    limit(resource.RLIMIT_NOFILE, fd + 1)
    m = File(fd, trackfd=False)
    m[0] = 7
    m.flush()
    os.ftruncate(fd, 0)
    try:
        m[0]
    except MappingFaultError as error:
        print(errno.errorcode[error.errno], "its descriptor is not kept" in str(error))
    """
    assert output(code, path, setup=SETUP) == "EIO True"


@pytest.mark.no_sanitizer
@LINUX_ONLY
@pytest.mark.parametrize("on_fault", [False, True])
def test_locking_more_than_allowed_names_the_limit_and_locks_nothing(path, on_fault):
    code = f"""
    m = sharedmmap.open(path, "r+", length=1 << 20)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (4 * PAGE, 4 * PAGE))
    if os.getuid() == 0:
        os.setuid(65534)  # root may lock as much as it likes
    try:
        m.lock(on_fault={on_fault})
    except OSError as error:
        print(error)
    assert status("VmLck") == 0
    m.lock(PAGE - 1, 2, on_fault={on_fault})
    assert status("VmLck") == 2 * PAGE
    m.unmap()
    assert status("VmLck") == 0
    """
    assert f"RLIMIT_MEMLOCK is {4 * PAGE} bytes" in output(code, path, setup=SETUP)


@pytest.mark.no_sanitizer
@LINUX_ONLY
def test_what_is_cut_off_while_it_is_locked_is_not_left_locked(path):
    code = """
    class Cutting:
        def __getattr__(self, name):
            return getattr(lib, name)

        def region_lock(self, *args):
            os.truncate(path, PAGE)
            return lib.region_lock(*args)

    m = sharedmmap.open(path)
    lib = sharedmmap._ranges.lib
    sharedmmap._ranges.lib = Cutting()
    m.lock()
    print(status("VmLck") == PAGE)
    """
    assert output(code, path, setup=SETUP) == "True"


# ---- no memory for zero pages ----

SHORT_OF_MEMORY = """
m = sharedmmap.open(path)

def without_memory(operation):
    # With less allowed than is in use the kernel refuses even to replace pages by private ones.
    limit(resource.RLIMIT_DATA, PAGE)
    try:
        return operation()
    except (MappingFaultError, UnmappedMemoryError) as error:
        return type(error).__name__
    finally:
        limit(resource.RLIMIT_DATA, resource.getrlimit(resource.RLIMIT_DATA)[1])

def map_private_page():
    try:
        mmap.mmap(-1, PAGE, mmap.MAP_PRIVATE)
    except OSError:
        return "refused"

assert without_memory(map_private_page) == "refused"
"""


@pytest.mark.no_sanitizer
@LINUX_ONLY
@pytest.mark.parametrize("operation", ["m.read_uint64_at(0)", "m.write_uint64_at(7, 0)", "m[:]"])
def test_a_fault_without_memory_for_private_pages_raises(path, operation):
    code = f"""
    os.truncate(path, 0)
    print(without_memory(lambda: {operation}))
    os.truncate(path, 4 * PAGE)
    m.restore()
    {operation}
    """
    assert output(code, path, setup=SETUP + SHORT_OF_MEMORY) == "MappingFaultError"


@pytest.mark.no_sanitizer
@LINUX_ONLY
def test_unmapping_without_memory_for_private_pages_releases_the_file(path):
    code = """
    without_memory(m.unmap)
    with open("/proc/self/maps") as maps:
        assert path not in maps.read()
    print(without_memory(lambda: m[0]))
    """
    assert output(code, path, setup=SETUP + SHORT_OF_MEMORY) == "UnmappedMemoryError"


# ---- no more mappings ----

MAPPING_LIMIT = """
import ctypes
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long

def use_up_mappings():
    prots = 0, mmap.PROT_READ  # in turn, so that no two are one mapping
    kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    number = 0
    while libc.mmap(None, PAGE, prots[number % 2], kind, -1, 0) != 2**64 - 1:
        number += 1

m, other = sharedmmap.open(path), sharedmmap.open(path)
gc.collect()
"""


def most_mappings():
    with contextlib.suppress(OSError), open("/proc/sys/vm/max_map_count") as limit:
        return int(limit.read())
    return sys.maxsize


@pytest.mark.no_sanitizer
@pytest.mark.skipif(most_mappings() > 300_000, reason="vm.max_map_count is too far off, or not known")
@pytest.mark.parametrize(
    ("operations", "still_mapped"),
    [
        (["m[0]"], 1),
        (["m.write_uint64_at(7, 0)"], 1),
        (["m[0]", "other[0]"], 0),
        (["m.unmap()", "m[0]", "other[0]"], 0),
    ],
)
def test_a_process_with_as_many_mappings_as_it_may_have_survives_a_fault(path, operations, still_mapped):
    code = """
    os.truncate(path, 0)
    use_up_mappings()
    for operation in args:
        try:
            eval(operation)
        except (MappingFaultError, UnmappedMemoryError):
            pass
        else:
            assert operation == "m.unmap()"
    with open("/proc/self/maps") as maps:
        print(sum(path in line for line in maps))
    """
    assert output(code, path, *operations, setup=SETUP + MAPPING_LIMIT) == str(still_mapped)


@pytest.mark.skipif(most_mappings() > 300_000, reason="vm.max_map_count is too far off, or not known")
def test_what_is_given_back_at_the_limit_is_kept_for_the_next_fault(path):
    code = """
    third = sharedmmap.open(path)
    os.truncate(path, 0)
    for lost in (m, third):
        use_up_mappings()
        try:
            lost[0]
        except MappingFaultError as error:
            print(errno.errorcode[error.errno])
        if lost is m:
            del other
            gc.collect()
    """
    assert output(code, path, setup=SETUP + MAPPING_LIMIT).split() == ["ENXIO", "ENXIO"]


# ---- a descriptor that somebody else closed ----

# `ours` is the number of the duplicate, and other files have it and the numbers around it now.
CLOSED_BEHIND_OUR_BACK = """
before = set(os.listdir("/dev/fd"))
with open(path, "r+b") as file:
    m = File(file)
    ours, = (fd for fd in range(3, 1000) if fd != file.fileno() and str(fd) not in before and is_open(fd))
os.closerange(ours, ours + 1)
others = []
while ours not in others:
    others.append(os.open(path + ".other", os.O_RDWR | os.O_CREAT))
os.write(ours, b"other")
"""

IS_OPEN = """
def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
"""


@pytest.mark.parametrize(
    "end",
    ["m.unmap()", "del m; gc.collect()", "m.unmap(); del m; gc.collect()", "File(others[0]).unmap(); m.close()"],
)
def test_a_descriptor_number_that_another_file_has_now_is_left_alone(path, end):
    code = f"""
    m[0] = 7
    m.flush()
    assert m[0] == 7 and m.accessible == 4 * PAGE
    for refused in lambda: m.reserve(4 * PAGE), lambda: m.reserve(1):
        try:
            refused()
        except OSError as error:
            print(type(error).__name__)
    {end}
    assert all(map(is_open, others))
    assert os.pread(ours, 100, 0) == b"other"
    assert os.fstat(ours).st_size == 5
    """
    refusals = output(code, path, setup=SETUP + IS_OPEN + CLOSED_BEHIND_OUR_BACK).split()
    assert refusals == ["UnsupportedOperation"] * 2
    assert path.read_bytes() == b"\7" + b"U" * (4 * PAGE - 1)


def test_a_fault_without_its_descriptor_raises_and_is_not_restored_from_another_file(path):
    code = """
    os.truncate(path, 0)
    try:
        m[0]
    except MappingFaultError as error:
        print(errno.errorcode[error.errno])
    try:
        m.restore()
    except OSError as error:
        print(type(error).__name__)
    assert os.pread(ours, 100, 0) == b"other"
    """
    found = output(code, path, setup=SETUP + IS_OPEN + CLOSED_BEHIND_OUR_BACK).split()
    assert found == ["EIO", "UnsupportedOperation"]


@pytest.mark.parametrize("end", ["", "m.unmap()", "m.unmap(); del m"])
def test_a_descriptor_is_closed_once_and_its_number_then_belongs_to_others(path, end):
    """To others that open the same file, too: which file it is would not tell them apart."""
    code = f"""
    m = sharedmmap.open(path)
    first = m._region.c.fd
    kept = m.stream()  # of the mapping that is restored
    os.truncate(path, 0)
    try:
        m[0]
    except MappingFaultError:
        m.restore()
    {end}
    others = []
    while first not in others:
        others.append(os.open(path, os.O_RDWR))
        assert len(others) < 100
    del kept
    for _ in range(3):
        gc.collect()
    sharedmmap.open(path, length=PAGE).unmap()
    assert all(map(is_open, others))
    """
    assert output(code, path, setup=SETUP + IS_OPEN) == ""
