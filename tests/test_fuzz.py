"""The fuzzer: a short run finds nothing, and what is wrong it finds, names and plays again. See ``tests/fuzz``."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest
from child import run

pytestmark = pytest.mark.slow

FUZZ = Path(__file__).parent / "fuzz"

# Each puts a mistake into what the fuzzer calls.
MISTAKES = {
    "a wrong result": """
        find = File.find
        File.find = lambda m, *args: find(m, *args) + 1
    """,
    "a byte too many": """
        fill = File.fill
        def fill_more(m, byte, offset=0, length=None):
            fill(m, byte, offset, length)
            if m.accessible > 8 and m.prot == 3:
                m.write_uint8_at(7, 8)
        File.fill = fill_more
    """,
    "an exception of no documented kind": """
        def move(m, *args):
            raise AttributeError("move")
        File.move = move
    """,
    "a crash": """
        File.residency = lambda m, *args: os.kill(os.getpid(), signal.SIGSEGV)
    """,
    "a descriptor left open": """
        advise = File.advise
        def advise_and_leak(m, *args):
            os.dup(0)
            advise(m, *args)
        File.advise = advise_and_leak
    """,
}


def fuzz(*args: object, mistake: str = "") -> subprocess.CompletedProcess[str]:
    code = """
    import runpy
    sys.argv = ["fuzz", *args]
    runpy.run_path(path, run_name="__main__")
    """
    return run(code, FUZZ, *args, setup=dedent(mistake), timeout=600)


def test_a_short_run_finds_nothing():
    found = fuzz("--seed", 1, "--rounds", 250)
    assert found.returncode == 0, found.stdout + found.stderr
    assert re.search(r"^250 rounds, [\d,]+ calls in ", found.stdout, re.MULTILINE)


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found_and_its_seed_finds_it_again(mistake):
    found = fuzz("--seed", 1, "--rounds", 200, mistake=mistake)
    assert found.returncode == 1, found.stdout + found.stderr
    seed = re.search(r"^round of seed (\d+): (.+)", found.stdout, re.MULTILINE)
    assert f"--seed {seed[1]} --rounds 1\n" in found.stdout
    again = fuzz("--seed", seed[1], "--rounds", 1, mistake=mistake)
    assert again.returncode == 1
    assert seed[0] in again.stdout
