"""Something done in the middle of an operation: before a step that the interpreter takes in the package.

A signal handler, another thread or a fork can come between any two of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Callable

import sharedmmap

OPCODES = sys.implementation.name == "cpython" and sys.version_info >= (3, 10)
PACKAGE = os.path.dirname(sharedmmap.__file__)


def done_before_step(number: int, act: Callable[[], object], operate: Callable[[], object]) -> bool:
    """Calls ``operate``, and ``act`` before the step of that number; False if there are not so many.

    A step is an opcode, or a line where an exception from tracing opcodes goes wrong (CPython 3.9) or that is slow
    (PyPy).
    """
    steps = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal steps
        if os.path.dirname(frame.f_code.co_filename) != PACKAGE:
            return None
        frame.f_trace_opcodes = OPCODES
        if event in ("opcode", "line"):
            steps += 1
            if steps == number:
                sys.settrace(None)
                act()
        return trace

    sys.settrace(trace)
    try:
        operate()
    finally:
        sys.settrace(None)
    return steps >= number


class Interrupt(BaseException):
    """What a signal handler raises."""


def interrupt() -> None:
    raise Interrupt


def interrupted_everywhere(operate: Callable[[], object]) -> Iterator[int]:
    """Calls ``operate`` again and again, interrupted before another step each time, until it has no more steps."""
    number = 0
    while True:
        number += 1
        try:
            if not done_before_step(number, interrupt, operate):
                return
        except Interrupt:
            pass
        yield number
