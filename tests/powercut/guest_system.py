"""What the tasks in the virtual machine share: its commands, its disk, and the serial line to the tool."""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["DISK", "mount", "run", "say", "unmount"]

DISK = Path("/disk")


def run(*command: str, text: str | None = None) -> None:
    subprocess.run(command, check=True, input=text, text=True)


def mount(device: str, kind: str, options: str) -> None:
    run("mount", "-t", kind, "-o", options, device, str(DISK))
    if not os.path.ismount(DISK):
        raise RuntimeError(f"{device} is not mounted")


def unmount() -> None:
    run("umount", str(DISK))


@lru_cache
def line() -> int:
    return os.open("/dev/ttyS1", os.O_WRONLY | os.O_NOCTTY)


def say(*words: Any) -> None:
    """The console is the first serial line, this is the second. The power may be cut in the middle of it."""
    os.write(line(), " ".join(map(str, words)).encode() + b"\n")
