"""What ``python -m sharedmmap info`` and ``dump`` print. Neither writes to the file."""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Iterator
from typing import NamedTuple

from ._errors import OutOfBoundsError
from ._file import File
from ._native import PAGE, ffi, lib
from ._open import open as open_mapped

__all__ = ["drawable", "dump", "info"]

CELLS = 64  # the width of the bar of resident pages
SHOWN = 4  # of the holes


def dump(path: str, format: str, offset: int, count: int | None) -> None:
    """Prints ``count`` records from ``offset``, or as many as there are, one a line."""
    layout = struct.Struct(format)
    if not layout.size:
        raise ValueError(f"a record of format {format!r} has no bytes")
    with _open(path) as m:
        accessible = m.accessible
        if offset > accessible:
            raise OutOfBoundsError(
                f"offset {offset} is past the end of the file, which is {accessible} bytes long"
            )
        whole = (accessible - offset) // layout.size
        for number in range(whole if count is None else min(count, whole)):
            at = offset + number * layout.size
            print(at, *map(repr, m.read_struct_at(layout, at)), sep="\t")
        if count is not None and count > whole:
            raise OutOfBoundsError(f"{count} records were asked for, and there are {whole} from offset {offset}")


def info(path: str) -> None:
    """Prints what can be known of the file, its pages, its users and its locks."""
    with _open(path) as m:
        lines = {"file": path, **_size(path), **_resident(m), **_users(path, m)}
    for name, line in lines.items():
        for index, part in enumerate(line.split("\n")):
            print(f"{name if index == 0 else '':<10}{part}")


def _open(path: str) -> File:
    if not stat.S_ISREG(os.stat(path).st_mode):  # to open another could wait, or do something
        raise ValueError("this is not a regular file")
    return open_mapped(path, "r")


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _size(path: str) -> dict[str, str]:
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        holes = list(_holes(file.fileno(), status.st_size))
    pages = _plural(-(-status.st_size // PAGE), "page")
    found = {
        "size": f"{_plural(status.st_size, 'byte')}, {pages} of {PAGE}",
        "on disk": _plural(512 * status.st_blocks, "byte"),
    }
    if holes:
        first = ", ".join(f"{start:,} to {end:,}" for start, end in holes[:SHOWN])
        total = sum(end - start for start, end in holes)
        found["holes"] = f"{len(holes)}, {_plural(total, 'byte')}: {first}" + (", ..." if holes[SHOWN:] else "")
    else:
        found["holes"] = "none"
    return found


def _holes(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where each hole begins and ends; see lseek(2), SEEK_HOLE."""
    end = 0
    while end < size:
        start = os.lseek(fd, end, lib.SEEK_HOLE)
        if start >= size:
            return
        try:
            end = os.lseek(fd, start, lib.SEEK_DATA)
        except OSError:  # ENXIO: there is no data from there on
            end = size
        yield start, end


def _resident(m: File) -> dict[str, str]:
    """How many pages are in memory, and a bar: each character says how many of its pages are."""
    pages = -(-m.accessible // PAGE)
    shades = drawable(" ▁▂▃▄▅▆▇█", " .:-=+*%#")
    resident, bar = 0, ""
    cells = min(CELLS, pages)
    for cell in range(cells):
        start, end = pages * cell // cells, pages * (cell + 1) // cells
        found = sum(m.residency(start * PAGE, min((end - start) * PAGE, len(m) - start * PAGE)))
        resident += found
        bar += shades[-(-found * (len(shades) - 1) // (end - start))]  # rounded up: one page shows
    return {"resident": f"{resident:,} of {_plural(pages, 'page')}" + (f"\n[{bar}]" if bar else "")}


def drawable(wanted: str, plain: str) -> str:
    """``wanted`` if the output can show it."""
    try:
        wanted.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return plain
    return wanted


# ---- who uses it: proc(5) ----


class _Mapping(NamedTuple):
    """A line of /proc/PID/maps."""

    start: int
    end: int
    permissions: str
    offset: int
    inode: str  # with its device, as /proc/locks has it: fe:00:1234


def _mappings(pid: int | str) -> Iterator[_Mapping]:
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        for line in file:
            addresses, permissions, offset, device, inode = line.split(maxsplit=5)[:5]
            start, end = (int(address, 16) for address in addresses.split("-"))
            yield _Mapping(start, end, permissions, int(offset, 16), f"{device}:{inode}")


def _users(path: str, m: File) -> dict[str, str]:
    if not os.path.exists("/proc/self/maps"):
        return {"mapped by": "not known: there is no /proc", "locks": "not known: there is no /proc"}
    inode = _inode(path, m)
    users, hidden = [], 0
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid == os.getpid():
            continue
        try:
            found = [mapping for mapping in _mappings(pid) if mapping.inode == inode]
            if found:
                users.append(f"process {pid} ({_command(pid)}): {', '.join(map(_describe, found))}")
        except PermissionError:
            hidden += 1
        except OSError:  # it has ended
            pass
    users = users or ["nobody"]
    if hidden:
        users.append(f"not known of {hidden} {'process' if hidden == 1 else 'processes'}: permission denied")
    return {"mapped by": "\n".join(users), "locks": "\n".join(_locks(inode) or ["none"])}


def _inode(path: str, m: File) -> str:
    """The device and the inode as /proc has them: that of stat(2) is another one on some file systems."""
    if len(m):
        base = int(ffi.cast("uintptr_t", m._region.c.base))
        for mapping in _mappings("self"):
            if mapping.start <= base < mapping.end:
                return mapping.inode
    status = os.stat(path)
    return f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"


def _command(pid: int) -> str:
    with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
        return "".join(letter if letter.isprintable() else "?" for letter in file.read().strip())


def _describe(mapping: _Mapping) -> str:
    access = (
        "read-write" if "w" in mapping.permissions else "read-only" if "r" in mapping.permissions else "no access"
    )
    kind = "shared" if mapping.permissions.endswith("s") else "private"
    return f"{kind} {access}, {_plural(mapping.end - mapping.start, 'byte')} from offset {mapping.offset:,}"


def _locks(inode: str) -> list[str]:
    """The locks of the file, of all processes; see proc(5), /proc/locks."""
    found, owners = [], 0
    with open("/proc/locks", encoding="ascii") as file:
        for line in file:
            words = [word for word in line.split()[1:] if word != "->"]  # which marks one that waits for it
            if len(words) < 7 or words[4] != inode:
                continue
            kind, _, access, pid, _, start, end = words[:7]
            if kind == "OFDLCK" and int(start) >= lib.LIVENESS and start == end:  # csrc/descriptor.h
                owners += 1
                continue
            who = "process " + pid if pid != "-1" else "an open file description"
            state = "is waited for" if "->" in line else "is held"
            what = "the whole file" if (start, end) == ("0", "EOF") else f"bytes {start} to {end}"
            found.append(f"{kind} {access.lower()} lock of {what} {state} by {who}")
    if owners:
        found.append(f"{_plural(owners, 'File')} with mutexes")
    return found
