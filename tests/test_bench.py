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


@in_a_clone
def test_the_picture_of_the_mapping_is_what_its_script_draws() -> None:
    script = ROOT / ".github" / "mapping.py"
    command = [sys.executable, "-c", f"import runpy; print(runpy.run_path({str(script)!r})['draw'](), end='')"]
    drawn = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    assert drawn == script.with_suffix(".svg").read_text(encoding="utf-8")
    xml.etree.ElementTree.fromstring(drawn)
