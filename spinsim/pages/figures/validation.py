"""Figures of a validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from spinsim.pages.figures.canvas import colour, drawing, panels, plain, tidy


@dataclass(frozen=True, slots=True)
class Pair:
    """A metric of one cell: its live repetitions and their median, the prediction and its interval."""

    live: float
    repetitions: Sequence[float]
    simulated: float
    interval: tuple[float, float] | None
    shade: str


def agreement(metrics: Sequence[tuple[str, Sequence[Pair]]]) -> Markup:
    """Live across, simulated up, with the repetitions' range; a panel per (title, pairs)."""

    def draw(axes: list[Axes]) -> None:
        for ax, (title, pairs) in zip(axes, metrics, strict=True):
            tidy(ax, f"{title}: simulated over live", axis="both")
            for pair in pairs:
                ink = colour(pair.shade)
                ends = [min(pair.repetitions), max(pair.repetitions)]
                ax.plot(ends, [pair.simulated] * 2, color=ink, linewidth=1)
                ax.plot([pair.live], [pair.simulated], "o", color=ink, markersize=3.2)
                if pair.interval is not None:
                    ax.plot([pair.live] * 2, pair.interval, color=ink, linewidth=0.6, alpha=0.6)
            values = [v for pair in pairs for v in (pair.live, pair.simulated) if v > 0]
            if values:
                low, high = 0.9 * min(values), 1.1 * max(values)
                ax.plot([low, high], [low, high], color=colour("muted"), linewidth=0.8, zorder=0)
                if high > 8 * low:
                    ax.set_xscale("log")
                    ax.set_yscale("log")
                    for axis in (ax.xaxis, ax.yaxis):
                        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_formatter(FuncFormatter(plain))
                axis.set_minor_formatter(FuncFormatter(lambda *_: ""))

    return panels("agreement", draw, len(metrics), columns=2, height=2.5)


def effects(rows: Sequence[tuple[str, float, str]]) -> Markup:
    """Bars of (name, share, colour): what each adds to the difference of a run."""

    def draw(axes: list[Axes]) -> None:
        (ax,) = axes
        tidy(ax, "", "simulated minus live, % of the live runs' seconds", axis="x")
        places = np.arange(len(rows))[::-1]
        for place, (_, share, shade) in zip(places, rows, strict=True):
            ax.barh(place, 100 * share, height=0.6, color=colour(shade), linewidth=0)
        ax.axvline(0, color=colour("muted"), linewidth=0.8)
        ax.set_yticks(places, [name for name, _, _ in rows])
        ax.xaxis.set_major_locator(MaxNLocator(7))
        ax.figure.subplots_adjust(left=0.2)

    return drawing("effects", draw, height=0.7 + 0.2 * max(len(rows), 1))
