"""Protection, advice and synchronization: the constants of mmap(2), madvise(2) and msync(2)."""

from __future__ import annotations

from enum import IntEnum, IntFlag, auto

from ._native import lib

__all__ = ["Advice", "Prot", "Sync"]


class Prot(IntFlag):
    """What the mapping may be used for; see mmap(2)."""

    READ = lib.PROT_READ
    WRITE = lib.PROT_WRITE


class Sync(IntFlag):
    """How ``File.flush`` synchronizes; see msync(2)."""

    SYNC = lib.MS_SYNC
    ASYNC = lib.MS_ASYNC
    INVALIDATE = lib.MS_INVALIDATE


_ADVICE = {
    name[len("MADV_") :]: getattr(lib, name)
    for name in dir(lib)
    if name.startswith("MADV_") and getattr(lib, name) >= 0
}

TYPE_CHECKING = False
if TYPE_CHECKING:

    class Advice(IntEnum):
        """Expected use of a range; see madvise(2). A member the platform lacks is absent."""

        NORMAL = auto()
        RANDOM = auto()
        SEQUENTIAL = auto()
        WILLNEED = auto()
        DONTNEED = auto()
        DODUMP = auto()
        DONTDUMP = auto()
        HUGEPAGE = auto()
        NOHUGEPAGE = auto()
        COLD = auto()
        PAGEOUT = auto()
        POPULATE_READ = auto()
        POPULATE_WRITE = auto()
        COLLAPSE = auto()

else:
    Advice = IntEnum("Advice", _ADVICE, module=__package__)
    Advice.__doc__ = """Expected use of a range; see madvise(2).

    Only advice that can neither destroy what the file holds nor make a later access fault. A member the
    platform lacks is absent.
    """
