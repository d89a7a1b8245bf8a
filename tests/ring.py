"""A ring buffer in a shared file: one process sends messages, another receives them, in order and intact.

The file holds two positions and a power of two of bytes around which records go::

    0        64       128
    | sent   | taken  | record | record | ... free ... |

``sent`` counts the bytes that the sender has filled since the beginning, ``taken`` those that the receiver has
emptied, both modulo 2**32; what lies between them is on its way. Each end moves one of them and follows the
other, so nothing needs a lock. A record is the length of its message in 4 bytes, the message, and padding to a
multiple of 4. Positions are multiples of 4 too, which leaves their lowest bit to say: the other end sleeps,
wake it. Who moves a position takes the old one out in the same step, and so learns of it.

Behind each position stands a mutex, which its end holds for as long as it lives. So there is one sender and one
receiver at a time, and an end that waits for one that died, or whose file is closed, learns of that.

    sender = Sender(sharedmmap.open(path, "w+", length=DATA + 65536))       # in one process, first
    receiver = Receiver(sharedmmap.open(path))                              # in another
"""

from __future__ import annotations

from sharedmmap import AtomicUint32, File, Mutex

SENT, TAKEN, DATA = 0, 64, 128  # the positions have a cache line each: the ends do not slow each other down
HEADER = 4
LARGEST = 2**31  # so that a full ring and an empty one differ modulo 2**32
ASLEEP = 1
GLANCE = 50e-6  # seconds to wait before it is worth the other's while to wake us
LOOK = 0.1  # seconds to sleep before we ask whether the other is alive


class PeerDiedError(Exception):
    """The other end of the ring died, or its file was closed."""


class _End:
    """One end. The ring takes the largest power of two that fits, so both map the same length."""

    def __init__(self, file: File, mine: int, other: int) -> None:
        if len(file) < DATA + 2 * HEADER:
            raise ValueError(f"a ring needs at least {DATA + 2 * HEADER} bytes, not {len(file)}")
        self._file = file
        self.capacity = min(LARGEST, 1 << (len(file) - DATA).bit_length() - 1)
        self._life: Mutex = file.mutex_at(mine + 4, on_owner_died=lambda file: None)
        if not self._life.acquire(timeout=0):
            raise ValueError("the ring has a living end of this kind")
        self._peer: Mutex = file.mutex_at(other + 4)
        self._mine: AtomicUint32 = file.atomic_uint32_at(mine)
        self._other: AtomicUint32 = file.atomic_uint32_at(other)
        self._here = self._mine.load() & ~ASLEEP
        self._there = self._other.load() & ~ASLEEP  # as last seen: looked at again only when that is not enough

    def _follow(self) -> None:
        """Waits until the other end has moved on, and perhaps returns sooner."""
        if self._mine.load() & ~ASLEEP != self._here:  # a signal handler raised within _advance()
            self._advance(0)
        if not self._other.wait(self._there, GLANCE) or self._other.load() == self._there | ASLEEP:
            while self._other.fetch_or(ASLEEP) & ~ASLEEP == self._there:
                if self._other.wait(self._there | ASLEEP, LOOK) or self._peer.owner_alive():
                    continue
                if self._other.load() & ~ASLEEP == self._there:  # it did not move on just before it died
                    raise PeerDiedError("the other end of the ring died")
        self._there = self._other.load() & ~ASLEEP

    def _advance(self, size: int) -> None:
        """Makes ``size`` more bytes the other end's: what was read or written before happens before."""
        self._here = (self._here + size) % 2**32
        if self._mine.exchange(self._here) & ASLEEP:
            self._mine.notify()


class Sender(_End):
    def __init__(self, file: File) -> None:
        super().__init__(file, SENT, TAKEN)

    def send(self, message: bytes) -> None:
        """Sends it; waits while there is no room. ``ValueError`` if it would not fit in the empty ring."""
        record = len(message).to_bytes(HEADER, "little") + message
        size = len(record) + 3 & -4
        if size > self.capacity:
            raise ValueError(f"a message of {len(message)} bytes does not fit in a ring of {self.capacity} bytes")
        while size > self.capacity - (self._here - self._there) % 2**32:
            self._follow()
        at = self._here % self.capacity
        end = at + len(record)
        if end <= self.capacity:
            self._file[DATA + at : DATA + end] = record
        else:
            turn = self.capacity - at
            self._file[DATA + at : DATA + self.capacity] = record[:turn]
            self._file[DATA : DATA + end - self.capacity] = record[turn:]
        self._advance(size)


class Receiver(_End):
    def __init__(self, file: File) -> None:
        super().__init__(file, TAKEN, SENT)

    def receive(self) -> bytes:
        """The next message; waits while there is none."""
        while self._here == self._there:
            self._follow()
        at = self._here % self.capacity
        length = self._file.read_uint32_at(DATA + at)  # in one piece: all sizes are multiples of 4
        start, end = at + HEADER, at + HEADER + length
        if end <= self.capacity:
            message = self._file[DATA + start : DATA + end]
        else:
            message = (
                self._file[DATA + start : DATA + self.capacity] + self._file[DATA : DATA + end - self.capacity]
            )
        self._advance(HEADER + length + 3 & -4)
        return message
