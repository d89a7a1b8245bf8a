"""The manual, ``help(sharedmmap)``: its examples are what happens, and it says everything."""

from __future__ import annotations

import doctest
import pydoc
import re
import sys
from pathlib import Path

import pytest

import sharedmmap

PAGES = {"sharedmmap": sharedmmap, "sharedmmap.File": sharedmmap.File}
SCALAR = re.compile(r"(read|write)_(u?int|float)\d+_at")


def public(owner: type) -> set[str]:
    return {name for name in dir(owner) if not name.startswith("_")}


@pytest.mark.skipif(sys.platform != "linux", reason="the examples use a mutex")
@pytest.mark.parametrize("page", PAGES)
def test_its_examples_are_what_happens(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parsed = doctest.DocTestParser().get_doctest(PAGES[page].__doc__ or "", {}, page, page, 0)
    report: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(parsed, out=report.append)
    assert results.attempted > 0
    assert results.failed == 0, "".join(report)


def test_help_shows_the_groups_of_a_file_in_order() -> None:
    shown = pydoc.plain(pydoc.render_doc(sharedmmap.File))
    groups = "Mapping", "Copies", "Values", "Atomic words", "Streams and views", "System calls", "After a fault"
    found = [shown.index(f"**{group}") for group in groups]
    assert found == sorted(found)


def test_the_overview_of_a_file_names_all_that_it_has() -> None:
    overview = sharedmmap.File.__doc__ or ""
    names = public(sharedmmap.File)
    assert [name for name in names if not SCALAR.fullmatch(name) and not re.search(rf"\b{name}\b", overview)] == []
    scalars = re.search(r" T: (.*)\n", overview)
    assert scalars
    assert {name for name in names if SCALAR.fullmatch(name)} == {
        f"{verb}_{scalar}_at" for verb in ("read", "write") for scalar in scalars[1].split()
    }


@pytest.mark.parametrize("owner", [sharedmmap.AtomicUint32, sharedmmap.AtomicUint64, sharedmmap.Mutex])
def test_the_overview_of_a_file_names_the_methods_of_its_words(owner: type) -> None:
    overview = sharedmmap.File.__doc__ or ""
    assert [name for name in public(owner) - {"offset"} if not re.search(rf"\b{name}\b", overview)] == []


def test_the_manual_names_every_error() -> None:
    errors = [name for name in sharedmmap.__all__ if name.endswith("Error")]
    assert [name for name in errors if f"{name}" not in (sharedmmap.__doc__ or "")] == []
