"""Shows the results of several runs, one for each interpreter: a chart, and tables for people to read.

``python tests/bench --publish FILE...`` writes, from files that ``--json`` has made, ``.github/speed.svg``, the
figures in ``README.md``, and the tables in ``tests/bench/README.md``. It measures nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from report import OWN_MAPPINGS, Result, figure, gains, gains_in_words, ratio, table

ROOT = Path(__file__).parents[2]
ALTERNATIVES = (
    "mmap",
    "Value with its lock",
    "multiprocessing.Lock",
    "Pipe",
)  # the first that a row has is compared
SKIPPED = re.compile(r"\b(16 B|1 KiB|64 KiB)$")  # between the sizes that the chart shows
SMALL_CALL = "read uint64 below 2^63"
IN_SHORT = (
    SMALL_CALL,
    "write uint64 below 2^63",
    "m[a:b], 64 B",
    "m[a:b], 1 MiB",
    "read a <QQd record",
    "1,000 uint64 at once",
    "find, hard",
    "atomic add",
    "with mutex: pass",
    "map and unmap",
    "a 64-byte message to another process",
)

Run = dict[str, Any]
"""What ``--json`` writes: the machine, and the results."""


def load(paths: list[str]) -> list[Run]:
    return [json.loads(Path(path).read_text(encoding="utf-8")) for path in paths]


def rows(runs: list[Run]) -> dict[str, list[Result]]:
    """By operation, the results of all runs, for the operations that all of them have."""
    found = [{result["operation"]: result for result in run["results"]} for run in runs]
    return {name: [run[name] for run in found] for name in found[0] if all(name in run for run in found)}


def name_of(run: Run) -> str:
    """The interpreter: ``CPython 3.11``."""
    implementation, version = run["machine"].split()[:2]
    return f"{implementation} {'.'.join(version.split('.')[:2])}{version[-1] if version[-1] == 't' else ''}"


def alternative(result: Result) -> str:
    """The peer that ours is compared with."""
    return next(
        peer for peer in (*ALTERNATIVES, *result["seconds"]) if peer in result["seconds"] and peer != "ours"
    )


def readme(page: str, runs: list[Run]) -> str:
    """``README.md`` with the figures of these runs."""
    page = re.sub(r"^\| read a `uint64`: .*$", small_calls(runs), page, flags=re.MULTILINE)
    return replaced(page, "speed", short_table(runs))


def replaced(page: str, name: str, text: str) -> str:
    """The page with the part between the comments of that name replaced."""
    pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page, flags=re.DOTALL)


def pages(runs: list[Run]) -> dict[Path, str]:
    """What is written, by its path."""
    main, bench = ROOT / "README.md", ROOT / "tests" / "bench" / "README.md"
    tables = "\n\n".join(map(long_tables, runs))
    return {
        ROOT / ".github" / "speed.svg": chart(runs),
        main: readme(main.read_text(encoding="utf-8"), runs),
        bench: replaced(bench.read_text(encoding="utf-8"), "tables", tables),
    }


def publish(paths: list[str]) -> None:
    for path, text in pages(load(paths)).items():
        path.write_text(text, encoding="utf-8")


def short_table(runs: list[Run]) -> str:
    lines = ["| | beside |" + "".join(f" {name_of(run)} |" for run in runs), "|---|---|" + "---:|" * len(runs)]
    for name, found in rows(runs).items():
        if name in IN_SHORT:
            peer = alternative(found[0])
            cells = [f"{figure(result['seconds']['ours'])} ({ratio(result, peer):.2f})" for result in found]
            lines.append(f"| {name} | `{peer}` | {' | '.join(cells)} |")
    return "\n".join([*lines, *(sentence for run in runs for sentence in two_threads(run))])


def two_threads(run: Run) -> Iterator[str]:
    """A paragraph, if the run was without the GIL."""
    rates = sorted(rates["ours"] for name, rates in gains(run["results"]).items() if name.endswith(OWN_MAPPINGS))
    if rates:
        yield ""
        yield (
            f"On {name_of(run)}, without the GIL, two threads with mappings of their own do {rates[0]:.1f} to "
            f"{rates[-1]:.1f} times as much as one."
        )


def small_calls(runs: list[Run]) -> str:
    """A row of the table that says which package to use when: the first run, and the last."""
    shown = runs[0], runs[-1]
    cells = []
    for peer in ("mmap", "numpy.memmap", "shared_memory", "ours"):
        seconds = [rows([run])[SMALL_CALL][0]["seconds"].get(peer) for run in shown]
        cells.append(", ".join("?" if found is None else figure(found) for found in seconds))
    cells.insert(-1, "as `mmap`")
    return f"| read a `uint64`: {', '.join(map(name_of, shown))} | {' | '.join(cells)} |"


def long_tables(run: Run) -> str:
    """Ours beside the alternative of each row, and then beside the peers that few rows have."""
    main, rest = [], []
    for result in run["results"]:
        seconds = result["seconds"]
        chosen = {"ours", alternative(result)} if "mmap" in seconds else set(seconds)
        main.append({**result, "seconds": {peer: seconds[peer] for peer in seconds if peer in chosen}})
        others = {peer: seconds[peer] for peer in seconds if peer == "ours" or peer not in chosen}
        if len(others) > 1:
            rest.append({**result, "seconds": others})
    shown = "\n".join((run["machine"], table(main), gains_in_words(run["results"])))
    return f"### {name_of(run)}\n\n```text\n{shown}\n```\n\n```text\n{table(rest)}\n```"


# ---- the chart ----

WIDTH, LABELS, MARGIN, ROW, HEAD = 900, 360, 24, 17, 88
LEAST, MOST = 0.01, 10.0
NOTE = "The alternative is mmap, or what stands in brackets. Marks beyond the axis are at its ends."
COLOURS = "#2563eb", "#0d9488", "#ea580c", "#9333ea"


def chart(runs: list[Run]) -> str:
    """The ratio of our time to the alternative's for each operation, a mark for each interpreter."""
    shown = {name: found for name, found in rows(runs).items() if not SKIPPED.search(name)}
    bottom = HEAD + ROW * len(shown)
    height = bottom + 34

    def across(value: float) -> float:
        share = math.log(max(LEAST, min(MOST, value)) / LEAST) / math.log(MOST / LEAST)
        return LABELS + share * (WIDTH - LABELS - MARGIN)

    def text(x: float, y: float, words: str, style: str = "") -> str:
        return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{escape(words)}</text>'

    end, middle = 'text-anchor="end"', 'text-anchor="middle"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#1f2937">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        f'<path d="M{LABELS} {HEAD}H{across(1):.0f}V{bottom}H{LABELS}z" fill="#f0fdf4"/>',
        text(16, 26, "Time of sharedmmap / time of the alternative", 'font-size="15" font-weight="600"'),
        text(16, 46, NOTE, 'fill="#6b7280"'),
        text(across(1) - 8, HEAD - 8, "sharedmmap is faster", f'{end} fill="#15803d"'),
        text(across(1) + 8, HEAD - 8, "slower", 'fill="#b91c1c"'),
    ]
    for run, colour, x in zip(runs, COLOURS, range(WIDTH - MARGIN - 125 * len(runs), WIDTH, 125)):
        parts += [f'<circle cx="{x}" cy="22" r="4.5" fill="{colour}"/>', text(x + 10, 26, name_of(run))]
    for value in (LEAST, 0.03, 0.1, 0.3, 1, 3, MOST):  # what lies beyond the least and the most is drawn there
        line = '"#374151" stroke-width="1.5"' if value == 1 else '"#e5e7eb"'
        x = across(value)
        parts.append(f'<path d="M{x:.1f} {HEAD}V{bottom}" stroke={line}/>')
        parts.append(text(x, bottom + 18, f"{value:g}", middle))
    for row, (name, found) in enumerate(shown.items()):
        y = HEAD + ROW * row + ROW / 2
        peer = alternative(found[0])
        label = escape(name) + ("" if peer == "mmap" else f' <tspan fill="#6b7280">({escape(peer)})</tspan>')
        parts.append(f'<text x="{LABELS - 10}" y="{y + 4:.0f}" {end}>{label}</text>')
        parts.append(f'<path d="M{LABELS} {y:.1f}H{WIDTH - MARGIN}" stroke="#f3f4f6"/>')
        for run, result, colour in zip(runs, found, COLOURS):
            value = ratio(result, peer)
            title = f"<title>{escape(f'{name}, {name_of(run)}: {value:.2f}')}</title>"
            parts.append(f'<circle cx="{across(value):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}">{title}</circle>')
    return "\n".join([*parts, "</svg>"]) + "\n"
