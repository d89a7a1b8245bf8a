"""The mutex: it excludes, it survives its owner, and nothing that happens meanwhile ends in a crash or a hang."""

from __future__ import annotations

import contextlib
import copy
import errno
import fcntl
import math
import multiprocessing
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from child import output

import sharedmmap
from sharedmmap._native import ffi, lib

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a mutex needs open-file-description locks")

PAGE = os.sysconf("SC_PAGESIZE")
WAITERS = 1 << 31
LIVENESS = 1 << 62

SETUP = """
m = sharedmmap.open(path)
mutex = m.mutex_at(0)

def is_waited_for():
    return m.read_uint32_at(0) >> 31

def once_waited_for(then):
    "Calls it in another thread, as soon as somebody waits for the mutex."
    def watch():
        while not is_waited_for():
            pass
        then()
    threading.Thread(target=watch).start()

def fork(function):
    pid = os.fork()
    if pid == 0:
        signal.alarm(100)
        try:
            function()
            os._exit(0)
        finally:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    return pid

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def die_holding(offset=0):
    "Leaves the mutex there to a dead owner."
    assert ended(fork(lambda: m.mutex_at(offset).acquire() and os.kill(os.getpid(), signal.SIGKILL))) == -9
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * PAGE))
    return path


def of_dead_owner(path, offset=0):
    output(f"m = sharedmmap.open(path)\nm.mutex_at({offset}).acquire()\nos._exit(0)", path)


# ---- it excludes ----

INCREMENT = """
def increment(times):
    for _ in range(times):
        with mutex:
            m.write_uint64_at(m.read_uint64_at(64) + 1, 64)

