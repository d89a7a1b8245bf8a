"""Aligned values are one load or store: another process sees the old or the new one, never some of each.

One process alternates between two values that differ in every byte, another reads and looks for a third.
"""

from __future__ import annotations

import os
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from child import output

CPYTHON = sys.implementation.name == "cpython"
READS = 1_000_000 if CPYTHON else 10_000_000
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()

ONE, OTHER = b"\x11" * 8, b"\x22" * 8

SETUP = """
import struct
m = sharedmmap.open(path)
with open(path, "r+b") as f:
    standard = mmap.mmap(f.fileno(), 0)
stop = m.atomic_uint32_at(0)
word = m.atomic_uint64_at(64)
"""
ALTERNATE = """
while not stop.load():
    for value in ({one}, {other}) * 100:
        {write}
"""
# Until the writer has been seen at work, `reads` times at the least, or until something else has been seen.
WATCH = """
seen, done = set(), 0
try:
    while len(seen) < 2 or (len(seen) == 2 and done < {reads}):
        for _ in range(10_000):
            seen.add({read})
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
    path.write_bytes(bytes(64) + ONE)

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


@pytest.mark.skipif(not CPYTHON, reason="how CPython packs: byte by byte")
@pytest.mark.skipif(PROCESSORS == 1, reason="the two processes have to run at the same time")
@pytest.mark.parametrize("read", ["struct.unpack_from('<Q', standard, 64)[0]", "m.read_uint64_at(64)"])
def test_the_standard_mmap_with_struct_does_tear(watch, read):
    """The control: what the tests above look for would be found, if it were there."""
    assert watch("struct.pack_into('<Q', standard, 64, value)", read, "<Q", reads=100_000_000) == "torn"
