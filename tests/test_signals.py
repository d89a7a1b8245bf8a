"""The SIGBUS handler: it takes the faults that are ours, and every other goes its usual way."""

from __future__ import annotations

import signal
import sys

import pytest
from child import output, run

SETUP = """
calls = []

def handler(number, frame):
    calls.append(number)

def mapped():
    with open(path, "wb") as file:
        file.write(bytes(PAGE))
    return sharedmmap.open(path)

def fault_of_ours(m):
    os.truncate(path, 0)
    try:
        return m[0]
    except MappingFaultError as error:
        return errno.errorcode[error.errno]

def foreign_fault():
    with open(path + ".foreign", "w+b") as file:
        file.truncate(PAGE)
        foreign = mmap.mmap(file.fileno(), PAGE)
        file.truncate(0)
    return foreign[0]
"""

BUS_ERROR = "Fatal Python error: Bus error"

ENABLED = {
    "before": "faulthandler.enable(); m = mapped()",
    "after": "m = mapped(); faulthandler.enable()",
    "after a fault": "m = mapped(); fault_of_ours(mapped()); faulthandler.enable()",
    "between": "m = mapped(); faulthandler.enable(); mapped()",
    "twice": "faulthandler.enable(); mapped(); faulthandler.disable(); faulthandler.enable(); m = mapped()",
}
SIGNALLED = {
    "before": "signal.signal(signal.SIGBUS, handler); m = mapped()",
    "between": "m = mapped(); signal.signal(signal.SIGBUS, handler); mapped()",
    "twice": "mapped(); signal.signal(signal.SIGBUS, handler); m = mapped();"
    "signal.signal(signal.SIGBUS, handler); mapped()",
}
CAUSES = {
    "fault": "foreign_fault()",
    "kill": "os.kill(os.getpid(), signal.SIGBUS)",
    "raise": "signal.raise_signal(signal.SIGBUS)",
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.mark.parametrize("cause", CAUSES.values(), ids=CAUSES)
@pytest.mark.parametrize(
    "mapping", ["m = mapped()", "mapped().unmap()", "fault_of_ours(mapped())", "m = mapped(); fault_of_ours(m)"]
)
def test_a_sigbus_that_is_not_ours_kills_the_process(path, mapping, cause):
    child = run(f"{mapping}\n{cause}", path, setup=SETUP)
    assert (child.returncode, child.stdout, child.stderr) == (-signal.SIGBUS, "", "")


def test_a_signal_that_is_sent_goes_to_the_handler_before_and_harms_no_mapping(path):
    """Where a fault was mended once there is another mapping now."""
    code = """
    signal.signal(signal.SIGBUS, handler)
    fault_of_ours(mapped())
    gc.collect()
    mappings = [mapped() for _ in range(40)]
    os.kill(os.getpid(), signal.SIGBUS)
    for m in mappings:
        m.check()
    print(calls == [signal.SIGBUS])
    """
    assert output(code, path, setup=SETUP) == "True"


def test_a_fault_behind_our_mapping_is_not_ours(path):
    """A foreign mapping at the very addresses that ours had."""
    code = """
    with open(path, "wb") as file:
        file.write(bytes(PAGE))
    m = sharedmmap.open(path)
    del m
    gc.collect()
    foreign_fault()
    """
    assert run(code, path, setup=SETUP).returncode == -signal.SIGBUS


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is mapped, and maps where it is told")
def test_a_fault_right_behind_our_mapping_is_not_ours(path):
    """The kernel mostly maps below what it mapped last: what is unmapped there leaves room behind ours."""
    code = """
    import ctypes
    ROOM = 64 << 20  # more than any hole has
    MAP_FIXED_NOREPLACE = 0x100000
    place = ctypes.CDLL(None).mmap
    place.restype = ctypes.c_void_p
    place.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]

    def end_of(name):
        with open("/proc/self/maps") as maps:
            (line,) = [line for line in maps if line.endswith(name + "\\n")]
        return int(line.split()[0].split("-")[1], 16)

    def foreign_right_behind(attempt):
        above = mmap.mmap(-1, ROOM)
        m = sharedmmap.open(f"{path}.{attempt}", "w+", length=PAGE, capacity=ROOM)
        end = end_of(f"{path}.{attempt}")
        above.close()
        how = mmap.MAP_SHARED | MAP_FIXED_NOREPLACE
        return m, place(end, PAGE, mmap.PROT_READ, how, file.fileno(), 0) == end, end

    with open(path, "w+b") as file:
        file.truncate(PAGE)
        attempts = map(foreign_right_behind, range(100))
        m, _, foreign = next(attempt for attempt in attempts if attempt[1])
        file.truncate(0)
    print("adjacent", flush=True)
    ctypes.string_at(foreign, 1)
    """
    child = run(code, path, setup=SETUP)
    assert (child.returncode, child.stdout, child.stderr) == (-signal.SIGBUS, "adjacent\n", "")


def test_an_ignored_sigbus_stays_ignored(path):
    code = """
    signal.signal(signal.SIGBUS, signal.SIG_IGN)
    m = mapped()
    os.kill(os.getpid(), signal.SIGBUS)
    print(fault_of_ours(m))
    """
    assert output(code, path, setup=SETUP) == "ENXIO"


@pytest.mark.skipif(sys.platform != "linux", reason="macOS repeats the fault for ever, without us too")
def test_ignoring_sigbus_does_not_hang_a_foreign_fault(path):
    code = """
    signal.signal(signal.SIGBUS, signal.SIG_IGN)
    m = mapped()
    foreign_fault()
    """
    assert run(code, path, setup=SETUP).returncode == -signal.SIGBUS


# ---- faulthandler ----


@pytest.mark.no_thread_sanitizer
@pytest.mark.parametrize("cause", CAUSES.values(), ids=CAUSES)
@pytest.mark.parametrize("enabled", ENABLED.values(), ids=ENABLED)
def test_faulthandler_reports_a_sigbus_that_is_not_ours_and_the_process_dies(path, enabled, cause):
    child = run(f"{enabled}\n{cause}", path, setup=SETUP)
    assert child.returncode == -signal.SIGBUS
    assert child.stderr.count(BUS_ERROR) == 1


@pytest.mark.parametrize("enabled", ENABLED.values(), ids=ENABLED)
def test_faulthandler_does_not_disturb_a_fault_of_ours(path, enabled):
    """Enabled last, it reports ours too; but the fault still raises, each time."""
    code = f"""
    {enabled}
    for _ in range(3):
        print(fault_of_ours(m))
        with open(path, "wb") as file:
            file.truncate(PAGE)
        m.restore()
    """
    child = run(code, path, setup=SETUP)
    assert (child.returncode, child.stdout.split()) == (0, ["ENXIO"] * 3)
    assert child.stderr.count(BUS_ERROR) == enabled.endswith("faulthandler.enable()")


# ---- a handler in Python ----


@pytest.mark.parametrize("signalled", SIGNALLED.values(), ids=SIGNALLED)
@pytest.mark.parametrize("cause", ["kill", "raise"])
def test_a_python_handler_receives_a_sigbus_that_was_sent(path, signalled, cause):
    code = f"{signalled}\n{CAUSES[cause]}\n{CAUSES[cause]}\nprint(*calls)"
    assert output(code, path, setup=SETUP).split() == [str(int(signal.SIGBUS))] * 2


@pytest.mark.parametrize("signalled", SIGNALLED.values(), ids=SIGNALLED)
def test_a_python_handler_does_not_see_a_fault_of_ours(path, signalled):
    code = f"{signalled}\nprint(fault_of_ours(m), *calls)"
    assert output(code, path, setup=SETUP) == "ENXIO"


@pytest.mark.parametrize("signalled", SIGNALLED.values(), ids=SIGNALLED)
def test_a_foreign_fault_repeats_under_a_python_handler_as_it_does_without_us(path, signalled):
    """The handler in C leaves a note for the interpreter, which never gets to it: a timer ends the process."""
    code = f"{signalled}\nsignal.setitimer(signal.ITIMER_PROF, 0.1)\nforeign_fault()"
    assert run(code, path, setup=SETUP, timeout=20).returncode == -signal.SIGPROF


# ---- chains and cycles ----

CHAINED = """
from itertools import product

STEPS = {
    "map": mapped,
    "enable": faulthandler.enable,
    "disable": faulthandler.disable,
    "signal": lambda: signal.signal(signal.SIGBUS, handler),
}
ORDERS = [order for length in (1, 2, 3, 4) for order in product(STEPS, repeat=length)]

def status_of(steps, end, patience=0.03):
    # of a process that takes these steps in this order, and the number of reports of faulthandler;
    # 0 where `end` returns the name of the fault. A fault that repeats for ever is ended by a timer,
    # after so many seconds of processor time.
    with open(f"{path}.err", "w+b") as err:
        pid = os.fork()
        if pid == 0:
            os.dup2(err.fileno(), 2)
            kept = [STEPS[step]() for step in steps]
            signal.setitimer(signal.ITIMER_PROF, patience)
            os._exit(end() != "ENXIO")
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        err.seek(0)
        return status, err.read().count(b"Bus error")
"""


@pytest.mark.slow
@pytest.mark.no_sanitizer
def test_a_fault_of_ours_raises_whatever_order_handlers_were_installed_in(path):
    code = """
    for steps in ORDERS:
        steps += ("map",)
        if status_of(steps, lambda: fault_of_ours(mapped())) != (0, 0):  # the timer may have been too short
            result = status_of(steps, lambda: fault_of_ours(mapped()), 5)
            if result != (0, 0):
                print(*steps, result)
    """
    assert output(code, path, setup=SETUP + CHAINED) == ""


@pytest.mark.slow
@pytest.mark.no_sanitizer
@pytest.mark.parametrize(
    "cause", ["foreign_fault()", "os.kill(os.getpid(), signal.SIGBUS)"], ids=["fault", "kill"]
)
@pytest.mark.parametrize("mapping", ["mapped()", "fault_of_ours(mapped())"], ids=["mapped", "after a fault"])
def test_a_foreign_signal_ends_as_without_us_whatever_order_handlers_were_installed_in(path, mapping, cause):
    """The same steps without a mapping are what it is compared with, the reports of faulthandler included."""
    code = f"""
    without_us = {{}}

    def end():
        {mapping}
        {cause}

    for steps in ORDERS:
        others = tuple(step for step in steps if step != "map")
        if others not in without_us:
            without_us[others] = status_of(others, lambda: {cause})
        if status_of(steps, end) != without_us[others]:  # the timer may have been too short for one of them
            result, expected = status_of(steps, end, 5), status_of(others, lambda: {cause}, 5)
            if result != expected:
                print(*steps, result, expected)
    """
    assert output(code, path, setup=SETUP + CHAINED) == ""


def test_faults_of_many_threads_raise_with_faulthandler_in_front(path):
    """Its handler takes one signal at a time and raises it again, when another may have ended the mapping."""
    code = """
    MIB = 1 << 20  # reading so much releases the GIL

    def read(m, number):
        buffer = bytearray(MIB)
        start.wait()
        try:
            m.read_at(buffer, number * MIB)
        except MappingFaultError:
            raised.append(number)

    start, raised = threading.Barrier(8), []
    with open(os.devnull, "w") as null:
        for _ in range(150):
            m = sharedmmap.open(path, "w+", length=8 * MIB)
            faulthandler.enable(null, all_threads=False)  # it may crash on threads that run
            os.truncate(path, 0)
            threads = [threading.Thread(target=read, args=(m, number)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    print(len(raised))
    """
    assert output(code, path) == str(150 * 8)


def test_a_new_mapping_puts_the_handler_in_front_again_for_the_old_ones_too(path):
    code = """
    kept = [mapped()]
    signal.signal(signal.SIGBUS, signal.SIG_DFL)
    kept.append(mapped())
    print(fault_of_ours(kept[1]))
    print(fault_of_ours(kept[0]))
    """
    assert output(code, path, setup=SETUP).split() == ["ENXIO", "ENXIO"]