def in_threads(count, times):
    threads = [threading.Thread(target=increment, args=(times,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

# All begin together: a process is gone so fast that they might take turns otherwise.
begun = m.atomic_uint32_at(128)
begun.fetch_add(1)
while begun.load() < int(args[0]):
    pass
"""
# Nobody wakes up to look whether he should: where a wake-up is lost, the test does not end.
PATIENT = "\nsharedmmap._mutex._SLICE = 1000\n"


def in_processes(path, count, code, setup=""):
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: output(code, path, count, setup=SETUP + setup + INCREMENT), range(count)))


@pytest.mark.parametrize("setup", ["", PATIENT], ids=["", "patient"])
def test_4_processes_lose_no_increment_of_a_plain_counter(path, setup):
    in_processes(path, 4, "increment(5000)", setup)
    with sharedmmap.open(path) as m:
        assert m.read_uint64_at(64) == 4 * 5000
        assert not m.mutex_at(0).locked()


@pytest.mark.parametrize("setup", ["", PATIENT], ids=["", "patient"])
def test_threads_in_several_processes_lose_no_increment(path, setup):
    in_processes(path, 2, "in_threads(3, 1000)", setup)
    with sharedmmap.open(path) as m:
        assert m.read_uint64_at(64) == 2 * 3 * 1000


def test_a_waiter_that_gives_up_loses_no_wake_up_of_another(path):
    """Half of the processes wait for a moment only, again and again; the others rely on being woken."""
    code = """
    if begun.fetch_add(1) % 2:
        increment(3000)
    else:
        done = 0
        while done < 3000:
            if mutex.acquire(done % 7 * 1e-5):
                m.write_uint64_at(m.read_uint64_at(64) + 1, 64)
                mutex.release()
                done += 1
    """
    in_processes(path, 4, code, PATIENT)
    with sharedmmap.open(path) as m:
        assert m.read_uint64_at(64) == 4 * 3000


def increment_from_another_process(path, times):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(0)
        for _ in range(times):
            with mutex:
                m.write_uint64_at(m.read_uint64_at(64) + 1, 64)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_exclude_each_other(path, method):
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=increment_from_another_process, args=(path, 2000)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    with sharedmmap.open(path) as m:
        assert m.read_uint64_at(64) == 3 * 2000


def test_forked_children_exclude_each_other_through_the_mutex_of_their_parent(path):
    code = """
    def increment():
        for _ in range(2000):
            with mutex:
                m.write_uint64_at(m.read_uint64_at(64) + 1, 64)

    children = [fork(increment) for _ in range(3)]
    increment()
    assert [ended(child) for child in children] == [0, 0, 0]
    print(m.read_uint64_at(64))
    """
    assert output(code, path, setup=SETUP) == "8000"


def test_two_files_of_one_process_exclude_each_other(path):
    with sharedmmap.open(path) as m, sharedmmap.open(path) as other, ThreadPoolExecutor() as pool:
        first, second = m.mutex_at(0), other.mutex_at(0)
        with first:
            assert second.locked()
            assert second.owner_alive()
            assert not second.acquire(0)
            with pytest.raises(RuntimeError, match="not held by this File"):
                second.release()
            waiter = pool.submit(second.acquire)
            while not m.read_uint32_at(0) & WAITERS:
                pass
            assert not waiter.done()
        assert waiter.result()
        assert not first.acquire(0)
        second.release()
        assert first.acquire(0)


def test_mutexes_of_one_file_at_two_offsets_are_two(path):
    with sharedmmap.open(path) as m:
        with m.mutex_at(0), m.mutex_at(4):
            assert m.mutex_at(0).locked()
            assert m.mutex_at(4).locked()
        assert not m.mutex_at(0).locked()
        assert not m.mutex_at(4).locked()


def test_a_second_thread_of_the_same_file_waits(path):
    with sharedmmap.open(path) as m, ThreadPoolExecutor() as pool:
        mutex = m.mutex_at(0)
        mutex.acquire()
        assert not mutex.acquire(0)
        assert not pool.submit(mutex.acquire, 0).result()
        waiter = pool.submit(mutex.acquire)
        while not m.read_uint32_at(0) & WAITERS:
            pass
        mutex.release()
        assert waiter.result()
        assert mutex.locked()


# ---- the word ----


def test_the_word_is_0_or_the_owner_id(path):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(0)
        with mutex:
            owner = m.read_uint32_at(0)
            assert 0 < owner < WAITERS
        assert m.read_uint32_at(0) == 0
        with m.mutex_at(4):
            assert m.read_uint32_at(4) == owner
        assert m[8:] == bytes(len(m) - 8)


def test_who_took_it_after_waiting_keeps_the_waiters_bit(path):
    with sharedmmap.open(path) as m, sharedmmap.open(path) as other, ThreadPoolExecutor() as pool:
        mutex = m.mutex_at(0)
        mutex.acquire()
        waiter = pool.submit(other.mutex_at(0).acquire)
        while not m.read_uint32_at(0) & WAITERS:
            pass
        mutex.release()
        assert waiter.result()
        assert m.read_uint32_at(0) & WAITERS


def test_who_gives_up_leaves_the_waiters_bit(path):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(0)
        mutex.acquire()
        owner = m.read_uint32_at(0)
        assert not mutex.acquire(0.001)
        assert m.read_uint32_at(0) == owner | WAITERS
        mutex.release()
        assert m.read_uint32_at(0) == 0


def test_taking_and_releasing_mark_the_mapping_dirty(path):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(0)
        assert not m.dirty
        mutex.acquire()
        assert m.dirty
        m.flush()
        mutex.release()
        assert m.dirty


# ---- what its methods return and refuse ----


@pytest.mark.parametrize("timeout", [None, math.inf, 100, 0.001, 0, -1])
def test_a_free_mutex_is_acquired_whatever_the_timeout(path, timeout):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(0)
        assert mutex.acquire(timeout) is True
        assert mutex.locked() is True
        assert mutex.owner_alive() is True
        assert mutex.release() is None
        assert mutex.locked() is False
        assert mutex.owner_alive() is True


def test_trying_a_mutex_that_is_held_writes_nothing(path):
    """So its release need not look for somebody to wake."""
    with sharedmmap.open(path) as m, sharedmmap.open(path) as other:
        mutex = m.mutex_at(0)
        assert mutex.acquire()
        before = m[:4]
        for timeout in 0, -1:
            assert not other.mutex_at(0).acquire(timeout)
        assert m[:4] == before
        assert not other.dirty
        mutex.release()


@pytest.mark.parametrize("timeout", [0, -1, -math.inf, 0.001, 0.12])
def test_it_times_out(path, timeout):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(0)
        with mutex:
            assert mutex.acquire(timeout) is False


@pytest.mark.parametrize(("timeout", "error"), [(math.nan, ValueError), ("1", TypeError)])
def test_what_is_no_timeout_is_refused(path, timeout, error):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(0)
        with pytest.raises(error):
            mutex.acquire(timeout)
        assert not mutex.locked()


def test_a_mutex_that_is_not_held_cannot_be_released(path):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(4)
        with pytest.raises(RuntimeError, match="the mutex at offset 4 is not held by this File"):
            mutex.release()
        with mutex:
            mutex.release()
            mutex.acquire()
        with pytest.raises(RuntimeError), mutex:
            mutex.release()


def test_an_exception_in_a_with_releases_it(path):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(0)
        with pytest.raises(KeyError), mutex:
            raise KeyError
        assert not mutex.locked()
        with mutex as entered:
            assert entered is mutex


@pytest.mark.parametrize(
    ("offset", "error", "text"),
    [
        (1, ValueError, "offset 1 is not aligned to 4 bytes in the file; the next that is: 4"),
        (6, ValueError, "the next that is: 8"),
        (-4, sharedmmap.OutOfBoundsError, "outside the mapping"),
        (2 * PAGE - 2, sharedmmap.OutOfBoundsError, "outside the mapping"),
        (2 * PAGE, sharedmmap.OutOfBoundsError, "outside the mapping"),
        (2**80, sharedmmap.OutOfBoundsError, "outside the mapping"),
        (0.0, TypeError, "float"),
        ("0", TypeError, "str"),
    ],
)
def test_an_offset_where_no_mutex_can_be_is_refused(path, offset, error, text):
    with sharedmmap.open(path) as m, pytest.raises(error, match=text):
        m.mutex_at(offset)


def test_alignment_is_that_in_the_file(path):
    with sharedmmap.open(path, offset=6) as m:
        assert m.mutex_at(2).offset == 2
        with pytest.raises(ValueError, match="the next that is: 2"):
            m.mutex_at(0)


def test_what_cannot_be_called_is_refused(path):
    with sharedmmap.open(path) as m, pytest.raises(TypeError, match="on_owner_died must be callable, not int"):
        m.mutex_at(0, on_owner_died=5)


def test_a_mutex_is_not_copied(path):
    with sharedmmap.open(path) as m:
        for duplicate in copy.copy, copy.deepcopy, pickle.dumps:
            with pytest.raises(TypeError, match="Mutex cannot be pickled or copied: make it anew from its File"):
                duplicate(m.mutex_at(0))


def test_it_says_where_it_is(path):
    with sharedmmap.open(path) as m:
        assert repr(m.mutex_at(8)) == "<Mutex offset=8>"
        assert m.mutex_at(8).offset == 8


# ---- where there can be none ----


def test_a_read_only_mapping_has_none(path):
    with sharedmmap.open(path, "r") as m, pytest.raises(OSError, match="the mapping is read-only") as caught:
        m.mutex_at(0)
    assert caught.type.__name__ == "UnsupportedOperation"


def test_a_mapping_without_a_descriptor_has_none(path):
    with path.open("r+b") as file, sharedmmap.File(file, trackfd=False) as m:
        with pytest.raises(
            OSError, match=r"a mutex needs the descriptor, which is not kept \(trackfd=False\)"
        ) as caught:
            m.mutex_at(0)
        assert caught.type.__name__ == "UnsupportedOperation"


@pytest.mark.parametrize(
    ("call", "reason", "error", "text"),
    [
        ("open", errno.ENOENT, "UnsupportedOperation", "a mutex needs /proc"),
        ("open", errno.ENOSYS, "UnsupportedOperation", "a mutex needs open-file-description locks"),
        ("fcntl", errno.ENOSYS, "UnsupportedOperation", "a mutex needs open-file-description locks"),
        ("fcntl", errno.EINVAL, "UnsupportedOperation", "a mutex needs open-file-description locks"),
        ("open", errno.EPERM, "PermissionError", "this process may not do any more"),
        ("open", errno.EMFILE, "OSError", "open: .*; RLIMIT_NOFILE is [0-9]+"),
        ("fcntl", errno.ENOLCK, "OSError", "fcntl: "),
    ],
)
def test_what_the_system_lacks_is_said(path, monkeypatch, call, reason, error, text):
    class Library:
        def __getattr__(self, name):
            return getattr(lib, name)

        def liveness_open(self, region):
            ffi.errno = reason
            return name

    lib, name = sharedmmap._mutex.lib, ffi.new("char[]", call.encode())
    with sharedmmap.open(path) as m:
        monkeypatch.setattr("sharedmmap._mutex.lib", Library())
        with pytest.raises(OSError, match=text) as caught:
            m.mutex_at(0)
    assert caught.type.__name__ == error


def test_a_file_that_may_no_longer_be_opened_is_a_permission_error_that_says_so(path):
    code = """
    early = sharedmmap.open(path)
    held = early.mutex_at(0)
    m = sharedmmap.open(path)
    os.chmod(path, 0)
    if os.geteuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)
    with held:
        pass
    try:
        m.mutex_at(0)
    except PermissionError as error:
        print(error.errno == errno.EACCES, error)
    """
    said = output(code, path)
    assert said.startswith("True ")
    assert "mutex_at does it, so call that before privileges are dropped" in said


def test_without_a_descriptor_to_spare_it_says_so_and_works_later(path):
    code = """
    m = sharedmmap.open(path)
    limit = max(map(int, os.listdir("/proc/self/fd"))) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    spare = []
    while len(spare) < limit:
        try:
            spare.append(os.dup(0))
        except OSError:
            break
    try:
        m.mutex_at(0)
    except OSError as error:
        print(error.errno == errno.EMFILE, f"RLIMIT_NOFILE is {limit}" in str(error))
    os.close(spare[-1])
    print(m.mutex_at(0).acquire())
    """
    assert output(code, path).split() == ["True", "True", "True"]


# ---- a dead owner ----


@pytest.mark.parametrize("timeout", [None, 0, 100])
def test_without_a_function_a_dead_owner_is_an_error_and_the_word_stays(path, timeout):
    of_dead_owner(path)
    with sharedmmap.open(path) as m:
        mutex, word = m.mutex_at(0), m.read_uint32_at(0)
        for _ in range(3):
            with pytest.raises(sharedmmap.OwnerDiedError, match="at offset 0 died while it held it") as caught:
                mutex.acquire(timeout)
            assert isinstance(caught.value, sharedmmap.Error)
            assert mutex.locked()
            assert not mutex.owner_alive()
            assert m.read_uint32_at(0) & ~WAITERS == word
        with pytest.raises(sharedmmap.OwnerDiedError), mutex:
            pass
        with pytest.raises(RuntimeError):
            mutex.release()


@pytest.mark.parametrize("timeout", [None, 0, 100])
def test_the_function_is_called_with_the_mutex_held(path, timeout):
    def mend(file):
        assert file is m
        assert mutex.locked()
        assert mutex.owner_alive()
        assert m.read_uint32_at(0) & WAITERS  # others may be in line
        assert not other.mutex_at(0).acquire(0)
        calls.append(file)

    calls = []
    of_dead_owner(path)
    with sharedmmap.open(path) as m, sharedmmap.open(path) as other:
        mutex = m.mutex_at(0, on_owner_died=mend)
        assert mutex.acquire(timeout)
        assert mutex.locked()
        assert mutex.owner_alive()
        mutex.release()
        with mutex:
            pass
        assert calls == [m]
        assert m.read_uint32_at(0) == 0


def test_the_function_is_called_at_the_entry_of_a_with_too(path):
    calls = []
    of_dead_owner(path)
    with sharedmmap.open(path) as m:
        with m.mutex_at(0, on_owner_died=calls.append):
            assert calls == [m]
        assert m.read_uint32_at(0) == 0


def test_a_function_that_raises_leaves_the_mutex_as_it_was_found(path):
    def mend(file):
        if len(calls) < 2:
            calls.append(file)
            raise KeyError

    calls = []
    of_dead_owner(path)
    with sharedmmap.open(path) as m:
        mutex, word = m.mutex_at(0, on_owner_died=mend), m.read_uint32_at(0)
        for _ in range(2):
            with pytest.raises(KeyError):
                mutex.acquire()
            assert m.read_uint32_at(0) & ~WAITERS == word
            with pytest.raises(sharedmmap.OwnerDiedError):
                m.mutex_at(0).acquire()
        assert calls == [m, m]
        with mutex:
            pass
        assert m.read_uint32_at(0) == 0


@pytest.mark.slow
def test_exactly_one_of_those_in_line_takes_over(path):
    code = """
    ready, mends, entered = (m.atomic_uint32_at(offset) for offset in (64, 68, 72))

    def wait():
        ready.fetch_add(1)
        with m.mutex_at(0, on_owner_died=lambda m: mends.fetch_add(1)):
            entered.store(entered.load() + 1)

    def hold():
        mutex.acquire()
        ready.fetch_add(1)
        while ready.load() < 6 or not is_waited_for():
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    holder = fork(hold)
    while not ready.load():
        pass
    waiters = [fork(wait) for _ in range(5)]
    assert ended(holder) == -signal.SIGKILL
    assert [ended(waiter) for waiter in waiters] == [0] * 5
    print(mends.load(), entered.load(), m.read_uint32_at(0))
    """
    for _ in range(5):
        path.write_bytes(bytes(2 * PAGE))
        assert output(code, path, setup=SETUP) == "1 5 0"


@pytest.mark.slow
def test_owners_killed_at_random_moments_are_found_dead_and_what_they_left_is_mended(path):
    """Three workers keep two counters equal; who is inside says so in a word of its own."""
    code = """
    import random
    INSIDE, A, B, MENDS, STOP = 64, 72, 80, 88, 92
    inside, mends, stop = (m.atomic_uint32_at(offset) for offset in (INSIDE, MENDS, STOP))

    def mend(m):
        mends.fetch_add(1)
        inside.store(0)
        m.write_uint64_at(m.read_uint64_at(A), B)

    def work():
        draw, mutex = random.Random(os.getpid()), m.mutex_at(0, on_owner_died=mend)
        while not stop.load():
            with mutex:
                assert inside.compare_exchange(0, os.getpid()) == (True, 0)
                number = m.read_uint64_at(A)
                assert m.read_uint64_at(B) == number
                for _ in range(draw.randrange(1, 200)):
                    m.write_uint64_at(number + 1, A)
                for _ in range(draw.randrange(1, 200)):
                    m.write_uint64_at(number + 1, B)
                assert inside.compare_exchange(os.getpid(), 0) == (True, os.getpid())

    def wait_for_progress():
        before = m.read_uint64_at(A)
        while m.read_uint64_at(A) < before + 2:
            os.sched_yield()

    draw, found_dead = random.Random(1), 0
    workers = {fork(work) for _ in range(3)}
    for _ in range(int(args[0])):
        wait_for_progress()
        for _ in range(draw.randrange(1000)):
            pass
        victim = inside.load()
        if victim not in workers:
            victim = draw.choice(sorted(workers))
        os.kill(victim, signal.SIGKILL)
        assert ended(victim) == -signal.SIGKILL
        found_dead += not mutex.owner_alive()
        workers.remove(victim)
        workers.add(fork(work))
    wait_for_progress()
    stop.store(1)
    assert [ended(worker) for worker in workers] == [0] * 3
    with m.mutex_at(0, on_owner_died=mend):
        assert m.read_uint64_at(A) == m.read_uint64_at(B)
    assert found_dead <= mends.load() <= int(args[0])
    print(found_dead > int(args[0]) // 4)
    """
    assert output(code, path, 200, setup=SETUP) == "True"


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit()", 0),
        ("os._exit(3)", 3),
        ("os.abort()", -6),
        ("os.execv(sys.executable, [sys.executable, '-c', ''])", 0),
        ("m.unmap(); os._exit(0)", 0),
        ("m.close(); os._exit(0)", 0),
    ],
)
def test_however_an_owner_ends_it_is_found_dead(path, end, code):
    program = f"""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    holder = os.fork()
    if holder == 0:
        mutex.acquire()
        {end}
    assert ended(holder) == {code}
    calls = []
    with m.mutex_at(0, on_owner_died=calls.append):
        print(calls == [m])
    """
    assert output(program, path, setup=SETUP) == "True"


def test_an_owner_that_released_it_before_it_ended_is_no_dead_owner(path):
    code = """
    calls = []
    for _ in range(100):
        child = fork(lambda: mutex.acquire() and mutex.release())
        with m.mutex_at(0, on_owner_died=calls.append):
            assert mutex.owner_alive()
        ended(child)
    print(calls)
    """
    assert output(code, path, setup=SETUP) == "[]"


def test_an_owner_that_releases_it_and_ends_while_a_waiter_asks_is_no_dead_owner(path, monkeypatch):
    class Library:
        def __getattr__(self, name):
            return getattr(lib, name)

        def liveness_of(self, region, owner):
            held.release()
            other.unmap()
            return lib.liveness_of(region, owner)

    with sharedmmap.open(path) as m, sharedmmap.open(path) as other:
        held, mutex = other.mutex_at(0), m.mutex_at(0)
        held.acquire()
        monkeypatch.setattr("sharedmmap._mutex.lib", Library())
        assert mutex.acquire()
        assert mutex.owner_alive()


def test_a_waiter_asks_about_nobody_who_lives(path):
    """A living owner is waited for, through many slices."""
    code = """
    sharedmmap._mutex._SLICE = 1e-5
    other = sharedmmap.open(path)
    with other.mutex_at(0), mutex_of_another_process():
        for target in mutex, other.mutex_at(0), m.mutex_at(4):
            assert target.owner_alive()
            assert not target.acquire(0.05)
    """
    setup = """
from contextlib import contextmanager

@contextmanager
def mutex_of_another_process():
    def hold():
        with m.mutex_at(4):
            m.atomic_uint32_at(64).store(1)
            while m.atomic_uint32_at(64).load() == 1:
                pass
    child = fork(hold)
    while not m.atomic_uint32_at(64).load():
        pass
    yield
    m.atomic_uint32_at(64).store(2)
    assert ended(child) == 0
"""
    assert output(code, path, setup=SETUP + setup) == ""


# ---- an owner that lives, but can no longer release it ----


def test_an_owner_whose_mapping_was_found_to_have_faulted_counts_as_dead(path):
    calls = []
    with sharedmmap.open(path) as m, sharedmmap.open(path, length=PAGE) as other:
        held, mutex = m.mutex_at(0), other.mutex_at(0, on_owner_died=calls.append)
        held.acquire()
        os.truncate(path, PAGE)
        assert mutex.owner_alive()
        with pytest.raises(sharedmmap.MappingFaultError):
            m[PAGE]
        assert not mutex.owner_alive()
        with pytest.raises(sharedmmap.MappingFaultError):
            held.release()
        with pytest.raises(sharedmmap.MappingFaultError):
            held.acquire()
        with pytest.raises(sharedmmap.MappingFaultError):
            m.mutex_at(0)
        with mutex:
            assert calls == [other]


def test_an_owner_that_was_unmapped_counts_as_dead(path):
    calls = []
    with sharedmmap.open(path) as m, sharedmmap.open(path) as other:
        held, mutex = m.mutex_at(0), other.mutex_at(0, on_owner_died=calls.append)
        held.acquire()
        m.unmap()
        assert not mutex.owner_alive()
        for use in held.release, held.acquire, held.locked, held.owner_alive, held.__enter__:
            with pytest.raises(sharedmmap.UnmappedMemoryError):
                use()
        with mutex:
            assert calls == [other]


def test_restore_ends_the_owner_and_mutexes_made_before_keep_raising(path):
    calls = []
    with sharedmmap.open(path) as m:
        held = m.mutex_at(0)
        held.acquire()
        os.truncate(path, PAGE)
        with pytest.raises(sharedmmap.MappingFaultError):
            m[PAGE]
        os.truncate(path, 2 * PAGE)
        m.restore()
        for use in held.release, held.acquire, held.locked, held.owner_alive, held.__enter__:
            with pytest.raises(sharedmmap.MappingFaultError):
                use()
        mutex = m.mutex_at(0, on_owner_died=calls.append)
        assert not mutex.owner_alive()
        with mutex:
            assert calls == [m]


def test_restore_of_a_mapping_that_has_not_faulted_ends_the_owner(path):
    with sharedmmap.open(path) as m:
        held = m.mutex_at(0)
        held.acquire()
        os.truncate(path, PAGE)
        m.restore()
        assert not m.mutex_at(0).owner_alive()
        with pytest.raises(sharedmmap.MappingFaultError):
            held.release()


@pytest.mark.parametrize("state", ["FAULTED", "UNMAPPED"])
@pytest.mark.parametrize("end", ["check", "close", "restore"])
def test_an_owner_dies_only_when_no_write_of_its_process_can_reach_the_file(path, state, end):
    """Another thread may have marked the region, and not yet have overlaid it."""
    with sharedmmap.open(path) as m, sharedmmap.open(path) as other:
        held, view = m.mutex_at(0), m.view()
        held.acquire()
        m._region.c.state = getattr(lib, state)
        with contextlib.suppress(sharedmmap.Error):
            getattr(m, end)()
        if other.mutex_at(0).owner_alive():
            assert (state, end) in (("UNMAPPED", "check"), ("UNMAPPED", "restore"))  # the other thread goes on
        else:
            view[64] = 1
            assert other[64] == 0


# ---- descriptors ----


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_the_second_descriptor_is_opened_with_the_first_mutex_and_closed_with_the_mapping(path):
    before = descriptors()
    m = sharedmmap.open(path)
    assert descriptors() == before + 1
    mutexes = [m.mutex_at(offset) for offset in range(0, 64, 4)]
    assert descriptors() == before + 2
    m.unmap()
    assert descriptors() == before
    del m, mutexes


def test_a_fault_and_a_restore_close_it_once(path):
    before = descriptors()
    m = sharedmmap.open(path)
    m.mutex_at(0)
    os.truncate(path, PAGE)
    with pytest.raises(sharedmmap.MappingFaultError):
        m[PAGE]
    assert descriptors() == before + 1
    with path.open() as file:  # under the number that is free now
        for _ in range(2):
            with pytest.raises(sharedmmap.MappingFaultError):
                m[PAGE]
        m.restore()
        m.mutex_at(0)
        assert descriptors() == before + 3
        m.close()
        assert os.fstat(file.fileno()).st_size == PAGE
    assert descriptors() == before


def test_none_is_left_where_drawing_an_owner_id_fails(path):
    code = """
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        try:
            m.mutex_at(0)
        except BlockingIOError:
            pass
    print(len(os.listdir("/proc/self/fd")) - before)
    """
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert output(code, path, setup="m = sharedmmap.open(path)") == "0"


@pytest.mark.parametrize("before", ["", "os.close(0)"])
def test_another_program_does_not_inherit_it_and_it_is_no_standard_stream(path, before):
    code = f"""
    {before}
    m.mutex_at(0)
    for name in os.listdir("/proc/self/fd"):
        descriptor = f"/proc/self/fd/{{name}}"
        if os.path.exists(descriptor) and os.path.samefile(descriptor, path):
            print(int(name) > 2, os.get_inheritable(int(name)))
    """
    assert output(code, path, setup="m = sharedmmap.open(path)").split() == ["True", "False"] * 2


def test_files_that_are_dropped_leave_none_open(path):
    code = """
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3000):
        sharedmmap.open(path).mutex_at(0)
    for _ in range(3):
        gc.collect()
    print(len(os.listdir("/proc/self/fd")) - before)
    """
    assert output(code, path, setup=SETUP) == "0"


# ---- fork ----


def test_what_the_parent_holds_is_the_parent_s(path):
    code = """
    def child():
        assert mutex.locked()
        assert mutex.owner_alive()
        assert not mutex.acquire(0)
        try:
            mutex.release()
        except RuntimeError:
            with m.mutex_at(4):
                assert m.read_uint32_at(4) != m.read_uint32_at(0)

    with mutex:
        assert ended(fork(child)) == 0
        assert mutex.locked()
    assert ended(fork(lambda: mutex.acquire(0) and mutex.release())) == 0
    """
    assert output(code, path, setup=SETUP) == ""


def test_a_child_that_outlives_the_holder_does_not_keep_it_alive(path):
    code = """
    go, seen = m.atomic_uint32_at(64), m.atomic_uint32_at(68)

    def outlive():
        seen.store(1)
        while not go.load():
            pass
        with mutex:
            seen.store(2)

    def hold():
        mutex.acquire()
        fork(outlive)
        while not seen.load():
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(fork(hold)) == -signal.SIGKILL
    calls = []
    with m.mutex_at(0, on_owner_died=calls.append):
        print(calls == [m])
        go.store(1)
    while seen.load() != 2:
        pass
    """
    assert output(code, path, setup=SETUP) == "True"


def test_a_child_closes_the_descriptors_it_inherited_and_no_others(path):
    code = """
    files = [sharedmmap.open(path) for _ in range(20)]
    before = len(os.listdir("/proc/self/fd"))
    mutexes = [file.mutex_at(0) for file in files]
    files.pop().unmap()

    def child():
        assert len(os.listdir("/proc/self/fd")) == before - 2  # of m, and of the file that was unmapped
        with open(path) as mine:
            for file in files:
                file.mutex_at(0)
                file.unmap()
            os.fstat(mine.fileno())

    assert ended(fork(child)) == 0
    assert len(os.listdir("/proc/self/fd")) == before + 19 - 1
    with mutexes[0]:
        assert not mutexes[1].acquire(0)
        assert ended(fork(child)) == 0
        assert mutexes[1].owner_alive()
    """
    assert output(code, path, setup=SETUP) == ""


def test_children_forked_while_threads_use_mutexes_get_along(path):
    code = """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads

    def use():
        while not enough.is_set():
            with sharedmmap.open(path) as other, other.mutex_at(8):
                pass
            with mutex:
                pass

    def child():
        for _ in range(10):
            with sharedmmap.open(path) as other, other.mutex_at(4):
                pass
            assert m.mutex_at(12).acquire()
            m.mutex_at(12).release()

    sys.setswitchinterval(1e-6)
    enough = threading.Event()
    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            assert ended(fork(child)) == 0
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    """
    assert output(code, path, setup=SETUP) == ""


# ---- other locks of the file ----


def test_beside_a_lock_of_the_whole_file_there_is_no_new_owner(path):
    code = """
    try:
        m.mutex_at(0)
    except BlockingIOError as error:
        print(error)
    """
    with path.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert "use fcntl.flock" in output(code, path, setup="m = sharedmmap.open(path)")
        fcntl.lockf(file, fcntl.LOCK_UN)
        assert output(code, path, setup="m = sharedmmap.open(path)") == ""


def test_beside_an_owner_the_whole_file_cannot_be_locked_but_all_that_is_in_it(path):
    code = """
    import fcntl
    with open(path, "r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 2 * PAGE)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            print("refused")
    """
    with sharedmmap.open(path) as m, m.mutex_at(0):
        assert output(code, path) == "refused"


@pytest.mark.parametrize(
    ("kind", "start", "length"),
    [
        ("POSIX", 0, 1),
        *(
            (kind, *span)
            for kind in ("POSIX", "OFD")
            for span in ((0, 2), (-1, 2), (-5, 1000), (0, 0), (-1000, 0))
        ),
    ],
)
def test_another_lock_on_the_byte_of_a_dead_owner_is_no_sign_of_life(path, kind, start, length):
    """A length of 0 is to the end of every file, as in a lock of the whole file."""
    code = """
    import fcntl, struct
    kind, start, length = args[0], int(args[1]), int(args[2])
    dead = 2**31 - 2000  # an id that leaves room for its own below
    m.write_uint32_at(dead, 0)
    with open(path, "r+b") as file:
        start += 2**62 + dead
        if kind == "POSIX":
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        else:
            F_OFD_SETLK = 37  # which PyPy's fcntl lacks
            lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
            fcntl.fcntl(file, F_OFD_SETLK, lock)
        print(mutex.owner_alive())
        try:
            mutex.acquire()
        except sharedmmap.OwnerDiedError:
            print("died")
    """
    assert output(code, path, kind, start, length, setup=SETUP).split() == ["False", "died"]


# ---- what happens meanwhile ----


@pytest.mark.parametrize("timeout", ["", "100"])
@pytest.mark.parametrize(
    ("event", "error"),
    [
        ("m.unmap()", "UnmappedMemoryError"),
        ("m.close()", "UnmappedMemoryError"),
        ("os.truncate(path, 0)", "MappingFaultError"),
        ("os.kill(os.getpid(), signal.SIGINT)", "KeyboardInterrupt"),
    ],
)
def test_what_happens_meanwhile_ends_a_wait(path, event, error, timeout):
    code = f"""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    other = sharedmmap.open(path)
    other.mutex_at(0).acquire()
    once_waited_for(lambda: {event})
    try:
        mutex.acquire({timeout})
    except {error}:
        print("ended")
    """
    assert output(code, path, setup=SETUP) == "ended"


def test_signal_handlers_run_during_a_wait_which_goes_on_afterwards(path):
    code = """
    def handler(*_):
        handled.append(mutex.locked())
        held.release()

    handled, held = [], sharedmmap.open(path).mutex_at(0)
    signal.signal(signal.SIGUSR1, handler)
    held.acquire()
    once_waited_for(lambda: os.kill(os.getpid(), signal.SIGUSR1))
    print(mutex.acquire(), handled)
    """
    assert output(code, path, setup=SETUP) == "True [True]"


def test_a_file_that_is_cut_raises_and_one_that_grows_again_has_a_free_mutex(path):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(PAGE)
        os.truncate(path, PAGE)
        assert m.accessible == PAGE
        for use in mutex.acquire, mutex.release, mutex.locked, mutex.owner_alive, mutex.__enter__:
            with pytest.raises(sharedmmap.OutOfBoundsError):
                use()
        os.truncate(path, 2 * PAGE)
        with mutex:
            assert mutex.locked()


@pytest.mark.no_thread_sanitizer
@pytest.mark.parametrize("use", ["acquire", "__enter__", "release", "locked", "owner_alive"])
def test_a_fault_under_the_word_raises(path, use):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(PAGE)
        if use == "release":
            mutex.acquire()
        os.truncate(path, 0)
        with pytest.raises(sharedmmap.MappingFaultError):
            getattr(mutex, use)()


def test_any_word_ends_in_an_error_or_a_timeout(path):
    with sharedmmap.open(path) as m:
        mutex = m.mutex_at(0)
        with mutex:
            owner = m.read_uint32_at(0)
        for word in 1, 5, owner ^ 1, owner ^ 1 | WAITERS, WAITERS - 1, 2**32 - 1:
            m.write_uint32_at(word, 0)
            assert mutex.locked()
            assert not mutex.owner_alive()
            with pytest.raises(sharedmmap.OwnerDiedError):
                mutex.acquire()
            with pytest.raises(RuntimeError):
                mutex.release()
        for word in owner, owner | WAITERS:
            m.write_uint32_at(word, 0)
            assert mutex.owner_alive()
            assert not mutex.acquire(0.001)
            mutex.release()
            assert m.read_uint32_at(0) == 0
        m.write_uint32_at(WAITERS, 0)
        assert not mutex.locked()
        with mutex:
            assert m.read_uint32_at(0) == owner | WAITERS
        assert m.read_uint32_at(0) == 0


def test_random_bytes_written_by_another_process_end_in_an_error_or_a_timeout(path):
    code = """
    import random
    begun, stop = m.atomic_uint32_at(64), m.atomic_uint32_at(68)

    def scribble():
        draw = random.Random(1)
        begun.store(1)
        while not stop.load():
            m.write_uint32_at(draw.choice((0, 1 << 31, draw.getrandbits(32), m.read_uint32_at(0) ^ 1 << 31)), 0)

    def use(mutex):
        for turn in range(2000):
            try:
                if mutex.acquire(turn % 3 * 1e-4):
                    mutex.release()
                mutex.locked()
                mutex.owner_alive()
            except (RuntimeError, sharedmmap.OwnerDiedError):
                pass

    scribbler = fork(scribble)
    while not begun.load():
        pass
    children = [fork(lambda: use(mutex)), fork(lambda: use(m.mutex_at(0, on_owner_died=lambda m: None)))]
    use(mutex)
    assert [ended(child) for child in children] == [0, 0]
    stop.store(1)
    assert ended(scribbler) == 0
    m.write_uint32_at(0, 0)
    with mutex:
        print("free")
    """
    assert output(code, path, setup=SETUP) == "free"


# ---- a signal handler that raises ----

TICKS = """
import dis

# CPython 3.9 and PyPy look for signals between any two bytecodes, and so after the end of the try, and again
# before the first statement of its except, as 3.10 does, too: there the mutex may stay held. So there is one for
# each call.
ANYWHERE = sys.version_info < (3, 11) or sys.implementation.name == "pypy"
PAST_THE_TRY = "POP_BLOCK", "RETURN_VALUE"  # the last one that was done on CPython, the next one on PyPy

class Tick(Exception):
    pass

def tick(*_):
    "Raises within a method of the mutex."
    global armed, ticks
    frame = sys._getframe(1)  # PyPy loses a signal handler's arguments now and then
    code = frame.f_code
    if not armed or not code.co_filename.endswith("_mutex.py"):
        return
    if ANYWHERE:
        if dis.opname[code.co_code[frame.f_lasti]] in PAST_THE_TRY:
            return
        armed = False
    ticks += 1
    raise Tick

def acquire(*timeout):
    global armed
    armed = True
    try:
        return mutex.acquire(*timeout)
    finally:
        armed = False

def enter():
    global armed
    armed = True
    try:
        return mutex.__enter__()
    finally:
        armed = False

def release():
    global armed
    armed = True
    try:
        mutex.release()
    except Tick:
        pass
    finally:
        armed = False

armed, ticks = False, 0
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 50e-6, 50e-6)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["acquire", "__enter__"])
@pytest.mark.parametrize(
    ("word", "left"), [("0", "{0}"), ("1 << 31", "{1 << 31, 0}"), ("dead", "{dead, dead | 1 << 31, 0}")]
)
def test_an_exception_at_any_step_of_taking_it_leaves_it_as_it_was_found_or_free(path, method, word, left):
    """A signal handler may raise before each line and each return of the module.

    Not before each opcode, as in interrupts.py: after the last call in the try there are some before which CPython
    runs no handlers.
    """
    code = f"""
    class Step(Exception):
        pass

    def trace(frame, event, argument):
        global step
        code = frame.f_code
        if not code.co_filename.endswith("_mutex.py") or event == "return" and code.co_name == "{method}":
            return None
        again = event == "line" and lines.get(frame) == frame.f_lineno  # as 3.12 tells of a return
        lines[frame] = frame.f_lineno
        if event in ("line", "return") and not again:
            step += 1
            if step == last:
                raise Step
        return trace

    mutex = m.mutex_at(0, on_owner_died=lambda m: None)
    dead, left, last, raised = 5, set(), 0, True
    while raised:
        m.write_uint32_at({word}, 0)
        step, raised, lines = 0, False, {{}}
        last += 1
        sys.settrace(trace)
        try:
            mutex.{method}()
        except Step:
            raised = True
            left.add(m.read_uint32_at(0))
        sys.settrace(None)
    assert m.read_uint32_at(0) % 2**31 == m._region.c.owner
    print(left == {left}, last > 3, left)
    """
    assert output(code, path, setup=SETUP).startswith("True True")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["acquire", "enter"])
