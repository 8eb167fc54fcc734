"""The README's figure, from a comparison's folder: ``python docs/selectors_figure.py DIR OUT.svg``.

DIR is what the ``spinsim compare`` command beside the figure wrote.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, QUIET, ACCENT = "#24292f", "#8b949e", "#1f6feb"


def draw(folder: Path, out: Path) -> None:
    """Mean goodput of every alternative with its 95 % interval over seeds, best at the top."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    rows = summary["metrics"]["goodput_tokens_per_s"]
    names = sorted((name for name in rows if name != "quickstart"), key=lambda n: rows[n]["mean"]["estimate"])
    figure = Figure(figsize=(7.4, 0.42 * len(names) + 0.9), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(names):
        row = rows[name]
        mean = row["mean"]
        colour = ACCENT if name == "SPIN" else QUIET
        axes.barh(place, mean["estimate"], color=colour, height=0.62)
        axes.plot([mean["low"], mean["high"]], [place, place], color=INK, linewidth=1.4)
        gain = row["relative"]
        text = f"{mean['estimate']:,.0f}"
        if gain is not None:
            text += f"   {gain['estimate']:+.0%} ({gain['low']:+.0%} to {gain['high']:+.0%})"
        axes.text(mean["high"] + 40, place, text, va="center", color=INK, fontsize=9)
    axes.set_yticks(range(len(names)), names, color=INK, fontsize=9.5)
    axes.set_xlim(0, 1.42 * max(row["mean"]["high"] for row in rows.values()))
    axes.set_xlabel(f"goodput, tokens/s (predicted; mean of {len(summary['seeds'])} seeds, 95 % interval)")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.label.set_color(INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    FigureCanvasSVG(figure)
    with matplotlib.rc_context({"svg.hashsalt": "spinsim", "svg.fonttype": "none"}):
        figure.savefig(out, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
