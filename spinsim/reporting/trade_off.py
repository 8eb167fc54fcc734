"""One metric against another, as in goodput against latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from spinsim.reporting.experiment_figures import Span, plain, tidy
from spinsim.reporting.figures import colour, drawing


@dataclass(frozen=True, slots=True)
class Point:
    """A named pair of estimates."""

    name: str
    x: Span
    y: Span
    shade: str


def trade_off(name: str, points: Sequence[Point], x: str, y: str, *, names: bool) -> str:
    """One metric against another: a point each with both intervals, its name beside it where asked."""

    def draw(axes: list[Axes]) -> None:
        (ax,) = axes
        tidy(ax, y, x, axis="both")
        for point in points:
            ink = colour(point.shade)
            ax.plot([point.x.estimate], [point.y.estimate], "o", color=ink, markersize=4.5)
            for ends, across in ((point.x, True), (point.y, False)):
                if ends.low is not None and ends.high is not None:
                    pair, at = [ends.low, ends.high], [point.y.estimate if across else point.x.estimate] * 2
                    ax.plot(*((pair, at) if across else (at, pair)), color=ink, linewidth=1)
        ax.margins(0.09, 0.12)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(plain))
        if names:
            _name_points(ax, points)

    return drawing(name, draw, height=2.9)


def _name_points(ax: Axes, points: Sequence[Point]) -> None:
    """Names beside their points, on the side away from the edge, moved up or down past each other."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    line = 0.055 * (high - low)
    taken: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda p: p.y.estimate):
        x, y = point.x.estimate, point.y.estimate
        width = 0.0105 * len(point.name) * (right - left)
        before = x + width > right
        edge = x - 0.012 * (right - left) if before else x + 0.012 * (right - left)
        begin = edge - width if before else edge
        height = y + 0.6 * line
        while any(abs(height - h) < line and begin < e and b < begin + width for b, e, h in taken):
            height += 0.5 * line
        taken.append((begin, begin + width, height))
        ax.text(
            edge, height, point.name, ha="right" if before else "left", va="center", size=7,
            color=colour("ink"),
        )  # fmt: skip
