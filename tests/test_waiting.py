"""``AtomicUint32.wait`` and ``notify``: who sleeps is woken, and whatever else happens ends the sleep too."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from child import output

import sharedmmap
from sharedmmap import MappingFaultError

# Elsewhere a waiter looks at the value from time to time, and nobody knows of it.
WAKES = sys.platform == "linux" or [int(part) for part in platform.mac_ver()[0].split(".")] >= [14, 4]
FUTEX = pytest.mark.skipif(not WAKES, reason="waiters are counted where the kernel wakes them")

WORD = """
m = sharedmmap.open(path)
word = m.atomic_uint32_at(0)

def once_asleep(then):
    "Calls it in another thread, as soon as one thread has been found asleep."
    def watch():
        while not word.notify():
            pass
        then()
    threading.Thread(target=watch).start()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.fixture
def word(path):
    with sharedmmap.open(path, "w+", length=64) as m:
        yield m.atomic_uint32_at(0)


@FUTEX
def test_notify_wakes_a_waiter_in_another_process(path, word):
    with ThreadPoolExecutor() as pool:
        waiter = pool.submit(output, "print(word.wait(0, 100))", path, setup=WORD)
        while not word.notify():
            assert not waiter.done(), waiter.result()
        assert waiter.result() == "True"
    assert word.load() == 0


def test_a_changed_value_ends_a_wait_in_another_process(path, word):
    code = """
    m.atomic_uint32_at(4).store(1)
    print(word.wait(0, 100), word.load())
    """
    with ThreadPoolExecutor() as pool:
        waiter = pool.submit(output, code, path, setup=WORD)
        with sharedmmap.open(path) as m:
            assert m.atomic_uint32_at(4).wait(0, 100)
        word.store(5)
        word.notify()
        assert waiter.result() == "True 5"


@FUTEX
def test_notify_wakes_so_many_and_counts_them(word):
    woken = 0
    with ThreadPoolExecutor(5) as pool:
        waiters = [pool.submit(word.wait, 0, 100) for _ in range(5)]
        while not all(waiter.done() for waiter in waiters):
            now = word.notify(2)
            assert now <= 2
            woken += now
        assert [waiter.result() for waiter in waiters] == [True] * 5
    assert woken == 5


@FUTEX
def test_notify_wakes_the_waiters_of_its_own_word_only(path, word):
    with sharedmmap.open(path) as m, ThreadPoolExecutor() as pool:
        beside = m.atomic_uint32_at(4)
        waiter = pool.submit(word.wait, 0, 100)
        for _ in range(10_000):
            assert beside.notify() == 0
        assert not waiter.done()
        while not word.notify():
            assert not waiter.done()
        assert waiter.result()


@pytest.mark.parametrize("count", [0, 1, 2**31, 2**80])
def test_notify_without_a_waiter_wakes_none(word, count):
    assert word.notify(count) == 0


@pytest.mark.parametrize(
    ("count", "error"), [(-1, ValueError), (1.0, TypeError), ("1", TypeError), (None, TypeError)]
)
def test_notify_refuses_what_is_no_count(word, count, error):
    with pytest.raises(error):
        word.notify(count)


@pytest.mark.parametrize("timeout", [0, -1, 0.001, 0.03, 0.12])
def test_it_times_out_and_not_before_the_time(word, timeout):
    start = time.monotonic()
    assert word.wait(0, timeout) is False
    assert time.monotonic() - start >= timeout


@pytest.mark.parametrize("timeout", [None, math.inf, 1e300, 100, 0, -1])
@pytest.mark.parametrize(("value", "expected"), [(1, 0), (0, 1), (2**32 - 1, 2**31), (2**31, 2**32 - 1)])
def test_it_returns_at_once_where_the_value_differs(word, value, expected, timeout):
    word.store(value)
    assert word.wait(expected, timeout) is True


def test_it_waits_while_the_highest_bit_is_set_too(word):
    word.store(2**32 - 1)
    assert word.wait(2**32 - 1, 0.001) is False


@pytest.mark.parametrize("expected", [-1, 2**32, 2**64])
def test_an_expected_value_out_of_range_is_refused(word, expected):
    with pytest.raises(OverflowError):
        word.wait(expected, 0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0.0, 0), TypeError),
        (("0", 0), TypeError),
        ((0, "0"), TypeError),
        ((0, math.nan), ValueError),
        ((1, math.nan), ValueError),
    ],
)
def test_what_is_no_value_or_no_time_is_refused(word, arguments, error):
    with pytest.raises(error):
        word.wait(*arguments)


@FUTEX
@pytest.mark.parametrize("timeout", ["None", "100"])
@pytest.mark.parametrize(
    ("event", "error"),
    [
        ("m.unmap()", "UnmappedMemoryError"),
        ("m.close()", "UnmappedMemoryError"),
        ("os.truncate(path, 0)", "MappingFaultError"),
        ("os.kill(os.getpid(), signal.SIGINT)", "KeyboardInterrupt"),
    ],
)
def test_what_happens_meanwhile_ends_a_wait(path, word, event, error, timeout):
    code = f"""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    once_asleep(lambda: {event})
    try:
        while word.wait(0, {timeout}):
            pass
    except {error}:
        print("ended")
    """
    assert output(code, path, setup=WORD) == "ended"


