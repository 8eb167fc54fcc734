"""A panel of a figure as inline SVG: axes, lines, areas and dots, in the page's colours and fonts.

For the figures of a run, which every run draws: matplotlib takes a second to be imported and to draw them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, log10
from typing import Any, Literal

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

Values = NDArray[Any]
Limits = tuple[float, float]
Anchor = Literal["start", "middle", "end"]

WIDTH = 547.2  # of a drawing as wide as the page, in the units of the type's size; the page scales it
BETWEEN = 11.5  # panels, as the page's style has it
LEFT, RIGHT, TOP, BOTTOM = 30.2, 5.8, 18.7, 28.8  # margins of a panel
TITLE, TEXT = 7.9, 7.6  # sizes of type
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def plain(value: float) -> str:
    """A tick's number, thousands set apart."""
    return f"{value:,.0f}" if abs(value) >= 10 and value == round(value) else f"{value:.4g}"


def percent(value: float) -> str:
    """A tick's share, in percent."""
    return f"{100 * value:.3g} %"


def ticks(limits: Limits, most: int, *, whole: bool = False) -> list[float]:
    """Round values within ``limits``, at most ``most`` steps apart; integers if ``whole``."""
    low, high = limits
    if not high > low:
        return [low]
    size = 10.0 ** floor(log10((high - low) / most))
    step = next(size * s for s in _STEPS if (high - low) / (size * s) <= most + 1e-9)
    if whole:
        step = max(1.0, ceil(step - 1e-9))
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


class Panel:
    """A plot between ``x`` and ``y`` limits, in data coordinates. Shapes are drawn in the calls' order."""

    def __init__(
        self,
        title: str,
        x: Limits,
        y: Limits,
        *,
        label: str = "",
        x_ticks: Sequence[float] | None = None,
        y_ticks: Sequence[float] | None = None,
        y_text: Callable[[float], str] = plain,
        both: bool = False,
        numbered: bool = True,
    ) -> None:
        """``label`` of the x axis. Ticks are at round values, about five; ``both``: a grid along x, too.

        ``numbered``: with numbers at the ticks of x, which the panel below may have.
        """
        self.title, self.label, self.both, self.numbered = title, label, both, numbered
        self.x = x if x[1] > x[0] else (x[0], x[0] + 1.0)
        self.y = y if y[1] > y[0] else (y[0], y[0] + 1.0)
        self._x_ticks = ticks(self.x, 5) if x_ticks is None else x_ticks
        self._y_ticks = ticks(self.y, 4) if y_ticks is None else y_ticks
        self._y_text = y_text
        self._shapes: list[Callable[[Callable[[Any], Any], Callable[[Any], Any]], str]] = []

    def line(self, x: Any, y: Any, colour: str, *, width: float = 1.25, dash: str = "") -> None:
        """Through points."""
        style = f"fill: none; stroke: var(--{colour}); stroke-width: {width}"
        style += f"; stroke-dasharray: {dash}" if dash else ""
        self._shapes.append(lambda sx, sy: f'<path d="{_path(sx(x), sy(y))}" style="{style}"/>')

    def area(self, x: Any, low: Any, high: Any, colour: str, opacity: float = 1.0) -> None:
        """Between two lines over the same ``x``; either may be a number."""
        x = np.asarray(x, float)
        edge = [np.broadcast_to(np.asarray(side, float), x.shape) for side in (low, high)]
        around = np.concatenate((x, x[::-1])), np.concatenate((edge[1], edge[0][::-1]))
        style = f"fill: var(--{colour}); opacity: {opacity}"
        self._shapes.append(
            lambda sx, sy: f'<path d="{_path(sx(around[0]), sy(around[1]))}z" style="{style}"/>'
        )

    def dots(self, x: Any, y: Any, colour: str, *, size: float = 2.8, opacity: float = 1.0) -> None:
        """A disc ``size`` across at each point."""

        def drawn(sx: Callable[[Any], Any], sy: Callable[[Any], Any]) -> str:
            style = f"fill: var(--{colour}); opacity: {opacity}"
            places = zip(np.ravel(sx(x)), np.ravel(sy(y)), strict=True)
            return "".join(
                f'<circle cx="{a:.2f}" cy="{b:.2f}" r="{size / 2:g}" style="{style}"/>' for a, b in places
            )

        self._shapes.append(drawn)

    def cross(self, x: float, y: float, colour: str, *, size: float = 8.0) -> None:
        """A plus sign."""

        def drawn(sx: Callable[[Any], Any], sy: Callable[[Any], Any]) -> str:
            a, b, half = float(sx(x)), float(sy(y)), size / 2
            path = f"M{a - half:.2f} {b:.2f}h{size:g}M{a:.2f} {b - half:.2f}v{size:g}"
            return f'<path d="{path}" style="fill: none; stroke: var(--{colour}); stroke-width: 1.1"/>'

        self._shapes.append(drawn)

    def text(
        self,
        x: float,
        y: float,
        content: str,
        *,
        move: tuple[float, float] = (0.0, 0.0),
        anchor: Anchor = "start",
        colour: str = "ink",
        size: float = 7.0,
        turned: bool = False,
    ) -> None:
        """At a point, ``move`` units away from it (to the right, down); ``turned``: from below upwards."""

        def drawn(sx: Callable[[Any], Any], sy: Callable[[Any], Any]) -> str:
            a, b = float(sx(x)) + move[0], float(sy(y)) + move[1]
            return _text(a, b, content, anchor, colour, size, turned)

        self._shapes.append(drawn)

    def svg(self, left: float, top: float, width: float, height: float) -> str:
        """The panel in a box of a drawing, margins at its sides not included."""

        def sx(value: Any) -> Any:
            return left + (np.asarray(value, float) - self.x[0]) / (self.x[1] - self.x[0]) * width

        def sy(value: Any) -> Any:
            return top + height - (np.asarray(value, float) - self.y[0]) / (self.y[1] - self.y[0]) * height

        bottom, right = top + height, left + width
        clip = np.clip
        rules = [f"M{left:.2f} {float(sy(y)):.2f}H{right:.2f}" for y in self._y_ticks]
        marks = [f"M{float(sx(x)):.2f} {bottom:.2f}v2.5" for x in self._x_ticks]
        if self.both:
            rules += [f"M{float(sx(x)):.2f} {top:.2f}V{bottom:.2f}" for x in self._x_ticks]
        parts = [
            f'<path d="{"".join(rules)}" style="fill: none; stroke: var(--rule); stroke-width: 0.5"/>',
            *(
                shape(lambda v: clip(sx(v), left - 4, right + 4), lambda v: clip(sy(v), top - 4, bottom + 4))
                for shape in self._shapes
            ),
            f'<path d="M{left:.2f} {bottom:.2f}H{right:.2f}{"".join(marks)}" '
            'style="fill: none; stroke: var(--muted); stroke-width: 0.5"/>',
            _text(left, top - 7, self.title, "start", "ink", TITLE),
        ]
        for y in self._y_ticks:
            parts.append(_text(left - 3.5, float(sy(y)) + 2.7, self._y_text(y), "end", "muted", TEXT))
        for x in self._x_ticks if self.numbered else ():
            parts.append(_text(float(sx(x)), bottom + 10.5, plain(x), "middle", "muted", TEXT))
        if self.label:
            parts.append(_text((left + right) / 2, bottom + 21.5, self.label, "middle", "muted", TEXT))
        return "".join(parts)


