"""Every system call and allocation of ours refused at every turn: an error that says so, and nothing half done."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from child import RAISING, output, run

PAGE = os.sysconf("SC_PAGESIZE")


@pytest.fixture(scope="module")
def injector(tmp_path_factory):
    """The library that makes calls of the extension module fail."""
    if sys.platform != "linux":
        pytest.skip("what it changes in the module is laid out as ELF has it")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("injector") / "inject.so"
    source = Path(__file__).parent / "native" / "inject.c"
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", library, source, "-ldl"], check=True)
    return library


HARNESS = """
import ctypes
from sharedmmap import Advice, Prot, _ffi
from sharedmmap._native import lib

ERRORS = {
    "mmap": errno.ENOMEM, "munmap": errno.ENOMEM, "msync": errno.EIO, "madvise": errno.EAGAIN,
    "mlock": errno.EAGAIN, "mlock2": errno.EAGAIN, "munlock": errno.EAGAIN, "mincore": errno.EAGAIN,
    "fstat": errno.ESTALE, "statx": errno.ESTALE, "fstatvfs": errno.ESTALE,
    "fcntl": errno.EMFILE, "close": errno.EIO, "fallocate": errno.ENOSPC, "pwritev2": errno.ENOSPC,
    "malloc": errno.ENOMEM, "calloc": errno.ENOMEM, "sigaction": errno.EINVAL, "membarrier": errno.EPERM,
    "futex": errno.ENOMEM, "futex_waitv": errno.ENOMEM,
}
FOR_EVER = 1 << 30
zeros = os.open("/dev/zero", os.O_RDWR)
injector = ctypes.CDLL(args.pop(0))
assert injector.inject_into(os.fsencode(_ffi.__file__)) > 0

def inject(call, first=0, last=0):
    injector.inject(call.encode(), ctypes.c_long(first), ctypes.c_long(last), ERRORS[call])

def made(call):
    return injector.calls_made(call.encode())

def mapped():
    with open("/proc/self/maps") as maps:
        return [line for line in maps if path in line]

def write_file():
    with open(path, "wb") as file:
        file.write(b"U" * 4 * PAGE)

def fault(m):
    os.truncate(path, 0)
    try:
        m[0]
    except MappingFaultError:
        write_file()

def map_zeros():
    return File(zeros, 0, PAGE, trackfd=False)

def use_up_slots():
    # The registry asks for memory when there is none; from then on it has 255 more.
    held, before = [], made("calloc")
    while made("calloc") == before:
        held.append(map_zeros())
    return held

def locked():
    with open("/proc/self/status") as lines:
        return "VmLck:\\t       0 kB\\n" not in lines

def is_written(size):
    with open(path, "rb") as file:
        return file.read() == b"W" * size + b"U" * (4 * PAGE - size)

def past(operation):
    try:
        operation()
    except OutOfBoundsError:
        return
    raise AssertionError("not past the end")

def is_sound(m, fd):
    # It works, all of it, or is unmapped; then close() ends it.
    try:
        m.check()
    except UnmappedMemoryError:
        assert m.closed
    except MappingFaultError:
        m.restore()
    if not m.closed and len(m) and m.prot & Prot.WRITE:
        m.write_at(b"sound", 0)
        assert os.pread(fd, 5, 0) == b"sound"
        m.flush()
        assert not m.dirty
    elif not m.closed:
        assert m[:] == os.pread(fd, len(m), 0)
    m.close()
    m.close()
    assert m.closed
    try:
        m[0]
    except UnmappedMemoryError:
        pass
    else:
        raise AssertionError("neither usable nor closed")
"""

TABLE = """
before, operation, after = (compile(code, "scenario", "exec") for code in args[:3])
raising, silent = (set(calls.split()) for calls in args[3:])

def attempt(call=None, first=0, last=0):
    gc.collect()  # what earlier attempts left, so that nothing of it is given back in this one
    write_file()
    space = dict(globals(), fd=os.open(path, os.O_RDWR))
    exec(before, space)
    for name in ERRORS:
        inject(name)
    if call:
        inject(call, first, last)
    outcome = None
    try:
        exec(operation, space)
    except (OSError, UnmappedMemoryError) as error:
        outcome = error.with_traceback(None)
    except MemoryError:
        outcome = OSError(errno.ENOMEM, "MemoryError")
    numbers = {name: made(name) for name in ERRORS}
    if call:
        inject(call)
    space.update(outcome=outcome)
    exec(after, space)
    if "m" in space:
        is_sound(space["m"], space["fd"])
    os.close(space["fd"])
    return outcome, numbers

