"""Safe, fast access to shared memory-mapped files.

A ``File`` maps a file shared (mmap(2), MAP_SHARED) and gives out copies and integers, not the
memory. The file may shrink, its disk may fill up, another thread may unmap it: a call then
raises an exception that says what happened and where. The process does not die of SIGBUS or
SIGSEGV.

    >>> import os, sharedmmap
    >>> m = sharedmmap.open("tide", "w+", length=4096, capacity=65536)
    >>> m.write_string_at("The tide comes in.", 0)
    18
    >>> m[4:8], m.accessible, len(m)
    (b'tide', 4096, 65536)
    >>> os.truncate("tide", 0)  # any process may do this at any time
    >>> m[4:8]
    Traceback (most recent call last):
      ...
    sharedmmap.MappingFaultError: [Errno 6] no page for offset 4 of the mapping: the file is 0 bytes long now
    >>> m.restore()  # maps the file again
    >>> m.accessible
    0
    >>> m.close()

``help(sharedmmap.File)`` shows the methods in groups, with an example of each. This page says
what holds for all of them: the terms, the guarantees, the limits of the guarantees, the SIGBUS
handler, and how processes share a file.


Terms

    mapped length   ``len(m)``: the length of the mapping in bytes. It does not change.
    accessible      ``m.accessible``: how many bytes from the start of the mapping the file backs
                    now. It changes with the length of the file, whichever process changes that.
                    A mapping may be longer than its file: that is room into which the file can
                    grow without a new mapping (``reserve``).
    offset          Bytes from the start of the mapping. An offset needs no alignment unless its
                    method says so.
    fault           The kernel could not supply a page of the mapping. Without a handler that is
                    a SIGBUS, which kills the process. After a fault every call raises, until
                    ``restore()`` maps the file again.
    flush           msync(2). A flush is complete if it was one of the whole mapping with
                    ``Sync.SYNC`` and succeeded.
    dirty           ``m.dirty``: something was written since the last complete flush.


Guarantees

 1. No crash. A file that is truncated, a full disk, an I/O error, an argument of any kind or
    size, ``unmap()`` in another thread, a late garbage collection: a call ends in the right
    result or in an exception. What is not covered stands below: limits 1 and 10, and the four
    points of the SIGBUS handler.
 2. No silent loss to a fault. A write that met a fault raises, in every thread, and so does
    every later call until ``restore()``. A flush that failed leaves ``dirty`` set, and so does
    an asynchronous or a partial flush.
 3. No torn scalars. A value of 1, 2, 4 or 8 bytes is read and written with a single load or
    store where ``m.offset + offset`` is a multiple of its size: another process sees the old
    value or the new one.
 4. Atomic words are sequentially consistent, between threads and between processes.
 5. A mutex survives the death of its owner: a waiter finds out, and may repair what the owner
    left half done.
 6. Growing never shrinks: no call that extends the file cuts off what another process appends
    meanwhile.
 7. ``open`` with ``initialize`` shows other processes a complete file or none.
 8. A copy of a megabyte or more, to or from the mapping, releases the GIL (on PyPy, one that makes
    ``bytes``: of four megabytes or more).


Limits of the guarantees

 1. Your buffer. CPython refuses to resize a buffer while it is copied, and so does PyPy from
    8.0. Older PyPy does not, for its own ``readinto`` neither: there a thread, or a signal
    handler, that resizes a buffer while it is copied can crash the process. Do not read into an
    array of Python objects. Its bytes are pointers, and CPython crashes when it uses them; it
    does so after ``readinto`` of a file, too.
 2. All or nothing is what is checked first. Where somebody cuts the file in the middle of a
    copy, a part of it may be written; the call raises.
 3. Long copies are not atomic. While another process or thread writes a slice, a string, an
    array, a record or an unaligned scalar, a reader may see a part of the old and a part of the
    new bytes. Guard them with an atomic word or a mutex.
 4. Plain accesses are not ordered between processes. Accesses to atomic words are.
 5. Durability is that of msync(2). ``unmap()`` does not flush. After ``flush()`` has returned,
    the file system holds the data as msync(2) with MS_SYNC promises, also where another thread
    was flushing it already. After a ``flush()`` that failed, the kernel may take the pages that
    it could not write for clean: the next flush succeeds without them. Write again what was
    written since the last ``flush()`` that succeeded. A flush that another thread called
    meanwhile raises too; another ``File`` over the same descriptor, and a child process, are
    told nothing.
 6. ``flush()`` knows of its own writes. It makes no system call where this ``File`` wrote
    nothing in this process. What a child process, or another ``File`` of the same file, has
    written it leaves to them, or to the kernel. On PyPy, a write in which a signal handler
    raises, while another thread flushes, may leave ``dirty`` False.
 7. Truncation inside the last page makes no fault. The rest of that page reads as zeros, and
    what is written there does not reach the file. A read may return those zeros. A lost write
    is reported at the latest by the next ``flush()``, which finds the file shorter and raises
    (not where it cannot ask: with ``trackfd=False``, or where somebody has closed the
    descriptor).
 8. A file that is cut and grown again between two calls looks whole. The part that was cut off
    reads as zeros.
 9. The address range is kept until collection. ``unmap()`` releases the file, its pages and its
    locks at once. The addresses stay reserved, without memory, until the ``File`` and every
    atomic word, mutex, stream and view of it have been collected. On PyPy that can be late, and
    the addresses of a mapping that has given out a view are never used again: what searches or
    unpacks a ``memoryview`` there may keep the address for longer, and finds zeros then. (A
    process has 128 TiB of addresses: enough for a million mappings of 128 MiB that each give
    out a view.) Two kinds of process pay for the addresses: one that called mlockall(2) with
    MCL_FUTURE, for which the kernel locks zero pages in their place; and one that has reached
    ``vm.max_map_count``, where the file may stay mapped until collection.
10. A view tells no faults. Where the kernel cannot supply a page, a view shows zeros, and what
    is written to it is lost; ``m.check()`` raises then. A system call that is given such a view
    (``os.write(fd, view)``) fails with EFAULT and sends no signal: the mapping has not faulted
    then, and ``m.check()`` says nothing. After ``unmap()`` a view is stale, but its memory is
    valid. Its ``obj`` attribute is Python's way around ``readonly``: leave it alone. Writing
    through it where the mapping is read-only is a SIGSEGV; on macOS it is a SIGBUS, and counts as
    a fault of the mapping.
11. Atomic words, mutexes, streams and views that were made before a ``restore()`` which had
    something to restore stay with the old mapping: words, mutexes and streams raise, views are
    stale. Make them again.
12. The descriptor. A ``File`` keeps a duplicate of the descriptor. A program that closes
    descriptors which it did not open (``os.closerange``) closes that one too. Where its number
    is given to another file, that is noticed, and the other file is left alone. Where the same
    file is opened again under that number, nobody can tell the two apart, and ``close()``
    closes it.
13. POSIX record locks (fcntl(2), F_SETLK). To close any descriptor of a file drops all such
    locks that the process holds on the file, and a ``File`` closes its duplicate when it is
    unmapped. With ``trackfd=False`` it keeps none; then ``accessible`` is the length of the
    mapping, and ``reserve``, ``restore`` and mutexes are refused.
14. Beside mutexes do not lock the whole file with ``fcntl.lockf``. Each process that has a
    mutex holds a lock on one byte past offset 2**62, by which the others see that it lives. Use
    ``fcntl.flock``, or ``fcntl.lockf`` with a length.
15. A ``File`` goes to another process as multiprocessing sends it. A process that sends one
    through a queue or a pipe must live until it has been received. While a process runs that
    was given one by ``spawn`` or ``forkserver``, the sender may hold one more descriptor of the
    file. ``pickle`` and ``copy`` refuse a ``File``; multiprocessing refuses one with
    ``trackfd=False`` and an instance of a subclass.


The SIGBUS handler

The first ``File`` of a process installs a handler for SIGBUS (sigaction(2)), for the whole
process. A fault inside one of the mappings of this package is answered with pages of zeros, and
the call that met it raises. Any other SIGBUS goes to the handler that was there before. Where
that was SIG_DFL, the process dies of SIGBUS, as it would have without this package. A program
that recovers from SIGBUS by itself (siglongjmp(3)) goes on doing so.

 1. ``faulthandler`` may be enabled before or after. Enabled after the last ``File``, it also
    reports a fault of this package on standard error; the exception follows all the same.
 2. Code that replaces the handler and does not forward faults to it takes the protection away.
    With SIG_DFL the next fault kills the process. With a Python function (``signal.signal``)
    the access never returns: Python notes the signal, and the access faults again. The next
    ``File``, or a ``restore()`` after a fault, puts the handler of this package back in front,
    and forwards other faults to theirs.
 3. Where the kernel grants no page of zeros at all, the process dies of SIGBUS, as it would
    have without this package: with ``vm.overcommit_memory=2``, say, and all memory committed. A
    process that has reached ``vm.max_map_count`` is granted them: one mapping is kept to be
    given back then. The next ``File`` keeps one again.
 4. A thread that blocks SIGBUS (``signal.pthread_sigmask``) dies of it, with the process: the
    kernel lets nobody catch a fault that is blocked.


Threads, signals, processes

All methods of a ``File``, an atomic word and a mutex may be called from any number of threads.
A ``Stream`` has a position, so it is for one thread at a time. ``unmap()`` succeeds whatever
other threads are doing; they get ``UnmappedMemoryError``. A signal handler that raises,
wherever it comes, leaks neither a mapping nor a descriptor. (The only exception: a descriptor
that multiprocessing is handing over at that moment may leak.)

Every process that maps the file shares its bytes. To share a file: map it by its path in each
process, or hand the ``File`` to multiprocessing (an argument of a process, a ``Queue``, a
``Pipe``, a ``Pool``; with fork, spawn and forkserver). A child made by fork(2) has the mapping
too; what a mutex of the parent holds is the parent's. Memory without a name is a ``File`` over
``os.memfd_create`` (Linux).

Each mapping raises the audit event ``sharedmmap.File`` with the arguments fd, offset, length,
prot (``sys.audit``).


Errors

    UnmappedMemoryError     Any use after ``unmap()`` or ``close()``. Also a ``ValueError``.
    OutOfBoundsError        Outside the mapping, or past the end of the file; the text says which,
                            with the numbers. Also an ``IndexError``.
    MappingFaultError       The kernel could not supply a page. ``errno`` is ENXIO: the file is
                            shorter than the mapping; ENOSPC: no space left on the device; EIO:
                            anything else. ``offset`` is where. Every call raises it until
                            ``restore()``; where only a ``flush`` found the file shorter, only
                            every ``flush``. Also an ``OSError``.
    OwnerDiedError          The owner of a ``Mutex`` died, and there is no ``on_owner_died``.
    io.UnsupportedOperation Writing to a read-only mapping; a ``Mutex`` where there can be none.
                            It is an ``OSError`` and a ``ValueError``.

The first four have the base ``sharedmmap.Error``. What the kernel refuses is an ``OSError``
with its errno; the text names the system call, and the limit that was met, where there is one.


Compared with mmap.mmap

    access after the file shrank    mmap: SIGBUS. Here: ``MappingFaultError``, then ``restore()``.
    write with the disk full        mmap: SIGBUS. Here: ``MappingFaultError`` with ENOSPC;
                                    ``reserve()`` asks for the space beforehand.
    close while a view exists       mmap: ``BufferError``; on PyPy it closes, and reading the
                                    view raises. Here: unmaps, and the view stays valid.
    growing                         mmap: ``resize()``, for this process alone, and not while a
                                    buffer is exported. Here: ``reserve()``, seen by all that
                                    mapped with room.
    mapping past the end            mmap: ``ValueError``. Here: allowed.
    mapping an empty file           mmap: ``ValueError``. Here: an empty ``File``.
    offset in the file              mmap: a multiple of ALLOCATIONGRANULARITY. Here: any.
    integers                        mmap: ``struct.pack_into``, which on CPython writes zeros
                                    first. Here: one load or store, where aligned.
    atomic operations               mmap: none. Here: ``AtomicUint32``, ``AtomicUint64``.
    locks between processes         mmap: none. Here: ``Mutex``.
    ``flush()``                     mmap: msync(2) each time. Here: msync(2) if something was
                                    written; after a failure it is still dirty.
    mlock(2), mincore(2)            mmap: none. Here: ``lock()``, ``unlock()``, ``residency()``.
    ``read``, ``seek``, ...         mmap: methods, with one position. Here: ``stream()``, as many
                                    as wanted, each with its position.
    iteration, ``in``               mmap: bytes of length 1. Here: as for ``bytes``: integers;
                                    ``in`` takes both, and sequences.
    the memory itself               mmap: the object is a buffer. Here: ``view()``.
    private, anonymous mappings     mmap: yes. Here: no (but a file of ``os.memfd_create``).
    SIGBUS handler                  mmap: none. Here: one for the process.
    Windows                         mmap: yes. Here: no.
    comes with                      mmap: Python. Here: cffi, and a C compiler to build it.

``mmap`` is the better choice where a program on CPython reads or writes millions of single small
values in a loop, in a file that nobody else can truncate and on a disk that cannot fill up; where
the memory itself is wanted; for private and anonymous mappings; and on Windows.


Platforms

Linux and macOS, 64-bit, little-endian; CPython 3.9 and later, PyPy 3.9 and later. Anywhere else
the build and the import raise an error that says so. A member of ``Advice`` that the platform
lacks is absent. Before macOS 14.4, which has no call like futex(2), ``wait()`` looks at the word
every millisecond instead. Mutexes need Linux with /proc.


On the command line

    python -m sharedmmap
        A tour on a temporary file, with a second process.
    python -m sharedmmap info FILE
        What can be known of a mapped file: size, holes, resident pages, who maps it, locks.
    python -m sharedmmap dump FILE --format '<QQd' [--offset N] [--count N]
        The records of a file, one a line.
"""

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
