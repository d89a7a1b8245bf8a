"""The recipes: each is a program that prints what its docstring says, and is short."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sharedmmap

FOLDER = Path(__file__).parent / "recipes"
RECIPES = sorted(FOLDER.glob("*.py"))
NEEDS = {"numpy_array": "numpy", "prometheus": "prometheus_client"}


def docstring_of(recipe: Path) -> str:
    return ast.get_docstring(ast.parse(recipe.read_text())) or ""


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_prints_what_its_docstring_says(recipe: Path, tmp_path: Path) -> None:
    if recipe.stem in NEEDS:
        pytest.importorskip(NEEDS[recipe.stem])
    if recipe.stem == "anonymous_memory" and not hasattr(os, "memfd_create"):
        pytest.skip("no memfd_create(2)")
    if recipe.stem in ("mutex", "ring_buffer") and sys.platform != "linux":
        pytest.skip("no mutex without open-file-description locks")
    done = subprocess.run(
        [sys.executable, "-W", "error", recipe],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(sharedmmap.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = docstring_of(recipe).partition("\nPrints:\n")[2] + "\n"
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_has_less_than_40_lines(recipe: Path) -> None:
    assert len(recipe.read_text().splitlines()) < 40


def test_the_readme_shows_every_recipe() -> None:
    readme = (FOLDER.parents[1] / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\(tests/recipes/(\w+)\.py\)", readme)) == [recipe.stem for recipe in RECIPES]
