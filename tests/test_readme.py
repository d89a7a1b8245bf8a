"""The README: what its session shows is what happens, and what it names exists."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sharedmmap

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SESSIONS = re.findall(r"^```python\n(>>> .*?)^```", README, re.MULTILINE | re.DOTALL)
RECIPE = r"^### ([^\n]*)\n[^`#]*```python\n(.*?)^```\n\n```text\n(.*?)^```"
RECIPES = re.findall(RECIPE, README, re.MULTILINE | re.DOTALL)


def test_every_block_of_python_is_a_session_or_a_recipe() -> None:
    assert SESSIONS
    assert RECIPES
    assert README.count("```python\n") == len(SESSIONS) + len(RECIPES)


@pytest.mark.parametrize(("code", "shown"), [recipe[1:] for recipe in RECIPES], ids=[name for name, *_ in RECIPES])
def test_a_recipe_prints_what_is_shown(code: str, shown: str, tmp_path: Path) -> None:
    if "import numpy" in code:
        pytest.importorskip("numpy")
    (tmp_path / "recipe.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", "recipe.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr, done.returncode) == (shown, "", 0)


@pytest.mark.parametrize("session", SESSIONS)
def test_a_session_is_what_happens(session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parsed = doctest.DocTestParser().get_doctest(session, {}, "README.md", "README.md", 0)
    report: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(parsed, out=report.append)
    assert results.attempted > 0
    assert results.failed == 0, "".join(report)


def documented() -> set[str]:
    """The methods and attributes that the tables of the README show on a ``File``, ``m``."""
    return set(re.findall(r"`m\.(\w+)", README)) - {"read_T_at", "write_T_at"}


def test_the_tables_show_what_a_file_has() -> None:
    assert documented() - set(dir(sharedmmap.File)) == set()


def test_the_tables_show_all_that_a_file_has() -> None:
    public = {name for name in dir(sharedmmap.File) if not name.startswith("_")}
    scalar = re.compile(r"(?:read|write)_((?:u?int|float)\d+)_at")
    assert {name for name in public - documented() if not scalar.fullmatch(name)} == set()
    for found in filter(None, map(scalar.fullmatch, public)):
        assert f"`{found[1]}`" in README


def test_the_readme_names_everything_that_is_public() -> None:
    assert [name for name in sharedmmap.__all__ if not re.search(rf"`(?:\w+\.)?{name}\b", README)] == []
