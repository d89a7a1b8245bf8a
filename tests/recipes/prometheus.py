"""prometheus_client keeps the metrics of each process in a mapped file: one that is cut raises, and kills nobody.

Prints:
[Errno 6] no page for offset 24 of the mapping: the file is 0 bytes long now
"""

import mmap
import os
import struct
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from prometheus_client import mmap_dict

from sharedmmap import File, MappingFaultError, Prot


def mapped(fd, length, access=mmap.ACCESS_WRITE):
    return File(fd, 0, length, Prot.READ if access == mmap.ACCESS_READ else Prot.READ | Prot.WRITE)


REPLACED = {  # the names in prometheus_client.mmap_dict that know what a mapping is
    "mmap": SimpleNamespace(**{**vars(mmap), "mmap": mapped}),
    "_unpack_integer": lambda source, at: struct.unpack("i", source[at : at + 4]),
    "_unpack_two_doubles": lambda source, at: struct.unpack("dd", source[at : at + 16]),
}

if __name__ == "__main__":
    vars(mmap_dict).update(REPLACED)  # once, when the program starts
    with TemporaryDirectory() as folder:
        metrics = mmap_dict.MmapedDict(f"{folder}/counter_1.db")
        metrics.write_value("requests", 42.0, 0.0)
        os.truncate(f"{folder}/counter_1.db", 0)
        try:
            metrics.write_value("requests", 43.0, 0.0)
        except MappingFaultError as error:
            print(error)
        metrics.close()
