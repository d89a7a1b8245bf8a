"""``python tests/fuzz``: calls of every kind with arguments of every kind, beside a model that does the same.

Rounds are played by seed in processes of their own. The first that does not go well is shown, with the command
that plays it again. ``--guided`` lets atheris choose instead, by what is reached (CPython; it is to be installed).
"""

from __future__ import annotations

import argparse
import platform
import random
import sys
import time
from collections import Counter
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path[0:0] = [str(FOLDER)]

if __name__ == "__main__" and "--guided" in sys.argv:
    import guided  # first: what is imported through it is watched
else:
    import children


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, help="how long (default: 60, or until the rounds are played)")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    parser.add_argument("--seed", type=int, help="of the first round; those that follow count up")
    parser.add_argument("--guided", action="store_true", help="by coverage; what follows goes to libFuzzer")
    options, rest = parser.parse_known_args(arguments)
    if options.guided:
        return guided.main(options.seconds or 60, rest)
    if rest:
        parser.error(f"unknown: {' '.join(rest)}")
    seed = random.randrange(10**9) if options.seed is None else options.seed
    seconds = options.seconds or (float("inf") if options.rounds else 60)
    return play(seed, options.rounds or sys.maxsize, seconds)


def play(seed: int, rounds: int, seconds: float) -> int:
    begin = time.monotonic()
    counts: Counter[str] = Counter()
    next_seed = seed
    print(f"{platform.python_implementation()} {platform.python_version()}, seed {seed}", flush=True)
    while next_seed < seed + rounds and time.monotonic() < begin + seconds:
        seeds = range(next_seed, min(next_seed + children.BATCH, seed + rounds))
        try:
            counts += children.watch(seeds, begin + seconds)
        except children.RoundError as failed:
            print(f"round of seed {failed.seed}: {failed}\nto play it again:")
            print(f"  {sys.executable} {FOLDER} --seed {failed.seed} --rounds 1")
            if failed.seed > seeds.start:
                print("or, if it takes those before it:")
                print(f"  {sys.executable} {FOLDER} --seed {seeds.start} --rounds {failed.seed + 1 - seeds.start}")
            return 1
        next_seed = seeds.stop
    report(counts, time.monotonic() - begin)
    return 0


def report(counts: Counter[str], seconds: float) -> None:
    rounds = counts.pop("rounds", 0)
    calls = sum(counts.values())
    table: dict[str, Counter[str]] = {}
    for key, count in sorted(counts.items()):
        name, came_to = key.split(": ")
        table.setdefault(name, Counter())[came_to] += count
    for name, outcomes in table.items():
        print(f"{name:24}", ", ".join(f"{came_to} {count:,}" for came_to, count in outcomes.most_common()))
    print(f"{rounds:,} rounds, {calls:,} calls in {seconds:.1f} s: {calls / seconds:,.0f} a second")


if __name__ == "__main__":
    sys.exit(main())