def what_is_held():
    for _ in range(3):
        gc.collect()
    with File(zeros, 0, PAGE, trackfd=False):  # the next File gives back what could not be before
        pass
    return len(os.listdir("/dev/fd")), lib.open_descriptors(), mapped()

def free_slots():
    # And 256 more for each time that they were used up.
    for _ in range(3):
        gc.collect()
    return len(use_up_slots())

attempt()
held, slots = what_is_held(), free_slots()
outcome, numbers = attempt()
assert outcome is None, outcome
assert {name for name in numbers if numbers[name]} == raising | silent, numbers
for call in sorted(raising | silent):
    for first in range(1, numbers[call] + 1):
        attempt(call, first, first)
        outcome, _ = attempt(call, first, FOR_EVER)
        trial = f"{call} {first} of {numbers[call]}: {outcome!r}"
        if outcome is not None:
            assert call in raising and outcome.errno == ERRORS[call], trial
        elif first == 1:
            assert call in silent, trial
        print(trial)

assert what_is_held() == held, (what_is_held(), held)
slots_now = free_slots()
assert (slots_now - slots) % 256 == 0, (slots_now, slots)
"""


class Scenario(NamedTuple):
    before: str
    operation: str
    raising: str = ""  # calls that the operation makes, and whose failure it raises
    silent: str = ""  # calls that it can, or has to, do without
    after: str = ""


MAPPED = "m = File(fd)"
WRITTEN = f"{MAPPED}; m.write_at(b'W' * 2 * PAGE, 0)"
ROOMY = "os.truncate(path, PAGE); m = File(fd, 0, 8 * PAGE)"
STAYS_OWED = "assert m.dirty"
MAPPING = "mmap statx fcntl sigaction"
OPENING = f"{MAPPING} malloc close"
EXTENDING = f"{OPENING} fallocate"

SCENARIOS = {
    "File": Scenario("", "m = File(fd)", MAPPING),
    "File without descriptor": Scenario("", "m = File(fd, trackfd=False)", "mmap statx sigaction"),
    "File of nothing": Scenario("os.truncate(path, 0)", "m = File(fd)", "statx fcntl sigaction"),
    "File read-only": Scenario("", "m = File(fd, prot=Prot.READ)", MAPPING),
    "File after the handler was replaced": Scenario(
        "signal.signal(signal.SIGBUS, signal.SIG_DFL)", "m = File(fd)", MAPPING
    ),
    "File in a full registry": Scenario(
        "held = use_up_slots(); held += [map_zeros() for _ in range(255)]",
        "m = File(fd)",
        f"{MAPPING} calloc",
    ),
    "open r": Scenario("", "m = sharedmmap.open(path, 'r')", OPENING),
    "open r+": Scenario("", "m = sharedmmap.open(path, 'r+', length=5 * PAGE)", EXTENDING),
    "open w+": Scenario("", "m = sharedmmap.open(path, 'w+', length=PAGE)", EXTENDING),
    "open x+": Scenario(
        "os.unlink(path)",
        "m = sharedmmap.open(path, 'x+', length=PAGE)",
        EXTENDING,
        after="os.close(fd); fd = os.open(path, os.O_RDWR | os.O_CREAT)",
    ),
    "open whole": Scenario(
        "os.unlink(path)",
        "m = sharedmmap.open(path, 'a+', length=PAGE, initialize=lambda m: m.fill(7))",
        f"{EXTENDING} msync",
        "close",  # of its own copy: fsync(2) has reported what close(2) could
        after="os.close(fd); fd = os.open(path, os.O_RDWR | os.O_CREAT)",
    ),
    "flush": Scenario(WRITTEN, "m.flush()", "msync statx", after="assert m.dirty == (outcome is not None)"),
    "flush a part": Scenario(WRITTEN, "m.flush(Sync.SYNC, 0, PAGE)", "msync statx", after=STAYS_OWED),
    "flush later": Scenario(WRITTEN, "m.flush(Sync.ASYNC)", "msync statx", after=STAYS_OWED),
    "advise": Scenario(MAPPED, "m.advise(Advice.WILLNEED)", "madvise"),
    "lock": Scenario(MAPPED, "m.lock()", "mlock statx", after="assert not outcome or not locked()"),
    "lock on fault": Scenario(
        MAPPED, "m.lock(on_fault=True)", "mlock2 statx", after="assert not outcome or not locked()"
    ),
    "unlock": Scenario(f"{MAPPED}; m.lock()", "m.unlock()", "munlock"),
    "residency": Scenario(MAPPED, "m.residency()", "mincore"),
    "reserve": Scenario(ROOMY, "m.reserve(8 * PAGE)", "fallocate statx"),
    "accessible": Scenario(ROOMY, "assert m.accessible == PAGE", "statx"),
    "read past the end": Scenario(ROOMY, "past(lambda: m[PAGE])", "statx"),
    "write past the end": Scenario(ROOMY, "past(lambda: m.write_uint64_at(7, PAGE))", "statx"),
    "find": Scenario(ROOMY, "assert m.find(b'x') == -1", "statx"),
    "fill": Scenario(ROOMY, "past(lambda: m.fill(7))", "statx"),
    "move": Scenario(ROOMY, "past(lambda: m.move(PAGE, 0, PAGE))", "statx"),
    "copy": Scenario(ROOMY, "assert m.read_at(bytearray(8 * PAGE), 0) == PAGE", "statx"),
    "view": Scenario(MAPPED, "m.view()[0] = 7", "statx", after="gc.collect()"),
    "stream": Scenario(ROOMY, "assert len(m.stream().read()) == PAGE", "statx"),
    "wait": Scenario(MAPPED, "m.atomic_uint32_at(0).wait(0x55555555, 0.001)", "statx", "futex_waitv"),
    "restore": Scenario(f"{MAPPED}; kept = m.view(readonly=True); fault(m)", "m.restore()", MAPPING, "close"),
    "restore of a shorter file": Scenario(
        f"{MAPPED}; kept = m.stream(); os.truncate(path, 5)",
        "m.restore()",
        MAPPING,
        "close membarrier",
        after="write_file()",
    ),
    "restore without need": Scenario(MAPPED, "m.restore()", "statx"),
    "unmap": Scenario(
        WRITTEN,
        "m.unmap()",
        silent="mmap membarrier statx close",
        after="assert m.closed and is_written(2 * PAGE)",
    ),
    "close": Scenario(
        WRITTEN,
        "m.close()",
        silent="mmap membarrier statx close",
        after="assert m.closed and is_written(2 * PAGE)",
    ),
    "drop": Scenario(
        WRITTEN,
        "del m; gc.collect()",
        silent="mmap membarrier munmap statx close",
        after="assert is_written(2 * PAGE)",
    ),
    "drop what is unmapped": Scenario(f"{MAPPED}; m.unmap()", "del m; gc.collect()", silent="munmap"),
}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_refused_call_raises_and_leaves_nothing_half_done(tmp_path, injector, scenario, record_property):
    """Each call that the operation makes fails, at each turn: once, and from there on for ever."""
    before, operation, raising, silent, after = scenario
    arguments = injector, before, operation, after, raising, silent
    trials = output(TABLE, tmp_path / "file", *arguments, setup=HARNESS).splitlines()
    assert trials
    record_property("refusals", 2 * len(trials))  # for covered.py


# ---- the first File of a process ----

FIRST = """
for call, calls in ("sigaction", 2), ("malloc", 1), ("calloc", 1), ("mmap", 2), ("membarrier", 1):
    for first in range(1, calls + 1):
        write_file()
        fd = os.open(path, os.O_RDWR)
        if os.fork():
            assert os.wait()[1] == 0, (call, first)
            continue
        inject(call, first, FOR_EVER)
        try:
            m = File(fd)
        except (OSError, MemoryError) as error:
            assert getattr(error, "errno", errno.ENOMEM) == ERRORS[call] and call != "membarrier"
            assert signal.getsignal(signal.SIGBUS) == signal.SIG_DFL
        else:
            assert call == "membarrier"
        assert made(call) >= first
        inject(call)
        assert call == "membarrier" or not mapped()
        m = File(fd)
        fault(m)
        is_sound(m, fd)
        os._exit(0)
