"""``python -m sharedmmap``: a guided tour on a real temporary file, with a second process.

Each step does something, checks what came of it, and returns the line that says what it saw. The exit code is
0 only if every step held.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from typing import IO, Any, Callable, cast

import sharedmmap

PAGE = os.sysconf("SC_PAGESIZE")
ROOM = 16 * PAGE
FAR = 3 * PAGE
"""An offset that only the grown file backs."""
SENTENCE = "The tide comes in."
NUMBER = 2**64 - 59
"""The largest prime that eight bytes hold."""

STANDARD_MMAP = """
import mmap, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with open(sys.argv[1], "r+b") as file:
    m = mmap.mmap(file.fileno(), 0)
print("mapped", flush=True)
sys.stdin.readline()
print("read", m[int(sys.argv[2])])
"""
"""What the tour compares with: it maps the file, and reads a byte of it when told to."""


class UnexpectedError(Exception):
    """A step saw something else than it should have."""


def expect(what: str, seen: object, wanted: object) -> None:
    if seen != wanted:
        raise UnexpectedError(f"{what} is {seen!r}, not {wanted!r}")


def caught(expected: type[Exception], call: Callable[[], object]) -> Exception:
    """The exception that the call has to raise."""
    try:
        seen = call()
    except expected as error:
        return error
    raise UnexpectedError(f"{seen!r} came back where {expected.__name__} was due")


def exchange(process: subprocess.Popen[str], line: object = None) -> str:
    """Hands the process a line, if there is one; the next line that it prints."""
    if line is not None:
        # Straight to the pipe: what a buffer keeps for a process that has died would fail again at the end.
        os.write(cast("IO[str]", process.stdin).fileno(), f"{line}\n".encode())
    return cast("IO[str]", process.stdout).readline().rstrip("\n")


def be_the_neighbour(path: str) -> None:
    """The second process: maps the file once, and raises its voice wherever it is pointed to."""
    with sharedmmap.open(path, capacity=ROOM) as m:
        for offset in map(int, sys.stdin):
            heard = m.read_string_at(offset, len(SENTENCE))
            m.write_string_at(heard.upper(), offset)
            print(m.accessible, flush=True)


NEIGHBOUR = f"""
import sys
sys.path[:] = {sys.path!a}
from sharedmmap.__main__ import be_the_neighbour
be_the_neighbour(sys.argv[1])
"""


class Tour:
    m: sharedmmap.File
    neighbour: subprocess.Popen[str]
    bystander: subprocess.Popen[str]

    def __init__(self, path: str, stack: ExitStack) -> None:
        self.path = path
        self.stack = stack

    def start(self, code: str, *args: object, **options: Any) -> subprocess.Popen[str]:
        """A second process, which is gone when the tour is over."""
        command = [sys.executable, "-c", code, self.path, *map(str, args)]
        process = self.stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
        )
        self.stack.callback(process.kill)
        return process

    def map(self) -> str:
        self.m = self.stack.enter_context(sharedmmap.open(self.path, "w+", length=PAGE, capacity=ROOM))
        expect("the mapped length", len(self.m), ROOM)
        expect("the accessible length", self.m.accessible, PAGE)
        return f"{self.path}, {self.m.accessible} bytes, with room for {len(self.m)}: {self.m!r}."

    def write(self) -> str:
        count = self.m.write_string_at(SENTENCE, 0)
        self.m.write_uint64_at(NUMBER, 1001)
        expect("dirty", self.m.dirty, True)
        return f"{count} bytes of text at offset 0, a uint64 at offset 1001: any alignment will do."

    def read_back(self) -> str:
        text, number = self.m.read_string_at(0, len(SENTENCE)), self.m.read_uint64_at(1001)
        expect("the text", text, SENTENCE)
        expect("the number", number, NUMBER)
        with open(self.path, "rb") as file:
            expect("what open() and read() find in the file", file.read(len(SENTENCE)), text.encode())
        return f"{text!r} and {number}; open() and read() find the text in the file too."

    def share(self) -> str:
        self.neighbour = self.start(NEIGHBOUR)
        expect("the length that the neighbour sees", exchange(self.neighbour, 0), str(PAGE))
        answer = self.m.read_string_at(0, len(SENTENCE))
        expect("the answer", answer, SENTENCE.upper())
        return f"process {self.neighbour.pid} mapped the file too, read it and answered in place: {answer!r}."

    def flush(self) -> str:
        before, start = self.m.dirty, time.perf_counter()
        self.m.flush()
        took = (time.perf_counter() - start) * 1e3
        expect("dirty before", before, True)
        expect("dirty after", self.m.dirty, False)
        return f"msync(2) took {took:.2f} ms; dirty was {before}, is {self.m.dirty}."

    def grow(self) -> str:
        before = self.m.accessible
        self.m.reserve(FAR + PAGE)
        after, allocated = self.m.accessible, 512 * os.stat(self.path).st_blocks
        expect("the accessible length", after, FAR + PAGE)
        self.m.write_string_at(SENTENCE, FAR)
        seen = exchange(self.neighbour, FAR)
        expect("the length that the neighbour sees", seen, str(after))
        answer = self.m[FAR : FAR + len(SENTENCE)].decode()
        expect("the answer", answer, SENTENCE.upper())
        return (
            f"from {before} to {after} bytes, {allocated} allocated on disk; process {self.neighbour.pid}, "
            f"mapped as before, sees {seen} and answered at {FAR}."
        )

    def cut(self) -> str:
        folder = os.path.dirname(self.path)
        self.bystander = self.start(STANDARD_MMAP, FAR, stderr=subprocess.DEVNULL, cwd=folder)
        expect("what the standard mmap says", exchange(self.bystander), "mapped")
        os.truncate(self.path, PAGE)
        error = caught(sharedmmap.MappingFaultError, lambda: self.m.read_uint64_at(FAR))
        return f"back to {PAGE} bytes; reading at {FAR} raised {type(error).__name__}: {error}."

    def compare(self) -> str:
        said, _ = self.bystander.communicate("\n", timeout=60)
        code = self.bystander.returncode
        expect(f"the exit code of the standard mmap (it said {said!r})", code, -signal.SIGBUS)
        return (
            f"process {self.bystander.pid} read the same byte through the standard mmap: "
            f"killed by {signal.Signals(-code).name}. This one, {os.getpid()}, goes on."
        )

    def restore(self) -> str:
        self.m.restore()
        text = self.m.read_string_at(0, len(SENTENCE))
        expect("the accessible length", self.m.accessible, PAGE)
        expect("the text", text, SENTENCE.upper())
        return f"mapped afresh: {self.m.accessible} bytes are accessible, and begin {text!r}."

    def unmap(self) -> str:
        self.m.unmap()
        error = caught(sharedmmap.UnmappedMemoryError, lambda: self.m.read_uint64_at(0))
        return f"reading now raises {type(error).__name__}: {error}."

    STEPS = (map, write, read_back, share, flush, grow, cut, compare, restore, unmap)


def main() -> None:
    start = time.perf_counter()
    print(
        f"A tour of sharedmmap, by process {os.getpid()} on {platform.python_implementation()} "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}.\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="sharedmmap-") as folder, ExitStack() as stack:
        tour = Tour(os.path.join(folder, "tide"), stack)
        for number, step in enumerate(Tour.STEPS, 1):
            name = step.__name__.replace("_", " ")
            try:
                print(f"{number:2}  {name:9}  {step(tour)}", flush=True)
            except Exception as error:  # whatever it was, the step did not hold
                sys.exit(f"{number:2}  {name:9}  FAILED: {type(error).__name__}: {error}")
    print(f"\nAll {len(Tour.STEPS)} steps held, in {time.perf_counter() - start:.1f} s.")


if __name__ == "__main__":
    main()
