"""``python tests/bench``: sharedmmap beside its peers, in one run on this machine.

Times are medians of interleaved rounds, with the empty loop subtracted; behind each peer's time stands the ratio
of ours to it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

sys.path[0:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import publish  # noqa: E402  (found by the line above)
import report  # noqa: E402
from operations import operations  # noqa: E402
from timing import measure  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/bench", description=__doc__)
    parser.add_argument("--only", metavar="TEXT", help="only the operations whose name contains TEXT")
    parser.add_argument("--beside", metavar="PEER", help="only this peer, where it has the operation")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default: %(default)s)")
    parser.add_argument("--json", metavar="PATH", help="write the figures to PATH")
    parser.add_argument(
        "--go", metavar="DIR", type=Path, help="beside the Go package of which DIR is a checkout; needs go"
    )
    parser.add_argument(
        "--against", metavar="PATH", help="say which rows moved since the run whose figures are in PATH"
    )
    parser.add_argument(
        "--publish",
        metavar="PATH",
        nargs="+",
        help="measure nothing; write the chart and the tables of the README files from what --json has written, "
        "a PATH for each interpreter",
    )
    options = parser.parse_args()
    if options.publish:
        publish.publish(options.publish)
        return

    if options.go and not shutil.which("go"):
        parser.error("--go needs go, which is not installed")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        chosen, absent = operations(Path(folder), options.go)
        for operation in chosen:
            if options.only and options.only not in operation.name:
                continue
            if options.beside in operation.peers:
                operation.peers = {peer: operation.peers[peer] for peer in ("ours", options.beside)}
            print(f"\r{operation.name:60}", end="", file=sys.stderr, flush=True)
            taken = measure(operation, options.rounds)
            seconds = {peer: rounded(statistics.median(rounds)) for peer, rounds in taken.items()}
            span = {peer: [rounded(rounds[0]), rounded(rounds[-1])] for peer, rounds in taken.items()}
            results.append({"operation": operation.name, "seconds": seconds, "span": span})
    print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
    print(report.machine())
    for peer in absent:
        print(f"not installed, left out: {peer}")
    print(report.table(results))
    print(report.gains_in_words(results))
    if options.against:
        print(report.moved(results, json.loads(Path(options.against).read_text())["results"]))
    if options.json:
        run = {"machine": report.machine(), "results": results}
        Path(options.json).write_text(json.dumps(run, indent=1) + "\n")


def rounded(seconds: float) -> float:
    return float(f"{seconds:.4g}")


if __name__ == "__main__":
    main()