"""


def test_where_the_first_file_is_refused_the_next_is_guarded(tmp_path, injector):
    assert output(FIRST, tmp_path / "file", injector, setup=HARNESS) == ""


@pytest.mark.parametrize("call", ["mmap", "fcntl"])
def test_what_is_short_once_is_asked_for_again_after_collecting(path, injector, call):
    code = f"""
    inject("{call}", 1, 1)
    with sharedmmap.open(path) as m:
        print(made("{call}") > 1, m[:] == bytes_of(path))
    """
    assert output(code, path, injector, setup=HARNESS) == "True True"


def test_what_was_refused_a_mapping_unmaps_nothing(path, injector):
    """Not even as much as the mapping before it had, of which it uses the memory for its state."""
    code = """
    sharedmmap.open(path).close()
    for _ in range(3):
        gc.collect()
    inject("mmap", 1, FOR_EVER)
    inject("munmap")
    try:
        sharedmmap.open(path)
    except OSError as error:
        print(error.errno == errno.ENOMEM)
    gc.collect()
    print(made("munmap"))
    """
    assert output(code, path, injector, setup=HARNESS).split() == ["True", "0"]


# ---- calls that a signal interrupted ----


@pytest.mark.parametrize(
    "operation",
    [
        "m.reserve(PAGE)",
        "assert sharedmmap.open(path, length=5 * PAGE).accessible == 5 * PAGE",
        "m.atomic_uint32_at(0).wait(0x55555555, 0.001)",
    ],
)
def test_an_interrupted_call_goes_on(path, injector, operation):
    code = f"""
    m = sharedmmap.open(path)
    m.write_uint32_at(0x55555555, 0)
    for call in "fallocate", "futex_waitv":
        ERRORS[call] = errno.EINTR
        inject(call, 1, 1)
    {operation}
    print(made("fallocate") + made("futex_waitv") > 0)
    """
    assert output(code, path, injector, setup=HARNESS) == "True"


# ---- no zero pages for a fault ----

FAULT = """
m = sharedmmap.open(path)
os.truncate(path, 0)
inject("mmap", 1, int(args[0]))
try:
    {touch}
