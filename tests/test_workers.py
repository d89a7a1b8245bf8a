"""A ``File`` handed to another process by multiprocessing is mapped there, on every start method."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from textwrap import dedent

import pytest
from child import PRELUDE, RAISING, interrupts_fstat, output

METHODS = [name for name in ("fork", "spawn", "forkserver") if name in multiprocessing.get_all_start_methods()]

SETUP = """
import copy, io, pickle, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads

def make(kind, **options):
    # 64 KiB of U, of which the second page is mapped.
    if kind == "memory":
        fd = os.memfd_create("unnamed")
    else:
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.write(fd, b"U" * 16 * PAGE)
        return File(fd, **{"offset": PAGE, "length": PAGE, **options})
    finally:
        os.close(fd)

def descriptors():
    if "multiprocessing.resource_sharer" in sys.modules:  # its thread closes what it has sent a moment later
        sys.modules["multiprocessing.resource_sharer"].stop(timeout=30)
    for _ in range(3):
        gc.collect()
    return len(os.listdir("/dev/fd"))

def refused(operation, *errors):
    try:
        operation()
    except errors as error:
        return str(error)
    raise AssertionError("not refused")

def use(m, owner):
    # What any worker does with a File that it got.
    assert (len(m), m.offset, m.prot) == (PAGE, PAGE, 3)
    assert os.getpid() != owner
    m.atomic_uint64_at(8).fetch_add(1)
    assert m.dirty
    m.flush()
    assert not m.dirty
    m[0] = 7
    m.close()
    refused(lambda: m[0], UnmappedMemoryError)
    return os.getpid()

def in_use(m, times=1):
    # In the owner, whose File is none of the workers' business.
    assert not m.dirty
    assert m[0] == 7 and m.read_uint64_at(8) == NUMBER + times
    assert not m.closed

NUMBER = int.from_bytes(b"U" * 8, "little")
owner = os.getpid()
"""


@pytest.fixture
def run(tmp_path):
    """Runs a program from a file, as spawn needs it: functions, and what the main process does."""

    def run(functions, main, *args):
        program = tmp_path / "program.py"
        main = "".join(f"    {line}\n" for line in dedent(main).splitlines())
        text = PRELUDE + SETUP + dedent(functions)
        program.write_text(f"{text}\nif __name__ == '__main__':\n    import multiprocessing\n{main}")
        done = subprocess.run(
            [sys.executable, program, tmp_path / "file", *args],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture(params=["file", "memory"])
def kind(request):
    if request.param == "memory" and not hasattr(os, "memfd_create"):
        pytest.skip("there is no memfd_create")
    return request.param


SAME_PROCESS = """
from multiprocessing.reduction import ForkingPickler

def there_and_back(m):
    # Sent to the process itself.
    return pickle.loads(ForkingPickler.dumps(m))
"""


# ---- every way to another process ----


def test_as_an_argument_of_a_process(run, method, kind):
    main = """
    context = multiprocessing.get_context(args[0])
    m = make(args[1])
    process = context.Process(target=use, args=(m, owner))
    process.start()
    process.join()
    assert process.exitcode == 0
    in_use(m)
    """
    run("", main, method, kind)


def test_through_a_queue(run, method, kind):
    functions = """
    def work(queue, done, owner):
        m = queue.get()
        use(m, owner)
        done.put(os.getpid())
    """
    main = """
    context = multiprocessing.get_context(args[0])
    queue, done = context.Queue(), context.Queue()
    process = context.Process(target=work, args=(queue, done, owner))
    process.start()
    m = make(args[1])
    queue.put(m)
    assert done.get(timeout=60) == process.pid
    process.join()
    in_use(m)
    """
    run(functions, main, method, kind)


def test_through_a_pipe_and_back(run, method, kind):
    functions = """
    def work(pipe, owner):
        m, again = pipe.recv()
        assert m is again
        pipe.send({"back": m})
        pipe.recv()
        use(m, owner)
    """
    main = """
    context = multiprocessing.get_context(args[0])
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, owner))
    process.start()
    m = make(args[1])
    ours.send((m, m))
    back = ours.recv()["back"]
    assert back is not m and back[:] == m[:]
    back.close()
    ours.send(None)
    process.join()
    assert process.exitcode == 0
    in_use(m)
    """
    run(functions, main, method, kind)


POOLED = """
def start(m, owner):
    global kept
    kept = m
    assert os.getpid() != owner

