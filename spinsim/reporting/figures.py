"""The report's figures: matplotlib drawings as inline SVG that takes the page's colours and fonts.

Nothing else imports matplotlib, and pyplot's global state is not used. Colours are drawn as
placeholders and become the page's CSS variables, so that one drawing serves light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from spinsim.reporting.page import SERIES

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


def drawing(
    name: str, draw: Callable[[list[Axes]], None], *, columns: int = 1, rows: int = 1, height: float = 2.1,
    **grid: Any,
) -> str:  # fmt: skip
    """An SVG element of ``rows`` x ``columns`` panels that ``draw`` fills; ``name`` makes its ids unique."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):  # type: ignore[dict-item]
        made = Figure(figsize=(_WIDTH, height))
        FigureCanvasSVG(made)
        # Fixed margins (in inches): a layout engine would draw everything twice.
        made.subplots_adjust(
            0.4 / _WIDTH, 0.4 / height, 1 - 0.03 / _WIDTH, 1 - 0.24 / height, wspace=0.2, hspace=0.34
        )
        panels = made.subplots(rows, columns, squeeze=False, **grid)
        draw(list(panels.flat))
        buffer = io.StringIO()
        made.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _inline(buffer.getvalue(), name)


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


def _tidy(ax: Axes, title: str, x: str = "") -> None:
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.grid(axis="y")
    ax.spines["left"].set_visible(False)
    ax.margins(x=0)


def _percent_axis(ax: Axes) -> None:
    ax.set_ylim(0, 1)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])


def _thousands(value: float, _: object) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def latency(samples: Sequence[tuple[str, Values, float | None]]) -> str:
    """Cumulative shares of requests by latency; a panel per (name, seconds, limit or None)."""

    def draw(panels: list[Axes]) -> None:
        for ax, (name, values, limit) in zip(panels, samples, strict=True):
            values = np.sort(values[np.isfinite(values)])
            top = float(values[-1]) if values.size else 1.0
            shown = max(float(np.percentile(values, 99.5)) if values.size else 1.0, limit or 0.0)
            factor, unit = (1e3, "ms") if shown < 1 else (1.0, "s")
            _tidy(ax, name, unit)
            _percent_axis(ax)
            ax.set_xlim(0, min(shown, max(top, limit or 0.0)) * factor * 1.04 or 1.0)
            ax.xaxis.set_major_locator(MaxNLocator(5))
            if not values.size:
                continue
            share = np.arange(1, values.size + 1) / values.size
            keep = np.unique(np.linspace(0, values.size - 1, 400).astype(int))
            ax.plot(values[keep] * factor, share[keep], color=colour("s0"), drawstyle="steps-post")
            for p in (50, 99):
                at = float(np.percentile(values, p)) * factor
                ax.plot([at], [p / 100], "o", color=colour("s0"), markersize=2.8, clip_on=False)
                side = "right" if p == 99 and at > 0.5 * ax.get_xlim()[1] else "left"
                shift = (0, -24) if side == "right" else (5, -8)
                ax.annotate(
                    f"p{p}  {at:.3g}", (at, p / 100), shift, textcoords="offset points", ha=side, size=7
                )
            if limit is not None:
                ax.axvline(limit * factor, color=colour("ink"), linewidth=0.7, linestyle=(0, (3, 2)))
                ax.annotate(
                    "objective", (limit * factor, 0.03), (-3, 0), textcoords="offset points", ha="right",
                    size=6.8, color=colour("muted"), rotation=90, va="bottom",
                )  # fmt: skip

    return drawing("latency", draw, columns=len(samples), height=2.05)


