"""The door to the compiled modules."""

import sys

if sys.platform not in ("linux", "darwin") or sys.byteorder != "little" or sys.maxsize < 2**63 - 1:
    raise ImportError(
        "sharedmmap needs Linux or macOS on a 64-bit little-endian machine; "
        f"this is {sys.platform}, {sys.maxsize.bit_length() + 1}-bit, {sys.byteorder}-endian"
    )

try:
    from ._ffi import ffi, lib
    from ._quick import lib as quick
except ModuleNotFoundError as error:
    raise ImportError(
        "sharedmmap's compiled modules are missing; install the package (pip install .), "
        "or build them in place (python build_ffi.py)"
    ) from error

__all__ = ["PYPY", "ffi", "lib", "quick"]

PYPY = sys.implementation.name == "pypy"