except MappingFaultError as error:
    print(errno.errorcode[error.errno])
inject("mmap")
write_file()
m.restore()
m.write_at(b"W" * 2 * PAGE, 0)
assert is_written(2 * PAGE)
"""


@pytest.mark.parametrize("refused", range(1, 6))
@pytest.mark.parametrize("touch", ["m[0]", "m[:]", "m.write_uint64_at(7, 3 * PAGE + 8)"])
def test_a_fault_takes_what_zero_pages_there_are(path, injector, touch, refused):
    """Private ones, shared ones, both again with the spare mapping given back, and those for one page alone."""
    assert output(FAULT.format(touch=touch), path, injector, refused, setup=HARNESS) == "ENXIO"


def test_a_fault_without_any_zero_pages_ends_the_process_as_without_us(path, injector):
    child = run(FAULT.format(touch="m[0]"), path, injector, 1 << 30, setup=HARNESS)
    assert child.returncode == -signal.SIGBUS


def test_what_a_fault_may_need_is_there_though_a_mapping_was_refused_before(path, injector):
    """The spare mapping, that is given back for it. Nothing is left on the file then."""
    code = """
    inject("mmap", 1, 1)
    m = sharedmmap.open(path)
    inject("munmap")
    inject("mmap", 1, 2)
    fault(m)
    print(made("munmap"), mapped())
    """
    assert output(code, path, injector, setup=HARNESS) == "1 []"


def test_a_fault_after_unmap_that_was_refused_zero_pages_leaves_it_unmapped(path, injector):
    """The file is under the view then."""
    code = """
    m = sharedmmap.open(path)
    view = m.view()
    inject("mmap", 1, FOR_EVER)
    m.unmap()
    inject("mmap")
    os.truncate(path, 0)
    print(view[0], m.closed)
    try:
        m[0]
    except UnmappedMemoryError:
        print("unmapped")
    """
    assert output(code, path, injector, setup=HARNESS) == "0 True\nunmapped"


def test_what_searches_a_view_outlives_a_file_that_was_refused_zero_pages(path, injector):
    """On PyPy it keeps the address, and nothing else."""
    code = """
    import re

    def searching():
        m = sharedmmap.open(path)
        matches = re.finditer(b"(?s).", m.view())
        inject("mmap", 1, FOR_EVER)
        m.unmap()
        inject("mmap")
        return matches

    matches = searching()
    for _ in range(3):
        gc.collect()
    os.truncate(path, 0)
    print(next(matches).group())
    """
    assert output(code, path, injector, setup=HARNESS) == "b'\\x00'"


def test_a_refused_mapping_gives_back_nothing_but_its_own(path, injector):
    """It gets the slot of one that was dropped, whose addresses are others' by now."""
    code = """
    write_file()
    os.truncate(path, 1 << 30)
    sharedmmap.open(path).unmap()
    others = []
    for _ in range(3):
        gc.collect()
        others.append(mmap.mmap(-1, 1 << 30))
    inject("mmap", 1, FOR_EVER)
    for _ in range(3):
        try:
            sharedmmap.open(path)
        except OSError:
            gc.collect()
    inject("mmap")
    for other in others:
        other[0] = other[-1] = 7
    print(sum(other[0] for other in others))
    """
    assert output(code, path, injector, setup=HARNESS) == "21"


