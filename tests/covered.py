"""How much of the package the tests run: ``python tests/covered.py``, on Linux with gcc.

Works in a copy of the tree and in an environment of its own, into which it installs coverage.py and what the tests
need. It counts the lines and branches of the Python modules, also where a child process runs them, and on CPython
those of the C code (gcov). What a process has counted is lost if it is killed, so these are lower bounds.

On CPython ``_pypy.py`` is left out. Counting makes the package slower, and it needs memory and descriptors of its
own, so a few of the tests fail; the last line says how many.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mutants import copy_tree

CPYTHON = sys.implementation.name == "cpython"
LEFT_OUT = ("native", "packaging", "typing")  # which run nothing of the package that is measured here
CONFIGURATION = f"""
[run]
branch = true
parallel = true
patch = subprocess, _exit
source = sharedmmap
omit = {"*/_pypy.py" if CPYTHON else ""}
data_file = {{folder}}/python
"""


def run(*command: object, check: bool = True, cwd: Path | None = None, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(
        list(map(str, command)), env=environment, cwd=cwd, stdout=subprocess.PIPE, text=True, check=check
    )
    return done.stdout


def part(name: str, run: int, all_of_them: int) -> None:
    print(f"{name:16} {run:6,} of {all_of_them:6,}  {run / all_of_them:.1%}")


def report_python(folder: Path, python: Path) -> None:
    options = ["--rcfile", folder / "configuration"]
    run(python, "-m", "coverage", "combine", "-q", *options)
    run(python, "-m", "coverage", "json", "-q", *options, "-o", folder / "python.json")
    totals = json.loads((folder / "python.json").read_text())["totals"]
    part("Python lines", totals["covered_lines"], totals["num_statements"])
    part("Python branches", totals["covered_branches"], totals["num_branches"])


def report_c(build: Path) -> None:
    """A line of a header is counted once for each function that it is a part of, but once for both modules."""
    lines: Counter[Any] = Counter()
    branches: Counter[Any] = Counter()
    for data in build.rglob("*.gcda"):
        for text in run("gcov", "--json-format", "--stdout", "--branch-probabilities", data).splitlines():
            for file in json.loads(text)["files"]:
                if "/csrc/" not in file["file"]:
                    continue
                for line in file["lines"]:
                    key = Path(file["file"]).name, line["line_number"], line.get("function_name")
                    lines[key] += line["count"]
                    for number, branch in enumerate(line["branches"]):
                        branches[(*key, number)] += branch["count"]
    for name, counts in (("C lines", lines), ("C branches", branches)):
        part(name, sum(count > 0 for count in counts.values()), len(counts))


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tree, python = folder / "tree", folder / "venv/bin/python"
        copy_tree(tree)
        (folder / "configuration").write_text(CONFIGURATION.format(folder=folder))
        run(sys.executable, "-m", "venv", "--upgrade-deps", folder / "venv")
        run(python, "-m", "pip", "install", "-q", f"{tree}[test]", "coverage>=7.10", "setuptools")
        run(python, "-m", "pip", "uninstall", "-q", "-y", "sharedmmap")
        counting = {"CFLAGS": "-O0 --coverage -fprofile-update=atomic", "LDFLAGS": "--coverage"}
        run(python, "build_ffi.py", cwd=tree, **(counting if CPYTHON else {}))
        command = [python, "-m", "coverage", "run", "--rcfile", folder / "configuration", "-m", "pytest", "-q"]
        options = [f"--ignore=tests/test_{name}.py" for name in LEFT_OUT]
        results = [f"--junitxml={folder}/tests.xml", "-o", "junit_family=xunit1"]
        print(run(*command, *options, *results, check=False, cwd=tree, PYTHONPATH=str(tree)))
        report_python(folder, python)
        if CPYTHON:
            report_c(tree / "build")
        suite = ElementTree.parse(folder / "tests.xml").getroot()[0]
        refusals = sum(int(found.attrib["value"]) for found in suite.iterfind(".//property[@name='refusals']"))
        failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
        print(f"{refusals:,} calls refused, {suite.attrib['tests']} tests, {failed} failed")


if __name__ == "__main__":
    main()
