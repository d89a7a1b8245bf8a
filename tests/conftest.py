"""A file with known contents, and a mapping of it."""

from __future__ import annotations

import gc
import mmap
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import sharedmmap

# Fixtures are shared by the examples of a test: each example sets up what it depends on.
settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("tests")


def pytest_collection_finish() -> None:
    """Thousands of tests stay until the end: gc.collect(), which many of them call, need not look at them."""
    if hasattr(gc, "freeze"):
        gc.freeze()


@pytest.fixture
def contents() -> bytes:
    """Three pages and a bit, no two pages alike."""
    return bytes(i * 31 % 251 for i in range(3 * mmap.PAGESIZE + 100))


@pytest.fixture
def path(tmp_path: Path, contents: bytes) -> Path:
    """A file that holds ``contents``."""
    path = tmp_path / "file"
    path.write_bytes(contents)
    return path


@pytest.fixture
def m(path: Path) -> Iterator[sharedmmap.File]:
    """The file, mapped for reading and writing."""
    with sharedmmap.open(path) as m:
        yield m


@pytest.fixture
def read_only(path: Path) -> Iterator[sharedmmap.File]:
    """The file, mapped for reading."""
    with sharedmmap.open(path, "r") as m:
        yield m