@pytest.mark.parametrize("call", ["statx", "fstatvfs"])
def test_a_fault_whose_cause_cannot_be_asked_says_so(path, injector, call):
    code = f"""
    m = sharedmmap.open(path)
    os.truncate(path, 0)
    inject("{call}", 1, FOR_EVER)
    for _ in range(2):
        try:
            m[0]
        except MappingFaultError as error:
            print(errno.errorcode[error.errno], error)
    """
    lines = output(code, path, injector, setup=HARNESS).splitlines()
    assert len(lines) == 2
    assert all(line.startswith("EIO") and f"{os.strerror(errno.ESTALE)}, so" in line for line in lines)


@pytest.mark.parametrize("refusal", ["ENOSYS", "EPERM"])
def test_without_statx_the_size_of_the_file_is_asked_all_the_same(path, injector, refusal):
    code = f"""
    ERRORS["statx"] = errno.{refusal}
    inject("statx", 1, FOR_EVER)
    with sharedmmap.open(path, capacity=100 * PAGE) as m:
        print(m.accessible == os.stat(path).st_size, made("fstat") > 0)
    """
    assert output(code, path, injector, setup=HARNESS) == "True True"


# ---- growing ----

GROWING = """
with open(path, "wb") as file:
    file.write(b"U" * PAGE)

def while_held_at(call, operation):
    # Another process appends to the file when the operation has asked how long it is.
    injector.hold(call)
    thread = threading.Thread(target=operation)
    thread.start()
    while not injector.is_held(call):
        assert thread.is_alive(), f"{call} was not called"
    with open(path, "ab") as other:
        other.write(b"theirs" * PAGE)
    injector.release(call)
    thread.join()
    with open(path, "rb") as file:
        return file.read()

OPEN = lambda: sharedmmap.open(path, length=4 * PAGE).close()
"""


def test_extending_a_file_cuts_off_nothing_that_was_written_meanwhile(path, injector):
    code = 'print(while_held_at(b"fallocate", OPEN) == b"U" * PAGE + b"theirs" * PAGE)'
    assert output(code, path, injector, setup=HARNESS + GROWING) == "True"


NO_FALLOCATE = 'ERRORS["fallocate"] = errno.{}; inject("fallocate", 1, FOR_EVER)'


@pytest.mark.parametrize("refusal", ["EOPNOTSUPP", "ENOSYS"])
def test_extending_a_file_without_fallocate_writes_over_nothing(path, injector, refusal):
    code = f"""
    {NO_FALLOCATE.format(refusal)}
    found = while_held_at(b"pwritev2", OPEN)
    print(found.startswith(b"U" * PAGE + b"theirs" * PAGE), not any(found[7 * PAGE :]))
    OPEN()
    os.truncate(path, 1)
    sharedmmap.open(path, length=1 << 20).close()
    print(os.stat(path).st_size == 1 << 20)
    """
    assert output(code, path, injector, setup=HARNESS + GROWING).split() == ["True", "True", "True"]


def test_a_disk_that_fills_up_while_a_file_is_extended_is_an_error(path, injector):
    code = f"""
    {NO_FALLOCATE.format("EOPNOTSUPP")}
    inject("pwritev2", 2, FOR_EVER)
    try:
        sharedmmap.open(path, length=1 << 20)
    except OSError as error:
        print(errno.errorcode[error.errno])
    """
    assert output(code, path, injector, setup=HARNESS + GROWING) == "ENOSPC"


def test_reserving_where_the_file_system_cannot_says_so_and_changes_nothing(path, injector):
    code = f"""
    {NO_FALLOCATE.format("EOPNOTSUPP")}
    m = sharedmmap.open(path, capacity=8 * PAGE)
    try:
        m.reserve(8 * PAGE)
    except OSError as error:
        print(error.errno == errno.EOPNOTSUPP, os.stat(path).st_size == PAGE, "cannot allocate" in str(error))
    """
    assert output(code, path, injector, setup=HARNESS + GROWING) == "True True True"


# ---- flushes at once ----