def test_a_signal_handler_that_raises_leaves_a_free_mutex_free(path, method):
    code = f"""
    for _ in range(300_000):
        try:
            {method}()
        except Tick:
            assert not mutex.locked()
        else:
            assert mutex.locked()
            while mutex.locked():
                release()
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(m.read_uint32_at(0), ticks > 0)
    """
    assert output(code, path, setup=SETUP + TICKS) == "0 True"


def test_a_signal_handler_that_raises_leaves_a_contended_mutex_balanced(path):
    """Also where it is taken after a wait. The word beside it counts who is inside."""
    code = """
    inside, stop = m.atomic_uint32_at(64), m.atomic_uint32_at(68)

    def contend():
        signal.setitimer(signal.ITIMER_REAL, 0)
        with sharedmmap.open(path) as other:
            mutex = other.mutex_at(0)
            while not stop.load():
                with mutex:
                    assert inside.exchange(1) == 0
                    for _ in range(100):
                        assert inside.load() == 1
                    assert inside.exchange(0) == 1

    child, taken = fork(contend), 0
    owner = m._region.c.owner
    while ticks < 1000 or not taken:
        try:
            acquire()
        except Tick:
            assert m.read_uint32_at(0) % 2**31 != owner
        else:
            taken += 1
            assert inside.exchange(1) == 0
            assert inside.exchange(0) == 1
            while m.read_uint32_at(0) % 2**31 == owner:
                release()
    signal.setitimer(signal.ITIMER_REAL, 0)
    stop.store(1)
    assert ended(child) == 0
    print(m.read_uint32_at(0))
    """
    assert output(code, path, setup=SETUP + TICKS) == "0"


