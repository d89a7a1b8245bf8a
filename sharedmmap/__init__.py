"""Safe, fast access to shared memory-mapped files."""

from ._atomic import AtomicUint32, AtomicUint64
from ._errors import Error, MappingFaultError, OutOfBoundsError, OwnerDiedError, UnmappedMemoryError
from ._file import File
from ._flags import Advice, Prot, Sync
from ._mutex import Mutex
from ._open import open
from ._stream import Stream
from ._workers import register as _register

__all__ = [
    "Advice",
    "AtomicUint32",
    "AtomicUint64",
    "Error",
    "File",
    "MappingFaultError",
    "Mutex",
    "OutOfBoundsError",
    "OwnerDiedError",
    "Prot",
    "Stream",
    "Sync",
    "UnmappedMemoryError",
    "open",
]

for _name in __all__:  # as they are imported, so they are shown: in tracebacks, by repr() and by help()
    globals()[_name].__module__ = __name__

_register()