FLUSHES = """
write_file()
m = sharedmmap.open(path)
m[0] = 7
ENDS = {}  # what came of each flush, by thread

def flush(*args):
    try:
        m.flush(*args)
    except OSError as error:
        ENDS[threading.current_thread()] = errno.errorcode[error.errno]
    else:
        ENDS[threading.current_thread()] = "done"

def held_at_msync(*args):
    # A thread that flushes, and has got as far as that. Where the child fails, it does not wait for it.
    injector.hold(b"msync")
    thread = threading.Thread(target=flush, args=args, daemon=True)
    thread.start()
    while not injector.is_held(b"msync"):
        pass
    return thread

def beside(first, *args):
    # Flushes beside the first, which goes on when the other waits for it.
    second = threading.Thread(target=flush, args=args)
    second.start()
    while m._region.c.flushes < 2 and not ENDS:
        pass
    injector.release(b"msync")
    first.join()
    second.join()
    return [ENDS[first], ENDS[second]]
"""


@pytest.mark.parametrize(
    ("before", "write"),
    [
        ("", "m.write_uint64_at(7, 0)"),
        ("", "m[5:9] = b'word'"),
        ("", "view = m.view()"),
        ("views = [m.view()]", "views.pop()[0] = 1"),
    ],
)
def test_what_is_written_during_a_flush_stays_owed(path, injector, before, write):
    code = f"""
    {before}
    first = held_at_msync()
    {write}
    injector.release(b"msync")
    first.join()
    print([*ENDS.values()], m.dirty)
    """
    assert output(code, path, injector, setup=HARNESS + FLUSHES) == "['done'] True"


def test_a_flush_is_not_content_with_another_that_is_under_way(path, injector):
    """The other has synchronized nothing yet, and may fail."""
    code = """
    inject("msync")
    first = held_at_msync()
    assert m.dirty
    print(beside(first), made("msync"), m.dirty)
    """
    assert output(code, path, injector, setup=HARNESS + FLUSHES) == "['done', 'done'] 2 False"


@pytest.mark.parametrize("first", ["", "Sync.SYNC, 0, PAGE"])
@pytest.mark.parametrize("second", ["", "Sync.SYNC, 0, PAGE"])
def test_a_flush_raises_what_the_kernel_told_another_that_it_waited_for(path, injector, first, second):
    """It tells of a loss once, and takes the pages for clean."""
    code = f"""
    inject("msync", 1, 1)
    print(beside(held_at_msync({first}), *({second}{"," * bool(second)})), m.dirty)
    m.flush()
    print(m.dirty)
    """
    assert output(code, path, injector, setup=HARNESS + FLUSHES) == "['EIO', 'EIO'] True\nFalse"


@pytest.mark.parametrize(
    ("flags", "error"), [("Sync.SYNC | Sync.ASYNC", "EINVAL"), ("Sync.SYNC | Sync.INVALIDATE", "EBUSY")]
)
def test_a_flush_does_not_raise_for_the_flags_of_another(path, injector, flags, error):
    """Locked pages cannot be invalidated."""
    code = f"m.lock(); print(beside(held_at_msync({flags})), m.dirty)"
    assert output(code, path, injector, setup=HARNESS + FLUSHES) == f"['{error}', 'done'] False"


def test_a_child_does_not_wait_for_a_flush_of_its_parent(path, injector):
    """Nor does it take it for done."""
    code = """
    import warnings

    warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside a thread
    first = held_at_msync()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        assert m.dirty
        m.flush()
        os._exit(m.dirty)
    print(os.waitpid(pid, 0)[1])
    injector.release(b"msync")
    first.join()
    print([*ENDS.values()], m.dirty)
    """
    assert output(code, path, injector, setup=HARNESS + FLUSHES).split("\n") == ["0", "['done'] False"]


# ---- what others do while a call is under way ----

UNDER_WAY = """
ENDS = []

def under_way(call, operation, *, answered=False):
    # A thread that in its operation has got as far as that system call, or has its answer.
    def run():
        try:
            ENDS.append(operation())
        except Exception as error:
            ENDS.append(type(error).__name__)

    hold = injector.hold_after if answered else injector.hold
    hold(call.encode())
    thread = threading.Thread(target=run)
    thread.start()
    wait_for(call)
    return thread

def wait_for(call):
    while not injector.is_held(call.encode()):
        pass

def go_on(call, thread):
    injector.release(call.encode())
    thread.join()

def fork(in_child):
    import warnings

    warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside a thread
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        status = 1
        try:
            in_child()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]

write_file()
"""

