"""docs/figures/regimes.svg, from the rows of docs/measurements/regimes-map.json and live points."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from docs.make.regimes_tables import OTHER, ratio

Row = dict[str, Any]
INK, QUIET = "#24292f", "#8b949e"
COLOURS = ("#1f6feb", "#bf8700", "#cf222e")
LIVE = "h200-x2-long-contexts.json"
PLANS = (  # what the plan is held against
    ("vanilla", ("vanilla",)),
    ("the best fixed serial plan", ("best fixed serial",)),
    ("the same GPUs as copies, or one target", OTHER),
)
ALONE = (  # mechanisms: title, the step, its base, and the same of the live cells
    (
        "two micro-batches / serial",
        "alone: two micro-batches",
        "alone: serial",
        "two micro-batches",
        "serial",
    ),
    ("decomposed / padded", "alone: decomposed", "alone: padded", "decomposed", "padded"),
)


def draw(rows: Sequence[Row], root: Path) -> None:
    """A panel of the plan for each number of clients, and one of mechanisms alone with what was measured."""
    chosen = [row for row in rows if row["axis"] == "context"]
    clients = sorted({row["clients"] for row in chosen})
    figure = Figure(figsize=(4.0 * (len(clients) + 1), 3.6), layout="constrained")
    panels = figure.subplots(1, len(clients) + 1, squeeze=False)[0]
    for axes, count in zip(panels, clients, strict=False):
        _plans(axes, [row for row in chosen if row["clients"] == count], f"{count} clients")
    live = json.loads((root / "docs" / "measurements" / LIVE).read_text(encoding="utf-8"))
    _alone(panels[-1], [row for row in chosen if row["clients"] == 16], live)
    FigureCanvasSVG(figure)
    with matplotlib.rc_context({"svg.hashsalt": "spinsim", "svg.fonttype": "none"}):
        figure.savefig(root / "docs" / "figures" / "regimes.svg", metadata={"Date": None}, facecolor="white")


def _plans(axes: Axes, rows: Sequence[Row], title: str) -> None:
    for (name, to), colour in zip(PLANS, COLOURS, strict=True):
        points = [(row["context"], value) for row in rows if (value := ratio(row, "planned", *to))]
        _line(axes, points, colour, f"/ {name}")
    _dress(axes, f"the plan, {title} (simulated)")


def _alone(axes: Axes, rows: Sequence[Row], live: Row) -> None:
    for (name, step, base, live_step, live_base), colour in zip(ALONE, COLOURS, strict=False):
        points = [(row["context"], value) for row in rows if (value := ratio(row, step, base))]
        _line(axes, points, colour, f"{name}, simulated")
        measured = [
            (context, _live_rate(live, context, live_step) / _live_rate(live, context, live_base))
            for context in live["size"]["contexts"]
        ]
        axes.plot(*zip(*measured, strict=True), "D", color=colour, markersize=6, label=f"{name}, two H200s")
    _dress(axes, "a mechanism alone, 16 clients; live: 12 to 48")


def _live_rate(live: Row, context: int, cell: str) -> float:
    here = [run for run in live["runs"] if (run["context"], run["cell"]) == (context, cell)]
    return float(median(run["decode_tokens_per_s"] for run in here))


def _line(axes: Axes, points: Sequence[tuple[int, float]], colour: str, label: str) -> None:
    if points:
        axes.plot(
            *zip(*sorted(points), strict=True), "o-", color=colour, linewidth=1.8, markersize=4, label=label
        )


def _dress(axes: Axes, title: str) -> None:
    axes.axhline(1.0, color=QUIET, linewidth=0.9)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([512, 2048, 8192, 16384]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1024:g}k"))
    axes.set_title(title, loc="left", color=INK, fontsize=10)
    axes.set_xlabel("tokens of context", color=INK)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
