"""Draws ``mapping.svg``: the file, the mapping that is longer than it, and what happens when the file is cut.

``python .github/mapping.py`` writes it beside this script.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

WIDTH, HEIGHT = 900, 404
LEFT, PAGE, PAGES = 150, 88, 8  # where page 0 begins, the width of a page, and how many are mapped
FILE, ROOM, ZEROS, INK, GREY, RED = "#93c5fd", "#ffffff", "#fecaca", "#1f2937", "#6b7280", "#b91c1c"


def text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


def pages(y: float, backed: int, colour: str, count: int, rest: str) -> list[str]:
    """A row of pages: so many backed by the file, the others not."""
    return [
        f'<rect x="{LEFT + PAGE * page}" y="{y}" width="{PAGE}" height="26" stroke="{INK}" '
        + (f'fill="{colour}"/>' if page < backed else f'fill="{rest}" stroke-dasharray="4 3"/>')
        for page in range(count)
    ]


def bracket(y: float, count: int, words: str) -> list[str]:
    end = LEFT + PAGE * count
    line = f'<path d="M{LEFT} {y - 4}v8M{LEFT} {y}H{end}M{end} {y - 4}v8" stroke="{GREY}" fill="none"/>'
    return [line, text(LEFT + 8, y + 16, words, f'fill="{GREY}"')]


def row(y: float, name: str, parts: list[str]) -> list[str]:
    return [text(LEFT - 12, y + 18, name, 'text-anchor="end"'), *parts]


def draw() -> str:
    bold = 'font-weight="600"'
    code = f'font-family="ui-monospace, monospace" font-size="12.5" fill="{INK}"'
    at = LEFT + PAGE * 2.5
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="#f9fafb"/>',
        text(16, 26, "1. A mapping may be longer than its file", bold),
        *row(40, "file", pages(40, 4, FILE, 4, ROOM)),
        *row(72, "mapping", pages(72, 4, FILE, PAGES, ROOM)),
        *bracket(110, 4, "m.accessible: what the file backs now"),
        text(LEFT + PAGE * 4 + 8, 126, "room to grow: m.reserve(length)", f'fill="{GREY}"'),
        *bracket(140, PAGES, "len(m): what is mapped"),
        text(16, 190, "2. Another process cuts the file, and a call reads page 2", bold),
        *row(204, "file", pages(204, 1, FILE, 1, ROOM)),
        *row(236, "mapping", pages(236, 0, FILE, PAGES, ZEROS)),
        f'<path d="M{at} 218v14m-4 -6l4 6l4 -6" stroke="{RED}" fill="none"/>',
        text(
            at + 10, 226, "page fault, SIGBUS: the handler puts pages of zeros over the mapping", f'fill="{RED}"'
        ),
        text(
            LEFT,
            282,
            "MappingFaultError: no page for offset 8200 of the mapping: the file is 4096 bytes long now",
            code,
        ),
        text(16, 322, "3. m.restore() maps the file again", bold),
        *row(336, "mapping", pages(336, 1, FILE, PAGES, ROOM)),
        *bracket(374, 1, "m.accessible"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(draw(), encoding="utf-8")
