"""Atomic words between processes: no addition is lost, and a lock made of one excludes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from child import output

import sharedmmap

pytestmark = pytest.mark.slow

PROCESSES = 4
TIMES = 250_000
LOCKED_TIMES = 10_000

# All begin together: a process is gone so fast that they might take turns otherwise.
BEGIN = f"""
m = sharedmmap.open(path)
begun = m.atomic_uint32_at(0)
begun.fetch_add(1)
while begun.load() < {PROCESSES}:
    pass
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(256))
    return path


def in_all_processes(code, path):
    with ThreadPoolExecutor(PROCESSES) as pool:
        return list(pool.map(lambda _: output(code, path, setup=BEGIN), range(PROCESSES)))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("step", [1, 65_537])
def test_processes_lose_no_addition_and_no_two_get_the_same_number(path, bits, step):
    code = f"""
    word = m.atomic_uint{bits}_at(64)
    print(sum(word.fetch_add({step}) for _ in range({TIMES})))
    """
    tickets = sum(map(int, in_all_processes(code, path)))
    total = PROCESSES * TIMES
    with sharedmmap.open(path) as m:
        assert getattr(m, f"atomic_uint{bits}_at")(64).load() == total * step % 2**bits
    assert tickets == sum(number * step % 2**bits for number in range(total))


@pytest.mark.parametrize("bits", [32, 64])
def test_processes_lose_no_compare_exchange(path, bits):
    code = f"""
    word = m.atomic_uint{bits}_at(64)
    seen = 0
    for _ in range({TIMES // 10}):
        done = False
        while not done:
            done, seen = word.compare_exchange(seen, seen + 3)
    """
    in_all_processes(code, path)
    with sharedmmap.open(path) as m:
        assert getattr(m, f"atomic_uint{bits}_at")(64).load() == PROCESSES * TIMES // 10 * 3


def test_bits_that_processes_flip_do_not_disturb_each_other(path):
    code = f"""
    mine = 1 << m.atomic_uint64_at(8).fetch_add(1)
    word = m.atomic_uint64_at(64)
    for _ in range({TIMES // 10}):
        assert not word.fetch_or(mine) & mine
        assert word.fetch_xor(mine) & mine
        assert not word.fetch_xor(mine) & mine
        assert word.fetch_and(~mine % 2**64) & mine
    word.fetch_or(mine)
    """
    in_all_processes(code, path)
    with sharedmmap.open(path) as m:
        assert m.read_uint64_at(64) == 2**PROCESSES - 1


def test_a_spin_lock_protects_a_plain_counter(path):
    code = f"""
    lock = m.atomic_uint32_at(64)
    for _ in range({LOCKED_TIMES}):
        while not lock.compare_exchange(0, 1)[0]:
            pass
        m.write_uint64_at(m.read_uint64_at(128) + 1, 128)
        lock.store(0)
    """
    in_all_processes(code, path)
    with sharedmmap.open(path) as m:
        assert m.read_uint64_at(128) == PROCESSES * LOCKED_TIMES
