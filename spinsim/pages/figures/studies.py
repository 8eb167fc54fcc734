"""Figures of studies: comparisons, sweeps, capacities and searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from spinsim.pages.figures.canvas import colour, drawing, percent_axis, plain, shares, tidy
from spinsim.pages.figures.canvas import panels as separate
from spinsim.pages.palette import shade

LONG = 24  # letters of a name, beyond which panels do not stand side by side, each with its names


@dataclass(frozen=True, slots=True)
class Series:
    """A line: its name, and at each x the repetitions' values."""

    name: str
    x: Sequence[float]
    values: Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines of one metric; ``share``: in percent, ``log``: x on a logarithmic scale, ``mark``: an x
    that a line is drawn at."""

    title: str
    series: Sequence[Series]
    log: bool = False
    share: bool = False
    mark: float | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """An estimate with its interval, or without one."""

    name: str
    estimate: float
    low: float | None
    high: float | None
    shade: str = "s0"


def lines(name: str, panels: Sequence[Panel], x_label: str) -> Markup:
    """Means over repetitions with their range, two panels a row; the series share colours by place.

    Later lines are thinner and have smaller marks, so that of lines on top of each other all are seen.
    """

    def draw(axes: list[Axes]) -> None:
        for ax, panel in zip(axes, panels, strict=True):
            tidy(ax, panel.title, x_label)
            tops = [0.0]
            for j, series in enumerate(panel.series):
                ink = colour(shade(j))
                x = np.asarray(series.x, float)
                means = np.array([np.mean(v) if len(v) else np.nan for v in series.values])
                low = [min(v, default=np.nan) for v in series.values]
                high = [max(v, default=np.nan) for v in series.values]
                if any(len(v) > 1 for v in series.values):
                    ax.fill_between(x, low, high, color=ink, alpha=0.16, linewidth=0)
                share = 1 - j / max(len(panel.series) - 1, 1) if len(panel.series) > 1 else 0.0
                ax.plot(x, means, "o-", color=ink, markersize=2.4 + 2.2 * share, linewidth=1.1 + 1.5 * share)
                tops.extend(v for v in high if np.isfinite(v))
            if panel.mark is not None:
                ax.axvline(panel.mark, color=colour("ink"), linewidth=0.8)
            if panel.log:
                ax.set_xscale("log")
                ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            elif all(float(at).is_integer() for series in panel.series for at in series.x):
                ax.xaxis.set_major_locator(MaxNLocator(7, integer=True))
            ax.set_ylim(0, max(tops) * 1.08 or 1.0)
            ax.yaxis.set_major_locator(MaxNLocator(4))
            ax.yaxis.set_major_formatter(FuncFormatter(shares if panel.share else plain))
            ax.xaxis.set_major_formatter(FuncFormatter(plain))
            ax.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))

    return separate(name, draw, len(panels), columns=2 if len(panels) > 1 else 1, height=2.05)


def bars(name: str, panels: Sequence[tuple[str, Sequence[Span]]]) -> Markup:
    """Horizontal bars with intervals; a panel per (title with unit, bars)."""
    count = len(panels[0][1])

    def draw(axes: list[Axes]) -> None:
        for ax, (title, spans) in zip(axes, panels, strict=True):
            tidy(ax, "", title, axis="x")
            y = np.arange(count)[::-1]
            reach = max(
                (v for s in spans for v in (s.estimate, s.high or 0.0) if np.isfinite(v)), default=1.0
            )
            for place, span in zip(y, spans, strict=True):
                ink = colour(span.shade)
                ax.barh(place, span.estimate, height=0.56, color=ink, alpha=0.85, linewidth=0)
                _whisker(ax, float(place), span, "ink")
                if np.isfinite(span.estimate):
                    end = max(span.estimate, span.high or 0.0) + 0.015 * reach
                    ax.text(end, place, plain(_four(span.estimate), None), va="center", size=7)
            ax.set_yticks(y, [span.name for span in spans])
            ax.set_xlim(0, reach * 1.13 or 1.0)
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.xaxis.set_major_formatter(FuncFormatter(plain))
            _room(ax, [span.name for span in spans], top=0.06)

    names = [span.name for span in panels[0][1]]
    columns = 1 if len(panels) == 1 or count > 8 or _longest(names) > LONG else 2
    return separate(name, draw, len(panels), columns=columns, height=0.6 + 0.27 * count)


POINTS = ", percentage points"  # ends the title of a panel of differences of shares


def differences(name: str, panels: Sequence[tuple[str, Sequence[Span]]]) -> Markup:
    """Relative differences to a baseline with their intervals, in percent around a line at 0.

    Long names are written once a row of panels, which are then one drawing.
    """
    names = [span.name for span in panels[0][1]]
    long = _longest(names) > LONG
    columns = min(len(panels), 4 if long else 2)
    rows = -(-len(panels) // columns)

    def draw(axes: list[Axes]) -> None:
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        for i, (ax, (title, spans)) in enumerate(zip(axes, panels, strict=False)):
            tidy(ax, title, axis="x")
            ax.axvline(0, color=colour("muted"), linewidth=0.8)
            y = np.arange(len(spans))[::-1]
            for place, span in zip(y, spans, strict=True):
                ax.plot([100 * span.estimate], [place], "o", color=colour(span.shade), markersize=4)
                _whisker(ax, float(place), span, span.shade, 100)
            ax.set_yticks(y, names if i % columns == 0 or not long else [""] * len(names))
            ax.set_ylim(-0.6, len(spans) - 0.4)
            ax.margins(x=0.12)
            ax.xaxis.set_major_locator(MaxNLocator(3 if columns > 2 else 4))
            ax.xaxis.set_major_formatter(FuncFormatter(_gain if POINTS not in title else _points))
            _room(ax, names)

    height = 0.66 + 0.25 * len(names)
    if long:
        return drawing(name, draw, rows=rows, columns=columns, height=height * rows)
    return separate(name, draw, len(panels), columns=columns, height=height)


def _gain(value: float, _: object = None) -> str:
    return f"{value:+.3g} %" if value else "0"


def _points(value: float, _: object = None) -> str:
    return f"{value:+.3g} pp" if value else "0"


def _longest(names: Sequence[str]) -> int:
    return max((len(name) for name in names), default=0)


def _four(value: float) -> float:
    """Rounded to four significant digits, whole from 1,000 on."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")


