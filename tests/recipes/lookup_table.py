"""A big lookup table: on disk once and in memory once, however many processes look things up in it.

Prints:
[0, 1, 9999800001, None, None]
"""

from array import array
from bisect import bisect_left
from multiprocessing import Pool
from tempfile import TemporaryDirectory

import sharedmmap

ROWS, ROW = 100_000, 16  # a row is a key and its value, 8 bytes each; the rows are sorted by key


class Keys:
    def __init__(self, m):
        self.m = m

    def __len__(self):
        return len(self.m) // ROW

    def __getitem__(self, row):
        return self.m.read_uint64_at(row * ROW)


def look_up(m, key):
    row = bisect_left(Keys(m), key)
    found = row < len(Keys(m)) and Keys(m)[row] == key
    return m.read_uint64_at(row * ROW + 8) if found else None


if __name__ == "__main__":
    with TemporaryDirectory() as folder, Pool(4) as pool:
        with sharedmmap.open(f"{folder}/table", "w+", length=ROWS * ROW) as m:
            m.write_array_at(array("Q", (n for row in range(ROWS) for n in (3 * row, row * row))), 0)
        m = sharedmmap.open(f"{folder}/table", "r")
        print(pool.starmap(look_up, [(m, key) for key in (0, 3, 299_997, 299_998, 1 << 63)]))
