"""A mutex whose holder is killed between two writes: the next holder repairs the data and goes on.

Prints:
killed by SIGKILL, with the mutex held
60 + 40 = 100
"""

import os
import signal
from multiprocessing import Process
from tempfile import TemporaryDirectory

import sharedmmap

MUTEX, LEFT, RIGHT, TOTAL = 0, 8, 16, 100


def repair(m):  # called with the mutex held
    m.write_uint64_at(TOTAL - m.read_uint64_at(LEFT), RIGHT)


def move(path, amount, killed=False):
    with sharedmmap.open(path) as m, m.mutex_at(MUTEX, on_owner_died=repair):
        m.write_uint64_at(m.read_uint64_at(LEFT) - amount, LEFT)
        if killed:
            os.kill(os.getpid(), signal.SIGKILL)
        m.write_uint64_at(m.read_uint64_at(RIGHT) + amount, RIGHT)


if __name__ == "__main__":
    with TemporaryDirectory() as folder, sharedmmap.open(f"{folder}/sums", "w+", length=24) as m:
        m.write_uint64_at(TOTAL, LEFT)
        victim = Process(target=move, args=(f"{folder}/sums", 10, True))
        victim.start()
        victim.join()
        print(f"killed by {signal.Signals(-victim.exitcode).name}, with the mutex held")
        move(f"{folder}/sums", 30)
        print(m.read_uint64_at(LEFT), "+", m.read_uint64_at(RIGHT), "=", TOTAL)
