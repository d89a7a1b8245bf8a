"""A file created once, by whichever process comes first; the others open what it created.

No process sees the file before ``initialize`` has filled it. A process that is killed meanwhile leaves nothing.

Prints:
8 processes, one file
"""

import os
from multiprocessing import Process
from tempfile import TemporaryDirectory

import sharedmmap

FIRST = 1000


def initialize(m):
    m.write_uint64_at(FIRST, 8)


def work(path):
    with sharedmmap.open(path, "a+", length=16, initialize=initialize) as m:
        assert m.read_uint64_at(8) == FIRST
        m.atomic_uint64_at(0).fetch_add(1)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "state")
        workers = [Process(target=work, args=(path,)) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        with sharedmmap.open(path, "r") as m:
            print(m.atomic_uint64_at(0).load(), "processes, one file")
