"""A persistent queue over ``sharedmmap.File``, laid out on disk as grandecola/bigqueue does it.

``metadata.dat``: version, head (arena, position), tail (arena, position), arena size, number of consumers; then
for each consumer the length of its name, its head, and the name, so that the next one is at any alignment. All
numbers are uint64. Messages are in ``N_arena.dat``: a length, which never spills over, and the bytes, which may.
"""

from __future__ import annotations

import os
from pathlib import Path

import sharedmmap
from sharedmmap import File

VERSION = 1
TAIL = 24
ARENA_SIZE = 40
CONSUMERS = 48
FIRST_CONSUMER = 56
METADATA_ROOM = 1 << 16

Place = tuple  # of the number of an arena and a position in it


class EmptyQueueError(LookupError):
    pass


def mapped(path: Path, size: int, room: int) -> File:
    return sharedmmap.open(path, "r+" if path.exists() else "x+", length=size, capacity=room)


class BigQueue:
    def __init__(self, directory: str | os.PathLike[str], arena_size: int, most_arenas: int = 3) -> None:
        self.directory = Path(directory)
        self.arena_size = arena_size
        self.most_arenas = most_arenas  # to be mapped at once
        self.arenas: dict[int, File] = {}
        self.metadata = mapped(self.directory / "metadata.dat", FIRST_CONSUMER, METADATA_ROOM)
        if self.metadata.read_uint64_at(0) == 0:
            self.metadata.write_uint64_at(arena_size, ARENA_SIZE)
            self.metadata.write_uint64_at(VERSION, 0)
        if self.metadata.read_uint64_at(ARENA_SIZE) != arena_size:
            self.metadata.unmap()
            raise ValueError("mismatch in arena size")
        self.consumers: dict[str, int] = {}
        self.end = FIRST_CONSUMER
        for _ in range(self.metadata.read_uint64_at(CONSUMERS)):
            length = self.metadata.read_uint64_at(self.end)
            self.consumers[self.metadata.read_string_at(self.end + 24, length)] = self.end
            self.end += 24 + length
        self.consumer("__default__")

    def consumer(self, name: str, like: str | None = None) -> None:
        """Adds a consumer that starts at the first message, or where another one is."""
        if name not in self.consumers:
            length = len(name.encode())
            self.metadata.reserve(self.end + 24 + length)
            self.metadata.write_uint64_at(length, self.end)
            self.metadata.write_string_at(name, self.end + 24)
            self.put(self.end + 8, (0, 0) if like is None else self.place(self.consumers[like] + 8))
            self.metadata.write_uint64_at(len(self.consumers) + 1, CONSUMERS)
            self.consumers[name] = self.end
            self.end += 24 + length

    def enqueue(self, message: bytes) -> None:
        number, position = self.room_for_length(self.place(TAIL))
        self.arena(number).write_uint64_at(len(message), position)
        number, position = self.moved(number, position + 8)
        done = 0
        while done < len(message):
            count = self.arena(number).write_at(message[done:], position)
            done += count
            number, position = self.moved(number, position + count)
        self.put(TAIL, (number, position))

    def dequeue(self, consumer: str = "__default__") -> bytes:
        if self.is_empty(consumer):
            raise EmptyQueueError(consumer)
        head = self.consumers[consumer] + 8
        number, position = self.room_for_length(self.place(head))
        message = bytearray(self.arena(number).read_uint64_at(position))
        number, position = self.moved(number, position + 8)
        done = 0
        while done < len(message):
            count = self.arena(number).read_at(memoryview(message)[done:], position)
            done += count
            number, position = self.moved(number, position + count)
        self.put(head, (number, position))
        return bytes(message)

    def is_empty(self, consumer: str = "__default__") -> bool:
        return self.place(self.consumers[consumer] + 8) == self.place(TAIL)

    def flush(self) -> None:
        for arena in self.arenas.values():
            arena.flush()
        self.metadata.flush()

    def close(self) -> None:
        for file in *self.arenas.values(), self.metadata:
            file.flush()
            file.unmap()

    def place(self, offset: int) -> Place:
        return self.metadata.read_uint64_at(offset), self.metadata.read_uint64_at(offset + 8)

    def put(self, offset: int, place: Place) -> None:
        self.metadata.write_uint64_at(place[0], offset)
        self.metadata.write_uint64_at(place[1], offset + 8)

    def room_for_length(self, place: Place) -> Place:
        number, position = place
        return (number + 1, 0) if position + 8 > self.arena_size else place

    def moved(self, number: int, position: int) -> Place:
        return (number + 1, 0) if position == self.arena_size else (number, position)

    def arena(self, number: int) -> File:
        if number not in self.arenas:
            while len(self.arenas) >= self.most_arenas:
                self.arenas.pop(next(iter(self.arenas))).unmap()
            path = self.directory / f"{number}_arena.dat"
            self.arenas[number] = mapped(path, self.arena_size, self.arena_size)
        return self.arenas[number]
