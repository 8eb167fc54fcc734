"""The canvas of studies' figures: matplotlib drawings as inline SVG in the page's colours and fonts.

Nothing outside this package imports matplotlib, and pyplot's global state is not used. Colours are drawn as
placeholders and become the page's CSS variables, so that one drawing serves light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any, Literal

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spinsim.pages.palette import SERIES

Values = NDArray[Any]
_NAMES = ("ink", "muted", "rule", "soft", "none", "paper", *(f"s{i}" for i in range(SERIES)))
_HEX = {name: f"#0102{i:02x}" for i, name in enumerate(_NAMES)}
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 7.6,
    "axes.edgecolor": _HEX["muted"],
    "axes.labelcolor": _HEX["muted"],
    "axes.titlesize": 7.9,
    "axes.titlecolor": _HEX["ink"],
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _HEX["rule"],
    "grid.linewidth": 0.5,
    "xtick.color": _HEX["muted"],
    "ytick.color": _HEX["muted"],
    "xtick.major.size": 2.5,
    "ytick.major.size": 0,
    "xtick.major.width": 0.5,
    "text.color": _HEX["ink"],
    "lines.linewidth": 1.25,
    "lines.solid_capstyle": "butt",
    "path.simplify": True,
}
_WIDTH = 7.6  # inches; the page scales the drawing to its column
_BETWEEN = 0.16  # panels, as the page's style has it


def drawing(
    name: str, draw: Callable[[list[Axes]], None], *, rows: int = 1, columns: int = 1, height: float = 2.1,
    **grid: Any,
) -> Markup:  # fmt: skip
    """An SVG element as wide as the page of ``rows`` x ``columns`` panels that ``draw`` fills; ``name``
    makes its ids unique. Narrow screens scroll it."""
    with _styled(name):
        made = _blank(_WIDTH, height)
        draw(list(made.subplots(rows, columns, squeeze=False, **grid).flat))
        return Markup('<div class="plot">{}</div>').format(_saved(made, name))


def panels(
    name: str, draw: Callable[[list[Axes]], None], count: int, *, columns: int, height: float = 2.1
) -> Markup:
    """``count`` SVG elements that ``draw`` fills: ``columns`` side by side, narrow screens stack them."""
    width = (_WIDTH - _BETWEEN * (columns - 1)) / columns
    with _styled(name):
        made = [_blank(width, height) for _ in range(count)]
        draw([figure.subplots() for figure in made])
        drawn = [_saved(figure, f"{name}-{i + 1}") for i, figure in enumerate(made)]
    if columns == 1:
        return Markup("").join(Markup('<div class="plot">{}</div>').format(svg) for svg in drawn)
    return Markup('<div class="panels" style="--columns:{}">{}</div>').format(columns, Markup("").join(drawn))


def _styled(name: str) -> Any:
    return matplotlib.rc_context({**_STYLE, "svg.hashsalt": name})  # type: ignore[dict-item]


def _blank(width: float, height: float) -> Figure:
    """Fixed margins (in inches): a layout engine would draw everything twice."""
    made = Figure(figsize=(width, height))
    FigureCanvasSVG(made)
    made.subplots_adjust(0.42 / width, 0.4 / height, 1 - 0.08 / width, 1 - 0.26 / height, hspace=0.34)
    return made


def _saved(made: Figure, name: str) -> Markup:
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        made.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return Markup(_inline(buffer.getvalue(), name))  # matplotlib has escaped its texts


def _inline(svg: str, name: str) -> str:
    """The bare element: no prolog, metadata, fixed size, group ids or fonts; colours as variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(
        r'<svg [^>]*viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{name}">', svg
    )
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # of groups and lines; nothing refers to them
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for variable, colour in _HEX.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg.strip()


def colour(variable: str) -> str:
    """What to draw with, to get the page's colour of that name."""
    return _HEX[variable]


def tidy(ax: Axes, title: str, x: str = "", axis: Literal["x", "y", "both"] = "y") -> None:
    """Title, label of x, and a grid along ``axis``."""
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.grid(axis=axis)
    ax.spines["left"].set_visible(False)


def percent_axis(ax: Axes, top: float = 1) -> None:
    """The y axis of shares from 0 to 1."""
    ax.set_ylim(0, top)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])


def plain(value: float, _: object = None) -> str:
    """A tick's number, thousands set apart."""
    return f"{value:,.0f}" if abs(value) >= 10 and value == round(value) else f"{value:.4g}"


def shares(value: float, _: object = None) -> str:
    """A tick's share, in percent."""
    return f"{100 * value:.3g} %"
