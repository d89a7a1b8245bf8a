"""Views, atomic words and streams that outlive their ``File`` by far, and the interpreter's end."""

from __future__ import annotations

import mmap
import signal
import sys
import sysconfig

import pytest
from child import output, run

PAGE = mmap.PAGESIZE
SIZE = 3 * PAGE
PYPY = sys.implementation.name == "pypy"
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is mapped")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"U" * SIZE)
    return path


# ---- long after ----

SETUP = f"""
import io
from collections import namedtuple

SIZE = {SIZE}
CONTENTS = b"U" * SIZE
WORD = int.from_bytes(b"U" * 8, "little")
Late = namedtuple("Late", "view readonly word waited stream buffered")

def made_from(m):
    # All that is left of a mapping, in a cycle: no reference count ends it.
    late = [Late(
        m.view(), m.view(1, readonly=True), m.atomic_uint64_at(8), m.atomic_uint32_at(PAGE),
        m.stream(), io.BufferedReader(m.stream(PAGE), 100),
    )]
    late.append(late)
    return late

def uses(late):
    return [
        late.word.load, lambda: late.word.store(7), lambda: late.word.compare_exchange(0, 7),
        late.waited.load, lambda: late.waited.wait(0, 0), late.waited.notify,
        late.stream.read, late.stream.tell, lambda: late.stream.write(b"w"), lambda: late.buffered.read(5),
    ]

def outcome(operation):
    try:
        return operation()
    except (UnmappedMemoryError, MappingFaultError, OutOfBoundsError) as error:
        return type(error).__name__

def others(path):
    # Mappings made meanwhile: of ours, of the standard module, and of nobody's file.
    with open(path, "w+b") as file:
        file.write(b"o" * SIZE)
        file.flush()
        mappings = [sharedmmap.open(path), mmap.mmap(file.fileno(), SIZE), mmap.mmap(-1, SIZE)]
    mappings[2][:] = b"o" * SIZE
    return mappings

def check(mappings):
    for mapping in mappings:
        assert mapping[:] == b"o" * SIZE
"""


@pytest.mark.parametrize(
    "meanwhile", ["pass", "os.truncate(path, 0)", "os.truncate(path, PAGE)", "os.unlink(path)"]
)
def test_what_outlives_an_unmapped_file_raises_and_a_view_touches_nothing_else(path, meanwhile):
    code = f"""
    kept, made = [], []
    for round in range(20):
        m = sharedmmap.open(path)
        kept.append(made_from(m))
        made_from(m)  # dropped at once
        m.unmap()
        del m
        made.append(others(path + ".other"))
        gc.collect()
    {meanwhile}
    for late, _ in kept:
        for shown, all in (late.view, CONTENTS), (late.readonly, CONTENTS[1:]):
            assert bytes(shown) in (all, bytes(len(all)))
        late.view[:] = b"s" * SIZE
        assert {{outcome(use) for use in uses(late)}} == {{"UnmappedMemoryError"}}
        made.append(others(path + ".other"))
    assert {{bytes(late.readonly[:5]) for late, _ in kept}} == {{b"sssss"}}  # stale, but still its own
    for mappings in made:
        check(mappings)
    del kept[::2], late
    for round in range(3):
        gc.collect()
        made.append(others(path + ".other"))
    for late, _ in kept:
        assert bytes(late.view) == b"s" * SIZE
        assert outcome(late.word.load) == outcome(late.stream.read) == "UnmappedMemoryError"
    for mappings in made:
        check(mappings)
    if os.path.exists(path):
        with open(path, "rb") as file:
            assert CONTENTS.startswith(file.read())
    """
    assert output(code, path, setup=SETUP) == ""