def test_a_signal_handler_that_raises_while_the_mutex_is_taken_over_leaves_it_to_the_dead_owner(path):
    code = """
    signal.setitimer(signal.ITIMER_REAL, 0)
    die_holding()
    dead, mends = m.read_uint32_at(0) % 2**31, []
    mutex = m.mutex_at(0, on_owner_died=mends.append)
    signal.setitimer(signal.ITIMER_REAL, 50e-6, 50e-6)
    for _ in range(20_000):
        try:
            acquire(0)
        except Tick:
            # Mended perhaps, and then free.
            assert m.read_uint32_at(0) % 2**31 in (dead, 0)
            assert m.read_uint32_at(0) or mends
        m.write_uint32_at(dead, 0)
        mends.clear()
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(ticks > 0)
    """
    assert output(code, path, setup=SETUP + TICKS) == "True"


def test_threads_that_share_a_mutex_undo_only_what_is_their_own(path):
    """One waits and is interrupted, while another one of the same File holds it."""
    code = """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    holds, interrupted = threading.Event(), threading.Event()

    def hold():
        with mutex:
            holds.set()
            interrupted.wait()
            print(mutex.locked())

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait()
    once_waited_for(lambda: os.kill(os.getpid(), signal.SIGINT))
    try:
        mutex.acquire()
    except KeyboardInterrupt:
        print(mutex.locked())
    interrupted.set()
    thread.join()
    print(mutex.locked())
    """
    assert output(code, path, setup=SETUP).split() == ["True", "True", "False"]


def test_a_thread_that_waits_for_itself_can_be_interrupted_and_still_holds_it(path):
    code = """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with mutex:
        once_waited_for(lambda: os.kill(os.getpid(), signal.SIGINT))
        try:
            mutex.acquire()
        except KeyboardInterrupt:
            print(mutex.locked())
    print(mutex.locked())
    """
    assert output(code, path, setup=SETUP).split() == ["True", "False"]


@pytest.mark.slow
def test_unmapping_while_threads_acquire_and_release_ends_in_its_error(path):
    def use(mutex):
        try:
            while True:
                with mutex:
                    pass
        except sharedmmap.UnmappedMemoryError:
            return True

    for _ in range(20):
        m = sharedmmap.open(path)
        with ThreadPoolExecutor(3) as pool:
            # The one that is interrupted may have the word of another mapping then, whose owner is dead.
            mutex = m.mutex_at(0, on_owner_died=lambda m: None)
            users = [pool.submit(use, mutex) for _ in range(3)]
            assert mutex.acquire()
            mutex.release()
            m.unmap()
            assert all(user.result() for user in users)
