"""The table of scalars, read by the build as well: it imports nothing.

A new one needs, besides: its accessors in ``_file.py``; in ``csrc/scalar.h``, a ``DEFINE_BITS`` for an integer of
another width, or two functions for a float; the conversions of its C type in ``csrc/quick.h``; what tells floats
from integers, and a float32 from a float64, in ``build_ffi.py``, ``_pypy.py`` and ``_scalars.py``.
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
