"""Disks made of other disks: one that records what is written to it, and one that refuses writes.

dm-log-writes records what the disk is certain to have, in that order: it holds writes back until the disk was told
to flush its cache. So each prefix of the record that ends in a flush is a state in which a disk with a volatile
cache may be found after a power cut.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from struct import Struct, pack, unpack
from typing import TYPE_CHECKING

import guest_records
from guest_system import DISK, mount, run, unmount

import sharedmmap

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["failures", "states"]

SECTOR = 512
PAGE = 4096

# Of drivers/md/dm-log-writes.c. The first sector has a magic number, the version, and how many entries follow. An
# entry is a sector with the place, how many sectors, flags, the size of a mark, and that; then what was written.
HEAD = Struct("<QQQ")
ENTRY = Struct("<QQQQ")
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8

FIBMAP = 1  # of linux/fs.h: which block of the disk a block of the file is
BTRFS_IOC_FORGET_DEV = 0x50009405  # else it refuses a disk that is older than one it knows by the same name

os.environ["DM_DISABLE_UDEV"] = "1"  # there is none


def sectors() -> int:
    return int(Path("/sys/block/vda/size").read_text())


def make(name: str, table: str) -> str:
    run("dmsetup", "create", name, text=table)
    return f"/dev/mapper/{name}"


# ---- a volatile cache ----


def states(kind: str, options: str, transactions: int) -> Iterator[list[str]]:
    """Writes, then mounts one state of the disk after another. Yields what was marked last: see ``guest.replay``.

    /dev/vda is the disk, /dev/vdb has the record, /dev/vdc begins as the disk did, and /dev/vdd takes what is
    written to a state while it is looked at.
    """
    run("modprobe", "-a", "dm-log-writes", "dm-snapshot")
    size = sectors()

    def mark(*words: object) -> None:
        run("dmsetup", "message", "logged", "0", "mark", "=".join(map(str, words)))

    mount(make("logged", f"0 {size} log-writes /dev/vda /dev/vdb"), kind, options)
    written = guest_records.write(DISK, {}, 0, lambda name: mark("gone", name))
    for _ in range(transactions):
        mark("flushed", *next(written))
    written.close()
    unmount()
    run("dmsetup", "remove", "logged")
    for words in prefixes("/dev/vdb", "/dev/vdc"):
        if kind == "btrfs":
            with open("/dev/btrfs-control", "wb") as control:
                fcntl.ioctl(control, BTRFS_IOC_FORGET_DEV, bytearray(PAGE))
        mount(make("state", f"0 {size} snapshot /dev/vdc /dev/vdd N 8"), kind, options)
        yield words
        unmount()
        run("dmsetup", "remove", "state")


def prefixes(log: str, copy: str) -> Iterator[list[str]]:
    """Writes to ``copy`` what was recorded. After each flush and each mark, the words of the mark, or none."""
    with open(log, "rb") as source, open(copy, "r+b") as disk:
        _, _, entries = HEAD.unpack_from(source.read(SECTOR))
        for _ in range(entries):
            head = source.read(SECTOR)
            sector, count, flags, size = ENTRY.unpack_from(head)
            if not flags & DISCARD:
                disk.seek(sector * SECTOR)
                disk.write(source.read(count * SECTOR))
            if flags & (FLUSH | FUA | MARK):
                disk.flush()
                os.fsync(disk.fileno())
                text = head[ENTRY.size : ENTRY.size + size] if flags & MARK else b""
                yield text.rstrip(b"\0").decode().split("=") if text else []


# ---- writes that fail ----

PAGES = 64  # of the file
FILE = DISK / "file"


def failures(kind: str, options: str) -> Iterator[str]:
    """Lets the disk refuse a page of a file, or all writes. What the next flush came to, and what was on disk."""
    run("modprobe", "dm-flakey")
    device = make("disk", f"0 {sectors()} linear /dev/vda 0")
    mount(device, kind, options)
    with sharedmmap.open(FILE, "w+", length=PAGES * PAGE) as m:
        write(m, 0)
        m.flush()
    os.sync()
    version = 0
    # btrfs writes a page to another place each time, so there the place of one cannot be known before.
    for refused in ("every write",) if kind == "btrfs" else ("a page", "every write"):
        for again in False, True:
            version += 1
            outcome = fail(version, refused == "a page", again)
            unmount()
            mount(device, kind, options)
            with sharedmmap.open(FILE, "r") as m:
                there = [m.read_uint64_at(page * PAGE) for page in range(PAGES)].count(version)
            lost = again and outcome == "returned" and there < PAGES
            require(not lost, f"all was written again and flushed, and {there} of {PAGES} pages are on disk")
            written = ", all was written again" if again else ""
            yield f"{refused} refused: EIO, dirty{written}; flush() {outcome}, {there} of {PAGES} pages on disk"


def fail(version: int, one_page: bool, again: bool) -> str:
    """Writes while the disk refuses that. What the next flush came to when it did so no longer."""
    size, place = sectors(), sector_of(FILE, PAGES // 2) if one_page else 0
    end = place + PAGE // SECTOR if one_page else size
    parts = [(0, place, "linear /dev/vda {}"), (place, end, REFUSING), (end, size, "linear /dev/vda {}")]
    with sharedmmap.open(FILE) as m:
        switch("\n".join(f"{a} {b - a} {target.format(a)}" for a, b, target in parts if a < b))
        write(m, version)
        try:
            m.flush()
        except OSError as error:
            require(error.errno == errno.EIO and "msync" in str(error), f"flush() raised {error}")
        else:
            require(False, "flush() returned, and the disk had refused to write")
        require(m.dirty, "a flush() that failed cleared dirty")
        switch(f"0 {size} linear /dev/vda 0")
        try:
            if again:
                write(m, version)
            m.flush()
        except OSError as error:
            require(m.dirty, "a flush() that failed cleared dirty")
            return f"raised {type(error).__name__}, {errno.errorcode[error.errno or 0]}"
        return "returned"


def require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise AssertionError(otherwise)


REFUSING = "flakey /dev/vda {} 0 60 1 error_writes"  # it works for 0 seconds, fails for 60, and so on


def switch(table: str) -> None:
    """Gives the disk another table, and leaves in memory what is there."""
    run("dmsetup", "suspend", "--noflush", "--nolockfs", "disk")
    run("dmsetup", "load", "disk", text=table)
    run("dmsetup", "resume", "disk")


def sector_of(path: Path, page: int) -> int:
    """Where the page is on the disk."""
    with path.open("rb") as file:
        size = os.fstatvfs(file.fileno()).f_bsize
        (block,) = unpack("i", fcntl.ioctl(file, FIBMAP, pack("i", page * PAGE // size)))
    require(block > 0 and size <= PAGE, f"the page is in block {block} of {size} bytes")
    return int(block) * size // SECTOR


def write(m: sharedmmap.File, version: int) -> None:
    for page in range(PAGES):
        m.write_uint64_at(version, page * PAGE)
