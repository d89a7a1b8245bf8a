"""A numpy array in a file: written in place through a view, read as a copy.

Prints:
1500.0 0.0
"""

from tempfile import TemporaryDirectory

import numpy

import sharedmmap

with TemporaryDirectory() as folder:
    path = f"{folder}/grid"
    with sharedmmap.open(path, "w+", length=8 * 1000 * 1000) as m:
        m.reserve(len(m))  # allocated on disk now: no later write can find the disk full
        grid = numpy.frombuffer(m.view(), "<f8").reshape(1000, 1000)
        grid[3] = 1.5  # in place: whoever maps the file sees it
        m.check()  # an access through a view raises nothing; this raises if the mapping has faulted
        m.flush()

    row = numpy.empty(1000)
    with sharedmmap.open(path, "r") as m:
        m.read_at(row, 3 * row.nbytes)  # a copy: this call raises by itself
    print(row.sum(), grid.sum())  # grid is unmapped: it reads as zeros, and its memory is still valid
