"""Something done in the middle of an operation: before a step that the interpreter takes in the package.

A signal handler, another thread or a fork can come between any two of them.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Callable

import sharedmmap

OPCODES = sys.implementation.name == "cpython" and sys.version_info >= (3, 10)
PACKAGE = os.path.dirname(sharedmmap.__file__)


class Step:
    """One step of an operation.

    It is an opcode, or a line where an exception from tracing opcodes goes wrong (CPython 3.9), or where tracing
    opcodes is slow (PyPy).
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_taken = True
        """False if the operation has ended before it came to this step."""

    def do_before(self, act: Callable[[], object], operate: Callable[[], object]) -> None:
        """Calls ``operate``, and ``act`` before this step of it."""
        steps = 0

        def trace(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal steps
            if os.path.dirname(frame.f_code.co_filename) != PACKAGE:
                return None
            frame.f_trace_opcodes = OPCODES
            if event in ("opcode", "line"):
                steps += 1
                if steps == self.number:
                    sys.settrace(None)
                    act()
            return trace

        sys.settrace(trace)
        try:
            operate()
        finally:
            sys.settrace(None)
        self.is_taken = steps >= self.number


def every_step(at_least: int) -> Iterator[Step]:
    """The steps of an operation, until one is not taken; it has to have so many."""
    for number in itertools.count(1):
        step = Step(number)
        yield step
        if not step.is_taken:
            assert number > at_least, f"only {number - 1} steps"
            return


class Interrupt(BaseException):
    """What a signal handler raises."""


def interrupt() -> None:
    raise Interrupt