CALLS_OF = {
    "flush": ("m[0] = 7", "m.flush()", "msync"),
    "advise": ("", "m.advise(Advice.WILLNEED)", "madvise"),
    "lock": ("", "m.lock()", "mlock"),
    "unlock": ("m.lock()", "m.unlock()", "munlock"),
    "residency": ("", "m.residency()", "mincore"),
    "reserve": ("", "m.reserve(PAGE)", "fallocate"),
    "accessible": ("", "m.accessible", "statx"),
    "find": ("", "m.find(b'x')", "statx"),
}


@pytest.mark.parametrize("name", CALLS_OF)
@pytest.mark.parametrize("answered", [False, True])
def test_a_call_that_unmapping_overtakes_raises_and_leaves_nothing_locked_or_open(path, injector, name, answered):
    before, operation, call = CALLS_OF[name]
    code = f"""
    m = sharedmmap.open(path, capacity=8 * PAGE)
    {before}
    first = under_way("{call}", lambda: {operation}, answered={answered})
    m.unmap()
    go_on("{call}", first)
    print(ENDS, locked(), lib.open_descriptors(), mapped())
    """
    due = "['UnmappedMemoryError'] False 0 []"
    assert output(code, path, injector, setup=HARNESS + UNDER_WAY) == due


def test_reserving_that_fails_after_unmapping_says_that_it_is_unmapped(path, injector):
    code = """
    m = sharedmmap.open(path)
    inject("fallocate", 1, FOR_EVER)
    first = under_way("fallocate", lambda: m.reserve(PAGE))
    m.unmap()
    go_on("fallocate", first)
    print(ENDS)
    """
    assert output(code, path, injector, setup=HARNESS + UNDER_WAY) == "['UnmappedMemoryError']"


def test_the_descriptor_stays_open_until_the_call_that_uses_it_has_ended(path, injector):
    """Another file that gets its number would be extended in its place."""
    code = """
    m = sharedmmap.open(path, capacity=8 * PAGE)
    first = under_way("fallocate", lambda: m.reserve(8 * PAGE))
    m.unmap()
    others = [os.open(f"{path}{i}", os.O_RDWR | os.O_CREAT) for i in range(8)]
    go_on("fallocate", first)
    print({os.fstat(fd).st_size for fd in others}, os.stat(path).st_size == 8 * PAGE, lib.open_descriptors())
    """
    assert output(code, path, injector, setup=HARNESS + UNDER_WAY) == "{0} True 0"


def test_an_answer_that_is_older_than_another_does_not_replace_it(path, injector):
    """The second question has as many turns as it takes to be asked before the first is told the answer."""
    code = """
    m = sharedmmap.open(path)
    first = under_way("statx", lambda: m.accessible, answered=True)
    os.truncate(path, PAGE)
    second = threading.Thread(target=lambda: m.accessible)
    second.start()
    for _ in range(100_000):
        if not second.is_alive():
            break
        os.sched_yield()
    go_on("statx", first)
    second.join()
    past(lambda: m[2 * PAGE])
    """
    assert output(code, path, injector, setup=HARNESS + UNDER_WAY) == ""


def test_an_answer_that_comes_after_unmapping_lets_no_write_fill_memory(path, injector):
    code = """
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * PAGE

    size = 64 << 20
    os.truncate(path, size)
    m = sharedmmap.open(path)
    first = under_way("statx", lambda: m.accessible, answered=True)
    m.unmap()
    go_on("statx", first)
    before = resident()
    for offset in range(0, size, PAGE):
        try:
            m.write_uint8_at(7, offset)
        except UnmappedMemoryError:
            pass
    print(ENDS, resident() - before < size // 2)
    """
    assert output(code, path, injector, setup=HARNESS + UNDER_WAY) == "['UnmappedMemoryError'] True"


def test_where_the_size_cannot_be_asked_what_was_accessible_stays_so(path, injector):
    code = """
    m = sharedmmap.open(path)
    inject("statx", 1, FOR_EVER)
    try:
        m.accessible
    except OSError as error:
        print(errno.errorcode[error.errno])
    print(m[: 4 * PAGE] == b"U" * 4 * PAGE)
    """
    assert output(code, path, injector, setup=HARNESS + UNDER_WAY) == "ESTALE\nTrue"


