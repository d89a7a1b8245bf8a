"""A persistent queue over sharedmmap does what a collections.deque does, through any number of reopens."""

from __future__ import annotations

import os
import random
import struct
from collections import deque

import pytest
from bigqueue import BigQueue, EmptyQueueError
from child import output

DEFAULT = "__default__"


@pytest.fixture
def queue(tmp_path):
    """Opens the queue in the directory; closes it in the end."""
    opened = []

    def make(arena_size=64, **kwargs):
        opened.append(BigQueue(tmp_path, arena_size, **kwargs))
        return opened[-1]

    yield make
    if opened and not opened[-1].metadata.closed:
        opened[-1].close()


class Twin:
    """The queue and its model, which must agree at every step."""

    def __init__(self, make, rng):
        self.make, self.rng = make, rng
        self.queue = make()
        self.model = {DEFAULT: deque()}
        self.messages = []
        self.dequeued = 0

    def step(self):
        kinds = {self.enqueue: 40, self.dequeue: 50, self.flush: 3, self.reopen: 4, self.add_consumer: 1}
        (act,) = self.rng.choices(list(kinds), kinds.values())
        act()

    def enqueue(self):
        size = self.queue.arena_size
        lengths = 0, 1, size - 8, size - 7, size, size + 1, self.rng.randrange(size), self.rng.randrange(4 * size)
        message = self.rng.randbytes(self.rng.choice(lengths))
        self.queue.enqueue(message)
        self.messages.append(message)
        for waiting in self.model.values():
            waiting.append(message)

    def dequeue(self):
        name = self.rng.choice(list(self.model))
        assert self.queue.is_empty(name) == (not self.model[name])
        if self.model[name]:
            assert self.queue.dequeue(name) == self.model[name].popleft()
            self.dequeued += 1
        else:
            with pytest.raises(EmptyQueueError):
                self.queue.dequeue(name)

    def flush(self):
        self.queue.flush()
        assert not self.queue.metadata.dirty
        assert not any(arena.dirty for arena in self.queue.arenas.values())

    def reopen(self):
        self.queue.close()
        self.queue = self.make()
        assert list(self.queue.consumers) == list(self.model)

    def add_consumer(self):
        if len(self.model) < 6:
            name = "é" * self.rng.randrange(5) + str(len(self.model))
            like = self.rng.choice([None, *self.model])
            self.queue.consumer(name, like)
            self.model[name] = deque(self.messages if like is None else self.model[like])

    def drain(self):
        self.reopen()
        for name, waiting in self.model.items():
            while waiting:
                assert self.queue.dequeue(name) == waiting.popleft()
            assert self.queue.is_empty(name)


@pytest.mark.slow
@pytest.mark.parametrize("arena_size", [8, 9, 64, 100, 4096, 5000])
def test_thousands_of_steps_go_as_in_a_deque(queue, arena_size):
    twin = Twin(lambda: queue(arena_size, most_arenas=1 + arena_size % 3), random.Random(arena_size))
    for _ in range(2000):
        twin.step()
    assert len(twin.messages) > 500
    assert twin.dequeued > 500
    twin.drain()


def test_the_files_are_laid_out_as_the_other_program_reads_them(queue, tmp_path):
    q = queue(64)
    q.enqueue(b"x" * 50)
    q.enqueue(b"y" * 70)
    q.consumer("odd")
    q.consumer("é", like="odd")
    q.dequeue("odd")
    q.close()
    heads = {DEFAULT: (0, 0), "odd": (0, 58), "é": (0, 0)}
    header = struct.pack("<7Q", 1, 0, 0, 2, 14, 64, len(heads))
    consumers = [struct.pack("<3Q", len(name.encode()), *head) + name.encode() for name, head in heads.items()]
    assert (tmp_path / "metadata.dat").read_bytes() == header + b"".join(consumers)
    length = struct.Struct("<Q").pack
    assert (tmp_path / "0_arena.dat").read_bytes() == length(50) + b"x" * 50 + bytes(6)
    assert (tmp_path / "1_arena.dat").read_bytes() == length(70) + b"y" * 56
    assert (tmp_path / "2_arena.dat").read_bytes() == b"y" * 14 + bytes(50)


def test_a_message_spills_over_many_arenas_and_few_are_mapped(queue):
    q = queue(64, most_arenas=2)
    message = bytes(range(256)) * 20
    q.enqueue(message)
    q.enqueue(b"")
    assert len(q.arenas) == 2
    assert (q.dequeue(), q.dequeue()) == (message, b"")
    assert len(q.arenas) == 2
    assert q.is_empty()


def test_another_arena_size_is_refused(queue):
    queue(64).close()
    with pytest.raises(ValueError, match="arena size"):
        queue(65)


def test_what_a_killed_process_enqueued_is_still_there(queue, tmp_path):
    code = """
    sys.path.insert(0, args[0])
    from bigqueue import BigQueue
    q = BigQueue(path, 100)
    for i in range(300):
        q.enqueue(str(i).encode() * 10)
    print(q.dequeue().decode(), flush=True)
    os._exit(0)
    """
    assert output(code, tmp_path, os.path.dirname(__file__)) == "0" * 10
    q = queue(100)
    assert [q.dequeue() for _ in range(299)] == [str(i).encode() * 10 for i in range(1, 300)]
    assert q.is_empty()


def test_two_processes_share_the_queue(queue, tmp_path):
    q = queue(100)
    q.enqueue(b"for the child")
    code = """
    sys.path.insert(0, args[0])
    from bigqueue import BigQueue
    q = BigQueue(path, 100)
    print(q.dequeue().decode())
    q.enqueue(b"for the parent" * 20)
    q.close()
    """
    assert output(code, tmp_path, os.path.dirname(__file__)) == "for the child"
    assert q.dequeue() == b"for the parent" * 20
    assert q.is_empty()
