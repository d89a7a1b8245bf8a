"""The same rounds, guided by atheris: each takes its decisions from the bytes that libFuzzer hands in.

Those with threads are left out: the same bytes would not come to the same.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["sharedmmap"]):
    import sharedmmap  # noqa: F401  (for the modules under it to be watched)

import children
from rounds import Round


def main(seconds: float, arguments: list[str]) -> int:
    """``arguments`` are libFuzzer's: a folder to keep what was found interesting, or a file to play again."""
    options = [
        "-max_len=1000",
        "-len_control=0",
        "-timeout=60",
        "-rss_limit_mb=0",
        f"-max_total_time={seconds:.0f}",
    ]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        pid = os.fork()  # libFuzzer ends its process, and would leave the folder behind
        if pid == 0:
            fuzz([sys.argv[0], *options, *arguments], Path(folder))
        status = os.waitpid(pid, 0)[1]
    return 1 if status else 0


def fuzz(arguments: list[str], folder: Path) -> None:
    counts: Counter[str] = Counter()

    def play(choices: bytes) -> None:
        provider = atheris.FuzzedDataProvider(choices)

        def below(n: int) -> int:
            return provider.ConsumeIntInRange(0, n - 1)

        children.play(Round, below, lambda: provider.remaining_bytes() > 0, folder, counts)

    children.restrict()
    faulthandler.disable()
    atheris.Setup(arguments, play)
    atheris.Fuzz()
