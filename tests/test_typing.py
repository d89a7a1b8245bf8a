"""The public API as a type checker sees it."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sharedmmap

API = Path(__file__).with_name("typing_api.py")
MYPY_OPTIONS = "--strict", "--no-error-summary", "--hide-error-context", "--no-incremental"


def check(checker, *args, cwd):
    """The checker's exit code and complaints about the file, with the package as users import it."""
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    command = [sys.executable, "-m", checker, *args]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode > 1:
        pytest.skip(f"{checker} does not run here: {done.stdout}{done.stderr}")
    return done.returncode, done.stdout


def public_names(owner):
    return {name for name in vars(owner) if not name.startswith("_")}


def test_mypy_strict_accepts_the_whole_api(tmp_path):
    returncode, complaints = check("mypy", *MYPY_OPTIONS, f"--cache-dir={tmp_path}", API, cwd=tmp_path)
    assert (returncode, complaints) == (0, "")


def test_pyright_accepts_the_whole_api(tmp_path):
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    returncode, complaints = check("pyright", "--pythonpath", sys.executable, API, cwd=tmp_path)
    assert returncode == 0, complaints


def test_every_public_name_has_a_complete_type(tmp_path):
    returncode, complaints = check(
        "pyright", "--pythonpath", sys.executable, "--ignoreexternal", "--verifytypes", "sharedmmap", cwd=tmp_path
    )
    assert returncode == 0, complaints


def test_the_checked_file_uses_all_of_the_public_api():
    tree = ast.walk(ast.parse(API.read_text("utf-8")))
    used = {node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None) for node in tree}
    classes = [sharedmmap.File, sharedmmap.AtomicUint64, sharedmmap.AtomicUint32, sharedmmap.Stream]
    bases = [base for owner in classes for base in owner.__mro__ if base.__module__.startswith("sharedmmap")]
    assert set(sharedmmap.__all__).union(*map(public_names, bases)) - used == set()


def test_what_the_checked_file_does_works(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(8192))
    for use in typing_api.copies, typing_api.scalars:
        with sharedmmap.open(path) as m, pytest.raises((TypeError, AttributeError)):
            use(m)  # to the first of the lines whose types are refused
    for use in typing_api.many, typing_api.elsewhere, typing_api.system_calls:
        with sharedmmap.open(path) as m:
            use(m)
    typing_api.constants()
    typing_api.errors()
