"""``python tests/powercut``: what a ``flush()`` that returned has written survives a power cut.

cuts    A virtual machine writes records to mapped files and says on a serial line what is flushed. At a random
        moment it is killed. It boots again from the same disk, and says how many records are there and whole: none
        that was said to be flushed may be missing. Then it goes on writing, to the next power cut.
replay  All that is written to the disk is recorded. Then each state is built in which a disk with a volatile cache
        could have been found: what was flushed before must be there.
errors  The disk refuses to write: flush() raises EIO, and dirty stays. What the next flush() comes to is printed.
broken  cuts and replay with a flush() that does nothing, and with one that uses MS_ASYNC: both must find a loss.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from machine import Machine, MachineError, System, UnavailableError, build, copy_disk, make_disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE_SYSTEMS = {
    "ext4": ("ext4", "defaults"),
    "ext4-writeback": ("ext4", "data=writeback"),
    "xfs": ("xfs", "defaults"),
    "btrfs": ("btrfs", "defaults"),
}
PARTS = ("cuts", "replay", "errors", "broken")
WRITING = 2.5  # seconds after which the power is cut, at most
MOUNTING = 0.5  # the same where it is cut while the machine mounts the disk and checks it: at every tenth cut
BROKEN_CUTS = 10  # so many at most until a broken flush() is noticed
SKIPPED = 77  # the exit code for a test that cannot be run here, as Automake and Meson have it


class LossError(Exception):
    """A record that was said to be flushed is not there."""


class Ledger:
    """What the machine said was flushed, and what it found."""

    def __init__(self) -> None:
        self.flushes = 0
        self.checks = 0
        self._flushed: dict[str, int] = {}  # how many records of each file
        self._found: dict[str, int] = {}

    def hear(self, word: str, name: str = "", records: str = "0", whole: str = "True") -> None:
        if word == "flushed":
            self._flushed[name] = int(records)
            self.flushes += 1
        elif word == "gone":
            self._flushed.pop(name, None)
        elif word == "mounting":
            self._found = {}
        elif word == "found":
            self._found[name] = int(records)
            if name.startswith("initialize-") and whole != "True":
                raise LossError(f"{name} appeared, and is not complete")
        elif word == "checked":
            for known, expected in self._flushed.items():
                there = f"{self._found[known]} are" if known in self._found else "the file is not"
                if self._found.get(known, 0) < expected:
                    raise LossError(f"{expected} records of {known} were flushed, and {there} there")
            self._found = {}
            self.checks += 1


def cuts(system: System, fs: str, count: int, broken: str, work: Path) -> str:
    kind, options = FILE_SYSTEMS[fs]
    ledger, begin = Ledger(), time.monotonic()
    disk = make_disk(work / "disk", kind)
    for number in range(count + 1):  # after the last cut it is only checked
        word_before, longest = ("mounting", MOUNTING) if number % 10 == 9 else ("checked", WRITING)
        if number == count:
            word_before, longest = "checked", 0
        with Machine(system, [disk], ["cuts", kind, options, str(number), broken]) as machine:
            for words in machine.lines():
                try:
                    ledger.hear(*words)
                except LossError as loss:
                    raise LossError(f"after power cut {number}: {loss}") from None
                if words[0] == word_before:
                    machine.cut_after(random.uniform(0, longest))
        if number < count:
            print(f"{fs}: power cut {number + 1}, {ledger.flushes:,} flushes", flush=True)
    seconds = (time.monotonic() - begin) / (count + 1)
    return f"{count:,} power cuts, {ledger.flushes:,} flushes: nothing lost; {seconds:.1f} s for each"


def replay(system: System, fs: str, transactions: int, broken: str, work: Path) -> str:
    kind, options = FILE_SYSTEMS[fs]
    ledger = Ledger()
    disks = [make_disk(work / "disk", kind), make_disk(work / "log"), work / "copy", make_disk(work / "changes")]
    copy_disk(disks[0], disks[2])
    with Machine(system, disks, ["replay", kind, options, str(transactions), broken]) as machine:
        for words in machine.lines():
            ledger.hear(*words)
    return f"{ledger.flushes:,} flushes, {ledger.checks:,} states of the disk: nothing lost"


def errors(system: System, fs: str, work: Path) -> Iterator[str]:
    kind, options = FILE_SYSTEMS[fs]
    with Machine(system, [make_disk(work / "disk", kind)], ["errors", kind, options]) as machine:
        for _, *sentence in machine.lines():
            yield " ".join(sentence)


def broken(system: System, fs: str, flushes: int, work: Path) -> Iterator[str]:
    for how in "none", "async":
        for part, count in (cuts, BROKEN_CUTS), (replay, flushes):
            try:
                seen = part(system, fs, count, how, work)
            except LossError as loss:
                yield f"flush() replaced ({how}), noticed by {part.__name__}: {loss}"
            else:
                raise LossError(f"flush() replaced ({how}), and {part.__name__} did not notice: {seen}")


def play(part: str, system: System, fs: str, options: argparse.Namespace, work: Path) -> Iterable[str]:
    if part == "cuts":
        return [cuts(system, fs, options.cuts, "no", work)]
    if part == "replay":
        return [replay(system, fs, options.flushes, "no", work)]
    return errors(system, fs, work) if part == "errors" else broken(system, fs, options.flushes, work)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python tests/powercut", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="default: all of them")
    parser.add_argument("--fs", choices=FILE_SYSTEMS, action="append", help="default: each")
    parser.add_argument("--cuts", type=int, default=5, help="how many power cuts on each file system (default: 5)")
    parser.add_argument("--flushes", type=int, default=20, help="how many of them to replay (default: 20)")
    parser.add_argument("--suite", help="of Debian, in the virtual machine (default: that which runs here)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nothing is left behind
    with tempfile.TemporaryDirectory(prefix="powercut-") as name:
        work = Path(name)
        try:
            system = build(work, options.suite)
            print(system, flush=True)
            for fs in options.fs or FILE_SYSTEMS:
                for part in options.only or PARTS:
                    for sentence in play(part, system, fs, options, work):
                        print(f"{fs}, {part}: {sentence}", flush=True)
        except UnavailableError as reason:
            print(f"skipped, no virtual machine can be built here: {reason}")
            return SKIPPED
        except (LossError, MachineError) as error:
            print(f"failed: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
