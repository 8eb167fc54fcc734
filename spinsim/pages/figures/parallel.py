"""Parallel coordinates: what trials had of each parameter, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup
from matplotlib.axes import Axes

from spinsim.pages.figures.canvas import colour, drawing, plain


@dataclass(frozen=True, slots=True)
class Line:
    """A trial's value on each axis: a number, a choice, or None where it has none."""

    values: Sequence[object]
    chosen: bool


def parallel(names: Sequence[str], lines: Sequence[Line]) -> Markup:
    """Parallel coordinates: an upright axis for each of ``names``, a line through them for each trial."""
    scales = [_heights([line.values[i] for line in lines]) for i in range(len(names))]

    behind = {"facecolor": colour("paper"), "edgecolor": "none", "pad": 0.8, "alpha": 0.8}

    def draw(axes: list[Axes]) -> None:
        (ax,) = axes
        ax.set_axis_off()
        for line in sorted(lines, key=lambda line: line.chosen):  # the chosen above the others
            heights = [
                scale.get(_text(value), -0.08) for scale, value in zip(scales, line.values, strict=True)
            ]
            ink, width = ("s1", 1.8) if line.chosen else ("none", 0.7)
            ax.plot(range(len(names)), heights, color=colour(ink), linewidth=width, alpha=0.9)
        for i, (name, scale) in enumerate(zip(names, scales, strict=True)):
            ax.plot([i, i], [0, 1], color=colour("muted"), linewidth=0.8)
            side = "right" if i == len(names) - 1 else "left"
            shift = -5 if side == "right" else 5
            ax.annotate(
                name,
                (i, 1.1 + 0.12 * (i % 2)),
                (0, 0),
                textcoords="offset points",
                size=7.4,
                ha=_ends(i, len(names)),
            )
            for text, height in _labels(scale):
                ax.annotate(
                    text, (i, height), (shift, 0), textcoords="offset points", size=6.8, va="center", ha=side,
                    color=colour("muted"), bbox=behind,
                )  # fmt: skip
        ax.set_xlim(-0.02, len(names) - 0.98)
        ax.set_ylim(-0.12, 1.3)

    return drawing("parallel", draw, height=2.8)


def _ends(i: int, count: int) -> Literal["left", "right", "center"]:
    return "left" if i == 0 else "right" if i == count - 1 else "center"


def _text(value: object) -> str:
    return plain(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _heights(values: Sequence[object]) -> dict[str, float]:
    """Where each value stands on an axis from 0 to 1: numbers to scale, choices evenly."""
    known = [value for value in values if value is not None]
    numbers = [v for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(known) and numbers:
        low, high = min(numbers), max(numbers)
        return {_text(v): (v - low) / (high - low) if high > low else 0.5 for v in sorted(numbers)}
    texts = sorted(set(map(str, known)))
    return {text: i / max(len(texts) - 1, 1) for i, text in enumerate(texts)}


def _labels(scale: dict[str, float]) -> list[tuple[str, float]]:
    """All values of few, and of many the least and the greatest."""
    found = list(scale.items())
    return found if len(found) <= 6 else [found[0], found[-1]]
