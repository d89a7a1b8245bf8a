"""How the benchmark measures: interleaved rounds, medians, the empty loop subtracted."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Callable

WARM_UP = 0.5  # seconds

Run = Callable[[], float]
"""Runs an operation some times over and returns the seconds each took."""


@dataclass
class Operation:
    """One line of the table: what is done, and how each peer does it. ``ours`` is sharedmmap."""

    name: str
    peers: dict[str, Run] = field(default_factory=dict)


def offsets(span: int, align: int, count: int = 1000) -> list[int]:
    """Random offsets, the same in every run."""
    draw = random.Random(1)
    return [draw.randrange(0, span // align) * align for _ in range(count)]


def loop(statement: str, names: dict[str, Any], each: list[int], repeat: int) -> Run:
    """Runs ``statement`` with ``o`` at every offset of ``each``, ``repeat`` times over, less the empty loop."""

    def compiled(body: str) -> Callable[[], float]:
        scope: dict[str, Any] = {}
        arguments = ", ".join(f"{name}={name}" for name in names)
        source = (
            f"def timed({arguments}, each=each, clock=clock, rounds=rounds):\n"
            f"    start = clock()\n"
            f"    for _ in rounds:\n"
            f"        for o in each:\n"
            f"            {body}\n"
            f"    return clock() - start\n"
        )
        exec(source, {**names, "each": each, "clock": time.perf_counter, "rounds": range(repeat)}, scope)
        return scope["timed"]

    work, empty = compiled(statement), compiled("pass")
    total = repeat * len(each)
    return lambda: max(0.0, work() - empty()) / total


def run_at_once(functions: Iterable[Callable[[], object]]) -> None:
    """Calls each in a thread of its own, and returns when all have returned."""
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_threads(statement: str, names: list[dict[str, Any]], each: list[int], repeat: int) -> Run:
    """Runs ``statement`` as ``loop`` does, in a thread for each of ``names``; the loop itself counts, too."""
    source = (
        "def timed({arguments}, clock=clock, rounds=rounds):\n"
        "    own = [o + 0 for o in each]\n"  # whose reference counts no other thread changes
        "    together.wait()\n"
        "    start = clock()\n"
        "    for _ in rounds:\n"
        "        for o in own:\n"
        "            {body}\n"
        "    taken.append(clock() - start)\n"
    )
    taken: list[float] = []
    together = threading.Barrier(len(names))
    functions = []
    for its in names:
        scope = {**its, "each": each, "clock": time.perf_counter, "rounds": range(repeat)}
        scope |= {"together": together, "taken": taken}
        exec(source.format(arguments=", ".join(f"{name}={name}" for name in its), body=statement), scope)
        functions.append(scope["timed"])

    def run() -> float:
        taken.clear()
        run_at_once(functions)
        return max(taken) / repeat / len(each)

    return run


def once(function: Callable[[], Any], count: int = 1) -> Run:
    """Runs ``function`` as it is, ``count`` times."""

    def run() -> float:
        start = time.perf_counter()
        for _ in range(count):
            function()
        return (time.perf_counter() - start) / count

    return run


def measure(operation: Operation, rounds: int) -> dict[str, list[float]]:
    """Each peer's rounds in order of size, in seconds.

    Each peer warms up first, long enough for PyPy to have compiled it. Each round begins with another peer: who
    comes first finds the caches cold.
    """
    for run in operation.peers.values():
        start = time.perf_counter()
        run()
        while time.perf_counter() < start + WARM_UP:
            run()
    taken: dict[str, list[float]] = {peer: [] for peer in operation.peers}
    peers = list(operation.peers)
    for _ in range(rounds):
        for peer in peers:
            taken[peer].append(operation.peers[peer]())
        peers.append(peers.pop(0))
    return {peer: sorted(times) for peer, times in taken.items()}
