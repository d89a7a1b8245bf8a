"""``python tests/powercut``: what a ``flush()`` that returned has written survives a power cut.

A virtual machine writes records to mapped files and says on a serial line what is flushed. At a random moment the
machine is killed. It boots again from the same disk, and says how many records are there and whole: none that was
said to be flushed may be missing. Then it goes on writing, to the next power cut.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from machine import Machine, MachineError, System, UnavailableError, build, make_disk

FILE_SYSTEMS = {
    "ext4": ("ext4", "defaults"),
    "ext4-writeback": ("ext4", "data=writeback"),
    "xfs": ("xfs", "defaults"),
    "btrfs": ("btrfs", "defaults"),
}
WRITING = 2.5  # seconds after which the power is cut, at most
MOUNTING = 0.5  # the same where it is cut while the machine mounts the disk and checks it: at every tenth cut
NOT_AVAILABLE = 77  # the exit code of a test that was skipped, as Automake and Meson know it


class LossError(Exception):
    """A record that was said to be flushed is not there."""


def cut_power(system: System, fs: str, cuts: int, broken: str, image: Path) -> str:
    """Returns what was seen."""
    kind, options = FILE_SYSTEMS[fs]
    make_disk(image, kind)
    flushed: dict[str, int] = {}  # how many records of each file were said to be flushed
    flushes = 0
    begin = time.monotonic()
    for cut in range(cuts + 1):
        last, while_mounting = cut == cuts, cut % 10 == 9
        found: dict[str, tuple[int, bool]] = {}
        before, seconds, checked = flushes, 0.0, "not checked"
        with Machine(system, [image], ["cuts", kind, options, str(cut), broken]) as machine:
            for word, *rest in machine.lines():
                if word == "found":
                    found[rest[0]] = int(rest[1]), rest[2] == "whole"
                elif word == "flushed":
                    flushed[rest[0]] = int(rest[1])
                    flushes += 1
                elif word == "gone":
                    flushed.pop(rest[0], None)
                elif word == "mounting" and while_mounting and not last:
                    machine.cut_after(seconds := random.uniform(0, MOUNTING))
                elif word == "writing":
                    checked = f"{check(flushed, found, cut):,} records"
                    if not while_mounting or last:
                        machine.cut_after(seconds := 0 if last else random.uniform(0, WRITING))
        if not last:
            what = "mounting" if while_mounting else "writing"
            print(f"cut {cut + 1}: {checked}; {seconds:.2f} s of {what}, {flushes - before:,} flushes", flush=True)
    each = (time.monotonic() - begin) / (cuts + 1)
    return f"{cuts:,} power cuts, {flushes:,} flushes, nothing lost; {each:.1f} s for each cut"


def check(flushed: dict[str, int], found: dict[str, tuple[int, bool]], cut: int) -> int:
    """How many records there are. Raises where one is missing, or where a file appeared before it was complete."""
    for name, expected in flushed.items():
        if name not in found:
            raise LossError(f"cut {cut}: {name}: {expected} records were flushed, and there is no such file")
        if found[name][0] < expected:
            raise LossError(f"cut {cut}: {name}: {expected} records were flushed, {found[name][0]} are there")
    for name, (_, whole) in found.items():
        if name.startswith("initialize-") and not whole:
            raise LossError(f"cut {cut}: {name}: open(..., initialize=...) shows a file that is not complete")
    return sum(records for records, _ in found.values())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python tests/powercut", description=__doc__)
    parser.add_argument("--cuts", type=int, default=5, help="how many on each file system (default: 5)")
    parser.add_argument("--fs", choices=FILE_SYSTEMS, action="append", help="the file system (default: each)")
    parser.add_argument(
        "--broken",
        choices=("none", "async"),
        default="no",
        help="flush() does nothing, or MS_ASYNC: losses are wanted",
    )
    parser.add_argument("--suite", help="of Debian, in the virtual machine (default: that which runs here)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="powercut-") as work:
        try:
            system = build(Path(work), options.suite)
        except UnavailableError as reason:
            print(f"the virtual machine cannot be built here: {reason}")
            return NOT_AVAILABLE
        for fs in options.fs or FILE_SYSTEMS:
            try:
                seen = cut_power(system, fs, options.cuts, options.broken, Path(work, "disk"))
            except LossError as loss:
                print(f"{fs}, {system}: {loss}")
                if options.broken == "no":
                    return 1
            except MachineError as error:
                print(error)
                return 1
            else:
                print(f"{fs}, {system}: {seen}")
                if options.broken != "no":
                    print(f"flush() was replaced ({options.broken}), and nobody noticed")
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