def stairs(edges: Any, values: Any) -> tuple[Values, Values]:
    """The corners of a line that has ``values[i]`` between ``edges[i]`` and ``edges[i + 1]``."""
    return np.repeat(edges, 2)[1:-1], np.repeat(values, 2)


def side_by_side(name: str, panels: Sequence[Panel], height: float) -> Markup:
    """An SVG element a panel, in a row that narrow screens stack."""
    width = (WIDTH - BETWEEN * (len(panels) - 1)) / len(panels)
    drawn = [
        _element(f"{name}-{i}", width, height, panel.svg(*_inner(0.0, width, height)))
        for i, panel in enumerate(panels, 1)
    ]
    if len(panels) == 1:
        return Markup('<div class="plot">{}</div>').format(drawn[0])
    row = Markup('<div class="panels" style="--columns:{}">{}</div>')
    return row.format(len(panels), Markup("").join(drawn))


def stacked(name: str, panels: Sequence[Panel], heights: Sequence[float]) -> Markup:
    """One SVG element as wide as the page, panels of these heights below each other."""
    content, top = "", 0.0
    for panel, height in zip(panels, heights, strict=True):
        content += panel.svg(*_inner(top, WIDTH, height))
        top += height
    return Markup('<div class="plot">{}</div>').format(_element(name, WIDTH, top, content))


def _inner(top: float, width: float, height: float) -> tuple[float, float, float, float]:
    return LEFT, top + TOP, width - LEFT - RIGHT, height - TOP - BOTTOM


def _element(name: str, width: float, height: float, content: str) -> Markup:
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(name)}">'
    return Markup(f"{head}{content}</svg>")  # every text in it is escaped


def _path(x: Values, y: Values) -> str:
    return "M" + "L".join(f"{a:.2f} {b:.2f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _text(
    x: float, y: float, content: str, anchor: Anchor, colour: str, size: float, turned: bool = False
) -> str:
    style = f"font-size: {size}px; text-anchor: {anchor}; fill: var(--{colour})"
    turn = f' transform="rotate(-90 {x:.2f} {y:.2f})"' if turned else ""
    return f'<text x="{x:.2f}" y="{y:.2f}"{turn} style="{style}">{escape(content)}</text>'
