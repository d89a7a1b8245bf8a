"""Two processes and one file: each sees what the other writes, and room that the other makes."""

from __future__ import annotations

import ast
import mmap
import os
import subprocess
import sys

import pytest

import sharedmmap
from sharedmmap import OutOfBoundsError

PAGE = mmap.PAGESIZE
CAPACITY = 16 * PAGE

PEER = """
import mmap, os, sys, sharedmmap
path, capacity = sys.argv[1], int(sys.argv[2])
m = sharedmmap.open(path, capacity=capacity)
for line in sys.stdin:
    try:
        answer = eval(line)
    except sharedmmap.Error as error:
        answer = type(error).__name__
    print(repr(answer), flush=True)
"""


class Peer:
    """Another process that maps the file as ``m`` and evaluates what it is told."""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PEER, str(path), str(CAPACITY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, expression):
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return ast.literal_eval(self.process.stdout.readline())


@pytest.fixture
def peer(path):
    peer = Peer(path)
    with peer.process:
        yield peer


@pytest.fixture
def m(path):
    with sharedmmap.open(path, capacity=CAPACITY) as m:
        yield m


WRITES = [
    ("m.write_at(b'0123456789', 5)", "m[5:15]", b"0123456789"),
    ("m.write_at(bytearray(b'x' * 9000), 7)", "m[7:9007]", b"x" * 9000),
    ("m.write_string_at('naïve', 1)", "m.read_string_at(1, 6)", "naïve"),
    ("m.write_uint64_at(2**64 - 1, 8)", "m.read_uint64_at(8)", 2**64 - 1),
    ("m.write_int8_at(-5, 3)", "m.read_int8_at(3)", -5),
    ("m.write_float64_at(1.5, 9)", "m.read_float64_at(9)", 1.5),
    ("m.__setitem__(0, 77)", "m[0]", 77),
    ("m.__setitem__(slice(4090, 4100), b'abcdefghij')", "m[4090:4100]", b"abcdefghij"),
    ("m.__setitem__(slice(10, 0, -2), b'abcde')", "m[10:0:-2]", b"abcde"),
]


@pytest.mark.parametrize(("write", "read", "expected"), WRITES)
def test_each_sees_what_the_other_writes(m, peer, write, read, expected):
    eval(write)
    assert peer(read) == expected
    m.write_at(bytes(3 * PAGE), 0)
    peer(write)
    assert eval(read) == expected


def test_they_take_turns_at_one_counter(m, peer):
    m.write_uint64_at(0, 0)
    for turn in range(0, 200, 2):
        m.write_uint64_at(m.read_uint64_at(0) + 1, 0)
        assert peer("m.write_uint64_at(m.read_uint64_at(0) + 1, 0) or m.read_uint64_at(0)") == turn + 2
    assert m.read_uint64_at(0) == 200


def test_being_dirty_is_a_matter_of_each_process(m, peer):
    m[0] = 1
    assert (m.dirty, peer("m.dirty")) == (True, False)
    peer("m.__setitem__(0, 2)")
    m.flush()
    assert (m.dirty, peer("m.dirty")) == (False, True)


@pytest.mark.parametrize(
    "grow", [f"m.reserve({10 * PAGE + 5})", f"os.truncate(path, {10 * PAGE + 5})"], ids=["reserved", "truncated"]
)
def test_each_sees_the_room_the_other_makes(m, path, contents, peer, grow):
    size, end = len(contents), 10 * PAGE + 5
    assert peer("m.accessible") == size
    with pytest.raises(OutOfBoundsError):
        m[end - 8]
    peer(grow)
    m.write_uint64_at(123456789, end - 8)  # nothing had to be mapped again, nor asked
    assert peer(f"m.read_uint64_at({end - 8})") == 123456789
    assert m.accessible == peer("m.accessible") == end
    with pytest.raises(OutOfBoundsError):
        m[end]
    m.reserve(CAPACITY)
    assert peer("m.write_at(b'last', len(m) - 4)") == 4
    assert m[-4:] == b"last"


def test_each_sees_the_file_cut_by_the_other(m, path, peer):
    peer("os.truncate(path, 100)")
    assert m.accessible == peer("m.accessible") == 100
    with pytest.raises(OutOfBoundsError, match="past the end of the file"):
        m.read_uint64_at(93)
    assert peer("m.read_uint64_at(93)") == "OutOfBoundsError"


def test_unmapping_in_one_leaves_the_other_alone(m, peer):
    m[0] = 1
    m.unmap()
    assert peer("m[0]") == 1
    peer("m.__setitem__(0, 2)")
    peer("m.close()")
    assert peer("m[0]") == "UnmappedMemoryError"


def test_what_a_process_wrote_outlives_its_being_killed(m, peer):
    peer("m.write_at(b'last words', 9)")
    peer.process.kill()
    peer.process.wait()
    assert m[9:19] == b"last words"


def test_the_standard_mmap_and_plain_reads_see_the_same(m, path, contents, peer):
    m.write_at(b"shared", PAGE)
    assert peer(f"mmap.mmap(os.open(path, os.O_RDWR), 0)[{PAGE}:{PAGE + 6}]") == b"shared"
    assert peer(f"open(path, 'rb').read()[{PAGE}:{PAGE + 6}]") == b"shared"
    peer("mmap.mmap(os.open(path, os.O_RDWR), 0).__setitem__(slice(0, 4), b'mmap')")
    assert m[:5] == b"mmap" + contents[4:5]
    fd = os.open(path, os.O_WRONLY)
    os.pwrite(fd, b"written", 0)
    os.close(fd)
    assert m[:7] == b"written"
