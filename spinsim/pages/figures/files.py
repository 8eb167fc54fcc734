"""A page's figures as SVG files: each with its panels and its legend, in the light page's colours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path

from spinsim.pages.palette import LIGHT

BETWEEN = 12.0  # units between panels
LETTER, LINE, SIZE = 4.4, 12.0, 7.6  # of the legend: a letter's width, a line's height, the text's size
_FIGURE = re.compile(r"<figure>(.*?)</figure>", re.S)
_PANEL = re.compile(r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)" role="img" aria-label="([^"]*)">(.*?)</svg>', re.S)
_COLUMNS = re.compile(r'class="panels" style="--columns:(\d+)"')
_KEY = re.compile(r'<span class="key" style="background:var\(--(\w+)\)"></span>([^<]*)')
_VARIABLE = re.compile(r"var\(--(\w+)\)")
Panel = tuple[float, float, str]  # width, height, content


def write_figures(page: str, out: Path) -> list[Path]:
    """Write every figure of a page's HTML into ``out`` as NAME.svg; the files. Same page, same bytes."""
    files = []
    for name, svg in figures_in(page).items():
        out.mkdir(parents=True, exist_ok=True)
        files.append(out / f"{name}.svg")
        files[-1].write_text(svg, encoding="utf-8")
    return files


def figures_in(page: str) -> dict[str, str]:
    """The figures of a page's HTML by name, each an SVG document of its own."""
    found: dict[str, str] = {}
    for figure in _FIGURE.findall(page):
        panels = [(float(w), float(h), content) for w, h, _, content in _PANEL.findall(figure)]
        if not panels:
            continue
        label = _PANEL.findall(figure)[0][2]
        first = re.sub(r"[^\w.-]+", "-", unescape(label).removesuffix("-1"))
        name = next(n for n in (first, *(f"{first}-{i}" for i in range(2, len(found) + 3))) if n not in found)
        columns = _COLUMNS.search(figure)
        keys = [(colour, unescape(text)) for colour, text in _KEY.findall(figure)]
        found[name] = _document(panels, int(columns[1]) if columns else 1, keys)
    return found


def _document(panels: list[Panel], columns: int, keys: list[tuple[str, str]]) -> str:
    """Panels in rows of ``columns``, the legend below them."""
    content, top, width = "", 0.0, 0.0
    for start in range(0, len(panels), columns):
        left, row = 0.0, panels[start : start + columns]
        for wide, high, inner in row:
            content += f'<svg x="{left:g}" y="{top:g}" width="{wide:g}" height="{high:g}" '
            content += f'viewBox="0 0 {wide:g} {high:g}" overflow="visible">{inner}</svg>\n'
            left += wide + BETWEEN
        top += max(high for _, high, _ in row) + BETWEEN
        width = max(width, left - BETWEEN)
    height = top - BETWEEN
    for x, y, colour, text in _legend(keys, width):
        height = top + y
        content += f'<rect x="{x:g}" y="{height - 6:g}" width="6" height="6" rx="1" fill="var(--{colour})"/>'
        content += f'<text x="{x + 10:g}" y="{height:g}" font-size="{SIZE}" fill="var(--muted)">'
        content += f"{escape(text)}</text>\n"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-6 -6 {width + 12:g} {height + 12:g}" '
        f'width="{width + 12:g}pt" height="{height + 12:g}pt" font-family="Helvetica, Arial, sans-serif">\n'
    )
    return head + _VARIABLE.sub(lambda match: LIGHT[match[1]], content) + "</svg>\n"


def _legend(keys: list[tuple[str, str]], width: float) -> Iterator[tuple[float, float, str, str]]:
    """(left, baseline, colour, text) of each entry, in lines no wider than the figure."""
    x, y = 0.0, SIZE
    for colour, text in keys:
        wide = 24 + LETTER * len(text)
        if x and x + wide > width:
            x, y = 0.0, y + LINE
        yield x, y, colour, text
        x += wide