@pytest.mark.parametrize("unlink", [False, True], ids=["", "deleted"])
def test_what_outlives_a_dropped_file_still_works_and_then_raises_once_its_pages_are_gone(path, unlink):
    code = f"""
    descriptor = os.open(path, os.O_RDWR)
    kept, made = [made_from(sharedmmap.open(path)) for _ in range(20)], []
    if {unlink}:
        os.unlink(path)
    for number, (late, _) in enumerate(kept, 1):
        gc.collect()
        assert bytes(late.view[-5:]) == b"UUUUU"
        late.word.store(number)
        assert {{bytes(each.view[8:16]) for each, _ in kept}} == {{number.to_bytes(8, "little")}}
        late.stream.seek(0)
        assert late.stream.write(bytes([number]) * 8) == 8
        assert os.pread(descriptor, 9, 0) == bytes([number] * 9)
        made.append(others(path + ".other"))
    del kept[::2], late
    os.ftruncate(descriptor, 0)
    for late, _ in kept:
        gc.collect()
        assert not any(late.view) and not any(late.readonly)
        late.view[:] = b"s" * SIZE
        assert {{outcome(use) for use in uses(late)}} == {{"MappingFaultError"}}
        made.append(others(path + ".other"))
    os.ftruncate(descriptor, SIZE)
    assert outcome(late.word.load) == "MappingFaultError"  # for ever: nobody can restore it
    assert os.pread(descriptor, SIZE, 0) == bytes(SIZE)
    for mappings in made:
        check(mappings)
    """
    assert output(code, path, setup=SETUP) == ""


def test_a_mapping_in_the_place_of_one_that_was_collected_is_guarded_like_the_first(path):
    code = """
    for _ in range(600):  # more than the registry has slots for in one piece
        os.truncate(path, SIZE)
        m = sharedmmap.open(path)
        assert m[0] in b"\\0U"
        os.truncate(path, 0)
        assert outcome(lambda: m[0]) == outcome(lambda: m.write_uint64_at(7, PAGE)) == "MappingFaultError"
        del m
        gc.collect(0) if hasattr(gc, "freeze") else gc.collect()
    """
    assert output(code, path, setup=SETUP) == ""


@LINUX_ONLY
def test_a_fault_where_a_mapping_was_collected_is_not_ours_any_more(path):
    """The standard module maps what is at the address now, and its fault ends the process as without us."""
    code = """
    def addresses():
        with open("/proc/self/maps") as maps:
            return {line.split("-")[0] for line in maps if path in line}

    m = sharedmmap.open(path)
    ours = addresses()
    assert len(ours) == 1
    m[0] = 7
    del m
    for _ in range(3):
        gc.collect()
    assert not addresses()
    theirs = []
    with open(path, "r+b") as file:
        while not ours <= addresses() and len(theirs) < 1000:
            theirs.append(mmap.mmap(file.fileno(), SIZE))
    print("reused" if ours <= addresses() else "not reused", flush=True)
    os.truncate(path, 0)
    for mapping in theirs:
        mapping[0]
    """
    child = run(code, path, setup=SETUP)
    if child.stdout == "not reused\n":
        pytest.skip("nobody was given the address again")
    assert (child.returncode, child.stdout, child.stderr) == (-signal.SIGBUS, "reused\n", "")


# ---- finalizers ----


@pytest.mark.parametrize("older", ["file", "finalizer"])
def test_finalizers_use_the_file_they_are_collected_with_and_may_keep_it(path, older):
    """Python calls the finalizers of a cycle in any order, and whatever they refer to is to work still."""
    code = """
    class Finalized:
        def __del__(self):
            m, word, view, readonly = self.used
            word.fetch_add(1)
            m.write_uint64_at(m.read_uint64_at(PAGE) + 1, PAGE)
            m[2 * PAGE :] = b"H" * PAGE
            assert bytes(view[-5:]) == m[-5:] == bytes(readonly[-5:]) == b"HHHHH"
            view[0] = 7
            m.flush()
            survivors.append(self.used[self.number % 4])

    survivors = []
    for number in range(40):
        finalized = Finalized() if args[0] == "finalizer" else None
        m = sharedmmap.open(path)
        used = m, m.atomic_uint64_at(8), m.view(), m.view(readonly=True)
        finalized = finalized or Finalized()
        finalized.number, finalized.used, finalized.cycle = number, used, finalized
        del m, used, finalized
        if number % 8 == 0:
            gc.collect()
    for _ in range(3):
        gc.collect()
    made = [others(path + ".other") for _ in range(40)]
    assert len(survivors) == 40
    with open(path, "rb") as file:
        found = file.read()
    assert found[0] == 7 and found[8:16] == found[PAGE : PAGE + 8] == (WORD + 40).to_bytes(8, "little")
    for survivor in survivors:
        if isinstance(survivor, (File, memoryview)):
            assert bytes(survivor[-5:]) == b"HHHHH"
        else:
            assert survivor.load() == WORD + 40
    for mappings in made:
        check(mappings)
    del survivors[:], survivor
    for _ in range(5):
        gc.collect()
    if sys.platform == "linux":
        with open("/proc/self/maps") as maps:
            assert f"{path}\\n" not in maps.read()
    """
    assert output(code, path, older, setup=SETUP) == ""


