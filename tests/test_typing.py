"""The public API as a type checker sees it."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys

import pytest
import typing_api

import sharedmmap

CHECKERS = {
    "mypy": ["--strict", "--no-error-summary", "--cache-dir=cache"],
    "pyright": ["--pythonpath", sys.executable],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_type_checker_accepts_the_whole_api(checker, tmp_path):
    if importlib.util.find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed")
    command = [sys.executable, "-m", checker, *CHECKERS[checker], typing_api.__file__]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode > 1:
        pytest.skip(f"{checker} does not run: {done.stdout}{done.stderr}")
    assert done.returncode == 0, done.stdout


def test_the_checked_file_uses_the_whole_api():
    with open(typing_api.__file__, encoding="utf-8") as file:
        nodes = list(ast.walk(ast.parse(file.read())))
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {node.id for node in nodes if isinstance(node, ast.Name)}
    classes = (
        sharedmmap.File,
        sharedmmap.AtomicUint64,
        sharedmmap.AtomicUint32,
        sharedmmap.Mutex,
        sharedmmap.Stream,
    )
    ours = {base for owner in classes for base in owner.__mro__ if base.__module__.startswith("sharedmmap")}
    names = {name for owner in ours for name in vars(owner) if not name.startswith("_")}
    assert names.union(sharedmmap.__all__) - used == set()


def test_the_checked_file_does_what_it_says(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(8192))
    refused = pytest.raises(
        (TypeError, AttributeError)
    )  # by the lines that a checker must refuse, which come last
    with refused:
        typing_api.mapping(path)
    for use in typing_api.copies, typing_api.scalars, typing_api.words, typing_api.mutexes:
        with sharedmmap.open(path) as m, refused:
            use(m)
    for use in typing_api.many, typing_api.elsewhere, typing_api.system_calls:
        with sharedmmap.open(path) as m:
            use(m)
    typing_api.constants()
    typing_api.errors()
