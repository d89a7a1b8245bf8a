"""Handing a ``File`` to another process by means of ``multiprocessing``.

 1. multiprocessing has a pickler of its own, ``ForkingPickler``, with a table of reducers of its own. The reducer
    of ``File`` is in that table alone, so ``pickle`` and ``copy`` get the TypeError of ``File.__reduce__``.
 2. A program that does not use multiprocessing must not have to import it. So where it is not imported yet, a
    finder on ``sys.meta_path`` waits for the import of the module that has the table, registers the reducer behind
    it, and goes.
 3. What is sent is a duplicate of the region's descriptor, so that another thread may unmap meanwhile. With
    ``spawn`` and ``forkserver`` the arguments of a process are pickled first, and descriptors inherited or sent
    later: there the duplicate has to stay open until the process runs. In any other case multiprocessing makes a
    duplicate of its own.
 4. The other process maps what it receives and closes it. ``Region`` keeps a duplicate, as it always does.

Rejected: copyreg, whose table serves ``pickle`` as well. Rejected: a ``__reduce_ex__`` that finds out who pickles:
it is not told, and the frame that called the pickler need not be one of multiprocessing.
"""

from __future__ import annotations

import io
import sys
from importlib import import_module
from weakref import WeakKeyDictionary

from ._descriptor import Descriptor
from ._file import File
from ._region import Region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

__all__ = ["map_received", "register"]

REDUCTION = "multiprocessing.reduction"

_kept: WeakKeyDictionary[Any, list[Descriptor]] = WeakKeyDictionary()
"""By the ``Popen`` that starts a process, the duplicates that have to stay open until it runs."""


def register() -> None:
    """Registers the reducer of ``File``, now or when multiprocessing is imported."""
    if REDUCTION in sys.modules:
        import_module(REDUCTION).register(File, _reduce)  # waits where another thread is about to import it
    else:
        sys.meta_path.insert(0, _Finder())


def _reduce(file: File) -> tuple[Callable[..., File], tuple[Any, int, int, int]]:
    from multiprocessing import context, reduction

    region, duplicate = _duplicate(file)
    for popen in list(_kept):
        if getattr(popen, "pid", None) is not None:  # it runs
            for sent in _kept.pop(popen, ()):
                sent.close()
    spawning: Any = context.get_spawning_popen()
    if spawning is not None:
        _kept.setdefault(spawning, []).append(duplicate)
        handle = reduction.DupFd(duplicate.fd)
    else:
        with duplicate:
            handle = reduction.DupFd(duplicate.fd)
    return map_received, (handle, region.offset, region.length, region.prot)


def _duplicate(file: File) -> tuple[Region, Descriptor]:
    while True:
        region = file._region.latest()
        try:
            return region, region.duplicate()
        except io.UnsupportedOperation:
            if not region.successors:  # else restored meanwhile
                raise


def map_received(handle: Any, offset: int, length: int, prot: int) -> File:
    """What another process makes of what ``_reduce`` returns."""
    with Descriptor() as received:
        received.c.fd = handle.detach()
        file = File.__new__(File)
        file._region = Region.of(received.fd, offset, length, prot, True)
        return file


class _Finder:
    """Finds the module with the table as the other finders do, and puts a ``_Loader`` in front of its loader."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != REDUCTION:
            return None
        for finder in list(sys.meta_path):
            spec: Any = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self)
                return spec
        return None


class _Loader:
    """Loads the module as its own loader does, and registers the reducer."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        module.register(File, _reduce)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
