"""The benchmark: the figures that are shown are those of the files of results."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = sorted((ROOT / "tests" / "bench" / "results").glob("*.json"))
SETUP = (
    f"import sys; sys.path[:0] = [{str(ROOT / 'tests' / 'bench')!r}, {str(ROOT / 'tests')!r}]; import publish\n"
)


def run(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", SETUP + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


in_a_clone = pytest.mark.skipif(not (ROOT / ".github").exists(), reason="not in a clone of the repository")


@in_a_clone
def test_the_chart_and_the_tables_show_the_results() -> None:
    code = """
pages = publish.pages(publish.load(sys.argv[1:]))
print(*(path for path, text in pages.items() if text != path.read_text(encoding="utf-8")))
"""
    assert run(code, *RESULTS) == "\n"


def test_the_chart_has_a_mark_for_each_interpreter_and_operation(tmp_path: Path) -> None:
    operations = ["read <uint64>", "m[a:b], 1 KiB", "atomic add"]
    for version in "3.9", "3.13":
        results = [{"operation": name, "seconds": {"ours": 2e-9, "mmap": 1e-9}} for name in operations]
        made = {"machine": f"CPython {version}.1 on Linux, 2 x any", "results": results}
        (tmp_path / f"{version}.json").write_text(json.dumps(made))
    drawn = run("print(publish.chart(publish.load(sys.argv[1:])))", *sorted(tmp_path.iterdir()))
    titles = [
        node.text for node in xml.etree.ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}title")
    ]
    shown = ["read <uint64>", "atomic add"]  # a size between two others is left out
    assert titles == [f"{name}, CPython {version}: 2.00" for name in shown for version in ("3.13", "3.9")]


def result(name: str, ours: list[float], mmap: float = 1e-9) -> dict[str, object]:
    return {
        "operation": name,
        "seconds": {"ours": sorted(ours)[len(ours) // 2], "mmap": mmap},
        "span": {"ours": [min(ours), max(ours)]},
    }


def test_a_row_has_moved_whose_rounds_have_no_time_in_common_with_those_before() -> None:
    before = [result("slower", [2e-9, 3e-9, 4e-9]), result("faster", [6e-9]), result("noisy", [2e-9, 4e-9])]
    after = [result("slower", [5e-9, 6e-9, 6e-9]), result("faster", [3e-9]), result("noisy", [4e-9, 6e-9])]
    code = "import json, report; print(report.moved(*map(json.loads, sys.argv[1:])))"
    assert run(code, json.dumps(after), json.dumps(before)).splitlines() == [
        "slower: 3.0 ns -> 6.0 ns; to mmap 3.00 -> 6.00",
        "faster: 6.0 ns -> 3.0 ns; to mmap 6.00 -> 3.00",
    ]


def test_two_threads_gain_what_one_needs_longer_for_as_much() -> None:
    seconds = {"call, one thread": {"ours": 2e-9, "pure Python": 2e-9}}
    seconds["call, each of two threads"] = {"ours": 2.5e-9, "pure Python": 4e-9}
    results = [{"operation": name, "seconds": its} for name, its in seconds.items()]
    assert run(
        "import json, report; print(report.gains_in_words(json.loads(sys.argv[1])))", json.dumps(results)
    ) == ("throughput of two threads over one, call: sharedmmap 1.60, pure Python 1.00 (the machine is busy)\n")


@in_a_clone
def test_the_picture_of_the_mapping_is_what_its_script_draws() -> None:
    script = ROOT / ".github" / "mapping.py"
    command = [sys.executable, "-c", f"import runpy; print(runpy.run_path({str(script)!r})['draw'](), end='')"]
    drawn = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    assert drawn == script.with_suffix(".svg").read_text(encoding="utf-8")
    xml.etree.ElementTree.fromstring(drawn)
