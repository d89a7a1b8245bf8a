"""Python run in a process of its own: for what could end the interpreter, or changes the whole process."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

PRELUDE = """
import errno, faulthandler, gc, mmap, os, resource, signal, subprocess, sys, threading
import sharedmmap
from sharedmmap import File, MappingFaultError, OutOfBoundsError, Sync, UnmappedMemoryError
PAGE = mmap.PAGESIZE
path, *args = sys.argv[1:]

def bytes_of(name):
    with open(name, "rb") as file:
        return file.read()
"""

# A signal handler that raises, once each time it is armed.
RAISING = """
class Interrupt(Exception):
    pass

def interrupt(*args):
    global armed, interrupts
    if armed:
        armed = False
        interrupts += 1
        raise Interrupt

armed, interrupts = False, 0
"""

# For a test in which such a handler may raise in os.fstat(), which goes on for a while with the exception set. A
# debug interpreter (seen with 3.11) ends the process then.
interrupts_fstat = pytest.mark.skipif(
    hasattr(sys, "gettotalrefcount"), reason="os.fstat() of a debug interpreter cannot be interrupted"
)

# Of any disk with less than 16 MiB; tells what came of it.
RESERVE_TOO_MUCH = """
m = sharedmmap.open(path, "w+", length=PAGE, capacity=16 << 20)
try:
    m.reserve(16 << 20)
except OSError as error:
    print(errno.errorcode[error.errno], isinstance(error, MappingFaultError))
m[:PAGE] = b"w" * PAGE
m.flush()
"""


def run(code: str, *args: object, setup: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs ``setup`` and ``code``, which find the first of ``args`` as ``path``, the others as ``args``."""
    # The line between them ends a function in `setup`, so that code which is still indented is an error.
    program = PRELUDE + setup + "\npass\n" + dedent(code)
    command = [sys.executable, "-c", program, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def output(code: str, *args: object, setup: str = "") -> str:
    """What ``code`` prints; it has to end well, and to print nothing else."""
    child = run(code, *args, setup=setup)
    assert not child.returncode, f"exit code {child.returncode}\n{child.stderr}"
    assert not child.stderr, child.stderr
    return child.stdout.strip()