@pytest.mark.parametrize("ended", ["", "m.unmap()"])
def test_a_child_uses_and_closes_what_a_thread_of_its_parent_was_asking_about(path, injector, ended):
    code = f"""
    m = sharedmmap.open(path)
    first = under_way("statx", lambda: m.accessible)
    {ended}
    def in_child():
        inject("statx")
        if not m.closed:
            assert m.accessible == 4 * PAGE
            m.unmap()
        assert lib.open_descriptors() == 0
        with sharedmmap.open(path) as other:
            assert other.accessible == 4 * PAGE
        assert lib.open_descriptors() == 0
    print(fork(in_child))
    go_on("statx", first)
    print(ENDS, lib.open_descriptors())
    """
    due = "0\n['UnmappedMemoryError'] 0" if ended else f"0\n[{4 * PAGE}] 1"
    assert output(code, path, injector, setup=HARNESS + UNDER_WAY) == due


def test_a_waiter_whose_page_is_gone_when_it_wakes_raises(path, injector):
    code = """
    m = sharedmmap.open(path)
    word = m.atomic_uint32_at(0)
    value = word.load()
    injector.hold_after(b"futex_waitv")
    first = threading.Thread(target=lambda: ENDS.append(wait()))

    def wait():
        try:
            return word.wait(value)
        except (OutOfBoundsError, MappingFaultError):
            return "raises"

    first.start()
    while True:
        while not injector.is_under_way(b"futex_waitv") and not injector.is_held(b"futex_waitv"):
            pass
        if word.notify():
            break
        if injector.is_held(b"futex_waitv"):  # it looks in between whether the mapping is still there
            injector.hold_after(b"futex_waitv")
    wait_for("futex_waitv")
    os.truncate(path, 0)
    go_on("futex_waitv", first)
    print(ENDS)
    """
    assert output(code, path, injector, setup=HARNESS + UNDER_WAY) == "['raises']"


def test_a_waiter_about_to_sleep_does_not_sleep_once_the_mapping_has_ended(path, injector):
    code = """
    sharedmmap._atomic._SLICES = 1000.0, 1000.0
    m = sharedmmap.open(path)
    word = m.atomic_uint32_at(0)
    word.store(0)  # which it seems to be where the mapping has ended, too
    first = under_way("futex_waitv", lambda: word.wait(0))
    m.unmap()
    go_on("futex_waitv", first)
    print(ENDS)
    """
    assert output(code, path, injector, setup=HARNESS + UNDER_WAY) == "['UnmappedMemoryError']"


WAITING = """
m = sharedmmap.open(path)
word = m.atomic_uint32_at(0)
expected = word.load()
sharedmmap._atomic._SLICES = 1000.0, 1000.0
ERRORS["futex_waitv"] = ERRORS["futex"] = getattr(errno, args[0])
for call in ["futex_waitv"] + ["futex"] * (args[0] == "EFAULT"):  # of such a word the kernel takes neither
    inject(call, 1, FOR_EVER)

def once_it_waits(then):
    def watch():
        while not made("futex_waitv"):
            pass
        then()
    threading.Thread(target=watch).start()
"""


@pytest.mark.parametrize("refusal", ["ENOSYS", "EPERM", "EFAULT"])
@pytest.mark.parametrize(
    ("event", "error"),
    [
        ("m.unmap()", "UnmappedMemoryError"),
        ("os.truncate(path, 0)", "MappingFaultError"),
        ("signal_until_it_raises()", "Interrupt"),
    ],
)
def test_a_wait_ends_where_the_kernel_cannot_wait_for_two_words_or_for_none(path, injector, refusal, event, error):
    code = f"""
    def signal_until_it_raises():
        while armed:  # again: a signal that comes before the sleep ends no sleep
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(0.01)  # the handler has to come to its first statement

    armed = True
    signal.signal(signal.SIGINT, interrupt)

    once_it_waits(lambda: {event})
    try:
        while word.wait(expected):
            pass
    except {error}:
        print("ended")
    """
    assert output(code, path, injector, refusal, setup=HARNESS + RAISING + WAITING) == "ended"


@pytest.mark.parametrize("refusal", ["ENOSYS", "EPERM"])
def test_a_waiter_sleeps_on_the_word_alone_where_the_kernel_cannot_wait_for_two(path, injector, refusal):
    code = """
    def notify():
        while not word.notify():
            if done:
                return

    done = []
    threading.Thread(target=notify).start()
    print(word.wait(expected, 10))
    done.append(True)
    """
    assert output(code, path, injector, refusal, setup=HARNESS + WAITING) == "True"


def test_a_waiter_looks_at_the_word_where_the_kernel_cannot_wait_for_it(path, injector):
    code = """
    once_it_waits(lambda: word.store(1))
    print(word.wait(expected), word.load())
    """
    assert output(code, path, injector, "EFAULT", setup=HARNESS + WAITING) == "True 1"
