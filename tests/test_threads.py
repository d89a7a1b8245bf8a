"""Threads that use, unmap and restore one mapping: late accesses raise, and what was written is in the file."""

from __future__ import annotations

import sys
import threading

import pytest
from child import output

import sharedmmap

SETUP = """
sys.setswitchinterval(1e-6)
BLOCK = (1 << 20) + 8  # so many release the GIL, and go in two pieces

def lose_page():
    os.truncate(path, 0)
    try:
        m[0]
    except MappingFaultError:
        os.truncate(path, PAGE)

def end_the_process(failure):
    sys.__excepthook__(*failure[:3])
    sys.stderr.flush()
    os._exit(1)

threading.excepthook = end_the_process  # so that nobody waits for a thread that failed

def read_into(m, dest, at):
    assert m.read_at(dest, at) == len(dest)
    return bytes(dest)

# Each with an area of the file: its size, a reader that gives its bytes, and a writer.
AREAS = {
    "ints": (
        8,
        lambda m, at: m.read_uint64_at(at).to_bytes(8, "little"),
        lambda m, block, at: m.write_uint64_at(int.from_bytes(block, "little"), at),
    ),
    "slices": (1001, lambda m, at: m[at : at + 1001], lambda m, b, at: m.__setitem__(slice(at, at + 1001), b)),
    "blocks": (BLOCK, lambda m, at: read_into(m, bytearray(BLOCK), at), lambda m, b, at: m.write_at(b, at)),
    "strings": (
        1001,
        lambda m, at: m.read_string_at(at, 1001, encoding="latin-1").encode("latin-1"),
        lambda m, b, at: m.write_string_at(b.decode("latin-1"), at, encoding="latin-1"),
    ),
    "block slices": (BLOCK, lambda m, at: m[at : at + BLOCK], lambda m, b, at: m.write_at(bytearray(b), at)),
}
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.mark.slow
@pytest.mark.parametrize(
    "areas", [["ints", "slices", "blocks", "block slices"], ["ints", "ints", "slices", "strings"]], ids="+".join
)
def test_unmapping_under_threads_raises_and_the_file_holds_what_was_written(path, areas):
    """Each thread counts up the byte that its area repeats.

    It may find the byte it wrote last and, after an interrupted write, the one it tried to.
    """
    code = """
    from queue import SimpleQueue

    def count(mappings, at, size, read, write):
        last = tried = 1
        for m in iter(mappings.get, None):
            rounds = 0
            try:
                while True:
                    found = read(m, at)
                    assert found.count(last) + (tried != last) * found.count(tried) == len(found) == size
                    tried = last % 255 + 1
                    write(m, bytes([tried]) * size, at)
                    last = tried
                    rounds += 1
                    if rounds == 1:
                        ready.release()
            except UnmappedMemoryError:
                assert m.closed
        ends[at] = size, {last, tried}

    ready = threading.Semaphore(0)
    ends, workers, queues, at = {}, [], [], 0
    for name in args:
        queues.append(SimpleQueue())
        workers.append(threading.Thread(target=count, args=(queues[-1], at, *AREAS[name])))
        at += AREAS[name][0] + PAGE + 7 & ~7
    with open(path, "wb") as file:
        file.write(b"\\1" * at)
    for worker in workers:
        worker.start()
    for _ in range(200):
        m = sharedmmap.open(path)
        for queue in queues:
            queue.put(m)
        for _ in workers:
            ready.acquire()
        m.unmap()
    for queue, worker in zip(queues, workers):
        queue.put(None)
        worker.join()

    with open(path, "rb") as file:
        found = bytearray(file.read())
    for at, (size, possible) in ends.items():
        assert set(found[at : at + size]) <= possible
        found[at : at + size] = b"\\1" * size
    assert found.count(1) == len(found)  # nobody wrote anywhere else
    """
    assert output(code, path, *areas, setup=SETUP) == ""


def test_of_threads_that_unmap_at_once_one_succeeds(path):
    code = """
    with open(path, "wb") as file:
        file.write(bytes(PAGE))

    def unmap():
        for m in mappings:
            start.wait()
            try:
                m.unmap()
                unmapped.append(m)
            except UnmappedMemoryError:
                pass

    unmapped = []
    mappings = [sharedmmap.open(path) for _ in range(200)]
    start = threading.Barrier(4)
    threads = [threading.Thread(target=unmap) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert unmapped == mappings
    """
    assert output(code, path, setup=SETUP) == ""


@pytest.mark.parametrize("how", ["unmap", "close"])
def test_unmapping_during_a_restore_leaves_nothing_mapped(path, how):
    """Mapping is what a restore does, so its audit event is a moment in the middle."""
    code = f"""
    m = sharedmmap.open(path, "w+", length=PAGE)
    os.truncate(path, 0)
    try:
        m[0]
    except MappingFaultError:
        print("faulted")
    descriptors = len(os.listdir("/dev/fd"))

    def unmap(event, _):
        if event == "sharedmmap.File":
            thread = threading.Thread(target=m.{how})
            thread.start()
            thread.join()

    sys.addaudithook(unmap)
    try:
        m.restore()
    except UnmappedMemoryError:
        print(m.closed, len(os.listdir("/dev/fd")) - descriptors)
    if sys.platform == "linux":
        with open("/proc/self/maps") as maps:
            assert path not in maps.read()
    """
    assert output(code, path, setup=SETUP).split() == ["faulted", "True", "-1"]


def test_a_restore_that_others_have_overtaken_twice_does_not_undo_theirs(path):
    code = """
    def meanwhile(event, _):
        if event == "sharedmmap.File" and not words:
            words.append(None)
            m.restore()
            lose_page()
            m.restore()
            words.append(m.atomic_uint64_at(0))

    m, words = sharedmmap.open(path, "w+", length=PAGE), []
    lose_page()
    sys.addaudithook(meanwhile)
    m.restore()
    words[1].store(7)
    print(m[0])
    m.close()
    try:
        words[1].store(8)
    except UnmappedMemoryError:
        print("unmapped")
    """
    assert output(code, path, setup=SETUP).split() == ["7", "unmapped"]


def test_closing_while_a_late_restore_has_stepped_back_unmaps_what_came_after(path):
    code = """
    m = sharedmmap.open(path, "w+", length=PAGE)
    before = m._region
    lose_page()
    m.restore()
    word = m.atomic_uint64_at(0)
    m._region = before  # for a moment, before it looks again
    m.close()
    try:
        word.store(8)
    except UnmappedMemoryError:
        print("unmapped")
    """
    assert output(code, path, setup=SETUP) == "unmapped"


def test_threads_that_restore_at_once_share_one_mapping(path):
    """One restores in the middle of the other's restore, and goes on with what it got."""
    code = """
    m = sharedmmap.open(path, "w+", length=PAGE)
    lose_page()
    words = []

    def restore_and_use():
        m.restore()
        words.append(m.atomic_uint64_at(0))

    def meanwhile(event, _):
        if event == "sharedmmap.File" and not words:
            words.append(None)
            thread = threading.Thread(target=restore_and_use)
            thread.start()
            thread.join()

    sys.addaudithook(meanwhile)
    m.restore()
    words[1].fetch_add(7)
    print(m[0])
    m.unmap()
    try:
        words[1].load()
    except UnmappedMemoryError:
        print("unmapped")
    """
    assert output(code, path, setup=SETUP).split() == ["7", "unmapped"]


def test_of_two_mappings_that_threads_restored_at_once_neither_outlives_unmapping(path):
    if sys.platform != "linux":
        pytest.skip("only Linux tells what is mapped")
    code = """
    from sharedmmap._region import Region

    again = Region.again

    def again_while_another_restores(region):
        fresh = again(region)
        Region.again = again
        thread = threading.Thread(target=m.restore)
        thread.start()
        thread.join()
        return fresh

    m = sharedmmap.open(path, "w+", length=PAGE)
    lose_page()
    held = m._region
    Region.again = again_while_another_restores
    m.restore()
    m[0] = 7
    m.unmap()
    with open("/proc/self/maps") as maps:
        print(path in maps.read())
    """
    assert output(code, path, setup=SETUP) == "False"


def test_unmapping_releases_the_file_while_a_thread_still_holds_the_mapping(path):
    if sys.platform != "linux":
        pytest.skip("only Linux tells what is mapped")
    code = """
    def is_mapped():
        with open("/proc/self/maps") as maps:
            return path in maps.read()

    m = sharedmmap.open(path, "w+", length=PAGE)
    m[0] = 7
    held = m._region
    print(is_mapped())
    m.unmap()
    print(is_mapped())
    """
    assert output(code, path, setup=SETUP).split() == ["True", "False"]


@pytest.mark.no_thread_sanitizer
@pytest.mark.parametrize("run_number", range(5))
def test_the_interpreter_ends_well_under_daemon_threads(path, run_number):
    code = """
    import itertools

    with open(path, "wb") as file:
        file.write(bytes(BLOCK))
    m = sharedmmap.open(path)

    def use(operation):
        for number in itertools.count():
            operation()
            if number == 2:
                ready.release()

    def map_and_unmap():
        with sharedmmap.open(path) as mapped:
            mapped.write_uint64_at(7, 8)

    ready = threading.Semaphore(0)
    block = bytes(BLOCK)
    operations = [
        lambda: m.write_at(block, 0),
        lambda: m.read_at(bytearray(BLOCK), 0),
        lambda: m[:],
        lambda: (m.write_uint64_at(7, 8), m.flush(Sync.ASYNC)),
        map_and_unmap,
    ]
    for operation in operations:
        threading.Thread(target=use, args=(operation,), daemon=True).start()
    for _ in operations:
        ready.acquire()
    """
    assert output(code, path, setup=SETUP) == ""


@pytest.mark.slow
@pytest.mark.no_thread_sanitizer
def test_threads_may_be_the_first_of_a_process_to_do_something_together(path):
    """In 100 processes, each of which has imported the package and done nothing with it yet."""
    code = """
    def do_all_of_it(number):
        with sharedmmap.open(f"{path}{number}", "w+", length=PAGE) as m:
            barrier.wait()
            with m.mutex_at(0):
                m.atomic_uint32_at(8).store(1)
            m.view()
            os.truncate(f"{path}{number}", 0)
            barrier.wait()
            try:
                m[0]
            except MappingFaultError:
                os.write(1, b".")

    for _ in range(100):
        if os.fork() == 0:
            barrier = threading.Barrier(4)
            threads = [threading.Thread(target=do_all_of_it, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            os._exit(0)
        assert os.wait()[1] == 0
    """
    assert output(code, path, setup=SETUP) == 400 * "."


# ---- the GIL ----

LONG = 2 << 20

LONG_CALLS = {
    "m[:]": lambda m, memory: m[:],
    "m[:] = bytes": lambda m, memory: m.__setitem__(slice(None), bytes(memory)),
    "m[:] = bytearray": lambda m, memory: m.__setitem__(slice(None), memory),
    "m[::2] = bytearray": lambda m, memory: m.__setitem__(slice(None, None, 2), memory[::2]),
    "read_at": lambda m, memory: m.read_at(memory, 0),
    "write_at bytes": lambda m, memory: m.write_at(bytes(memory), 0),
    "write_at bytearray": lambda m, memory: m.write_at(memory, 0),
    "read_array_at": lambda m, memory: m.read_array_at("B", 0, LONG),
    "find": lambda m, memory: m.find(b"not there"),
    "rfind": lambda m, memory: m.rfind(b"not there"),
    "fill": lambda m, memory: m.fill(7),
    "move": lambda m, memory: m.move(0, 1, LONG - 1),
    "read_struct_at": lambda m, memory: m.read_struct_at(f"{LONG}s", 0),
    "write_struct_at": lambda m, memory: m.write_struct_at(f"{LONG}s", 0, memory),
    "stream": lambda m, memory: m.stream().read(),
}


@pytest.mark.skipif(sys.implementation.name == "pypy", reason="its threads take turns in another way")
@pytest.mark.parametrize("call", LONG_CALLS.values(), ids=LONG_CALLS)
def test_other_threads_run_while_a_long_call_is_under_way(tmp_path, call):
    """They would not get their turn otherwise: the switch interval is longer than the test."""
    memory, gate, has_run = bytearray(LONG), threading.Lock(), []
    with sharedmmap.open(tmp_path / "long", "w+", length=LONG) as m:
        call(m, memory)
        gate.acquire()
        other = threading.Thread(target=lambda: (gate.acquire(), has_run.append(True)))
        other.start()
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1000)
        try:
            gate.release()
            calls = 0
            while not has_run and calls < 500:
                call(m, memory)
                calls += 1
            assert has_run
        finally:
            sys.setswitchinterval(interval)
            other.join()
