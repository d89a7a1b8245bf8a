"""The table of scalars, read by the build as well: it imports nothing.

A new one needs, besides: its accessors in ``_file.py``, a row in ``csrc/scalar.h`` and, for a new C type, the
conversions in ``csrc/quick.h``; in ``_pypy.py`` and ``_scalars.py`` what tells floats from integers.
"""

SCALARS = (
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
)
