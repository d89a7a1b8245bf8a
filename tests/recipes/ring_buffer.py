"""Messages from one process to another through a ring buffer: ``tests/ring.py``, a file and two atomic words.

Prints:
1000 messages, in order: 289,000 bytes
"""

import sys
from multiprocessing import Process
from pathlib import Path
from tempfile import TemporaryDirectory

import sharedmmap

sys.path.append(str(Path(__file__).parents[1]))
from ring import DATA, Receiver, Sender


def send(path):
    sender = Sender(sharedmmap.open(path))
    for number in range(1000):
        sender.send(b"%d" % number * 100)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        path = f"{folder}/ring"
        receiver = Receiver(sharedmmap.open(path, "w+", length=DATA + 4096))
        process = Process(target=send, args=(path,))
        process.start()
        received = [receiver.receive() for _ in range(1000)]
        process.join()
        assert received == [b"%d" % number * 100 for number in range(1000)]
        print(len(received), f"messages, in order: {sum(map(len, received)):,} bytes")
