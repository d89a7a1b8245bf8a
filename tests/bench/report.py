"""How the benchmark shows what it found."""

from __future__ import annotations

import os
import platform
from typing import Any

Result = dict[str, Any]


def machine() -> str:
    """What the figures were taken on: they are good for nothing else."""
    model = platform.machine()
    try:
        with open("/proc/cpuinfo") as info:
            model = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    python = f"{platform.python_implementation()} {platform.python_version()}"
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


def gain(results: list[Result], one: str, two: str) -> str:
    """How much more two threads copy than one in the same time."""
    seconds = {result["operation"]: result["seconds"] for result in results}
    if one not in seconds or two not in seconds:
        return ""
    rates = [f"{peer} {2 * seconds[one][peer] / seconds[two][peer]:.2f}" for peer in seconds[one]]
    return f"throughput of two threads over one: {', '.join(rates)}".replace("ours", "sharedmmap")
