"""The shell of every HTML report: one file, no request, light and dark, and small pieces of markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

SERIES = 8  # colours for drafts and other series, used in turn; "none" has its own grey
_LIGHT = ("#2f6d9c", "#c56a1f", "#33876a", "#83539f", "#a88a1c", "#b8486f", "#3f97a8", "#6f6f3a")
_DARK = ("#6fb0de", "#e79a55", "#67bf9c", "#b98fd4", "#d3b84e", "#e587a6", "#77c6d4", "#b3b377")


def _palette(series: Sequence[str], **names: str) -> str:
    pairs = [(f"s{i}", colour) for i, colour in enumerate(series)] + list(names.items())
    return "".join(f"--{name}:{colour};" for name, colour in pairs)


_LIGHT_VARS = _palette(
    _LIGHT, paper="#fcfcfa", ink="#1d1f21", muted="#676c72", rule="#dfe0dc", soft="#f1f1ed", none="#a3a7ab",
    bad="#a8322a",
)  # fmt: skip
_DARK_VARS = _palette(
    _DARK, paper="#17181a", ink="#e6e5e1", muted="#9a9da1", rule="#35373a", soft="#222427", none="#74787d",
    bad="#e5847c",
)  # fmt: skip

STYLE = (
    f":root{{color-scheme:light dark;{_LIGHT_VARS}}}"
    f"@media (prefers-color-scheme:dark){{:root{{{_DARK_VARS}}}}}"
    """
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.55 ui-sans-serif,system-ui,-apple-system,
"Segoe UI",Inter,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums;text-rendering:optimizeLegibility}
main{max-width:60rem;margin:0 auto;padding:3.2rem 1.6rem 4rem}
h1{font-size:1.9rem;line-height:1.15;font-weight:620;letter-spacing:-.015em;margin:0 0 .35rem;
overflow-wrap:anywhere}
h2{font-size:1.12rem;font-weight:620;letter-spacing:-.005em;margin:3.2rem 0 .25rem;padding-top:.9rem;
border-top:1px solid var(--rule)}
p{margin:.3rem 0 .9rem;max-width:44rem}
.kicker{color:var(--muted);font-size:.82rem;margin:0 0 .5rem}
.lede{font-size:1.02rem;color:var(--muted)}
.partial{color:var(--bad);font-weight:600}
.headline{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.6rem,1fr));gap:1.4rem 1.6rem;
margin:2.2rem 0 .4rem}
.headline div{border-top:2px solid var(--ink);padding-top:.55rem}
.headline b{display:block;font-size:1.6rem;line-height:1.15;font-weight:600;letter-spacing:-.02em;
white-space:nowrap}
.headline b small{font-size:.86rem;font-weight:500;letter-spacing:0;color:var(--muted)}
.headline span{display:block;font-size:.86rem;margin-top:.1rem}
.headline i{display:block;font-style:normal;color:var(--muted);font-size:.78rem;line-height:1.4;
margin-top:.15rem}
figure{margin:1.1rem 0 .4rem}
figure svg{display:block;width:100%;height:auto;overflow:visible}
.panels{display:grid;grid-template-columns:repeat(var(--columns),minmax(0,1fr));gap:.6rem 1.2rem}
figcaption,.note{color:var(--muted);font-size:.84rem;line-height:1.5;margin-top:.55rem;max-width:46rem}
figcaption b{color:var(--ink);font-weight:600}
table{border-collapse:collapse;font-size:.87rem;margin:.9rem 0 .3rem;width:100%}
th,td{text-align:right;padding:.34rem 0 .34rem 1.1rem;white-space:nowrap;font-weight:400}
th:first-child,td:first-child{text-align:left;padding-left:0}
thead th{color:var(--muted);font-size:.8rem;border-bottom:1px solid var(--ink);vertical-align:bottom}
tbody tr+tr td{border-top:1px solid var(--rule)}
tr.total td{border-top:1px solid var(--ink)!important}
thead th.cell,td.cell{text-align:center;padding:.34rem .6rem;border-left:3px solid var(--paper)}
td.text{text-align:left;white-space:normal;overflow-wrap:anywhere}
.scroll{overflow-x:auto}
.key{display:inline-block;width:.62em;height:.62em;border-radius:2px;margin-right:.5em;
vertical-align:baseline}
.legend{font-size:.82rem;color:var(--muted);margin:.6rem 0 0;display:flex;flex-wrap:wrap;
gap:.1rem 1.2rem}
.bar{display:flex;height:.72rem;background:var(--soft);border-radius:2px;overflow:hidden;min-width:9rem}
.bar i{display:block;height:100%}
td.wide{width:46%;padding-left:1.4rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.6rem;font-size:.87rem;
margin:.9rem 0 0}
dt{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}
details{margin-top:.9rem;font-size:.87rem}summary{cursor:pointer;color:var(--muted)}
code,pre{font:.82rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{background:var(--soft);padding:.9rem 1.1rem;overflow-x:auto;border-radius:3px}
footer{margin-top:3.4rem;border-top:1px solid var(--rule);padding-top:.8rem;color:var(--muted);
font-size:.8rem}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:0 2.2rem}
@media (max-width:46rem){.pair{grid-template-columns:1fr}main{padding-top:1.8rem}
th,td{padding-left:.7rem}.panels{grid-template-columns:minmax(0,1fr)}
.plot{overflow-x:auto;padding-bottom:.3rem}.plot svg{min-width:44rem}}
@media print{body{font-size:12px}main{max-width:none;padding:0}h2{break-after:avoid}
figure{break-inside:avoid}}
"""
)


def page(title: str, body: Iterable[str]) -> str:
    """A whole document. ``body`` is markup already; ``title`` is escaped here."""
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'  # or the browser asks for one
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
    )
    return head + "<body>\n<main>\n" + "\n".join(body) + "\n</main>\n</body>\n</html>\n"


def section(title: str, *parts: str) -> str:
    """A headed part of the page."""
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def figure(svg: str, caption: str) -> str:
    """A figure and what it says; ``caption`` is markup."""
    return f"<figure>\n{svg}\n<figcaption>{caption}</figcaption>\n</figure>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, total: bool = False) -> str:
    """A table of markup cells; with ``total`` the last row sums up the others."""
    head = "".join(cell if cell.startswith("<th") else f"<th>{cell}</th>" for cell in header)
    lines = [[cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in row] for row in rows]
    marks = [' class="total"' if total and i == len(lines) - 1 else "" for i in range(len(lines))]
    body = "\n".join(f"<tr{mark}>{''.join(line)}</tr>" for mark, line in zip(marks, lines, strict=True))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


_UNITS = re.compile(r" (?=(?:%|ms|s|us)\b|%)")


def stat(value: str, label: str, detail: str) -> str:
    """One number of the headline. A unit after the last space is set small."""
    figure_, _, unit = value.rpartition(" ")
    shown = f"{figure_} <small>{unit}</small>" if figure_ else value
    kept = _UNITS.sub("\N{NO-BREAK SPACE}", escape(detail))
    return f"<div><b>{shown}</b><span>{escape(label)}</span><i>{kept}</i></div>"


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Terms and plain text about them."""
    return "<dl>" + "".join(f"<dt>{escape(t)}</dt><dd>{escape(d)}</dd>" for t, d in pairs) + "</dl>"


def key(colour: str) -> str:
    """A swatch; ``colour`` names a variable of the palette."""
    return f'<span class="key" style="background:var(--{colour})"></span>'


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """(name, colour) pairs under a figure."""
    items = "".join(f"<span>{key(colour)}{escape(name)}</span>" for name, colour in entries)
    return f'<div class="legend">{items}</div>'


def bar(parts: Iterable[tuple[str, float, str]]) -> str:
    """A bar of (name, share of the whole width, colour) parts, named on hovering."""
    pieces = "".join(
        f'<i style="width:{100 * share:.3f}%;background:var(--{colour})" '
        f'title="{escape(name)} {100 * share:.1f} %"></i>'
        for name, share, colour in parts
        if share > 0
    )
    return f'<div class="bar">{pieces}</div>'


def colours_of(names: Sequence[str], none: str = "none") -> dict[str, str]:
    """A colour variable for each series, the same in every figure of a page."""
    return {name: "none" if name == none else f"s{i % SERIES}" for i, name in enumerate(names)}
