"""The core without Python: C programs, compiled here together with its sources, plain and with sanitizers.

For another machine or C library: NATIVE_CC is the compiler with its options, NATIVE_RUN what runs its programs.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parent / "native"
CSRC = NATIVE.parent.parent / "sharedmmap" / "csrc"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CSRC.exists(), reason="the C sources are not here")]

Build = Callable[..., Path]

CC = os.environ.get("NATIVE_CC", "cc")
COMPILERS = ["gcc", "clang"] if CC == "cc" else [CC]
EMULATOR = shlex.split(os.environ.get("NATIVE_RUN", ""))


def require(compiler: Sequence[str], options: Sequence[str], folder: Path) -> None:
    """Skips unless there is the compiler, and a program it built with the options runs."""
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is not here")
    probe = folder / "probe"
    command = [*compiler, *options, "-x", "c", "-", "-o", probe]
    built = subprocess.run(command, input=b"int main(void) { return 0; }", capture_output=True, check=False)
    if built.returncode or subprocess.run([*EMULATOR, probe], capture_output=True, check=False).returncode:
        pytest.skip(f"{compiler[0]} has no runtime for {' '.join(options)} that works here")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Compiles a program of ``native/``, and the sources of the package that it does not include itself; once."""

    @functools.cache
    def build(name: str, *others: str, compiler: str = CC, options: Sequence[str] = ()) -> Path:
        folder = tmp_path_factory.mktemp(name)
        compile = shlex.split(compiler)
        require(compile, options, folder)
        program = folder / name
        sources = [NATIVE / f"{one}.c" for one in (name, *others)]
        included = re.findall(r'^#include "(\w+\.c)"', sources[0].read_text(), re.MULTILINE)
        sources += [source for source in sorted(CSRC.glob("*.c")) if source.name not in included]
        standard = ["-std=gnu11", "-D_GNU_SOURCE=1", "-O2", "-g", "-pthread", "-fno-sanitize-recover=all"]
        command = [*compile, *standard, *options, f"-I{CSRC}", *sources, "-o", program]
        subprocess.run(command, check=True, timeout=300)
        return program

    return build


def run(program: Path, *arguments: object) -> int:
    """Runs a program, which has to end by itself; how it ended. It may print only where it failed."""
    command = [*EMULATOR, program, *map(str, arguments)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    said = re.sub(r"^qemu: uncaught target signal .*\n", "", child.stderr, flags=re.MULTILINE)
    assert (child.stdout, said) == ("", ""), said
    return child.returncode


# What qemu's emulation of a process does not do as the kernel does.
NOT_EMULATED = {
    **dict.fromkeys(["jumps", "jumps in threads", "in turns"], "to clear the padding of siginfo_t"),
    "foreign within, uninterrupted": "to take SIGKILL out of the mask of a handler",
    "short of memory": "to limit memory",
    "memory failure": "to queue a signal with the code of a fault",
    "sent from outside": "to map where something was unmapped",
    "growing": "pwritev2(2)",
}
not_emulated = pytest.mark.skipif(bool(EMULATOR), reason="seccomp(2) and strace(1) are of no use to an emulator")


def skip_what_is_not_emulated(scenario: str) -> None:
    if EMULATOR and scenario in NOT_EMULATED:
        pytest.skip(f"the emulator does not do what this needs: {NOT_EMULATED[scenario]}")


# ---- the handler ----

SCENARIOS = {
    "threads": 0,
    "ours within": 0,
    "foreign within": -signal.SIGBUS,
    "foreign within, uninterrupted": -signal.SIGBUS,
    "jumps": 0,
    "jumps in threads": 0,
    "same page": 0,
    "waits": 0,
    "one shot": -signal.SIGBUS,
    "one shot again": 0,
    "mask": 0,
    "in turns": 0,
    "no room": 0,
    "forwarded often": 0,
    "ends at once": -signal.SIGBUS,
    "leads back": -signal.SIGBUS,
    "restored": -signal.SIGBUS,
    "two copies": 0,
    "raised again": -signal.SIGBUS,
    "small stack": 0,
    "last page": 0,
    "short of memory": 0,
    "memory failure": 0,
    "sent from outside": 0,
}
ONLY_ON_LINUX = (
    *("foreign within", "foreign within, uninterrupted"),  # elsewhere a fault is not known from a sent signal
    *("short of memory", "memory failure", "sent from outside"),
)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_handler_mends_what_is_ours_and_leaves_all_else_as_it_was(build, tmp_path, scenario):
    if scenario in ONLY_ON_LINUX and sys.platform != "linux":
        pytest.skip("what Linux tells a process, and what it limits")
    skip_what_is_not_emulated(scenario)
    program = build("handler", "second_copy")
    assert run(program, scenario, tmp_path) == SCENARIOS[scenario]


only_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="membarrier(2) and seccomp(2) are Linux's")
REFUSED_LATER = ("threads", "ours within", "foreign within", "jumps", "jumps in threads", "last page")


