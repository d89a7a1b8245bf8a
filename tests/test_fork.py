"""A forked child has the mapping too, and what it does to it is its own affair."""

from __future__ import annotations

import os

import pytest
from child import output

PAGE = os.sysconf("SC_PAGESIZE")

SETUP = """
m = sharedmmap.open(path)

def in_child(function):
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        os._exit(bool(function()))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, status
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"U" * 4 * PAGE)
    return path


def test_parent_and_child_see_what_the_other_writes(path):
    code = """
    m[0] = 7

    def child():
        assert m[0] == 7
        m[1:3] = b"89"
        m.flush()

    in_child(child)
    assert m[:3] == b"\\x0789"
    """
    assert output(code, path, setup=SETUP) == ""


@pytest.mark.parametrize("end", ["m.unmap()", "m.close()"])
def test_a_child_unmaps_its_own(path, end):
    code = f"""
    def child():
        {end}
        try:
            m[0]
        except UnmappedMemoryError:
            return
        return True

    in_child(child)
    m[0] = 7
    m.flush()
    assert m[0] == 7 and m.accessible == 4 * PAGE and not m.dirty
    """
    assert output(code, path, setup=SETUP) == ""


def test_a_fault_in_the_child_is_the_child_s_own(path):
    code = """
    def child():
        os.truncate(path, 0)
        try:
            return m[0] or True
        except MappingFaultError:
            os.truncate(path, 4 * PAGE)
        m.restore()
        m[0] = 7

    in_child(child)
    assert m[0] == 7
    m[1] = 8
    m.flush(Sync.ASYNC)
    assert m[:2] == b"\\x07\\x08"
    """
    assert output(code, path, setup=SETUP) == ""


def test_a_mapping_that_faulted_before_the_fork_is_faulted_in_the_child(path):
    code = """
    os.truncate(path, 0)
    try:
        m[0]
    except MappingFaultError:
        os.truncate(path, 4 * PAGE)

    def child():
        try:
            m[0] = 7
        except MappingFaultError:
            m.restore()
            m[0] = 8
            return
        return True

    in_child(child)
    m.restore()
    assert m[0] == 8
    """
    assert output(code, path, setup=SETUP) == ""


def test_a_child_maps_and_unmaps_though_threads_of_the_parent_did_at_the_fork(path):
    """No lock of the parent's is left locked in the child."""
    code = """
    import warnings

    warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads

    def map_and_unmap():
        while not enough.is_set():
            sharedmmap.open(path).unmap()

    def child():
        for _ in range(10):
            with sharedmmap.open(path) as mapped:
                mapped[0] = 7

    sys.setswitchinterval(1e-6)
    enough = threading.Event()
    threads = [threading.Thread(target=map_and_unmap) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            in_child(child)
    finally:
        enough.set()
    for thread in threads:
        thread.join()
    """
    assert output(code, path, setup=SETUP) == ""
