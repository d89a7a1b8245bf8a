"""The README: what its session shows is what happens, what it names and links exists, and it stays short."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

import sharedmmap

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SESSIONS = re.findall(r"^```python\n(>>> .*?)^```", README, re.MULTILINE | re.DOTALL)
SCALAR = re.compile(r"(?:read|write)_(?:u?int|float)\d+_at")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 200
    assert len(README.split()) <= 1600


def test_every_block_of_python_is_a_session() -> None:
    assert SESSIONS
    assert README.count("```python\n") == len(SESSIONS)


@pytest.mark.parametrize("session", SESSIONS)
def test_a_session_is_what_happens(session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parsed = doctest.DocTestParser().get_doctest(session, {}, "README.md", "README.md", 0)
    report: list[str] = []
    results = doctest.DocTestRunner(verbose=False).run(parsed, out=report.append)
    assert results.attempted > 0
    assert results.failed == 0, "".join(report)


def test_it_names_everything_that_is_public() -> None:
    methods = [name for name in dir(sharedmmap.File) if not name.startswith("_") and not SCALAR.fullmatch(name)]
    assert [
        name for name in [*sharedmmap.__all__, *methods] if not re.search(rf"`(?:\w+\.)?{name}\b", README)
    ] == []


def test_the_names_in_its_table_of_the_api_exist() -> None:
    table = re.search(r"^\| group \| names \|\n(.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    assert table
    names = set(re.findall(r"`(\w+_at|\w+_\w+|[A-Z]\w+)`", table[1])) - {"read_T_at", "write_T_at"}
    assert {
        name for name in names if not hasattr(sharedmmap.File, name) and not hasattr(sharedmmap, name)
    } == set()


@pytest.mark.skipif(not (ROOT / ".github").exists(), reason="not in a clone of the repository")
@pytest.mark.parametrize("page", ["README.md", "tests/README.md", "tests/bench/README.md"])
def test_the_files_that_a_page_links_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link.partition("#") for link in re.findall(r"\]\(([^)]*)\)", text) if "://" not in link]
    assert links
    assert [link for link, _, _ in links if not ((ROOT / page).parent / link).exists()] == []
    headings = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)", text, re.M)
    }
    assert {anchor for link, _, anchor in links if not link} <= headings