@only_on_linux
@not_emulated
@pytest.mark.parametrize(
    ("scenario", "membarrier"),
    [
        *((scenario, "refused") for scenario in SCENARIOS),
        *((scenario, "refused later") for scenario in REFUSED_LATER),
    ],
)
def test_the_handler_does_the_same_without_membarrier(build, tmp_path, scenario, membarrier):
    assert run(build("handler", "second_copy"), scenario, tmp_path, membarrier) == SCENARIOS[scenario]


@not_emulated
def test_the_handler_makes_no_system_call_but_a_barrier_and_one_mmap(build, tmp_path):
    if shutil.which("strace") is None:
        pytest.skip("strace is not here")
    program, trace = build("handler", "second_copy"), tmp_path / "trace"
    strace = ["strace", "-o", trace]
    if subprocess.run([*strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")
    subprocess.run([*strace, program, "once", tmp_path], check=True, timeout=60)
    (handled,) = re.findall(r"^--- SIGBUS .*?^(?=rt_sigreturn)", trace.read_text(), re.DOTALL | re.MULTILINE)
    calls = re.findall(r"^(\w+)\(", handled, re.MULTILINE)
    assert calls == ["membarrier", "mmap"]


# ---- fork, and one moment of one call ----

SANITIZERS = {
    "plain": (),
    "thread": ("-fsanitize=thread",),
    "address and undefined": ("-fsanitize=address,undefined",),
}
if "NATIVE_CC" in os.environ:
    SANITIZERS = {"plain": ()}  # they are no other machine's business
with_and_without_sanitizers = pytest.mark.parametrize("sanitizer", SANITIZERS.values(), ids=SANITIZERS)


@with_and_without_sanitizers
def test_a_child_goes_on_whatever_the_parent_s_threads_were_doing_at_the_fork(build, tmp_path, sanitizer):
    assert run(build("fork", options=sanitizer), tmp_path) == 0


INTERLEAVED = (
    *("fenced", "newer answer", "newest answer", "fault in refresh", "slot taken again", "nothing kept"),
    *("fork in call", "fork in flush", "fork before last", "fork in unmap", "fork in fault", "fork with many"),
)
INTERLEAVED_ON_LINUX = ("order", "refused later", "refused while mapping", "refused to two", "growing")


@with_and_without_sanitizers
@pytest.mark.parametrize(
    "scenario", [*INTERLEAVED, *(pytest.param(name, marks=only_on_linux) for name in INTERLEAVED_ON_LINUX)]
)
def test_a_call_is_right_whatever_comes_in_the_middle_of_it(build, tmp_path, scenario, sanitizer):
    skip_what_is_not_emulated(scenario)
    assert run(build("interleaved", options=sanitizer), scenario, tmp_path) == 0


# ---- everything at once ----

MEMBARRIER = {
    "": (),
    "refused": pytest.param(("refused",), marks=[only_on_linux, not_emulated]),
    "refused later": pytest.param(("refused later",), marks=[only_on_linux, not_emulated]),
}
with_and_without_membarrier = pytest.mark.parametrize("membarrier", MEMBARRIER.values(), ids=MEMBARRIER)


@with_and_without_membarrier
@with_and_without_sanitizers
@pytest.mark.parametrize("compiler", COMPILERS)
def test_what_threads_did_at_once_is_in_the_files_and_nothing_is_left(
    build, tmp_path, compiler, sanitizer, membarrier
):
    program = build("stress", compiler=compiler, options=sanitizer)
    assert run(program, tmp_path, *membarrier) == 0


@with_and_without_membarrier
def test_a_store_that_was_reported_as_done_before_an_unmap_is_in_the_file(build, tmp_path, membarrier):
    assert run(build("unmapping"), tmp_path, *membarrier) == 0
