"""A log that grows: one writer, many readers, and nobody maps anew.

Prints:
3 readers saw record 999
"""

from multiprocessing import Pool
from tempfile import TemporaryDirectory

import sharedmmap


def append(m, record):
    written = m.atomic_uint32_at(0)  # the bytes of all records, which follow it
    start = 4 + written.load()
    end = start + 4 + len(record)
    if end > m.accessible:
        m.reserve(end + (1 << 20))  # a full disk raises here; the log stays as it is
    m.write_struct_at(f"<I{len(record)}s", start, len(record), record)
    written.store(end - 4)  # after the record: no reader sees half of one
    written.notify(100)


def follow(m):
    written, position, record = m.atomic_uint32_at(0), 0, b""
    while record != b"record 999":
        while written.load() == position:
            written.wait(position)  # sleeps while there is nothing new
        record = m[position + 8 : position + 8 + m.read_uint32_at(position + 4)]
        position += 4 + len(record)


if __name__ == "__main__":
    with TemporaryDirectory() as folder, Pool(3) as pool:
        m = sharedmmap.open(f"{folder}/log", "w+", length=4, capacity=1 << 30)  # maps a GiB, allocates nothing
        readers = pool.map_async(follow, [m] * 3, chunksize=1)
        for number in range(1000):
            append(m, b"record %d" % number)
        print(len(readers.get()), "readers saw record 999")
