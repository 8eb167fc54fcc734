"""Every selector on three kinds of traffic: ``python docs/regret_figure.py [OUT.svg]``, about a minute."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from spinsim.experiments.regret import Regret, regrets

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "scenarios" / "quickstart.yaml"
DRAFTS = ("tiny", "code", "maths", "small", "large")
COMMON = [
    "workload.requests=32",
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
LEARNERS = (
    "greedy",
    "epsilon_greedy",
    "ucb1",
    "ucbspec",
    "exp3spec",
    "metasd_ucb",
    "thompson",
    "hedgespec",
    "spin",
)
SELECTORS: dict[str, dict[str, Any]] = {
    "random": {"name": "random"},
    "round robin": {"name": "round_robin"},
    **{name: {"name": name} for name in LEARNERS},
    "spin, shared prior": {"name": "spin", "explore": 0.1, "share": "prior", "prior_weight": 2},
}
STYLE = {"font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "regret", "axes.spines.top": False,
         "axes.spines.right": False, "axes.titlelocation": "left"}  # fmt: skip


def draw(panels: dict[str, list[Regret]], out: Path) -> None:
    """A panel a kind of traffic; the figures beside it are of whole outputs, the worst on top."""
    names = list(dict.fromkeys(r.name.split(" (")[0] for found in panels.values() for r in found))
    shades = matplotlib.colormaps["tab20"].colors  # type: ignore[attr-defined]
    colours = dict(zip(names, (*shades[::2], *shades[1::2]), strict=False))
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(12.5, 4.6), layout="constrained")
        FigureCanvasSVG(figure)
        for ax, (title, found) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            ax.set_title(title)
            ax.set_xlabel("rounds of a request")
            ax.axhline(0, color="#24292f", linewidth=1)
            ranked = sorted(found, key=lambda regret: -regret.final)
            for place, regret in enumerate(ranked):
                colour = colours[regret.name.split(" (")[0]]
                style = "--" if regret.name.startswith("best fixed") else "-"
                milliseconds = [1e3 * s for s in regret.seconds]
                rounds = range(1, len(milliseconds) + 1)
                ax.plot(rounds, milliseconds, color=colour, linewidth=1.3, linestyle=style)
                text = f"{1e3 * regret.final:.0f}  {regret.name}"
                _label(ax, text, 0.99 - 0.068 * place, colour)
            _label(ax, "0  oracle", 0.99 - 0.068 * len(ranked), "#24292f")
        figure.supylabel("milliseconds behind the oracle (figures: at the end of 384 tokens)", fontsize=8)
        figure.savefig(out, metadata={"Date": None})


def _label(ax: Axes, text: str, height: float, colour: object) -> None:
    ax.text(1.02, height, text, transform=ax.transAxes, va="top", fontsize=7.2, color=colour)


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "figures" / "regret.svg"
    panels = {
        title: regrets(QUICKSTART, SELECTORS, overrides=[*COMMON, *traffic], candidates=DRAFTS)
        for title, traffic in TRAFFIC.items()
    }
    draw(panels, out)
    for title, found in panels.items():
        print(title)
        for regret in sorted(found, key=lambda r: r.final):
            print(f"  {regret.name:32} {1e3 * regret.final:7.1f} ms behind the oracle")


if __name__ == "__main__":
    main()