def _whisker(ax: Axes, y: float, span: Span, ink: str, scale: float = 1) -> None:
    if span.low is not None and span.high is not None:
        ax.plot([scale * span.low, scale * span.high], [y, y], color=colour(ink), linewidth=1.1)


def _room(ax: Axes, names: Sequence[str], top: float = 0.26) -> None:
    """Widen the left margin to what the names need; leave ``top`` inches above."""
    made = ax.get_figure(root=True)
    assert made is not None
    width, height = made.get_size_inches()
    made.subplots_adjust(left=min(0.5, (0.12 + 0.062 * _longest(names)) / width), top=1 - top / height)


def attainment(
    rates: Sequence[float],
    values: Sequence[Sequence[float]],
    fitted: Sequence[float],
    wanted: float,
    capacity: Span | None,
    unit: str,
) -> Markup:
    """SLO attainment by arrival rate: repetitions, the monotone fit, the target, and the capacity."""

    def draw(axes: list[Axes]) -> None:
        (ax,) = axes
        tidy(ax, "Requests within their objectives", unit)
        if capacity is not None:
            if capacity.low is not None and capacity.high is not None:
                ax.axvspan(capacity.low, capacity.high, color=colour("soft"), linewidth=0, zorder=0)
            ax.axvline(capacity.estimate, color=colour("ink"), linewidth=0.8)
        ax.axhline(wanted, color=colour("ink"), linewidth=0.7, linestyle=(0, (3, 2)))
        for rate, repetitions in zip(rates, values, strict=True):
            ax.plot([rate] * len(repetitions), repetitions, ".", color=colour("s0"), alpha=0.5, markersize=4)
        ax.plot(rates, fitted, "-", color=colour("s0"))
        percent_axis(ax, 1.03)
        ax.xaxis.set_major_formatter(FuncFormatter(plain))
        ax.margins(x=0.03)

    return drawing("attainment", draw, height=2.3)


def search(
    values: Sequence[float | None], pruned: Sequence[bool], best: Sequence[float | None], title: str
) -> Markup:
    """A single objective by trial: each trial, those stopped early paler, and the best so far."""

    def draw(axes: list[Axes]) -> None:
        (ax,) = axes
        tidy(ax, title, "trial")
        for i, (value, stopped) in enumerate(zip(values, pruned, strict=True)):
            if value is not None:
                ink = colour("none" if stopped else "s0")
                ax.plot(
                    [i], [value], "o", color=ink, markersize=3, markerfacecolor="none" if stopped else ink
                )
        ax.plot(
            range(len(best)), [np.nan if b is None else b for b in best], color=colour("ink"),
            linewidth=0.9, drawstyle="steps-post",
        )  # fmt: skip
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.yaxis.set_major_formatter(FuncFormatter(plain))

    return drawing("search", draw, height=2.2)


def front(
    points: Sequence[tuple[float, float, str]], chosen: Sequence[tuple[float, float]], x: str, y: str
) -> Markup:
    """Two objectives against each other: (x, y, colour) of trials, and the Pareto front as steps."""

    def draw(axes: list[Axes]) -> None:
        (ax,) = axes
        tidy(ax, y, x, axis="both")
        for a, b, ink in points:
            ax.plot([a], [b], "o", color=colour(ink), markersize=3.2, alpha=0.9)
        line = sorted(chosen)
        x_, y_ = [a for a, _ in line], [b for _, b in line]
        ax.plot(x_, y_, "o-", color=colour("s1"), linewidth=0.9, markersize=4.2)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(FuncFormatter(plain))

    return drawing("front", draw, height=2.7)
