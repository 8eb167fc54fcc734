"""Every selector on recorded requests, one at a time: ``python docs/make/selection_figure.py [OUT.svg]``.

It takes minutes. $SPINSIM_DATA names the recordings. The odd requests of both are judged, mixed;
the even ones trained the selector that can be trained.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from compared_selectors import SELECTORS as COMPARED
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spinsim.recording import Trace, save_trace
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.regret import progress
from spinsim.studies.selection_on_recordings import PLANNED, our_selector, overrides, prepared

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "scenarios" / "specdecode-bench.yaml"
NAMES = ("gsm8k", "instructcoder")
LENGTHS = {"name": "per_draft", "tokens": {"eagle": 3, "ngram": 20}}  # each draft's best at batch 1
TOKENS = 240  # of an output; the curves are of requests with at least so many
SELECTORS: dict[str, dict[str, Any]] = {
    "EAGLE for all": {"name": "fixed", "draft": "eagle"},
    "n-gram for all": {"name": "fixed", "draft": "ngram"},
    **COMPARED,
    "SPIN, round's reward": {"name": "spin", "reward": "tokens_per_round_second", "share": "prior"},
}
OURS, BOUND = "contextual", "clairvoyant in lengths, too"
INK, QUIET, ACCENT = "#24292f", "#8b949e", "#8250df"
STYLE = {"font.size": 8.5, "svg.fonttype": "none", "svg.hashsalt": "selection", "axes.spines.top": False,
         "axes.spines.right": False}  # fmt: skip
Curve = NDArray[np.float64]


def curves(trace: Trace, trained: Path, folder: Path) -> dict[str, Curve]:
    """Milliseconds behind the oracle by tokens committed, the mean of the requests that are long enough."""
    file = folder / "judged.npz"
    save_trace(trace, file)
    ours = our_selector(trace, trained)
    oracle = {**ours, "name": "contextual_oracle"}
    grid = np.arange(2, TOKENS + 1)

    def times(selector: dict[str, Any], length: dict[str, Any]) -> Curve:
        loaded = load(SCENARIO, overrides(file, 1, selector, length))
        done = progress(simulate_scenario(loaded.scenario, loaded.base_dir).records)
        long = [curve for _, curve in sorted(done.items()) if curve[0][-1] >= TOKENS]
        return 1e3 * np.mean([np.interp(grid, tokens, seconds) for tokens, seconds in long], axis=0)

    best = times(oracle, PLANNED)
    found = {name: times(selector, LENGTHS) - best for name, selector in SELECTORS.items()}
    found[OURS] = times(ours, PLANNED) - best
    found[BOUND] = times({**oracle, "knows_lengths": True}, PLANNED) - best
    return found


def draw(found: dict[str, Curve], out: Path) -> None:
    """A line for each selector, its name and last figure at its end."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(8.4, 5.2), layout="constrained")
        FigureCanvasSVG(figure)
        ax = figure.subplots()
        ax.set_xlabel("output tokens of a request", loc="left")
        ax.set_ylabel("ms behind the oracle, mean of the requests")
        _lines(ax, found)
        drawn = StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None}, facecolor="white")
    out.write_text(re.sub(r"(\d\.\d\d)\d+", r"\1", drawn.getvalue()), encoding="utf-8")


def _lines(ax: Axes, found: dict[str, Curve]) -> None:
    grid = np.arange(2, TOKENS + 1)
    top = 1.05 * max(curve.max() for curve in found.values())
    low = min(curve.min() for curve in found.values()) - 0.04 * top
    ax.set_xlim(0, 1.6 * TOKENS)
    ax.set_ylim(low, top)
    ax.set_xticks(range(0, TOKENS + 1, 40))
    ax.spines["bottom"].set_bounds(0, TOKENS)
    ax.axhline(0, xmax=1 / 1.6, color=INK, linewidth=1)
    ends = sorted([(float(curve[-1]), name) for name, curve in found.items()] + [(0.0, "oracle")])
    gap, height = (top - low) / 21, low
    for end, name in ends:
        colour = ACCENT if name == OURS else INK if "oracle" in name or "for all" in name else QUIET
        height = max(height + gap, end) if name != ends[0][1] else max(end, low + gap / 2)
        if name in found:
            ax.plot(grid, found[name], color=colour, linewidth=2.0 if name == OURS else 1.0)
        ax.plot([TOKENS, 1.06 * TOKENS], [end, height], color=colour, linewidth=0.5, alpha=0.7)
        ax.text(1.2 * TOKENS, height, f"{end:,.0f}", ha="right", va="center", color=colour, fontsize=8)
        ax.text(1.22 * TOKENS, height, name, va="center", color=colour, fontsize=8)


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "figures" / "selection.svg"
    data = Path(os.environ["SPINSIM_DATA"])
    files = [data / f"specdecode_bench_llama31_8b_{name}.jsonl" for name in NAMES]
    with tempfile.TemporaryDirectory() as folder:
        trained, sets = prepared(files, files, Path(folder))
        found = curves(sets["mix"], trained, Path(folder))
    draw(found, out)
    for name, curve in sorted(found.items(), key=lambda each: each[1][-1]):
        print(f"{name:28} {curve[-1]:6.0f} ms behind the oracle after {TOKENS} tokens")


if __name__ == "__main__":
    main()