@FUTEX
def test_signal_handlers_run_during_a_wait_which_goes_on_afterwards(path, word):
    code = """
    handled = []
    signal.signal(signal.SIGUSR1, lambda *_: handled.append(word.load()))
    once_asleep(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    assert word.wait(0)
    while not handled:
        assert not word.wait(0, 0.1)
    print(handled)
    """
    assert output(code, path, setup=WORD) == "[0]"


PLAY = """
import itertools
m = sharedmmap.open(path)
ball = m.atomic_uint32_at(0)
player = int(args[0])
for turn in range(player, 200_000, 2):
    while (seen := ball.load()) != turn:
        assert ball.wait(seen, 100), f"no wake-up in turn {turn}"
    ball.store(turn + 1)
    ball.notify()
print(ball.load() >= turn)
"""


@pytest.mark.slow
@FUTEX
@pytest.mark.parametrize("cores", ["one", "all"])
@pytest.mark.skipif(not shutil.which("taskset"), reason="taskset is not installed")
def test_100_000_ping_pongs_between_two_processes_miss_no_wake_up(path, word, cores):
    """Whoever may run on one core only does not look before it sleeps: the other could not run meanwhile."""
    told = subprocess.run(["taskset", "-cp", str(os.getpid())], capture_output=True, text=True, check=True).stdout
    allowed = told.rpartition(":")[2].strip()
    chosen = allowed if cores == "all" else re.split("[-,]", allowed)[0]
    pin = "subprocess.run(['taskset', '-cp', args[1], str(os.getpid())], stdout=subprocess.DEVNULL, check=True)"
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(lambda player: output(PLAY, path, player, chosen, setup=pin), range(2))) == [
            "True",
            "True",
        ]
    assert word.load() == 200_000


@FUTEX
def test_notifying_nobody_wakes_nobody(word):
    with ThreadPoolExecutor() as pool:
        waiter = pool.submit(word.wait, 0, 100)
        woken = 0
        for _ in range(1000):
            woken += word.notify(0)
            time.sleep(0)  # lets the waiter fall asleep
        while not waiter.done():
            word.store(1)
            word.notify()
    assert woken == 0


@pytest.mark.skipif(
    sys.platform != "linux" or [int(part) for part in os.uname().release.split(".")[:2]] < [5, 16],
    reason="there is no futex_waitv",
)
@pytest.mark.parametrize(
    ("event", "error"),
    [
        ("m.unmap()", "UnmappedMemoryError"),
        ("os.truncate(path, 0); attempt(m.read_uint32_at)", "MappingFaultError"),
        ("os.truncate(path, 0); attempt(m.read_uint32_at); m.restore()", "MappingFaultError"),
        ("os.kill(os.getpid(), signal.SIGINT)", "KeyboardInterrupt"),
    ],
)
def test_what_ends_the_mapping_and_a_signal_wake_who_sleeps_on_a_word_of_it(path, word, event, error):
    """Nobody looks from time to time whether it is still there."""
    code = f"""
    sharedmmap._atomic._SLICES = 1000.0, 1000.0
    FUTEX_WAITV = 449
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored in a shell's background

    def attempt(operation):
        try:
            operation(0)
        except sharedmmap.Error:
            pass

    def once_the_main_thread_sleeps():
        while not bytes_of(f"/proc/self/task/{{os.getpid()}}/syscall").startswith(b"%d " % FUTEX_WAITV):
            pass
        {event}

    threading.Thread(target=once_the_main_thread_sleeps).start()
    try:
        word.wait(0)
    except {error}:
        print("ended")
    """
    assert output(code, path, setup=WORD) == "ended"


def test_a_long_wait_wakes_seldom(word, monkeypatch):
    """Each time it returns to Python it may sleep twice as long, up to a second."""
    spans = []

    class Library:
        def __getattr__(self, name):
            return getattr(lib, name)

        def word_wait(self, pointer, expected, nanoseconds):
            spans.append(nanoseconds)
            return lib.word_wait(pointer, 1 if len(spans) == 9 else expected, 0)

    lib = sharedmmap._atomic.lib
    monkeypatch.setattr("sharedmmap._atomic.lib", Library())
    assert word.wait(0)
    assert max(spans) == 10**9
    assert [later >= min(2 * span, 10**9) for span, later in zip(spans, spans[1:])] == [True] * 8


@pytest.mark.parametrize("call", ["notify", "wait"])
def test_where_the_page_has_gone_they_say_so(path, word, call):
    path.write_bytes(b"")
    with pytest.raises(MappingFaultError):
        word.notify() if call == "notify" else word.wait(0, 0)


def test_a_cut_within_the_page_of_the_word_ends_a_wait(path, word):
    """There is no fault: the rest of the page reads as zeros."""
    with sharedmmap.open(path) as m:
        at_the_end = m.atomic_uint32_at(60)
        path.write_bytes(bytes(8))
        with pytest.raises(sharedmmap.OutOfBoundsError):
            at_the_end.wait(0)
