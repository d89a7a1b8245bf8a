"""The tour of ``python -m sharedmmap``: on a real temporary file, with other processes.

Each step does something, checks what came of it, and returns the line that says what it saw. Under it a line shows
the state of the mapping. The exit code is 0 only if every step held.
"""

from __future__ import annotations

import io
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
from sharedmmap._inspect import drawable

PAGE = os.sysconf("SC_PAGESIZE")
ROOM = 16 * PAGE
FAR = 3 * PAGE
"""An offset that only the grown file backs."""
SENTENCE = "The tide comes in."
NUMBER = 2**64 - 59
"""The largest prime that eight bytes hold."""
MUTEX, LEFT, RIGHT = 2048, 2056, 2064
"""Offsets of a mutex, and of two numbers that it guards: they are the same while nobody holds it."""

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
    """The second process: maps the file once, and puts the text at each offset that it is told into capitals."""
    with sharedmmap.open(path, capacity=ROOM) as m:
        for offset in map(int, sys.stdin):
            heard = m.read_string_at(offset, len(SENTENCE))
            m.write_string_at(heard.upper(), offset)
            print(m.accessible, flush=True)


def hold_the_mutex(path: str) -> None:
    """A process that changes one of two numbers, and is killed before it changes the other."""
    with sharedmmap.open(path) as m, m.mutex_at(MUTEX):
        m.write_uint64_at(1, LEFT)
        print("held", flush=True)
        sys.stdin.readline()


def repair(m: sharedmmap.File) -> None:
    """Called with the mutex held, after its holder has died."""
    m.write_uint64_at(m.read_uint64_at(LEFT), RIGHT)


class Tour:
    m: sharedmmap.File
    neighbour: subprocess.Popen[str]
    bystander: subprocess.Popen[str]

    def __init__(self, path: str, stack: ExitStack) -> None:
        self.path = path
        self.stack = stack

    def start_here(self, function: Callable[[str], None]) -> subprocess.Popen[str]:
        """A second process that calls a function of this module with the path."""
        return self.start(
            f"import sys; sys.path[:] = {sys.path!a}\n"
            f"from sharedmmap._tour import {function.__name__} as play; play(sys.argv[1])"
        )

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
        self.neighbour = self.start_here(be_the_neighbour)
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

    def mutex(self) -> str:
        try:
            mutex = self.m.mutex_at(MUTEX, on_owner_died=repair)
        except io.UnsupportedOperation as error:
            return f"left out: {error}."
        holder = self.start_here(hold_the_mutex)
        expect("what the holder says", exchange(holder), "held")
        expect("whether this process can acquire it", mutex.acquire(timeout=0), False)
        holder.kill()
        holder.wait()
        before = self.m.read_array_at("Q", LEFT, 2).tolist()
        expect("what the holder left", before, [1, 0])
        with mutex:
            after = self.m.read_array_at("Q", LEFT, 2).tolist()
        expect("what was repaired", after, [1, 1])
        return (
            f"process {holder.pid} held it, and was killed between two writes: it left {before}. "
            f"This one took the mutex over, and repaired that to {after}."
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
        return f"mapped again: {self.m.accessible} bytes are accessible, and begin {text!r}."

    def unmap(self) -> str:
        self.m.unmap()
        error = caught(sharedmmap.UnmappedMemoryError, lambda: self.m.read_uint64_at(0))
        return f"reading now raises {type(error).__name__}: {error}."

    STEPS = (map, write, read_back, share, flush, grow, mutex, cut, compare, restore, unmap)

    def state(self, colours: bool) -> str:
        """The pages of the mapping as characters; the lengths of the file, of what is accessible, and mapped."""
        backed, room, faulted = marks()
        size, mapped = os.stat(self.path).st_size, ROOM
        pages: list[tuple[str, str]]  # a colour and characters
        try:
            accessible = self.m.accessible
            pages = [(GREEN, backed * (accessible // PAGE)), (GREY, room * ((mapped - accessible) // PAGE))]
            words = f"accessible {accessible}"
        except sharedmmap.MappingFaultError:
            pages, words = [(RED, faulted * (mapped // PAGE))], "faulted"
        except sharedmmap.UnmappedMemoryError:
            pages, words, mapped = [("", " " * (mapped // PAGE))], "unmapped", 0
        drawn = "".join(f"{colour}{page}{PLAIN}" if colours and colour else page for colour, page in pages)
        return f"[{drawn}]  file {size}, {words}, mapped {mapped}"


GREEN, GREY, RED, PLAIN = "\033[32m", "\033[90m", "\033[31m", "\033[0m"


def marks() -> list[str]:
    """For a page that the file backs, for room to grow, and for a page of a mapping that has faulted."""
    return list(drawable("█·X", "#.X"))


def has_colours() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def main() -> None:
    start = time.perf_counter()
    backed, room, faulted = marks()
    print(
        f"A tour of sharedmmap, by process {os.getpid()} on {platform.python_implementation()} "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}.\n"
        f"Under each step, the pages of the mapping: {backed} the file backs it, {room} room to grow, "
        f"{faulted} faulted.\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="sharedmmap-") as folder, ExitStack() as stack:
        tour = Tour(os.path.join(folder, "tide"), stack)
        for number, step in enumerate(Tour.STEPS, 1):
            name = step.__name__.replace("_", " ")
            try:
                print(f"{number:2}  {name:9}  {step(tour)}")
                print(f"{'':15}{tour.state(has_colours())}", flush=True)
            except Exception as error:  # whatever it was, the step did not hold
                sys.exit(f"{number:2}  {name:9}  FAILED: {type(error).__name__}: {error}")
    print(f"\nAll {len(Tour.STEPS)} steps held, in {time.perf_counter() - start:.1f} s.")
