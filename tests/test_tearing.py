"""Aligned values are one load or store, and a record one copy: another process sees no values in between.

One process alternates between two values that differ in every byte, another reads and looks for a third: some
bytes of each, or zeros.
"""

from __future__ import annotations

import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from child import output

pytestmark = pytest.mark.slow

CPYTHON = sys.implementation.name == "cpython"
READS = 1_000_000 if CPYTHON else 10_000_000
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

ONE, OTHER = b"\x11" * 8, b"\x22" * 8
RECORD = "*[value * 0x0101010101010101] * 2"  # two fields of eight such bytes

SETUP = """
import struct
m = sharedmmap.open(path)
with open(path, "r+b") as f:
    standard = mmap.mmap(f.fileno(), 0)
stop = m.atomic_uint32_at(0)
word = m.atomic_uint64_at(64)
"""
ALTERNATE = """
try:
    while not stop.load():
        for value in ({one}, {other}) * 100:
            {write}
finally:
    stop.store(1)
"""
# `reads` times at the least, and until the value was seen to change often enough for what comes between the two
# to have been there to see; or until something else has been seen.
WATCH = """
seen, last, changes, done = set(), None, 0, 0
try:
    while not stop.load() and len(seen) <= 2 and (done < {reads} or changes < 1000):
        for _ in range(10_000):
            value = {read}
            if value != last:
                last = value
                seen.add(value)
                changes += 1
        done += 10_000
finally:
    stop.store(1)
print("whole" if seen == {{{one}, {other}}} else "torn")
"""

SCALARS = {"uint64": "Q", "int64": "q", "float64": "d", "uint32": "I", "float32": "f", "uint16": "H", "int8": "b"}


@pytest.fixture
def watch(tmp_path):
    """Has one process write and another read; tells what the second saw."""
    path = tmp_path / "file"
    path.write_bytes(bytes(64) + 2 * ONE)

    def watch(write, read, format, reads=READS):
        one, other = (struct.unpack_from(format, pattern)[0] for pattern in (ONE, OTHER))
        programs = [
            code.format(write=write, read=read, one=one, other=other, reads=reads) for code in (ALTERNATE, WATCH)
        ]
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda code: output(code, path, setup=SETUP), programs))[-1]

    return watch


@pytest.mark.parametrize(("name", "format"), SCALARS.items())
def test_an_aligned_scalar_never_tears(watch, name, format):
    assert watch(f"m.write_{name}_at(value, 64)", f"m.read_{name}_at(64)", f"<{format}") == "whole"


@pytest.mark.parametrize("read", ["word.load()", "m.read_uint64_at(64)"], ids=["load", "plain read"])
def test_an_atomic_word_never_tears(watch, read):
    assert watch("word.store(value)", read, "<Q") == "whole"


def test_a_record_is_never_seen_filled_with_zeros(watch):
    """A single byte cannot tear, so it is one record's or the other's."""
    assert watch(f"m.write_struct_at('<QQ', 64, {RECORD})", "m.read_uint8_at(70)", "B") == "whole"


@pytest.mark.skipif(not CPYTHON, reason="how CPython packs: zeros first, then byte by byte")
@pytest.mark.skipif(PROCESSORS == 1, reason="the two processes have to run at the same time")
@pytest.mark.parametrize(
    ("write", "read", "format"),
    [
        ("struct.pack_into('<Q', standard, 64, value)", "struct.unpack_from('<Q', standard, 64)[0]", "<Q"),
        ("struct.pack_into('<Q', standard, 64, value)", "m.read_uint64_at(64)", "<Q"),
        (f"struct.pack_into('<QQ', standard, 64, {RECORD})", "m.read_uint8_at(70)", "B"),
    ],
    ids=["read by struct", "read by File", "record"],
)
def test_the_standard_mmap_with_struct_does_tear(watch, write, read, format):
    """The control: what the tests above look for would be found, if it were there."""
    assert watch(write, read, format, reads=100_000_000) == "torn"
