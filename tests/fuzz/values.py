"""Arguments: mostly what a program would pass, now and then what nobody should.

Every decision of a round is taken here, by ``below``: that of ``random.Random(seed)``, or one that reads the bytes
of a coverage-guided fuzzer. Of an argument there are two: what the call is given, and what the model is given,
which means the same but has no life of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
import struct
import sys
from array import array
from decimal import Decimal
from fractions import Fraction
from typing import Any, Callable, NamedTuple

import sharedmmap

try:
    import numpy
except ImportError:
    numpy = None

PAGE = mmap.PAGESIZE
PIECE = 1 << 20  # where long copies begin
POWERS = (7, 8, 15, 16, 31, 32, 53, 62, 63, 64, 65, 200)
FORMATS = {
    "<QQd": (7, 2**64 - 1, 0.5),
    "B": (255,),
    "<3sx?": (b"abc", True),
    "": (),
    ">h": (-3,),
    "4096s": (b"x",),
}
ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-32", "latin-1", "ascii", "cp1252", "utf-8-sig")
# Not utf-7, idna and punycode: there a longer text may take fewer bytes, so how much of it fits is not defined.
ODD_ENCODINGS = ("rot13", "hex", "nope", "", "\0", "undefined", None, 5)
ERRORS = ("strict", "replace", "ignore", "surrogateescape", "surrogatepass", "backslashreplace", "nope", None)


class RefusalError(Exception):
    """What an argument raises when it is asked for its value."""


class Arg(NamedTuple):
    given: Any
    plain: Any
    odd: bool = False  # of several things that are wrong any may be told first
    open: bool = False  # what the call comes to is not known


def same(value: Any) -> Arg:
    return Arg(value, value)


def odd(value: Any) -> Arg:
    return Arg(value, value, odd=True)


class Odd(int):
    """An ``int`` that compares and adds as it likes."""

    def __lt__(self, other: Any) -> bool:
        return True

    __gt__ = __le__ = __ge__ = __eq__ = __lt__
    __hash__ = int.__hash__

    def __add__(self, other: Any) -> int:
        return -1

    __sub__ = __mul__ = __mod__ = __radd__ = __rsub__ = __add__


class Calling:
    """A number, or on Python 3.12 and later a buffer, that does something when it is asked what it is."""

    def __init__(self, value: Any, disturb: Callable[[], None]) -> None:
        self.value, self.disturb = value, disturb

    def __index__(self) -> int:
        self.disturb()
        return self.value

    def __float__(self) -> float:
        self.disturb()
        return float(self.value)

    def __buffer__(self, flags: int) -> memoryview:
        self.disturb()
        return memoryview(self.value)


class Text(str):
    """A ``str`` that does something when it is encoded."""

    disturb: Callable[[], None]

    def encode(self, *args: Any) -> bytes:
        self.disturb()
        return super().encode(*args)


class Strange(bytes):
    def __len__(self) -> int:
        return 1 << 40


class Lying(struct.Struct):
    """A ``Struct`` whose results are not of the usual kind."""

    def pack(self, *values: Any) -> Any:
        return Strange(super().pack(*values))

    size = -5


def grid(content: bytes) -> memoryview:
    rows = len(content) // 4
    view = memoryview(bytearray(content[: rows * 4]))
    return view.cast("B", (rows, 4)) if rows else view


def released(content: bytes) -> memoryview:
    view = memoryview(content)
    view.release()
    return view


def ctypes_array(content: bytes) -> Any:
    size = 1 << max(0, len(content).bit_length() - 1)  # few types: they live for ever
    return (ctypes.c_ubyte * size).from_buffer_copy(content.ljust(size))


def anonymous(content: bytes) -> mmap.mmap:
    memory = mmap.mmap(-1, max(1, len(content)))
    memory[: len(content)] = content
    return memory


READABLE = [bytes, lambda content: memoryview(content)]
WRITABLE = [
    bytearray,
    lambda content: memoryview(bytearray(content)),
    lambda content: memoryview(bytearray(b"<<<<" + content + b">>>>"))[4:-4],
    lambda content: memoryview(bytearray(content[: len(content) & ~3])).cast("I"),
    lambda content: memoryview(bytearray(content[: len(content) & ~3])).cast("f"),
    grid,
    lambda content: array("B", content),
    lambda content: array("d", content[: len(content) & ~7]),
    ctypes_array,
    anonymous,
]
WRONG = [
    lambda content: memoryview(bytearray(content * 2))[::2],
    lambda content: memoryview(bytearray(content))[::-1],
    released,
    lambda content: content.decode("latin-1"),
    lambda content: None,
    lambda content: list(content[:9]),
    lambda content: len(content),
]
if numpy:
    WRITABLE += [
        lambda content: numpy.array(bytearray(content)),
        lambda content: numpy.frombuffer(bytearray(content[: len(content) & ~7]), "<u8").reshape(-1, 1),
    ]
    WRONG += [
        lambda content: numpy.frombuffer(bytearray(content[: len(content) & ~3]), "u1").reshape(-1, 4).T,
        lambda content: numpy.array(bytearray(content * 2))[::2],
    ]


class Values:
    def __init__(self, below: Callable[[int], int], disturb: Callable[[], None]) -> None:
        self.below = below
        self.disturb = disturb
        self.edges = [0]  # where mistakes are likely to be
        self.usual = 0  # below this nothing is wrong with an offset
        self.contents = bytearray()  # what a search may look for

    def one_in(self, n: int) -> bool:
        return self.below(n) == n - 1  # so that a fuzzer's zeros stand for what is common

    def pick(self, options: Any) -> Any:
        return options[self.below(len(options))]

    def some(self, *draws: Callable[[], Arg]) -> list[Arg]:
        """The first few of them."""
        return [draw() for draw in draws[: self.below(len(draws) + 1)]]

    def maybe(self, **draws: Callable[[], Arg]) -> dict[str, Arg]:
        return {name: draw() for name, draw in draws.items() if self.one_in(3)}

    # ---- numbers ----

    def dressed(self, value: int) -> Arg:
        kind = self.below(48)
        if kind < 38:
            return same(value)
        if kind < 40:
            return same((2 ** self.pick(POWERS) + self.below(3) - 1) * self.pick((1, -1)))
        if kind < 42:
            return Arg(Odd(value), value)
        if kind < 44:
            return same(numpy.int64(value) if numpy and abs(value) < 2**63 else bool(value))
        if kind < 47:
            return Arg(Calling(value, self.disturb), value, odd=True)
        return odd(self.pick((None, "1", 1.0, b"1", [], object(), numpy and numpy.float64(1), float("nan"))))

    def offset(self) -> Arg:
        if self.below(2):
            return self.dressed(self.below(self.usual + 1))
        return self.dressed(self.pick(self.edges) + self.pick((0, 0, 1, -1, 8, -8, 5, -3)))

    def aligned(self) -> Arg:
        return self.offset() if self.one_in(4) else self.dressed(self.below(self.usual + 1) & ~7)

    def length(self) -> Arg:
        if self.one_in(8):
            return odd(None)
        return self.offset() if self.one_in(3) else self.dressed(self.size())

    def byte(self) -> Arg:
        return self.dressed(self.below(256) if not self.one_in(9) else self.pick((-1, 256)))

    def word(self) -> Arg:
        """An integer at the edges of the types."""
        return self.dressed((self.pick((0, 1, 2)) << self.pick((0, 7, 8, 15, 31, 32, 62, 63))) - self.below(2))

    def real(self) -> Arg:
        value = self.pick((0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, 1e308, 3.4028235677973366e38, 5e-324))
        if self.one_in(6):
            return Arg(Calling(3, self.disturb), 3, odd=True)
        if self.one_in(6):
            return odd(self.pick((7, 2**2000, "1.5", None, Fraction(1, 3), Decimal("0.1"), 1j, True, [])))
        return same(value)

    def key(self) -> Arg:
        """An index, or a slice."""
        if self.one_in(3):
            return self.offset() if self.one_in(2) else self.dressed(-1 - self.below(max(self.edges) + 9))
        step = same(None) if self.below(3) else self.dressed(self.pick((1, 2, -1, PAGE, 0)))
        bounds = (self.bound(), self.bound(), step)
        given, plain, *_ = zip(*bounds)
        return Arg(slice(*given), slice(*plain), odd=any(bound.odd for bound in bounds))

    def bound(self) -> Arg:
        return same(None) if self.one_in(6) else self.offset()

    # ---- buffers ----

    def size(self) -> int:
        if self.one_in(200):
            return PIECE + self.below(3) - 1
        return self.pick((0, 1, 3, 7, 8, 16, 40, self.below(200), PAGE - 1, PAGE, PAGE + 1))

    def content(self, size: int) -> bytes:
        piece = bytes((self.below(256), self.below(256), 7))
        return (piece * (size // 3 + 1))[:size]

    def source(self, size: int | None = None) -> Arg:
        content = self.content(self.size() if size is None else size)
        if self.one_in(3):
            return same(content)
        if self.one_in(12):
            return odd(self.pick(WRONG)(content))
        if self.one_in(12) and sys.version_info >= (3, 12):
            return Arg(Calling(content, self.disturb), content, odd=True)
        return same(self.pick(READABLE + WRITABLE)(content))

    def needle(self) -> Arg:
        """Mostly one that is to be found."""
        size = self.pick((0, 1, 2, 4, 5, 19, 300))
        last = len(self.contents) - size
        if last < 0 or self.one_in(3):
            return self.source(size)
        start = self.pick((0, last, self.below(last + 1)))
        return same(bytes(self.contents[start : start + size]))

    def dest(self) -> Arg:
        content = self.content(self.size())
        wrong = self.one_in(12)
        kind = self.pick(WRONG + READABLE if wrong else WRITABLE)
        if sys.version_info >= (3, 12) and self.one_in(12):
            memory = bytearray(content)
            return Arg(Calling(memory, self.disturb), bytearray(content), odd=True)
        return Arg(kind(content), kind(content), odd=wrong)

    def resized(self) -> tuple[Arg, Arg]:
        """A buffer and an offset that resizes it."""
        memory = bytearray(self.content(self.size()))

        def resize() -> None:
            self.disturb()
            with contextlib.suppress(BufferError):  # it is being copied
                del memory[1:]

        offset = self.offset().plain
        return Arg(memory, bytearray(memory), odd=True), Arg(Calling(offset, resize), offset, odd=True, open=True)

    # ---- text, records, flags ----

    def text(self) -> Arg:
        text = self.pick(("", "a", "tide\0", "é€😀", "é€😀" * 60, "\udc80", "a" * PAGE, "ß\U0010ffff\x7f"))
        if self.one_in(16):
            return odd(self.pick((b"bytes", None, 5, ["a"])))
        if self.one_in(16):
            calling = Text(text)
            calling.disturb = self.disturb
            return Arg(calling, text, odd=True)
        return same(text)

    def encoding(self) -> Arg:
        return odd(self.pick(ODD_ENCODINGS)) if self.one_in(6) else same(self.pick(ENCODINGS))

    def errors(self) -> Arg:
        return odd(self.pick(ERRORS))

    def typecode(self) -> Arg:
        return (
            same(self.pick("bBhHiIqQfd")) if not self.one_in(9) else odd(self.pick(("u", "l", "", "bb", None, 5)))
        )

    def record(self) -> tuple[Arg, ...]:
        """A format, an offset, and values."""
        layout = self.pick(list(FORMATS))
        values = [same(value) for value in FORMATS[layout]]
        if self.one_in(8):
            values = [odd(self.pick((None, -1, 2**70, "a", b"", 1.5))) for _ in range(self.below(4))]
        return self.format(layout), self.offset(), *values

    def format(self, layout: str | None = None) -> Arg:
        layout = self.pick(list(FORMATS)) if layout is None else layout
        kind = self.below(12)
        if kind < 8:
            return same(layout)
        if kind < 10:
            return same(struct.Struct(layout))
        if kind == 10:
            return Arg(Lying(layout), struct.Struct(layout), odd=True, open=True)
        return odd(self.pick((b"<I", "!z", "999999999999999999999B", None, 5, "\0", "é")))

    def flags(self) -> Arg:
        return self.dressed(self.pick((4, 1, 4 | 2, 2, 1 | 4, 0, 64, sharedmmap.Sync.SYNC, sharedmmap.Sync.ASYNC)))

    def advice(self) -> Arg:
        return self.dressed(self.pick((*sharedmmap.Advice, 9, 10, 100, 255, -1)))

    def timeout(self) -> Arg:
        return self.pick((same(0), same(0.0005), same(-1), odd(math.nan), odd("x"), same(-math.inf)))

    def truth(self) -> Arg:
        return same(self.pick((None, True, False, 0, 1, "yes")))

    # ---- what is mapped ----

    def prot(self) -> Arg:
        return self.dressed(self.pick((3, 3, 3, 1, 1, sharedmmap.Prot.READ, 0, 2, 4, 7, -1)))

    def mode(self) -> Arg:
        return self.pick(
            (same("r+"), same("r+"), same("r"), same("w+"), same("x+"), odd("rb"), odd(None), odd([]))
        )

    def descriptor(self, good: int, others: tuple[int, ...]) -> Arg:
        """The file's own, or one that cannot be mapped."""
        if self.below(5):
            return Arg(Odd(good), good) if self.one_in(9) else same(good)
        return odd(self.pick((*others, -1, 2**31, 2**70, None, "0", 1.0, os.fspath("f"), Fraction(3))))

    def assignment(self) -> tuple[Arg, Arg]:
        """A key, and mostly as much as fits it."""
        key = self.key()
        if not isinstance(key.plain, slice):
            return key, self.byte()
        try:
            size = len(range(max(self.edges))[key.plain])
        except (TypeError, ValueError):
            size = 1
        return key, self.source() if self.one_in(8) else self.source(size)
