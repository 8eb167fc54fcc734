"""One metric against another, as in goodput against latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from spinsim.pages.figures.canvas import colour, drawing, plain, tidy
from spinsim.pages.figures.studies import Span

_LINE, _LETTER = 0.062, 0.0085  # of a name, as shares of the panel's height and width
_PLACES = sorted(  # (lines up, side): the nearest first, to the right before to the left
    ((away / 2, side) for away in range(-9, 10) for side in (1, -1)), key=lambda p: (abs(p[0]), -p[1], -p[0])
)


@dataclass(frozen=True, slots=True)
class Point:
    """A named pair of estimates."""

    name: str
    x: Span
    y: Span
    shade: str


def trade_off(name: str, points: Sequence[Point], x: str, y: str, *, names: bool) -> Markup:
    """One metric against another: a point each with both intervals; on request its name."""

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

    return drawing(name, draw, height=3.1)


def _name_points(ax: Axes, points: Sequence[Point]) -> None:
    """Names beside their points: at the nearest free place, with a thin line from those that had to move."""
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    line, step = _LINE * (high - low), 0.011 * (right - left)
    taken = [box for point in points for box in _drawn(point, step, line)]
    for point in points:
        x, y = point.x.estimate, point.y.estimate
        width = _LETTER * len(point.name) * (right - left)
        for away, side in _PLACES:
            edge = x + side * step * (1 + abs(away) / 2)
            box = _Box(min(edge, edge + side * width), max(edge, edge + side * width),
                       y + (away - 0.5) * line, y + (away + 0.5) * line)  # fmt: skip
            inside = left <= box.left and box.right <= right and low <= box.low and box.high <= high
            if inside and not any(box.meets(other) for other in taken):
                break
        else:
            continue  # a name that finds no place is in the table
        taken.append(box)
        height = y + away * line
        if abs(away) > 1:
            ax.plot([x, edge], [y, height], color=colour("muted"), linewidth=0.5, zorder=0.5)
        ax.text(
            edge, height, point.name, ha="left" if side > 0 else "right", va="center_baseline", size=7,
            color=colour("ink" if point.shade == "none" else point.shade),
        )  # fmt: skip


def _drawn(point: Point, across: float, up: float) -> list[_Box]:
    """What a point and its intervals cover."""
    x, y = point.x, point.y
    boxes = [_Box(x.estimate - across, x.estimate + across, y.estimate - up / 3, y.estimate + up / 3)]
    if x.low is not None and x.high is not None:
        boxes.append(_Box(x.low, x.high, y.estimate - up / 8, y.estimate + up / 8))
    if y.low is not None and y.high is not None:
        boxes.append(_Box(x.estimate - across / 4, x.estimate + across / 4, y.low, y.high))
    return boxes


class _Box(NamedTuple):
    left: float
    right: float
    low: float
    high: float

    def meets(self, other: _Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.low < other.high and other.low < self.high
