#!/usr/bin/python3
"""The first process of the virtual machine. It does one task, and ``say`` tells the tool about it."""

from __future__ import annotations

import os
import signal
import sys
from typing import Callable

os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"

from guest_system import DISK, mount, run, say


def cuts(kind: str, options: str, boot: str, broken: str) -> None:
    """Says what is in the files, and then writes to them for ever."""
    import guest_records

    guest_records.break_flush(broken)
    say("mounting")
    mount("/dev/vda", kind, options)
    found = guest_records.find(DISK)
    for name, contents in found.items():
        say("found", name, contents.records, contents.whole)
    say("checked")
    for name, count in guest_records.write(DISK, found, int(boot), lambda name: say("gone", name)):
        say("flushed", name, count)


def replay(kind: str, options: str, transactions: str, broken: str) -> None:
    """Says, of each state in which the disk could have been found, what was flushed before and what is there."""
    import guest_disks
    import guest_records

    guest_records.break_flush(broken)
    for mark in guest_disks.states(kind, options, int(transactions)):
        if mark:
            say(*mark)
        for name, contents in guest_records.find(DISK).items():
            say("found", name, contents.records, contents.whole)
        say("checked")


def errors(kind: str, options: str) -> None:
    """Says what became of writes to a disk that fails."""
    import guest_disks

    for sentence in guest_disks.failures(kind, options):
        say("seen", sentence)


if __name__ == "__main__":
    run("mount", "-t", "devtmpfs", "dev", "/dev")
    run("mount", "-t", "proc", "proc", "/proc")
    run("mount", "-t", "sysfs", "sys", "/sys")
    tasks: dict[str, Callable[..., None]] = {"cuts": cuts, "replay": replay, "errors": errors}
    task, kind, *arguments = sys.argv[1:]
    run("modprobe", "-a", "virtio_pci", "virtio_blk", kind)
    tasks[task](kind, *arguments)
    say("done")
    signal.pause()  # until the machine is switched off; the first process must not end