# ---- the end of the interpreter ----

AT_EXIT = """
import atexit

m = sharedmmap.open(path)
unmapped = sharedmmap.open(path)
faulted = sharedmmap.open(path + ".cut", "w+", length=SIZE)
everything = [made_from(each) for each in (m, unmapped, faulted)]
late, stale, lost = (each for each, _ in everything)
unmapped.unmap()
os.truncate(path + ".cut", 0)

def use(why, streams=True):
    # What must come of each of the three, however late it is.
    late.word.fetch_add(1)
    m.write_uint64_at(m.read_uint64_at(PAGE) + 1, PAGE)
    m[2 * PAGE : 2 * PAGE + 5] = b"HELLO"
    assert bytes(late.view[2 * PAGE : 2 * PAGE + 5]) == m[2 * PAGE :][:5] == b"HELLO"
    m.flush()
    for each, error in (stale, UnmappedMemoryError), (lost, MappingFaultError):
        for operation in (each.word.load, each.stream.read)[: 1 + streams]:
            try:
                operation()
            except error:
                pass
            else:
                raise AssertionError(error)
        each.view[0] = 1
    os.write(1, why)

class Finalized:
    def __init__(self):
        self.kept = m, late, stale, lost, use

    def __del__(self):
        self.kept[-1](b"f", streams=False)  # which Python closes when they are collected together

def start(function, daemon=False):
    thread = threading.Thread(target=function, daemon=daemon)
    thread.start()
    return thread

ending = threading.Event()

def use_at_the_end():
    # The main thread has nothing left to do but to wait for this one. (PyPy may trip over a join() of it.)
    ending.wait()
    use(b"t")
"""

DAEMON_AND_FINALIZER = "finalizers beside a daemon thread"

# How the interpreter ends, and who used what was left then: (u)s, an e(x)it function, a (t)hread, a (f)inalizer.
ENDS = {
    "globals": ("use(b'u')", "u"),
    "cycles": ("everything.append(everything); gc.disable(); use(b'u')", "u"),
    "exit functions": ("atexit.register(use, b'x'); atexit.register(use, b'x')", "xx"),
    "finalizers": ("finalized = Finalized(); use(b'u')", "uf"),
    "finalizers in a cycle": ("finalized = Finalized(); finalized.self = finalized; use(b'u')", "uf"),
    "a thread that outlives the main one": ("start(use_at_the_end); ending.set()", "t"),
    "a daemon thread": ("start(threading.Event().wait, daemon=True); use(b'u')", "u"),
    DAEMON_AND_FINALIZER: ("start(threading.Event().wait, daemon=True); finalized = Finalized(); use(b'u')", "uf"),
    "sys.exit": ("atexit.register(use, b'x'); use(b'u'); sys.exit(0)", "ux"),
    "sys.exit in a thread": ("start(lambda: (use(b't'), sys.exit(3)))", "t"),
    "os._exit": ("atexit.register(use, b'x'); finalized = Finalized(); use(b'u'); os._exit(0)", "u"),
    "os._exit in a thread": ("start(lambda: (use(b't'), os._exit(0))).join()", "t"),
}


@pytest.mark.parametrize("how", ENDS)
def test_the_interpreter_ends_well_with_what_outlives_a_file(path, how):
    if how == DAEMON_AND_FINALIZER and sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("it sets the globals of all modules to None before it finalizes what is left")
    code, used = ENDS[how]
    # PyPy finalizes nothing at exit.
    allowed = {used, used.replace("f", "")} if PYPY else {used}
    assert output(code, path, setup=SETUP + AT_EXIT) in allowed