def by_start(number):
    kept.atomic_uint64_at(8).fetch_add(number)

def by_task(m, number):
    assert m.offset == PAGE
    m.atomic_uint64_at(8).fetch_add(number)  # not closed: tasks of one chunk may share it
"""


def test_to_a_pool(run, method, kind):
    main = """
    m = make(args[1])
    with multiprocessing.get_context(args[0]).Pool(2, start, (m, owner)) as pool:
        pool.map(by_start, range(10))
        pool.starmap(by_task, [(m, number) for number in range(10)])
    assert m.read_uint64_at(8) == NUMBER + 90
    """
    run(POOLED, main, method, kind)


def test_to_a_process_pool_executor(run, method, kind):
    if method != "fork" and not hasattr(ProcessPoolExecutor, "_adjust_process_count"):
        pytest.skip("the executor of PyPy 7.3.11 calls this method, and lacks it")
    main = """
    from concurrent.futures import ProcessPoolExecutor

    m = make(args[1])
    context = multiprocessing.get_context(args[0])
    with ProcessPoolExecutor(2, mp_context=context, initializer=start, initargs=(m, owner)) as pool:
        list(pool.map(by_start, range(10)))
        list(pool.map(by_task, [m] * 10, range(10)))
    assert m.read_uint64_at(8) == NUMBER + 90
    """
    run(POOLED, main, method, kind)


# ---- what is handed over ----


def test_offset_length_and_protection_come_along(run, method):
    functions = """
    def work(m, empty, long):
        assert (m.offset, len(m), m.prot, m[:3]) == (5, 100, 1, b"UUU")
        refused(lambda: m.fill(0), io.UnsupportedOperation)
        assert (len(empty), empty.offset) == (0, 16 * PAGE)
        assert (len(long), long.accessible) == (64 * PAGE, 15 * PAGE)
        long.reserve(20 * PAGE)
    """
    main = """
    context = multiprocessing.get_context(args[0])
    m = make("file", offset=5, length=100, prot=1)
    empty = make("file", offset=16 * PAGE, length=None)
    long = make("file", length=64 * PAGE)
    process = context.Process(target=work, args=(m, empty, long))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert long.accessible == 20 * PAGE
    """
    run(functions, main, method)


@pytest.mark.parametrize("end", ["unmap", "close"])
def test_the_owner_may_unmap_as_soon_as_the_process_is_started(run, method, end):
    main = """
    context = multiprocessing.get_context(args[0])
    m = make("file")
    other = File(os.open(path, os.O_RDWR), PAGE, PAGE)
    process = context.Process(target=use, args=(m, owner))
    process.start()
    getattr(m, args[1])()
    fillers = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]  # under the number that was closed
    process.join()
    assert process.exitcode == 0
    in_use(other)
    """
    run("", main, method, end)


def test_an_unmapped_file_whose_descriptor_another_call_still_uses_is_refused(run):
    main = """
    from sharedmmap._native import lib

    duplicate = lib.region_duplicate

    class Lib:
        def __getattr__(self, name):
            return getattr(lib, name)

        def region_duplicate(self, c, owned):
            failed = duplicate(c, owned)
            m.unmap()  # so that it is unmapped, and the call has not failed
            return failed

    sharedmmap._region.lib = Lib()
    m = make("file")
    before = descriptors()
    refused(lambda: there_and_back(m), UnmappedMemoryError)
    assert descriptors() == before - 1
    """
    run(SAME_PROCESS, main)


def test_a_file_that_was_unmapped_is_refused(run, method):
    main = """
    context = multiprocessing.get_context(args[0])
    from multiprocessing.reduction import ForkingPickler

    m = make("file")
    m.unmap()
    refused(lambda: ForkingPickler.dumps(m), UnmappedMemoryError)
    if args[0] != "fork":
        refused(lambda: context.Process(target=use, args=(m, owner)).start(), UnmappedMemoryError)
    """
    run("", main, method)


def test_a_file_without_a_descriptor_is_refused(run, method):
    main = """
    context = multiprocessing.get_context(args[0])
    from multiprocessing.reduction import ForkingPickler

    m = make("file", trackfd=False)
    said = refused(lambda: ForkingPickler.dumps(m), io.UnsupportedOperation)
    assert "handing a File to another process" in said and "trackfd=False" in said, said
    if args[0] != "fork":
        refused(lambda: context.Process(target=use, args=(m, owner)).start(), io.UnsupportedOperation)
    m.check()
    """
    run("", main, method)


@pytest.mark.no_sanitizer
def test_without_a_free_descriptor_the_error_names_the_limit(run):
    main = """
    from multiprocessing.reduction import ForkingPickler

    m = make("file")
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    spare = []
    try:
        while True:
            spare.append(os.dup(1))
    except OSError:
        pass
    assert "RLIMIT_NOFILE is 20" in refused(lambda: ForkingPickler.dumps(m), OSError)
    """
    run("", main)


def test_a_file_that_another_thread_has_just_restored_is_sent(run):
    main = """
    m = make("file")
    before_restoring = m._region
    os.truncate(path, 0)
    refused(lambda: m[0], MappingFaultError)
    os.truncate(path, 16 * PAGE)
    m.restore()
    m[0] = 9
    m._region = before_restoring  # as it is for a moment within restore()
    assert there_and_back(m)[0] == 9
    """
    run(SAME_PROCESS, main)


def test_a_file_that_another_thread_unmaps_is_sent_or_refused(run):
    functions = """
    def unmap(m, ready):
        ready.wait()
        m.unmap()

    def numbered(number):
        with open(path, "wb") as file:
            file.write(number.to_bytes(4, "little") * PAGE)
        return sharedmmap.open(path)
    """
    main = """
    sys.setswitchinterval(1e-6)
    sent = 0
    for number in range(300):
        m, ready = numbered(number), threading.Event()
        thread = threading.Thread(target=unmap, args=(m, ready))
        thread.start()
        ready.set()
        try:
            with there_and_back(m) as copied:
                assert copied.read_uint32_at(PAGE) == number
            sent += 1
        except UnmappedMemoryError:
            pass
        thread.join()
    assert sent
    """
    run(SAME_PROCESS + dedent(functions), main)


# ---- only by multiprocessing ----


@pytest.mark.parametrize("wrap", ["m", "[m]", "{'m': m}"])
def test_pickle_and_copy_refuse_it_wherever_they_are_called(run, method, wrap):
    functions = f"""
    def work(m):
        for refuse in pickle.dumps, copy.deepcopy, lambda wrapped: copy.copy(m):
            assert "cannot be pickled or copied" in refused(lambda: refuse({wrap}), TypeError)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            refused(lambda: pickle.dumps({wrap}, protocol), TypeError)
            refused(lambda: pickle._dumps({wrap}, protocol), TypeError)
    """
    main = """
    work(make("file"))
    context = multiprocessing.get_context(args[0])
    work(make("file"))
    process = context.Process(target=work, args=(make("file"),))
    process.start()
    process.join()
    assert process.exitcode == 0
    """
    run(functions, main, method)


def test_a_plain_pickle_within_one_of_multiprocessing_is_refused(run):
    functions = """
    class Holder:
        def __init__(self, m):
            self.m = m

        def __getstate__(self):
            return pickle.dumps(self.m)
    """
    main = """
    assert "cannot be pickled" in refused(lambda: there_and_back(Holder(make("file"))), TypeError)
    """
    run(SAME_PROCESS + dedent(functions), main)


def test_a_subclass_is_refused(run):
    functions = """
    class Named(File):
        __slots__ = ("name",)
    """
    main = """
    make("file")
    with open(path, "r+b") as file:
        assert "Named cannot be pickled" in refused(lambda: there_and_back(Named(file)), TypeError)
    """
    run(SAME_PROCESS + dedent(functions), main)


# ---- whenever multiprocessing is imported ----


def test_multiprocessing_is_not_imported_for_those_who_do_not_use_it(tmp_path):
    code = """
    m = sharedmmap.open(path, "w+", length=8)
    try:
        __import__("pickle").dumps(m)
    except TypeError:
        print([name for name in sys.modules if name.startswith("multiprocessing")])
    """
    assert output(code, tmp_path / "file") == "[]"


ORDERS = {
    "before": "import multiprocessing; import sharedmmap; m = sharedmmap.open(path)",
    "after": "import sharedmmap; m = sharedmmap.open(path); import multiprocessing",
    "a part of it before": "import multiprocessing.process; import sharedmmap; m = sharedmmap.open(path)",
    "only looked for before": """
