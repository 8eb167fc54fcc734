"""The README's figure, from folders of comparisons: ``python docs/make/selectors_figure.py DIR... OUT.svg``.

The DIRs are what the ``spinsim compare`` command beside the figure wrote, a scenario each.
``selector_tables.py`` makes them, and the figure.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

TITLES = {
    "quickstart": "quickstart: costs measured on two H100s, acceptance recorded",
    "specialists": "specialists: costs from sheets, acceptance synthetic",
}
INK, QUIET, ACCENT = "#24292f", "#8b949e", "#1f6feb"


def draw(folders: Sequence[Path], out: Path) -> None:
    """A panel a folder: mean goodput of every alternative, 95 % intervals over seeds, best at the top."""
    summaries = [json.loads((folder / "summary.json").read_text(encoding="utf-8")) for folder in folders]
    most = max(len(summary["metrics"]["goodput_tokens_per_s"]) for summary in summaries)
    figure = Figure(figsize=(6.2 * len(folders), 0.42 * most + 1.1), layout="constrained")
    for axes, summary in zip(figure.subplots(1, len(folders), squeeze=False)[0], summaries, strict=True):
        _panel(axes, summary)
    FigureCanvasSVG(figure)
    with matplotlib.rc_context({"svg.hashsalt": "spinsim", "svg.fonttype": "none"}):
        figure.savefig(out, metadata={"Date": None}, facecolor="white")


def _panel(axes: Axes, summary: dict[str, Any]) -> None:
    rows = summary["metrics"]["goodput_tokens_per_s"]
    scenario = next(name for name in rows if name in TITLES)  # as it stands: SPIN's selector
    names = sorted(rows, key=lambda name: rows[name]["mean"]["estimate"])
    longest = max(row["mean"]["high"] for row in rows.values())
    for place, name in enumerate(names):
        row = rows[name]
        mean = row["mean"]
        colour = ACCENT if name == scenario else QUIET
        axes.barh(place, mean["estimate"], color=colour, height=0.62)
        axes.plot([mean["low"], mean["high"]], [place, place], color=INK, linewidth=1.4)
        gain = row["relative"]
        text = f"{mean['estimate']:,.0f}"
        if gain is not None:
            text += f"   {gain['estimate']:+.0%} ({gain['low']:+.0%} to {gain['high']:+.0%})"
        axes.text(mean["high"] + 0.012 * longest, place, text, va="center", color=INK, fontsize=9)
    labels = ["SPIN" if name == scenario else name for name in names]
    axes.set_yticks(range(len(names)), labels, color=INK, fontsize=9.5)
    axes.set_xlim(0, 1.62 * longest)
    axes.set_title(TITLES[scenario], loc="left", color=INK, fontsize=10)
    axes.set_xlabel(f"goodput, tokens/s (predicted; mean of {len(summary['seeds'])} seeds, 95 % interval)")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.label.set_color(INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


if __name__ == "__main__":
    draw([Path(folder) for folder in sys.argv[1:-1]], Path(sys.argv[-1]))
