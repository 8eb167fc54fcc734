"""The report's figures: matplotlib drawings as inline SVG that takes the page's colours and fonts.

Nothing else imports matplotlib, and pyplot's global state is not used. Colours are drawn as
placeholders and become the page's CSS variables, so that one drawing serves light and dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from spinsim.pages.shell import SERIES

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
) -> str:  # fmt: skip
    """An SVG element as wide as the page of ``rows`` x ``columns`` panels that ``draw`` fills; ``name``
    makes its ids unique. Narrow screens scroll it."""
    with _styled(name):
        made = _blank(_WIDTH, height)
        draw(list(made.subplots(rows, columns, squeeze=False, **grid).flat))
        return f'<div class="plot">{_saved(made, name)}</div>'


def panels(
    name: str, draw: Callable[[list[Axes]], None], count: int, *, columns: int, height: float = 2.1
) -> str:
    """``count`` SVG elements that ``draw`` fills: ``columns`` side by side, narrow screens stack them."""
    width = (_WIDTH - _BETWEEN * (columns - 1)) / columns
    with _styled(name):
        made = [_blank(width, height) for _ in range(count)]
        draw([figure.subplots() for figure in made])
        drawn = [_saved(figure, f"{name}-{i + 1}") for i, figure in enumerate(made)]
    if columns == 1:
        return "".join(f'<div class="plot">{svg}</div>' for svg in drawn)
    return f'<div class="panels" style="--columns:{columns}">{"".join(drawn)}</div>'


def _styled(name: str) -> Any:
    return matplotlib.rc_context({**_STYLE, "svg.hashsalt": name})  # type: ignore[dict-item]


def _blank(width: float, height: float) -> Figure:
    """Fixed margins (in inches): a layout engine would draw everything twice."""
    made = Figure(figsize=(width, height))
    FigureCanvasSVG(made)
    made.subplots_adjust(0.42 / width, 0.4 / height, 1 - 0.08 / width, 1 - 0.26 / height, hspace=0.34)
    return made


def _saved(made: Figure, name: str) -> str:
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
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


def _percent_axis(ax: Axes, top: float = 1) -> None:
    ax.set_ylim(0, top)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])


def _thousands(value: float, _: object) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def latency(samples: Sequence[tuple[str, Values, float | None]]) -> str:
    """Cumulative shares of requests by latency; a panel per (name, seconds, limit or None)."""

    def draw(axes: list[Axes]) -> None:
        for ax, (name, values, limit) in zip(axes, samples, strict=True):
            values = np.sort(values[np.isfinite(values)])
            top = float(values[-1]) if values.size else 1.0
            shown = max(float(np.percentile(values, 99.5)) if values.size else 1.0, limit or 0.0)
            factor, unit = (1e3, "ms") if shown < 1 else (1.0, "s")
            _tidy(ax, name, unit)
            _percent_axis(ax, 1.13)
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
                # The curve climbs to the right: what is below a point to its right is free, and above 100 %.
                place: dict[str, Any] = {"xytext": (5, -8), "ha": "left"}
                if p == 99:
                    late = at > 0.6 * ax.get_xlim()[1]
                    place = {"xytext": (2 if late else 4, 5), "ha": "right" if late else "left"}
                ax.annotate(
                    f"p{p}  {at:.3g} {unit}", (at, p / 100), textcoords="offset points", size=7, **place
                )
            if limit is not None:
                ax.axvline(limit * factor, color=colour("ink"), linewidth=0.7, linestyle=(0, (3, 2)))
                ax.annotate(
                    "objective", (limit * factor, 0.03), (-3, 0), textcoords="offset points", ha="right",
                    size=6.8, color=colour("muted"), rotation=90, va="bottom",
                )  # fmt: skip

    return panels("latency", draw, len(samples), columns=len(samples), height=2.05)


def over_time(
    edges: Values,
    rate: Values,
    mean: float | None,
    waiting: Values,
    served: Values,
    window: tuple[float, float],
) -> str:
    """Tokens committed per second between ``edges``, and requests waiting and being served at them."""

    def draw(axes: list[Axes]) -> None:
        top, low = axes
        for ax in axes:
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

    def draw(axes: list[Axes]) -> None:
        ax, bars = axes
        _tidy(ax, "Proposals whose first i tokens were accepted", "i, tokens")
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

    return panels("acceptance", draw, 2, columns=2, height=1.95)


def choices(panels_data: Sequence[tuple[str, str, Values, Values]], shades: Sequence[str]) -> str:
    """Stacked shares of arms; panels are (title, x label, n + 1 edges, shares of shape (arms, n))."""

    def draw(axes: list[Axes]) -> None:
        for ax, (title, label, edges, shares) in zip(axes, panels_data, strict=True):
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

    return panels("choices", draw, len(panels_data), columns=len(panels_data), height=2.15)


def padding(x: Values, real: Values, padded: Values) -> str:
    """KV tokens read by the mean verification over time, real and executed."""

    def draw(axes: list[Axes]) -> None:
        (ax,) = axes
        _tidy(ax, "KV tokens read per verification", "seconds of the run")
        ax.fill_between(x, 0, real, color=colour("s0"), alpha=0.75, linewidth=0, step="mid")
        ax.fill_between(x, real, padded, color=colour("s1"), alpha=0.75, linewidth=0, step="mid")
        ax.set_ylim(0, max(float(padded.max(initial=0.0)) * 1.08, 1.0))
        ax.yaxis.set_major_formatter(FuncFormatter(_thousands))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        if x.size > 1:
            ax.set_xlim(float(x[0]), float(x[-1]))

    return drawing("padding", draw, height=1.7)


def slices(x: Values, y: Values, label: str, mean: tuple[float, float], spans: Sequence[Values]) -> str:
    """Goodput (tokens per second) against latency (``label``): a dot a slice of the window, the whole
    window as a cross with ``spans``, (low, high) or nothing, of x and of y."""

    def draw(axes: list[Axes]) -> None:
        (ax,) = axes
        _tidy(ax, "Goodput, tokens/s", label)
        ax.grid(True, axis="both")
        ax.plot(x, y, "o", color=colour("s0"), alpha=0.55, markersize=3.4, markeredgewidth=0)
        ax.plot(*([v] for v in mean), "+", color=colour("ink"), markersize=8, markeredgewidth=1.1)
        for i, ends in enumerate(spans):
            if ends.size == 2:
                across, up = (ends, [mean[1]] * 2) if i == 0 else ([mean[0]] * 2, ends)
                ax.plot(across, up, color=colour("ink"), linewidth=1.1)
        ax.margins(0.06, 0.12)
        ax.set_ylim(0, ax.get_ylim()[1])
        ax.yaxis.set_major_formatter(FuncFormatter(_thousands))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(6))

    return drawing("slices", draw, height=2.4)


def regret(
    rounds: Values, behind: Mapping[str, Values], ended_s: float, lost: Mapping[str, Values],
    styles: Mapping[str, tuple[str, str]],
) -> str:  # fmt: skip
    """Milliseconds lost to the oracle so far by a request's n-th round; and by a round, over the run.

    ``styles``: colour variable and dashes of each line, which both mappings name.
    """
    pattern: dict[str, Any] = {"solid": "-", "dashed": (0, (4, 2)), "dotted": (0, (1, 1.5))}

    def draw(axes: list[Axes]) -> None:
        left, right = axes
        _tidy(left, "Lost so far, ms a request", "rounds of the request")
        _tidy(right, "Lost by a round, ms", "seconds of the run")
        middles = (np.arange(len(next(iter(lost.values())))) + 0.5) * ended_s / len(next(iter(lost.values())))
        for name, (shade, dash) in styles.items():
            own = {
                "color": colour(shade),
                "linestyle": pattern[dash],
                "linewidth": 2 if dash == "solid" else 1.2,
            }
            left.plot(np.concatenate(([0], rounds)), np.concatenate(([0], behind[name])), **own)
            right.plot(middles, lost[name], **own)
        right.set_xlim(0, ended_s)
        for ax in axes:
            ax.set_ylim(0, ax.get_ylim()[1])
            ax.yaxis.set_major_locator(MaxNLocator(5))
            ax.yaxis.set_major_formatter(FuncFormatter(_thousands))

    return panels("regret", draw, 2, columns=2, height=2.3)
