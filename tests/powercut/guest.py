#!/usr/bin/python3
"""What runs in the virtual machine, as its first process: one task, and what is said of it on the serial line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
DISK = Path("/disk")


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def mount(device: str, kind: str, options: str) -> None:
    run("mount", "-t", kind, "-o", options, device, str(DISK))
    if not os.path.ismount(DISK):
        raise RuntimeError(f"{device} is not mounted")


def say(*words: Any) -> None:
    """A line to the other serial port. The machine may be switched off in the middle of it."""
    os.write(LINE, " ".join(map(str, words)).encode() + b"\n")


def cuts(kind: str, options: str, boot: str, broken: str) -> None:
    """Says what is in the files, and then writes to them for ever."""
    import guest_records as records

    records.break_flush(broken)
    say("mounting")
    mount("/dev/vda", kind, options)
    found = records.find(DISK)
    for name, contents in found.items():
        say("found", name, contents.records, "whole" if contents.whole else "part")
    say("writing")
    for name, count in records.write(DISK, found, int(boot), lambda name: say("gone", name)):
        say("flushed", name, count)


if __name__ == "__main__":
    run("mount", "-t", "devtmpfs", "dev", "/dev")
    run("mount", "-t", "proc", "proc", "/proc")
    run("mount", "-t", "sysfs", "sys", "/sys")
    LINE = os.open("/dev/ttyS1", os.O_WRONLY | os.O_NOCTTY)
    task, kind, *arguments = sys.argv[1:]
    run("modprobe", "-a", "virtio_pci", "virtio_blk", kind)
    {"cuts": cuts}[task](kind, *arguments)
    say("done")
    signal.pause()  # until the machine is switched off; the first process must not end