def over_time(
    edges: Values,
    rate: Values,
    mean: float | None,
    waiting: Values,
    served: Values,
    window: tuple[float, float],
) -> str:
    """Tokens committed per second between ``edges``, and requests waiting and being served at them."""

    def draw(panels: list[Axes]) -> None:
        top, low = panels
        for ax in panels:
            ax.axvspan(*window, color=colour("soft"), linewidth=0, zorder=0)
        _tidy(top, "Committed tokens per second")
        top.stairs(rate, edges, color=colour("s0"), linewidth=1.25, baseline=None)
        if mean is not None:
            top.plot(window, [mean, mean], color=colour("ink"), linewidth=0.7, linestyle=(0, (3, 2)))
        top.set_ylim(0, max(float(rate.max(initial=0.0)) * 1.08, 1e-9))
        top.yaxis.set_major_formatter(FuncFormatter(_thousands))
        top.yaxis.set_major_locator(MaxNLocator(4))
        _tidy(low, "Requests in the system", "seconds of the run")
        low.fill_between(edges, 0, served, color=colour("s0"), alpha=0.7, linewidth=0)
        low.fill_between(edges, served, served + waiting, color=colour("s1"), alpha=0.75, linewidth=0)
        low.set_ylim(0, max(float((served + waiting).max(initial=0.0)) * 1.08, 1.0))
        low.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        low.set_xlim(float(edges[0]), float(edges[-1]))

    return drawing("over-time", draw, rows=2, height=2.9, sharex=True, height_ratios=[1.5, 1])


def acceptance(curves: Sequence[tuple[str, str, Values]], longest: int, histogram: Values) -> str:
    """How far proposals got.

    ``curves`` are (name, colour, share of proposals whose first i tokens stood, i = 1, 2, ...);
    ``histogram[n]`` counts the proposals of which n tokens stood.
    """

    def draw(panels: list[Axes]) -> None:
        ax, bars = panels
        _tidy(ax, "Proposals whose first i tokens were accepted", "i")
        _percent_axis(ax)
        for _, shade, share in curves:
            ax.plot(np.arange(1, share.size + 1), share, "o-", color=colour(shade), markersize=2.6)
        ax.set_xlim(0.8, longest + 0.2)
        ax.xaxis.set_major_locator(MaxNLocator(min(longest, 10), integer=True))
        _tidy(bars, "Proposals by tokens accepted", "accepted tokens")
        share = histogram / max(int(histogram.sum()), 1)
        bars.bar(np.arange(histogram.size), share, width=0.66, color=colour("muted"), linewidth=0)
        bars.set_xlim(-0.6, histogram.size - 0.4)
        bars.set_ylim(0, float(share.max(initial=0.0)) * 1.12 or 1.0)
        bars.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.3g} %"))
        bars.yaxis.set_major_locator(MaxNLocator(4))
        bars.set_xticks(range(0, histogram.size, 1 + histogram.size // 12))

    return drawing("acceptance", draw, columns=2, height=1.95)


def choices(panels_data: Sequence[tuple[str, str, Values, Values]], shades: Sequence[str]) -> str:
    """Stacked shares of arms; panels are (title, x label, n + 1 edges, shares of shape (arms, n))."""

    def draw(panels: list[Axes]) -> None:
        for ax, (title, label, edges, shares) in zip(panels, panels_data, strict=True):
            _tidy(ax, title, label)
            _percent_axis(ax)
            ax.stackplot(
                edges,
                np.concatenate((shares, shares[:, -1:]), axis=1),
                step="post",
                colors=[colour(s) for s in shades],
                linewidth=0,
                alpha=0.9,
            )
            ax.set_xlim(float(edges[0]), float(edges[-1]))
            ax.xaxis.set_major_locator(MaxNLocator(6))

    return drawing("choices", draw, columns=len(panels_data), height=2.15)


def padding(x: Values, real: Values, padded: Values) -> str:
    """KV tokens read by the mean verification over time, real and executed."""

    def draw(panels: list[Axes]) -> None:
        (ax,) = panels
        _tidy(ax, "KV tokens read per verification", "seconds of the run")
        ax.fill_between(x, 0, real, color=colour("s0"), alpha=0.75, linewidth=0, step="mid")
        ax.fill_between(x, real, padded, color=colour("s1"), alpha=0.75, linewidth=0, step="mid")
        ax.set_ylim(0, max(float(padded.max(initial=0.0)) * 1.08, 1.0))
        ax.yaxis.set_major_formatter(FuncFormatter(_thousands))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        if x.size > 1:
            ax.set_xlim(float(x[0]), float(x[-1]))

    return drawing("padding", draw, height=1.7)
