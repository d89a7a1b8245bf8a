"""A file handed to a pool: each worker maps it by itself, through a duplicate of the descriptor.

It may also be an argument of a process, or go through a queue or a pipe, with every start method.

Prints:
16383 lines
"""

from multiprocessing import Pool
from tempfile import TemporaryDirectory

import sharedmmap

BLOCK = 1 << 16


def count(m, block):
    return m[block * BLOCK : (block + 1) * BLOCK].count(b"\n")


if __name__ == "__main__":
    with TemporaryDirectory() as folder, sharedmmap.open(f"{folder}/text", "w+", length=16 * BLOCK) as m:
        for line in range(64, len(m), 64):
            m[line] = ord("\n")
        with Pool(4) as pool:
            print(sum(pool.starmap(count, [(m, block) for block in range(16)])), "lines")
