"""Every selector on three kinds of traffic: ``python docs/make/regret_figure.py [OUT.svg]``, some minutes."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import StringIO
from multiprocessing import get_context
from pathlib import Path

import matplotlib
import numpy as np
from compared_selectors import SELECTORS as COMPARED
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from spinsim.studies.regret import Regret, regrets

ROOT = Path(__file__).parents[2]
SPECIALISTS = ROOT / "scenarios" / "specialists.yaml"
DRAFTS = ("tiny", "code", "maths", "small", "large")
SEEDS = (1, 11, 21, 31)  # apart: the best fixed draft is chosen on the seed after each
COMMON = [
    "workload.requests=24",
    "workload.prompt_tokens={distribution: fixed, value: 64}",
    "workload.output_tokens={distribution: fixed, value: 384}",
]
ONE_KIND = ["acceptance.domains={}", "acceptance.difficulty_sd=0"]
TRAFFIC = {
    "Stationary: requests alike, acceptance constant": ONE_KIND,
    "Drifting: acceptance wanders along each output": [
        *ONE_KIND, "acceptance.drift_sd=1.5", "acceptance.drift_tokens=96",
    ],
    "Mixed: three domains, easy and hard requests": [],
}  # fmt: skip
SELECTORS = COMPARED | {
    "SPIN, shared prior": {"name": "spin", "explore": 0.1, "share": "prior", "prior_weight": 2},
    "contextual": {"name": "contextual"},
}
BEST = "best fixed draft"
INK, QUIET = "#24292f", "#57606a"
COLOURS = {  # greys choose blindly, greens are textbook bandits, warm ones were made for speculation
    BEST: INK, "random": QUIET, "round robin": "#8b949e",
    "greedy": "#1a7f37", "ε-greedy": "#57ab5a", "UCB1": "#0f8b8d", "Thompson": "#6b8e00",
    "UCBSpec": "#7d4e00", "EXP3Spec": "#bc8c00", "HedgeSpec": "#cf222e", "MetaSD-UCB": "#bf3989",
    "SPIN": "#218bff", "SPIN, shared prior": "#0550ae", "joint": "#8250df",
    "planned": "#0a3069", "contextual": "#e16f24",
}  # fmt: skip
STYLE = {"font.size": 8.5, "svg.fonttype": "none", "svg.hashsalt": "regret", "axes.spines.top": False,
         "axes.spines.right": False, "axes.titlelocation": "left", "axes.titlesize": 9.5}  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """One selector: milliseconds behind the oracle, (seeds, rounds) and (seeds,) at the output's end."""

    name: str
    note: str
    behind: NDArray[np.float64]
    final: NDArray[np.float64]


def measured(job: tuple[list[str], int]) -> list[Regret]:
    """Every selector on one kind of traffic with one seed."""
    traffic, seed = job
    return regrets(SPECIALISTS, SELECTORS, overrides=[*COMMON, *traffic, f"seed={seed}"], candidates=DRAFTS)


def together(by_seed: list[list[Regret]]) -> list[Curve]:
    """The seeds of each selector side by side, as far as all of them go."""
    curves = []
    for runs in zip(*by_seed, strict=True):
        name, _, chosen = runs[0].name.partition(" (")
        others = {run.name.partition(" (")[2] for run in runs}
        rounds = min(len(run.seconds) for run in runs)
        behind = 1e3 * np.array([run.seconds[:rounds] for run in runs])
        note = f" ({chosen.rstrip(')')})" if chosen and len(others) == 1 else ""
        curves.append(Curve(name, note, behind, 1e3 * np.array([run.final for run in runs])))
    return sorted(curves, key=lambda curve: -curve.final.mean())


def draw(panels: dict[str, list[Curve]], out: Path) -> None:
    """A panel a kind of traffic, every line labelled at its end with the figure for a whole output."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(13, 4.9), layout="constrained")
        FigureCanvasSVG(figure)
        for ax, (title, curves) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            ax.set_title(title, color=INK)
            ax.set_xlabel("rounds of a request", loc="left")
            _panel(ax, curves)
        figure.supylabel(
            f"ms behind the oracle (figures: after 384 tokens): mean and range of {len(SEEDS)} seeds",
            fontsize=8.5,
            color=INK,
        )
        drawn = StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None}, facecolor="white")
    out.write_text(re.sub(r"(\d\.\d\d)\d+", r"\1", drawn.getvalue()), encoding="utf-8")  # half the size


def _panel(ax: Axes, curves: list[Curve]) -> None:
    longest = max(curve.behind.shape[1] for curve in curves)
    top = 1.04 * max(curve.behind.mean(axis=0).max() for curve in curves)
    ax.set_xlim(0, 1.72 * longest)
    ax.set_ylim(-0.03 * top, top)
    ax.axhline(0, xmax=1 / 1.72, color=INK, linewidth=1)
    ax.set_xticks(range(0, longest + 1, 50))
    ax.spines["bottom"].set_bounds(0, longest)
    ends = [(0.0, "oracle", INK, longest, "0")]
    for curve in curves:
        colour = COLOURS[curve.name]
        mean, rounds = curve.behind.mean(axis=0), np.arange(1, curve.behind.shape[1] + 1)
        fixed = curve.name == BEST
        ax.fill_between(
            rounds[::4],
            curve.behind.min(axis=0)[::4],
            curve.behind.max(axis=0)[::4],
            color=colour,
            alpha=0.13,
            linewidth=0,
        )
        style = (
            {"linestyle": (0, (4, 2)), "zorder": 5} if fixed else {"zorder": 4 if "SPIN" in curve.name else 3}
        )
        ax.plot(rounds, mean, color=colour, linewidth=1.8 if "SPIN" in curve.name or fixed else 1.2, **style)
        ends.append(
            (float(mean[-1]), curve.name + curve.note, colour, rounds[-1], f"{curve.final.mean():.0f}")
        )
    _label(ax, sorted(ends), longest, top)


def _label(ax: Axes, ends: list[tuple[float, str, str, int, str]], longest: int, top: float) -> None:
    """Names and figures in a column, each tied to the end of its line."""
    heights = _spread([end for end, *_ in ends], top)
    for (end, name, colour, last, text), height in zip(ends, heights, strict=True):
        way = [last, 1.04 * longest, 1.1 * longest]
        ax.plot(way, [end, height, height], color=colour, linewidth=0.5, alpha=0.7)
        ax.text(1.25 * longest, height, text, ha="right", va="center", color=colour, fontsize=8)
        ax.text(1.28 * longest, height, name, va="center", color=colour, fontsize=8)


def _spread(heights: list[float], top: float) -> list[float]:
    """Ascending heights, moved apart to be readable, within the panel."""
    gap = top / 18
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + gap) if placed else height)
    ceiling = 0.965 * top
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "figures" / "regret.svg"
    jobs = [(traffic, seed) for traffic in TRAFFIC.values() for seed in SEEDS]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        found = list(pool.map(measured, jobs))
    count = len(SEEDS)
    panels = {title: together(found[i * count : (i + 1) * count]) for i, title in enumerate(TRAFFIC)}
    draw(panels, out)
    for title, curves in panels.items():
        print(title)
        for curve in reversed(curves):
            low, high = curve.final.min(), curve.final.max()
            print(f"  {curve.name + curve.note:28} {curve.final.mean():6.0f} ms ({low:.0f} to {high:.0f})")


if __name__ == "__main__":
    main()
