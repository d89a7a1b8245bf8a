"""How the benchmark shows what it found."""

from __future__ import annotations

import os
import platform
import sys
from typing import Any

ONE_THREAD, TWO_THREADS = ", one thread", ", each of two threads"
"""How the names end of operations that are the same but for this."""

OWN_MAPPINGS = ", own mappings"
"""What stands before that where each thread has a mapping of its own."""

CONTROL = "pure Python"
"""The peer that shows whether two threads can run at once."""

Result = dict[str, Any]


def machine() -> str:
    """What the figures were taken on: they are good for nothing else."""
    model = platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            model = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    threads = "t" if "t" in getattr(sys, "abiflags", "") else ""
    python = f"{platform.python_implementation()} {platform.python_version()}{threads}"
    return f"{python} on {platform.system()}, {os.cpu_count()} x {model}"


def ratio(result: Result, peer: str) -> float:
    """Time of ours by time of the peer's."""
    theirs: float = result["seconds"][peer]
    return result["seconds"]["ours"] / theirs if theirs else float("inf")


def figure(seconds: float) -> str:
    for unit, size in (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3)):
        if seconds < 1000 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.2f} s"


def table(results: list[Result]) -> str:
    """Operation by peer: the time, and behind it the ratio of ours to it."""
    peers = list(dict.fromkeys(peer for result in results for peer in result["seconds"] if peer != "ours"))
    lines = [["operation", "sharedmmap", *peers]]
    for result in results:
        line = [result["operation"], figure(result["seconds"]["ours"])]
        for peer in peers:
            theirs = result["seconds"].get(peer)
            line.append("" if theirs is None else f"{figure(theirs)} {ratio(result, peer):6.2f}")
        lines.append(line)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )


def gains(results: list[Result]) -> dict[str, dict[str, float]]:
    """For what one thread did and then two, how much more these do in the same time, by peer."""
    seconds = {result["operation"]: result["seconds"] for result in results}
    found = {}
    for name, one in seconds.items():
        what = name[: -len(ONE_THREAD)]
        two = seconds.get(what + TWO_THREADS)
        if name.endswith(ONE_THREAD) and two is not None:
            found[what] = {peer: 2 * one[peer] / two[peer] for peer in two}
    return found


def gains_in_words(results: list[Result]) -> str:
    lines = []
    for name, rates in gains(results).items():
        text = ", ".join(f"{peer} {rate:.2f}" for peer, rate in rates.items()).replace("ours", "sharedmmap")
        busy = " (the machine is busy)" if rates.get(CONTROL, 2) < 1.5 else ""
        lines.append(f"throughput of two threads over one, {name}: {text}{busy}")
    return "\n".join(lines)


def moved(results: list[Result], before: list[Result]) -> str:
    """The rows whose rounds, of this run and of the one before, have no time in common."""
    spans = {result["operation"]: result for result in before}
    lines = []
    for result in results:
        old = spans.get(result["operation"])
        if old is None:
            continue
        (least, most), (old_least, old_most) = result["span"]["ours"], old["span"]["ours"]
        if least > old_most or most < old_least:
            line = (
                f"{result['operation']}: {figure(old['seconds']['ours'])} -> {figure(result['seconds']['ours'])}"
            )
            peers = [peer for peer in result["seconds"] if peer != "ours" and peer in old["seconds"]]
            line += "".join(f"; to {peer} {ratio(old, peer):.2f} -> {ratio(result, peer):.2f}" for peer in peers)
            lines.append(line)
    return "\n".join(lines) or "no row moved by more than its noise"