import sharedmmap, importlib.util
importlib.util.find_spec("multiprocessing.reduction")
m = sharedmmap.open(path)
""",
    "in vain before": """
import sharedmmap

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "multiprocessing.context":
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
try:
    import multiprocessing
except ImportError:
    del sys.meta_path[0]
else:
    raise AssertionError("imported")
m = sharedmmap.open(path)
""",
}


@pytest.mark.parametrize("order", ORDERS)
def test_it_does_not_matter_when_multiprocessing_is_imported(path, contents, order):
    program = f"""
import pickle, sys
path = sys.argv[1]
before = [type(finder) for finder in sys.meta_path]
{ORDERS[order]}
import multiprocessing.reduction as reduction
copied = pickle.loads(reduction.ForkingPickler.dumps(m))
assert copied[:] == m[:]
assert [type(finder) for finder in sys.meta_path] == before, sys.meta_path
assert reduction.__loader__ is reduction.__spec__.loader
assert type(reduction.__loader__) is type(pickle.__loader__), reduction.__loader__
assert "class ForkingPickler" in reduction.__loader__.get_source(reduction.__name__)
print(len(copied))
"""
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (str(len(contents)), "")


# ---- nothing leaks ----


@pytest.mark.slow
def test_neither_side_keeps_a_descriptor(run, method):
    functions = """
    def work(pipe, given):
        given.close()
        del given
        pipe.recv().close()  # whatever this starts
        before = descriptors()
        pipe.send(before)
        while m := pipe.recv():
            m[0] = 7
            m.close()
            del m
            pipe.send(descriptors())
    """
    main = """
    context = multiprocessing.get_context(args[0])
    m = make("file")

    def round():
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, m))
        process.start()
        theirs.close()
        ours.send(m)
        before = ours.recv()
        for _ in range(20):
            ours.send(m)
            assert ours.recv() == before
        ours.send(None)
        process.join()
        assert process.exitcode == 0
        ours.close()
        process.close()

    round()
    before = descriptors()
    for _ in range(3):
        round()
        assert descriptors() == before, (descriptors(), before)
    """
    run(functions, main, method)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "fork"])
def test_a_running_process_keeps_no_duplicate_once_another_is_started(run, method):
    functions = """
    def wait(m, enough):
        enough.wait()
    """
    main = """
    context = multiprocessing.get_context(args[0])
    m, enough = make("file"), context.Event()
    duplicates, processes = [], []
    for _ in range(4):
        processes.append(context.Process(target=wait, args=(m, enough)))
        processes[-1].start()
        inode = os.stat(path).st_ino
        found = 0
        for name in os.listdir("/dev/fd"):
            try:
                found += os.stat(int(name)).st_ino == inode
            except OSError:
                pass
        duplicates.append(found)
    enough.set()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert duplicates == [2] * 4, duplicates  # that of m, and that of the last process
    """
    run(functions, main, method)


@pytest.mark.slow
@interrupts_fstat
def test_a_signal_handler_that_raises_while_a_file_is_sent_leaks_nothing(run):
    """Up to where multiprocessing takes over; from there on it is its own affair."""
    functions = """
    class Handle:
        def __init__(self, fd):
            os.fstat(fd)

    """
    main = """
    from multiprocessing import reduction
    from sharedmmap._workers import _reduce

    reduction.DupFd = Handle
    m = make("file")
    signal.signal(signal.SIGALRM, interrupt)
    _reduce(m)
    before = descriptors()  # collects what importing has left: its callbacks would swallow an exception
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 5e-5)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            armed = True
            for _ in range(1000):
                _reduce(m)
            armed = False
        except (Interrupt, SystemError):  # CPython 3.9 makes the one of the other in os.fstat
            pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert interrupts > 100, interrupts
    assert descriptors() == before, (descriptors(), before)
    """
    run(RAISING + dedent(functions), main)


def test_a_file_that_cannot_be_mapped_there_leaves_no_descriptor(run):
    main = """
    m = make("file", length=64 * PAGE)
    there_and_back(m).close()
    before = descriptors()
    sent = bytes(ForkingPickler.dumps(m))
    limit = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 20, limit[1]))
    refused(lambda: pickle.loads(sent), OSError, MemoryError)
    resource.setrlimit(resource.RLIMIT_AS, limit)
    assert descriptors() == before, (descriptors(), before)
    """
    run(SAME_PROCESS, main)
