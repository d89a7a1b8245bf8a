"""The rounds of one process, and the process that watches over those who run them."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rounds import Round
from threads import ThreadedRound

PATIENCE = 60  # seconds that a round may take
BATCH = 400  # rounds of one process
STEPS = 60  # of a round, at the most


def play(
    kind: type[Round] | type[ThreadedRound],
    below: Callable[[int], int],
    more: Callable[[], bool],
    folder: Path,
    counts: Counter[str],
) -> None:
    """One round. What goes wrong in it raises ``AssertionError``, and so does what it did not give back."""
    before = descriptors()
    kind(below, folder, counts).run(more)
    if descriptors() != before:
        collect()  # of what restore() put another in the place of
        assert descriptors() == before, f"{descriptors()} descriptors are open, {before} were before the round"
    with contextlib.suppress(FileNotFoundError):
        assert str(folder) not in Path("/proc/self/maps").read_text(), "the file is still mapped"


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def mappings() -> int:
    with contextlib.suppress(FileNotFoundError):
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    return 0


def collect() -> None:
    for _ in range(3):
        gc.collect()


def limit(name: int, value: int) -> None:
    hard = resource.getrlimit(name)[1]
    with contextlib.suppress(OSError, ValueError):  # macOS has no use for some
        resource.setrlimit(name, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def restrict() -> None:
    """Bounds what a process of rounds can take from the machine."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit(resource.RLIMIT_FSIZE, 8 << 20)
    limit(resource.RLIMIT_AS, 8 << 30)
    limit(resource.RLIMIT_CORE, 0)
    warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside the watchdog's thread


def play_seed(seed: int, folder: Path, counts: Counter[str]) -> None:
    below = random.Random(seed).randrange
    steps = iter(range(1 + below(STEPS)))
    kind = ThreadedRound if below(25) == 0 else Round
    play(kind, below, lambda: next(steps, None) is not None, folder, counts)


def batch(seeds: range, until: float, folder: Path, out: int) -> None:
    """Plays them, telling each before it begins; in the end, what was counted."""
    restrict()
    faulthandler.enable()
    counts: Counter[str] = Counter()
    known = 0
    for seed in seeds:
        if time.monotonic() > until:
            break
        os.write(out, b"%d\n" % seed)
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        play_seed(seed, folder, counts)
        counts["rounds"] += 1
        if counts["rounds"] == 20:
            collect()
            known = mappings()
    faulthandler.cancel_dump_traceback_later()
    collect()
    assert not known or mappings() < known + 100, f"{mappings()} mappings, {known} before"
    os.write(out, json.dumps(counts).encode() + b"\n")


class RoundError(Exception):
    """A process of rounds did not end well. ``seed`` is that of its last round."""

    def __init__(self, seed: int, reason: str) -> None:
        super().__init__(reason)
        self.seed = seed


def watch(seeds: range, until: float = float("inf")) -> Counter[str]:
    """Runs them in a process of its own, and returns what it counted."""
    readable, out = os.pipe()
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setpgid(0, 0)  # so that all it forks ends with it
                os.close(readable)
                batch(seeds, until, Path(folder), out)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        os.close(out)
        told = b""
        while True:
            hangs = not select.select([readable], [], [], 2 * PATIENCE)[0]
            if hangs or not (piece := os.read(readable, 1 << 16)):
                break
            told += piece
        os.close(readable)
        if hangs:
            os.killpg(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    lines = told.splitlines()
    if hangs or status:
        seeds_told = [int(line) for line in lines if line.isdigit()]
        reason = "hangs" if hangs else f"signal {status & 127}" if status & 127 else f"exit code {status >> 8}"
        raise RoundError(seeds_told[-1] if seeds_told else seeds.start, reason)
    return Counter(json.loads(lines[-1]))
