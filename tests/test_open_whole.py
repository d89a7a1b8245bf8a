"""Files that ``open`` creates whole or not at all, whoever else creates them, and whenever a creator is killed."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from child import PRELUDE, RAISING, interrupts_fstat, output

import sharedmmap
from sharedmmap import UnmappedMemoryError, _create

PAGE = os.sysconf("SC_PAGESIZE")

# How a file can be created, and what makes a process create it so.
WAYS = {
    "unnamed": "",
    "no O_TMPFILE": "_create.O_TMPFILE = 0",
    "EOPNOTSUPP": """
open_descriptor = _create.Descriptor.open

def refuse_unnamed(self, path, flags, directory=None):
    if _create.O_TMPFILE and flags & _create.O_TMPFILE == _create.O_TMPFILE:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
    open_descriptor(self, path, flags, directory)

_create.Descriptor.open = refuse_unnamed
""",
    "no proc": "_create._Copy._in_proc = lambda self: '/nowhere/proc/self/fd/9'",
}
NAMED = list(WAYS)[1 if sys.platform == "linux" else 0 :]

SETUP = """
from sharedmmap import _create
from array import array
import atexit, random, struct, time, traceback

SIZE = 3 * PAGE + 8  # the last 8 bytes count those who have opened it

def initialize(m):
    m.write_array_at(array("I", [os.getpid()]) * (SIZE // 8 - 1), 0)
    m.write_array_at(array("I", [os.getpid()]) * (SIZE // 8 - 1), SIZE // 2 - 4)

def create(name):
    return sharedmmap.open(name, "a+", length=SIZE, initialize=initialize)

def creator(contents):
    # Who has filled it; nobody else has written there.
    assert len(contents) == SIZE, len(contents)
    assert contents[:-8] == contents[:4] * (SIZE // 4 - 2), "two have written, or nobody"
    assert contents[:4] != bytes(4), "not initialized"
    return int.from_bytes(contents[:4], "little")

def look(name):
    try:
        with open(name, "rb") as file:
            return creator(file.read())
    except FileNotFoundError:
        return None
"""


@pytest.fixture
def use_way(monkeypatch):
    def use(way):
        monkeypatch.setattr(_create, "O_TMPFILE", _create.O_TMPFILE)
        monkeypatch.setattr(_create.Descriptor, "open", _create.Descriptor.open)
        monkeypatch.setattr(_create._Copy, "_in_proc", _create._Copy._in_proc)
        exec(WAYS[way], {"_create": _create, "errno": errno, "os": os})

    return use


@pytest.fixture(params=WAYS)
def way(request, use_way):
    """Each way in which a file can be created, in turn."""
    use_way(request.param)
    return request.param


@pytest.fixture
def new(tmp_path):
    """A path in a directory of its own, where nothing is yet."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "new"


@pytest.fixture(params=["memory", "disk"])
def folder(request, tmp_path):
    """An empty directory in a tmpfs, and one where the tests run."""
    if request.param == "disk":
        yield tmp_path
        return
    if not os.path.isdir("/dev/shm"):
        pytest.skip("there is no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def whole(path, mode="a+", fill=b"whole", length=5, **options):
    return sharedmmap.open(path, mode, length=length, initialize=lambda m: m.write_at(fill, 0), **options)


def names(path):
    return sorted(os.listdir(path.parent))


def descriptors():
    for _ in range(3):
        gc.collect()
    return len(os.listdir("/dev/fd"))


# ---- a+ ----


def test_a_creates_a_file_that_is_not_there(new):
    with sharedmmap.open(new, "a+", offset=5, length=PAGE, capacity=2 * PAGE) as m:
        assert (len(m), m.accessible, m[:PAGE]) == (2 * PAGE, PAGE, bytes(PAGE))
    assert new.stat().st_size == PAGE + 5


def test_a_without_a_length_creates_an_empty_file(new):
    with sharedmmap.open(new, "a+") as m:
        assert len(m) == 0
    assert new.stat().st_size == 0


@pytest.mark.parametrize("initialize", [None, lambda m: m.fill(7)])
@pytest.mark.parametrize("length", [1, 3 * PAGE + 100, 5 * PAGE])
def test_a_keeps_what_is_there_and_extends_it_to_the_length(path, contents, length, initialize):
    with sharedmmap.open(path, "a+", offset=50, length=length, initialize=initialize) as m:
        assert len(m) == m.accessible == length
    assert path.read_bytes() == contents.ljust(50 + length, b"\0")


def test_a_without_a_length_maps_what_is_there(path, contents):
    with sharedmmap.open(path, "a+") as m:
        assert m[:] == contents


# ---- one process ----


@pytest.mark.parametrize("mode", ["a+", "x+"])
def test_initialize_gets_zeros_of_the_length_before_the_path_exists(new, way, mode):
    seen = []

    def initialize(m):
        seen.append((len(m), m.accessible, m[:100], new.exists()))
        m[50] = 7

    with sharedmmap.open(new, mode, offset=5, length=100, capacity=PAGE, initialize=initialize) as m:
        assert seen == [(PAGE, 100, bytes(100), False)]
        assert new.read_bytes() == bytes(55) + b"\7" + bytes(49)
        assert names(new) == ["new"]
        assert not m.dirty


def test_the_file_that_is_returned_maps_what_is_published(new, way):
    with whole(new) as m:
        with new.open("r+b") as file:
            file.write(b"WHO")
        assert m[:] == b"WHOle"
        m[4] = ord("?")
        m.reserve(5)
    assert new.read_bytes() == b"WHOl?"
    assert new.stat().st_nlink == 1


def test_bytes_and_relative_paths_and_other_path_objects_will_do(new, way, monkeypatch):
    monkeypatch.chdir(new.parent)
    for path in "new", b"new", Path("new"), os.fsencode(new):
        with whole(path, "x+"):
            assert new.read_bytes() == b"whole"
        new.unlink()


def test_the_file_is_on_disk_before_it_has_its_name_and_with_the_name_afterwards(new, way, monkeypatch):
    calls = []  # is it the directory, is the path there, how many names are there

    def fsync(fd):
        calls.append((stat.S_ISDIR(os.fstat(fd).st_mode), "new" in names(new), len(names(new))))

    monkeypatch.setattr(os, "fsync", fsync)
    whole(new).close()
    assert calls == [(False, False, way != "unnamed"), (False, True, 1), (True, True, 1)]


def test_a_directory_that_cannot_be_synced_is_an_error_and_the_file_stays(new, way, monkeypatch):
    before = descriptors()
    for reason in errno.EIO, errno.EINVAL:

        def fsync(fd, reason=reason):
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(reason, os.strerror(reason))

        monkeypatch.setattr(os, "fsync", fsync)
        if reason == errno.EIO:
            with pytest.raises(OSError, match=os.strerror(errno.EIO)):
                whole(new)
        else:  # the file system has no such thing
            whole(new).close()
        assert new.read_bytes() == b"whole"
        assert names(new) == ["new"]
        new.unlink()
    assert descriptors() == before


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000, 0o137])
def test_the_permissions_are_those_that_open_gives(new, way, mask):
    code = """
    exec(args[1])
    os.umask(int(args[0]))
    os.close(os.open(path + "-opened", os.O_RDWR | os.O_CREAT, 0o666))
    sharedmmap.open(path, "a+", length=1, initialize=lambda m: None)
    print(os.stat(path).st_mode == os.stat(path + "-opened").st_mode)
    """
    assert output(code, new, mask, WAYS[way], setup=SETUP) == "True"


# ---- somebody was faster ----


def test_x_does_not_even_begin_where_the_path_exists(new, way):
    new.write_bytes(b"theirs")
    with pytest.raises(FileExistsError) as caught:
        sharedmmap.open(new, "x+", length=5, initialize=lambda m: pytest.fail("called"))
    assert caught.value.filename == new
    assert new.read_bytes() == b"theirs"


@pytest.mark.parametrize("theirs", ["file", "symbolic link"])
def test_x_raises_where_somebody_was_faster(new, way, theirs):
    before = descriptors()

    def initialize(m):
        new.write_bytes(b"theirs") if theirs == "file" else new.symlink_to("nothing")

    with pytest.raises(FileExistsError) as caught:
        sharedmmap.open(new, "x+", length=5, initialize=initialize)
    assert caught.value.filename == new
    assert names(new) == ["new"]
    assert descriptors() == before


def test_a_opens_theirs_where_somebody_was_faster(new, way):
    before = descriptors()
    ours = []

    def initialize(m):
        ours.append(m)
        m.write_at(b"ours", 0)
        new.write_bytes(b"theirs")

    with sharedmmap.open(new, "a+", length=6, initialize=initialize) as m:
        assert m[:] == b"theirs"
        assert names(new) == ["new"]
        assert ours[0].closed
    assert descriptors() == before


def test_a_publishes_its_own_where_theirs_has_gone_again(new, way, monkeypatch):
    map_existing = _create._map_existing
    calls = []

    def map_vanished(path, map_file):
        if new.exists():
            new.unlink()
        return map_existing(path, map_file)

    def initialize(m):
        calls.append(m)
        m.write_at(b"ours", 0)
        new.write_bytes(b"theirs")

    monkeypatch.setattr(_create, "_map_existing", map_vanished)
    with sharedmmap.open(new, "a+", length=4, initialize=initialize) as m:
        assert (m, m[:]) == (calls[0], b"ours")
    assert len(calls) == 1
    assert new.read_bytes() == b"ours"


def test_a_link_to_nothing_ends_in_an_error_after_one_initialization(new, way):
    before = descriptors()
    new.symlink_to("nothing")
    calls = []
    with pytest.raises(FileNotFoundError, match=f"{_create.TRIES} tries") as caught:
        sharedmmap.open(new, "a+", length=5, initialize=calls.append)
    assert caught.value.filename == new
    assert len(calls) == 1
    assert names(new) == ["new"]
    assert descriptors() == before


def test_a_link_to_a_file_is_followed(new, path, contents, way):
    new.symlink_to(path)
    with whole(new) as m:
        assert m[:] == contents[:5]


@pytest.mark.parametrize("mode", ["a+", "x+"])
def test_a_directory_that_vanishes_ends_in_an_error(new, way, mode):
    before = descriptors()
    calls = []

    def initialize(m):
        calls.append(m)
        shutil.rmtree(new.parent)

    with pytest.raises(FileNotFoundError) as caught:
        sharedmmap.open(new, mode, length=5, initialize=initialize)
    assert caught.value.filename == new
    assert len(calls) == 1
    assert descriptors() == before


@pytest.mark.parametrize("mode", ["a+", "x+"])
def test_a_directory_that_is_replaced_gets_another_file(new, way, mode):
    calls = []

    def initialize(m):
        m.write_at(b"whole", 0)
        calls.append(m)
        if len(calls) < 3:
            os.rename(new.parent, new.parent.with_name(f"old{len(calls)}"))
            shutil.rmtree(new.parent.with_name(f"old{len(calls)}"))
            new.parent.mkdir()

    with sharedmmap.open(new, mode, length=5, initialize=initialize) as m:
        assert m is calls[2]
    assert new.read_bytes() == b"whole"
    assert [m.closed for m in calls] == [True] * 3


def test_a_directory_that_is_not_there_is_an_error_that_names_the_path(tmp_path, way):
    for mode in "a+", "x+":
        with pytest.raises(FileNotFoundError) as caught:
            whole(tmp_path / "missing" / "file", mode)
        assert caught.value.filename == tmp_path / "missing" / "file"


@pytest.mark.parametrize("mode", ["a+", "x+"])
def test_a_path_without_a_name_is_refused_without_an_initialization(tmp_path, way, mode):
    for path in "", f"{tmp_path}/", f"{tmp_path}/missing/", f"{tmp_path}/.", str(tmp_path):
        with pytest.raises(OSError, match=r"No such file|Is a directory|File exists") as caught:
            sharedmmap.open(path, mode, length=5, initialize=lambda m: pytest.fail("called"))
        assert caught.value.errno in (errno.ENOENT, errno.EISDIR, errno.EEXIST)
        assert caught.value.filename == path
    assert os.listdir(tmp_path) == []


# ---- what initialize does ----


class RefusedError(Exception):
    pass


@pytest.mark.parametrize("mode", ["a+", "x+"])
@pytest.mark.parametrize("error", [RefusedError(), FileExistsError(), FileNotFoundError(), KeyboardInterrupt()])
def test_an_initialize_that_raises_creates_nothing(new, way, mode, error):
    before = descriptors()
    seen = []

    def initialize(m):
        seen.append(m)
        m[0] = 7
        raise error

    with pytest.raises(type(error)) as caught:
        sharedmmap.open(new, mode, length=5, initialize=initialize)
    assert caught.value is error
    assert names(new) == []
    assert len(seen) == 1
    assert seen[0].closed
    assert descriptors() == before


def test_an_initialize_that_unmaps_creates_nothing(new, way):
    with pytest.raises(UnmappedMemoryError):
        sharedmmap.open(new, "a+", length=5, initialize=lambda m: m.unmap())
    assert names(new) == []


def test_an_initialize_that_swallows_a_fault_creates_nothing(new, use_way):
    """The temporary name lets the test cut the file; nobody should."""
    use_way("no O_TMPFILE")

    def initialize(m):
        (name,) = names(new)
        os.truncate(new.parent / name, 0)
        with pytest.raises(sharedmmap.Error):
            m.write_at(b"lost", 0)

    with pytest.raises(sharedmmap.Error):
        sharedmmap.open(new, "a+", length=5, initialize=initialize)
    assert names(new) == []


@pytest.mark.slow
@interrupts_fstat
@pytest.mark.parametrize("way", WAYS)
def test_a_signal_handler_that_raises_leaks_nothing(new, way):
    code = """
    exec(args[0])

    signal.signal(signal.SIGALRM, interrupt)
    create(path).close()
    os.unlink(path)
    gc.collect()  # what importing has left: its callbacks would swallow an exception of the handler
    before = len(os.listdir("/dev/fd"))
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1.3e-4)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            armed = True
            for _ in range(100):
                create(path).close()
                os.unlink(path)
            armed = False
        except (Interrupt, SystemError):  # CPython 3.9 makes the one of the other in os.fstat
            pass
        if look(path):
            os.unlink(path)
    signal.setitimer(signal.ITIMER_REAL, 0)
    create(path).close()  # and deletes what an interrupted deletion has left
    for _ in range(3):
        gc.collect()
    assert len(os.listdir("/dev/fd")) == before
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    assert interrupts > 10, interrupts
    """
    assert output(code, new, WAYS[way], setup=SETUP + RAISING) == ""


# ---- temporary names ----


@pytest.mark.parametrize("way", NAMED)
def test_what_a_killed_creator_has_left_is_deleted_by_the_next(new, use_way, way):
    use_way(way)
    left = new.parent / ".sharedmmap-0123456789abcdef"
    left.write_bytes(b"half")
    whole(new).close()
    assert names(new) == ["new"]


def test_the_second_name_of_a_published_file_is_deleted_and_the_file_stays(new, use_way):
    use_way("no O_TMPFILE")
    whole(new).close()
    os.link(new, new.parent / ".sharedmmap-0123456789abcdef")
    whole(new.parent / "other").close()
    assert names(new) == ["new", "other"]
    assert new.read_bytes() == b"whole"


def test_what_another_creator_is_working_on_stays(new, use_way):
    use_way("no O_TMPFILE")

    def initialize(m):
        held = names(new)
        whole(new.parent / "other").close()
        assert names(new) == sorted([*held, "other"])

    sharedmmap.open(new, "a+", length=5, initialize=initialize).close()
    assert names(new) == ["new", "other"]


def test_what_only_looks_like_a_temporary_name_stays(new, use_way):
    use_way("no O_TMPFILE")
    others = [".sharedmmap-0123456789abcde", ".sharedmmap-0123456789abcdeg", "a.sharedmmap-0123456789abcdef"]
    for name in others:
        (new.parent / name).write_bytes(b"theirs")
    (new.parent / ".sharedmmap-0000000000000000").symlink_to(others[0])
    (new.parent / ".sharedmmap-0000000000000001").mkdir()
    whole(new).close()
    others += [".sharedmmap-0000000000000000", ".sharedmmap-0000000000000001", "new"]
    assert names(new) == sorted(others)


@pytest.mark.parametrize("deleted", ["before the lock", "while another has the lock"])
def test_a_creator_whose_file_is_taken_for_abandoned_makes_another(new, use_way, monkeypatch, deleted):
    use_way("no O_TMPFILE")
    flock = fcntl.flock
    calls = []

    def late_flock(fd, operation):
        calls.append(fd)
        if len(calls) == 1:
            (name,) = names(new)
            with open(new.parent / name) as file:
                flock(file, fcntl.LOCK_EX)
                try:
                    if deleted == "while another has the lock":
                        return flock(fd, operation)
                finally:
                    os.unlink(new.parent / name)
        return flock(fd, operation)

    initialized = []
    monkeypatch.setattr(fcntl, "flock", late_flock)
    with sharedmmap.open(new, "a+", length=5, initialize=initialized.append) as m:
        assert names(new) == ["new"]
        assert initialized == [m]
    assert len(calls) > 1


def test_a_creator_whose_file_is_always_deleted_gives_up(new, use_way, monkeypatch):
    use_way("no O_TMPFILE")

    def late_flock(fd, operation):
        (name,) = names(new)
        os.unlink(new.parent / name)

    monkeypatch.setattr(fcntl, "flock", late_flock)
    with pytest.raises(OSError, match=f"{_create.TRIES} tries"):
        whole(new)
    assert names(new) == []


@pytest.mark.no_sanitizer
def test_the_published_file_is_not_left_locked(new, way):
    with whole(new), new.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# ---- many processes ----


@pytest.mark.parametrize("way", ["unnamed", "no O_TMPFILE"])
def test_eight_that_start_at_once_all_see_the_one_file_that_is_published(folder, way):
    code = """
    exec(args[1])
    rounds, workers = int(args[0]), 8
    results, report = os.pipe()
    goes, pids = [], []
    for _ in range(workers):
        go, start = os.pipe()
        pids.append(os.fork())
        if pids[-1] == 0:
            signal.alarm(100)
            try:
                while True:
                    number = os.read(go, 4)
                    name = os.path.join(path, str(int.from_bytes(number, "little")))
                    look(name)
                    m = create(name)
                    who = creator(m[:])
                    assert look(name) == who
                    m.atomic_uint64_at(SIZE - 8).fetch_add(1)
                    os.write(report, struct.pack("QQ", who, os.stat(name).st_ino))
                    m.close()
            finally:  # what was raised
                traceback.print_exc()
                os.write(report, struct.pack("QQ", 0, os.getpid()))
                os._exit(1)
        goes.append(start)
    def kill_workers():
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    atexit.register(kill_workers)
    for number in range(rounds):
        for start in goes:
            os.write(start, number.to_bytes(4, "little"))
        found = {os.read(results, 16) for _ in range(workers)}
        assert len(found) == 1, found
        assert os.listdir(path) == [str(number)], os.listdir(path)
        name = os.path.join(path, str(number))
        with sharedmmap.open(name, "r") as m:
            assert m.read_uint64_at(SIZE - 8) == workers
        assert look(name) == struct.unpack("QQ", found.pop())[0]
        os.unlink(name)
    """
    rounds = 300 if str(folder).startswith("/dev/shm") else 50
    assert output(code, folder, rounds, WAYS[way], setup=SETUP) == ""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["unnamed", "no O_TMPFILE"])
def test_a_creator_that_is_killed_leaves_nothing_or_a_whole_file(folder, way):
    code = """
    exec(args[0])
    name = os.path.join(path, "file")

    def create_in_child():
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
            create(name)
            os._exit(0)
        os.waitpid(pid, os.WUNTRACED)
        start = time.perf_counter()
        os.kill(pid, signal.SIGCONT)
        return pid, start

    def duration():
        pid, start = create_in_child()
        os.waitpid(pid, 0)
        os.unlink(name)
        return time.perf_counter() - start

    longest = sorted(duration() for _ in range(9))[4] * 1.5
    killed, whole = 0, 0
    for _ in range(200):
        pid, start = create_in_child()
        end = start + random.random() * longest
        while time.perf_counter() < end:
            pass
        os.kill(pid, signal.SIGKILL)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
        there = look(name)  # whole, or not there
        whole += there is not None
        others = set(os.listdir(path)) - {"file"}
        assert len(others) <= (1 if args[0] else 0), others
        longest *= 0.93 if there else 1.05  # so that both happen, whatever else the machine does
        if there:
            os.unlink(name)
    duration()
    assert os.listdir(path) == []
    assert killed > 20 and 20 < whole < 180, (killed, whole)
    """
    assert output(code, folder, WAYS[way], setup=SETUP) == ""


CREATE = PRELUDE + SETUP + "exec(args[0]); os.path.exists('/start'); create(path); os.path.exists('/end')"


def trace(path, way, *options):
    """Runs a creator under strace; what that prints."""
    log = path.parent.with_name("log")
    command = ["strace", "-o", log, *options, sys.executable, "-c", CREATE, path, WAYS[way]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done, log.read_text(errors="replace") if log.exists() else ""


@pytest.mark.slow
@pytest.mark.parametrize("way", ["unnamed", "no O_TMPFILE"])
def test_a_creator_that_is_killed_at_any_system_call_leaves_nothing_or_a_whole_file(new, way):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    done, log = trace(new, way)
    if done.returncode or "/end" not in log:
        pytest.skip(f"strace cannot trace here: {done.stderr}")
    new.unlink()
    calls = []  # each with its number among those of its name
    numbers = {}
    inside = False
    for name, rest in re.findall(r"^(\w+)\((.*)$", log, re.MULTILINE):
        numbers[name] = numbers.get(name, 0) + 1
        inside = (inside or '"/start"' in rest) and '"/end"' not in rest
        if inside:
            calls.append((name, numbers[name]))
    assert {"linkat", "fsync", "msync", "mmap", "close"} <= {name for name, _ in calls}
    created = []
    for name, number in calls[1:]:
        trace(new, way, "-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={number}")
        left = set(names(new)) - {"new"}
        assert len(left) <= (way != "unnamed"), (name, number, left)
        if new.exists():
            assert output("assert look(path)", new, setup=SETUP) == ""
            new.unlink()
            created.append(name)
    assert created
    assert len(created) < len(calls) - 1
    trace(new, way)
    assert names(new) == ["new"]


# ---- values ----


@pytest.mark.parametrize(
    ("mode", "options", "says"),
    [
        ("r", {"length": 5}, "initialize is for the modes 'x\\+' and 'a\\+', .* 'r'"),
        ("r+", {"length": 5}, "initialize is for the modes 'x\\+' and 'a\\+', .* 'r\\+'"),
        ("w+", {"length": 5}, "initialize is for the modes 'x\\+' and 'a\\+', .* 'w\\+'"),
        ("a+", {}, "length is None"),
        ("x+", {"capacity": 5}, "length is None"),
        ("a+", {"length": 0}, "length must be at least 1 .* not 0"),
        ("a+", {"length": 2**63}, f"length must .* not {2**63}"),
        ("a+", {"length": 5, "capacity": 4}, "capacity 4 is less than length 5"),
        ("a+", {"length": 5, "offset": -1}, "offset -1 is negative"),
        ("a", {"length": 5}, "mode must be one of 'r', 'r\\+', 'w\\+', 'x\\+', 'a\\+', not 'a'"),
    ],
)
def test_values_that_cannot_be_are_refused_and_nothing_is_created(new, mode, options, says):
    with pytest.raises(ValueError, match=says):
        sharedmmap.open(new, mode, initialize=lambda m: pytest.fail("called"), **options)
    assert names(new) == []


def test_a_path_with_a_null_byte_is_refused(new):
    for initialize in None, lambda m: None:
        for path in f"{new}\0more", os.fsencode(new) + b"\0more":
            with pytest.raises(ValueError, match="null"):
                sharedmmap.open(path, "a+", length=5, initialize=initialize)
    assert names(new) == []


def test_a_length_the_file_system_refuses_creates_nothing(new, way):
    with pytest.raises(OSError, match=r"fallocate"):
        sharedmmap.open(new, "a+", length=2**62, initialize=lambda m: None)
    assert names(new) == []
