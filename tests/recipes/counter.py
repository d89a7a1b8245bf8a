"""A counter that processes share: an atomic addition needs no lock, and loses no count.

Prints:
40000 counted, none lost
"""

import os
from multiprocessing import Process
from tempfile import TemporaryDirectory

import sharedmmap


def work(path):
    with sharedmmap.open(path) as m:
        counter = m.atomic_uint64_at(0)
        for _ in range(10_000):
            counter.fetch_add(1)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, "counter")
        with sharedmmap.open(path, "w+", length=8) as m:
            workers = [Process(target=work, args=(path,)) for _ in range(4)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            print(m.atomic_uint64_at(0).load(), "counted, none lost")
