"""Files of records with checksums, the ways to write them, and what is whole of them after a power cut.

A transaction is 1 to 20 records, and one flush. Each way appends to files of its own; where one is full, it begins
the next.
"""

from __future__ import annotations

import io
import os
import random
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Callable, NamedTuple
from zlib import crc32

import sharedmmap
from sharedmmap import File, Sync

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["Contents", "break_flush", "find", "write"]

HEADER = Struct("<IIII")  # the size of what follows, the record's number, the boot that wrote it, their checksum
RECORDS = 20  # of a transaction, at most
SIZE = 2000  # of what follows the header, at most
FULL = 2 << 20  # bytes of a file
KEPT = 50  # files of one transaction


class Contents(NamedTuple):
    """How many records are whole, where they end, and whether the file ends there too."""

    records: int
    end: int
    whole: bool


def pack(number: int, boot: int) -> bytes:
    content = random.randbytes(random.randrange(SIZE))
    head = HEADER.pack(len(content), number, boot, 0)
    return HEADER.pack(len(content), number, boot, crc32(content, crc32(head))) + content


def read(path: Path) -> Contents:
    """Records count from 0. The boots do not go back: what an earlier one left behind the end does not count."""
    data = path.read_bytes()
    count = end = last_boot = 0
    while end + HEADER.size <= len(data):
        size, number, boot, checksum = HEADER.unpack_from(data, end)
        content = data[end + HEADER.size : end + HEADER.size + size]
        expected = crc32(content, crc32(HEADER.pack(size, number, boot, 0)))
        if (number, checksum, len(content)) != (count, expected, size) or boot < last_boot:
            break
        count, end, last_boot = count + 1, end + HEADER.size + size, boot
    return Contents(count, end, end == len(data))


def find(folder: Path) -> dict[str, Contents]:
    return {path.name: read(path) for path in folder.iterdir() if path.is_file()}


class Way:
    """Files of one way, ``NAME-NUMBER`` in the folder; the last is written to."""

    def __init__(self, folder: Path, found: dict[str, Contents], gone: Callable[[str], None]) -> None:
        self.folder = folder
        self.gone = gone
        name = type(self).__name__.lower()
        self.number = max((int(known.split("-")[1]) for known in found if known.startswith(f"{name}-")), default=0)
        self.contents = found.get(self.name, Contents(0, 0, True))

    @property
    def name(self) -> str:
        return f"{type(self).__name__.lower()}-{self.number}"

    @property
    def path(self) -> Path:
        return self.folder / self.name

    def append(self, boot: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass

    def remove(self, name: str) -> None:
        self.gone(name)  # first: from here on nobody counts on it
        (self.folder / name).unlink(missing_ok=True)


class Appending(Way):
    """A way that keeps its file mapped."""

    file: File | None = None

    def open(self) -> File:
        raise NotImplementedError

    def put(self, m: File, records: list[bytes], start: int, end: int) -> None:
        """Writes and flushes."""
        raise NotImplementedError

    def append(self, boot: int) -> None:
        count, start, _ = self.contents
        records = [pack(count + i, boot) for i in range(random.randint(1, RECORDS))]
        end = start + sum(map(len, records))
        if end > FULL:
            self.begin_next()
            self.append(boot)
            return
        if self.file is None:
            self.file = self.open()
        self.put(self.file, records, start, end)
        self.contents = Contents(count + len(records), end, False)

    def begin_next(self) -> None:
        self.close()
        self.remove(self.name)
        self.file, self.contents = None, Contents(0, 0, True)
        self.number += 1

    def close(self) -> None:
        if self.file:
            self.file.close()

    def with_name_on_disk(self, m: File) -> File:
        """A new file's name is on disk when its folder is: see fsync(2)."""
        folder = os.open(self.folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        return m


class Reserve(Appending):
    """The file grows by ``reserve``, a little further than is needed."""

    def open(self) -> File:
        return self.with_name_on_disk(sharedmmap.open(self.path, "a+", capacity=FULL))

    def put(self, m: File, records: list[bytes], start: int, end: int) -> None:
        if end > m.accessible:
            m.reserve(min(FULL, end + random.randrange(1 << 16)))
        m[start:end] = b"".join(records)
        m.flush()


class Ranges(Appending):
    """A sparse file of full length, of which only the range that was written is flushed."""

    def open(self) -> File:
        return sharedmmap.open(self.path, "a+", length=FULL, initialize=lambda m: None)

    def put(self, m: File, records: list[bytes], start: int, end: int) -> None:
        m.write_at(b"".join(records), start)
        m.flush(Sync.SYNC, start, end - start)


class Stream(Appending):
    """Records go through a buffered stream."""

    def open(self) -> File:
        return self.with_name_on_disk(sharedmmap.open(self.path, "a+", length=FULL))

    def put(self, m: File, records: list[bytes], start: int, end: int) -> None:
        with io.BufferedWriter(m.stream(start)) as stream:
            stream.writelines(records)
        m.flush()


class Initialize(Way):
    """Each transaction is a file of its own, which appears with its records in it."""

    def append(self, boot: int) -> None:
        self.number += 1
        self.remove(f"initialize-{self.number - KEPT}")
        records = [pack(i, boot) for i in range(random.randint(1, RECORDS))]
        data = b"".join(records)
        with sharedmmap.open(self.path, "a+", length=len(data), initialize=lambda m: m.write_at(data, 0)):
            self.contents = Contents(len(records), len(data), True)


def write(
    folder: Path, found: dict[str, Contents], boot: int, gone: Callable[[str], None]
) -> Generator[tuple[str, int], None, None]:
    """After each flush, the file's name, and how many of its records are on disk. ``gone`` is called first."""
    ways: list[Way] = [way(folder, found, gone) for way in (Reserve, Ranges, Stream, Initialize)]
    try:
        while True:
            way = random.choice(ways)
            way.append(boot)
            yield way.name, way.contents.records
    finally:
        for way in ways:
            way.close()


def break_flush(how: str) -> None:
    """``none``: ``flush`` does nothing; ``async``: it only starts to write."""
    flush = File.flush

    def none(self: File, *arguments: int) -> None:
        pass

    def asynchronous(self: File, flags: int = 0, *arguments: int) -> None:
        flush(self, Sync.ASYNC, *arguments)

    if how != "no":
        File.flush = {"none": none, "async": asynchronous}[how]  # type: ignore[method-assign,assignment]
