"""The guided tour, ``python -m sharedmmap``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sharedmmap

STEPS = ["map", "write", "read back", "share", "flush", "grow", "cut", "compare", "restore", "unmap"]

PACKAGE_FOLDER = str(Path(sharedmmap.__file__).parents[1])


def take_tour(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs it with ``folder`` for its temporary files."""
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": PACKAGE_FOLDER}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def steps_of(output: str) -> list[str]:
    return re.findall(r"^ ?\d+  (.*?)  ", output, re.MULTILINE)


@pytest.mark.parametrize("options", [[], ["-OO"]], ids=["as it is", "optimized"])
def test_every_step_holds_and_is_told(tmp_path: Path, options: list[str]) -> None:
    tour = take_tour(*options, "-m", "sharedmmap", folder=tmp_path)
    assert (tour.returncode, tour.stderr) == (0, "")
    assert steps_of(tour.stdout) == STEPS
    assert f"All {len(STEPS)} steps held" in tour.stdout
    assert len(set(re.findall(r"process (\d+)", tour.stdout))) == 3
    for seen in "THE TIDE COMES IN.", "MappingFaultError: [Errno 6]", "SIGBUS", "UnmappedMemoryError":
        assert seen in tour.stdout


def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    assert take_tour("-m", "sharedmmap", folder=tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


BREAKAGES = {
    "map": ("File.__len__ = lambda self: 3", "the mapped length is 3, not "),
    "write": ("File.dirty = False", "dirty is False, not True"),
    "read back": ("File.read_uint64_at = lambda self, offset: 7", "the number is 7, not 1844674407370955155"),
    "share": ("main.NEIGHBOUR = 'input()'", "the length that the neighbour sees is '', not "),
    "flush": ("File.flush = lambda self: None", "dirty after is True, not False"),
    "grow": ("File.reserve = lambda self, length: None", "the accessible length is "),
    "cut": ("os.truncate = lambda path, length: None", "came back where MappingFaultError was due"),
    "compare": (
        'main.STANDARD_MMAP = \'print("mapped", flush=True); input(); print("alive")\'',
        r"(it said 'alive\n') is 0, not ",
    ),
    "restore": ("File.restore = lambda self: 1 / 0", "ZeroDivisionError: division by zero"),
    "unmap": ("File.unmap = lambda self: None", "came back where UnmappedMemoryError was due"),
}


@pytest.mark.parametrize("options", [[], ["-O"]], ids=["as it is", "optimized"])
@pytest.mark.parametrize("broken", STEPS)
def test_a_step_that_does_not_hold_is_named_with_what_was_seen(
    tmp_path: Path, broken: str, options: list[str]
) -> None:
    breakage, seen = BREAKAGES[broken]
    code = f"import os, sharedmmap.__main__ as main\nfrom sharedmmap import File\n{breakage}\nmain.main()"
    tour = take_tour(*options, "-c", code, folder=tmp_path)
    assert tour.returncode == 1
    assert steps_of(tour.stdout) == STEPS[: STEPS.index(broken)]
    assert re.match(rf" ?\d+  {broken} +FAILED: ", tour.stderr)
    assert seen in tour.stderr
    assert "held" not in tour.stdout
    assert list(tmp_path.iterdir()) == []
