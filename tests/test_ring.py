"""The worked example: what goes into the ring comes out of it, between processes, in order and intact."""

from __future__ import annotations

import os
import signal
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest
import ring
from child import output, run
from hypothesis import given
from hypothesis import strategies as st
from ring import DATA, SENT, TAKEN, Receiver, Sender

import sharedmmap

ENDS = f"""
import zlib
sys.path.insert(0, {os.path.dirname(__file__)!r})
from ring import Receiver, Sender
m = sharedmmap.open(path)
"""

# A message is its number and a part of the text, and differs in length from its neighbours.
SEND = """
count, checksum, sender, text = int(args[0]), 0, Sender(m), bytes(range(256))
for number in range(count):
    message = number.to_bytes(4, "little") + text[: number % 101]
    checksum = zlib.crc32(message, checksum)
    sender.send(message)
print(checksum)
"""
RECEIVE = """
count, checksum, receiver = int(args[0]), 0, Receiver(m)
for number in range(count):
    message = receiver.receive()
    assert message[:4] == number.to_bytes(4, "little"), (number, message)
    checksum = zlib.crc32(message, checksum)
print(checksum)
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("ring") / "file"


@pytest.fixture
def ends(path):
    """A sender and a receiver over a ring of 64 bytes."""
    with sharedmmap.open(path, "w+", length=DATA + 64) as m:
        yield Sender(m), Receiver(m)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "capacity"), [(1_000_000, 2**16), (50_000, 2**7)], ids=["a million", "waiting all the time"]
)
def test_messages_arrive_intact_and_in_order(path, count, capacity):
    sharedmmap.open(path, "w+", length=DATA + capacity).close()
    with ThreadPoolExecutor() as pool:
        sent, received = pool.map(lambda code: output(code, path, count, setup=ENDS), [SEND, RECEIVE])
    assert received == sent


@given(
    start=st.integers(0, 2**30 - 1).map(lambda words: 4 * words),
    steps=st.lists(st.binary(max_size=60) | st.none()),
)
def test_it_is_a_queue_wherever_the_positions_are(path, start, steps):
    """Records go around the end, and positions around 2**32; None stands for a message to be received."""
    with sharedmmap.open(path, "w+", length=DATA + 64) as m:
        m.write_uint32_at(start, SENT)
        m.write_uint32_at(start, TAKEN)
        sender, receiver = Sender(m), Receiver(m)
        underway: deque[bytes] = deque()

        def receive():
            assert receiver.receive() == underway.popleft()

        for message in steps:
            if message is not None:
                while sum(4 + -(-len(other) // 4) * 4 for other in (*underway, message)) > 64:
                    receive()
                sender.send(message)
                underway.append(message)
            elif underway:
                receive()
        while underway:
            receive()


def test_a_message_may_be_empty_and_may_fill_the_ring(ends):
    sender, receiver = ends
    for message in b"", bytes(range(60)), b"", b"x":
        sender.send(message)
        assert receiver.receive() == message


def test_a_message_that_can_never_fit_is_refused(ends):
    sender, receiver = ends
    with pytest.raises(ValueError, match="61 bytes does not fit in a ring of 64"):
        sender.send(bytes(61))
    sender.send(b"next")
    assert receiver.receive() == b"next"


def test_new_ends_go_on_where_the_old_ones_were(path):
    with sharedmmap.open(path, "w+", length=DATA + 64) as m:
        sender, receiver = Sender(m), Receiver(m)
        for message in b"first", b"second", b"third":
            sender.send(message)
        assert receiver.receive() == b"first"
    with sharedmmap.open(path) as m:
        Sender(m).send(b"fourth")
        again = Receiver(m)
        assert [again.receive() for _ in range(3)] == [b"second", b"third", b"fourth"]


@pytest.mark.parametrize("end", [Sender, Receiver])
def test_a_second_end_of_a_kind_is_refused_while_the_first_one_lives(path, ends, end):
    with sharedmmap.open(path) as m, pytest.raises(ValueError, match="living"):
        end(m)


@pytest.mark.parametrize("killed", ["sender", "receiver"])
def test_an_end_that_waits_for_one_that_was_killed_learns_of_it(path, killed):
    sharedmmap.open(path, "w+", length=DATA + 64).close()
    survives = {
        "sender": "while True: print(receiver.receive())",
        "receiver": "while True: sender.send(b'never received')",
    }
    code = f"""
    from ring import PeerDiedError
    {"receiver" if killed == "sender" else "sender"} = {"Receiver" if killed == "sender" else "Sender"}(m)
    try:
        {survives[killed]}
    except PeerDiedError:
        print("died")
    """
    dies = {"sender": "Sender(m).send(b'last')", "receiver": "Receiver(m)"}
    child = run(f"end = {dies[killed]}\nos.kill(os.getpid(), signal.SIGKILL)", path, setup=ENDS)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert output(code, path, setup=ENDS) == ("b'last'\ndied" if killed == "sender" else "died")


def test_a_file_that_is_too_small_for_a_ring_is_refused(path):
    with sharedmmap.open(path, "w+", length=DATA) as m, pytest.raises(ValueError, match="at least"):
        Sender(m)


@pytest.mark.parametrize(
    "blocks",
    ["Receiver(m).receive()", "[send(bytes(60)) for send in [Sender(m).send] * 2]"],
    ids=["empty", "full"],
)
def test_unmapping_ends_the_wait_for_the_other_end(path, blocks):
    code = f"""
    def unmap_once_there_is_a_sleeper():
        while not any(m.atomic_uint32_at(position).notify() for position in (0, 64)):
            pass
        m.unmap()

    threading.Thread(target=unmap_once_there_is_a_sleeper).start()
    try:
        {blocks}
    except UnmappedMemoryError:
        print("ended")
    """
    sharedmmap.open(path, "w+", length=DATA + 64).close()
    assert output(code, path, setup=ENDS) == "ended"


def test_a_mark_that_a_sleeper_left_does_not_hide_that_the_other_died(path, ends):
    _, receiver = ends
    receiver._other.fetch_or(ring.ASLEEP)  # as a signal handler that raises in the wait leaves it
    with sharedmmap.open(path) as m:
        receiver._peer = m.mutex_at(SENT + 4)
        ends[0]._life.release()
        code = "Sender(m); os.kill(os.getpid(), signal.SIGKILL)"
        assert run(code, path, setup=ENDS).returncode == -signal.SIGKILL
        with pytest.raises(ring.PeerDiedError):
            receiver.receive()


@pytest.mark.parametrize("receives", [True, False], ids=["receiver", "sender"])
def test_an_exception_before_the_other_is_told_leaves_nobody_waiting(ends, receives, monkeypatch):
    """As of a signal handler, between an end's own note of its position and the one in the file."""

    class Interrupted:
        def __getattr__(self, name):
            return getattr(word, name)

        def exchange(self, operand):
            raise KeyboardInterrupt

    sender, receiver = ends
    end = receiver if receives else sender
    word = end._mine
    sender.send(bytes(60))
    monkeypatch.setattr(end, "_mine", Interrupted())
    if not receives:
        assert receiver.receive() == bytes(60)
    with pytest.raises(KeyboardInterrupt):
        receiver.receive() if receives else sender.send(bytes(40))
    monkeypatch.setattr(end, "_mine", word)
    last, due = (b"next", [b"next"]) if receives else (bytes(60), [bytes(40), bytes(60)])
    with ThreadPoolExecutor() as pool:
        sending = pool.submit(sender.send, last)
        assert [receiver.receive() for _ in due] == due
        sending.result()
