"""The guided tour, ``python -m sharedmmap``."""

from __future__ import annotations

import mmap
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import sharedmmap

STEPS = ["map", "write", "read back", "share", "flush", "grow", "mutex", "cut", "compare", "restore", "unmap"]

MUTEXES = sys.platform == "linux"

PACKAGE_FOLDER = str(Path(sharedmmap.__file__).parents[1])


def take_tour(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs it with ``folder`` for its temporary files, and with an output of ASCII."""
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": PACKAGE_FOLDER, "PYTHONIOENCODING": "ascii"}
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
    assert len(set(re.findall(r"process (\d+)", tour.stdout))) == (4 if MUTEXES else 3)
    for seen in "THE TIDE COMES IN.", "MappingFaultError: [Errno 6]", "SIGBUS", "UnmappedMemoryError":
        assert seen in tour.stdout


def test_each_step_shows_the_state_of_the_mapping(tmp_path: Path) -> None:
    tour = take_tour("-m", "sharedmmap", folder=tmp_path)
    drawn = re.findall(r"^ +\[(.{16})\]  file (\d+), (.*), mapped (\d+)$", tour.stdout, re.MULTILINE)
    small, grown, mapped = (str(count * mmap.PAGESIZE) for count in (1, 4, 16))
    room = {small: ("#" + 15 * ".", small, f"accessible {small}", mapped)}
    room[grown] = (4 * "#" + 12 * ".", grown, f"accessible {grown}", mapped)
    expected = dict.fromkeys(STEPS, room[small])
    expected.update(dict.fromkeys(["grow", "mutex"], room[grown]))
    expected.update(dict.fromkeys(["cut", "compare"], (16 * "X", small, "faulted", mapped)))
    expected["unmap"] = (16 * " ", small, "unmapped", "0")
    assert dict(zip(STEPS, drawn)) == expected


@pytest.mark.parametrize(
    ("settings", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_a_terminal_gets_colours(tmp_path: Path, settings: dict[str, str], coloured: bool) -> None:
    try:
        near, far = os.openpty()
    except OSError as error:
        pytest.skip(f"no terminal can be had: {error}")
    environment = {
        **os.environ,
        "TERM": "xterm",
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": PACKAGE_FOLDER,
        **settings,
    }
    command = [sys.executable, "-m", "sharedmmap"]
    shown = b""
    with subprocess.Popen(command, stdout=far, env=environment):
        os.close(far)
        with suppress(OSError):  # EIO: the other end is closed
            while part := os.read(near, 4096):
                shown += part
    os.close(near)
    assert b"unmap" in shown
    assert (b"\033[31m" in shown) is coloured


def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    assert take_tour("-m", "sharedmmap", folder=tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []


BREAKAGES = {
    "map": ("File.__len__ = lambda self: 3", "the mapped length is 3, not "),
    "write": ("File.dirty = False", "dirty is False, not True"),
    "read back": ("File.read_uint64_at = lambda self, offset: 7", "the number is 7, not 1844674407370955155"),
    "share": (
        "main.Tour.start_here = lambda self, function: self.start('input()')",
        "the length that the neighbour sees is '', not ",
    ),
    "flush": ("File.flush = lambda self: None", "dirty after is True, not False"),
    "grow": ("File.reserve = lambda self, length: None", "the accessible length is "),
    "mutex": ("main.repair = lambda m: None", "what was repaired is [1, 0], not [1, 1]"),
    "cut": ("os.truncate = lambda path, length: None", "came back where MappingFaultError was due"),
    "compare": (
        'main.STANDARD_MMAP = \'print("mapped", flush=True); input(); print("alive")\'',
        r"(it said 'alive\n') is 0, not ",
    ),
    "restore": ("File.restore = lambda self: 1 / 0", "ZeroDivisionError: division by zero"),
    "unmap": ("File.unmap = lambda self: None", "came back where UnmappedMemoryError was due"),
}


@pytest.mark.parametrize("options", [[], ["-O"]], ids=["as it is", "optimized"])
@pytest.mark.parametrize("broken", [step for step in STEPS if MUTEXES or step != "mutex"])
def test_a_step_that_does_not_hold_is_named_with_what_was_seen(
    tmp_path: Path, broken: str, options: list[str]
) -> None:
    breakage, seen = BREAKAGES[broken]
    code = f"import os, sharedmmap._tour as main\nfrom sharedmmap import File\n{breakage}\nmain.main()"
    tour = take_tour(*options, "-c", code, folder=tmp_path)
    assert tour.returncode == 1
    assert steps_of(tour.stdout) == STEPS[: STEPS.index(broken)]
    assert re.match(rf" ?\d+  {broken} +FAILED: ", tour.stderr)
    assert seen in tour.stderr
    assert "steps held" not in tour.stdout
    assert list(tmp_path.iterdir()) == []
