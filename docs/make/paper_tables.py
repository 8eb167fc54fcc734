"""Remakes the tables of docs/paper.md: ``python docs/make/paper_tables.py``, some minutes.

Simulations are kept below results/spin-paper and used again where scenario and code are what they were.
The prose beside the tables is written by hand: read it again where a figure has moved.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from spinsim import api

ROOT = Path(__file__).parents[2]
PAGE, SCENARIOS, KEPT = (
    ROOT / "docs" / "paper.md",
    ROOT / "scenarios" / "spin-paper",
    ROOT / "results" / "spin-paper",
)
GOODPUT, VANILLA = "goodput_tokens_per_s", "vanilla"
SEEDS, CHOOSING = 1, 101  # the first of five each
CASES = {  # of the ladder's columns: title by (prompts, target)
    ("cp", "7b"): "CP 7B",
    ("cp", "13b"): "CP 13B",
    ("cp", "30b"): "CP 30B",
    ("alpaca", "7b"): "Alpaca 7B",
    ("alpaca", "30b"): "Alpaca 30B",
}
PAPERS = {
    VANILLA: "1",
    "+ selection": "1.45",
    "+ decomposition": "1.81",
    "+ pipeline": "1.99",
    "+ ragged": "",
}
TITLES = {"+ ragged": "+ ragged (not in the paper)"}
ASSUMPTIONS = {
    "as in spin.yaml": "as above",
    "eager": "eager: every kernel launched from Python",
    "fp32": "fp32",
    "slow target": "slow target: 335 ms a verification, whatever the batch",
    "wider requests": "requests twice as different",
    "batch 32": "batch 32",
}
STEPS = {  # of the last table's columns: title by step
    "+ selection": "+ selection",
    "+ decomposition": "+ decomposition",
    "+ pipeline": "+ pipeline",
    "vanilla, decomposed": "vanilla, decomposed",
    "fixed 265m": "fixed 265m",
    "fixed 1400m": "fixed 1400m",
    "selection by joint": "`joint` (ours)",
    "selection by oracle": "oracle's selection",
}


def simulated(name: str, seed: int) -> pd.DataFrame:
    """The cells of a sweep of scenarios/spin-paper, five seeds from ``seed`` on."""
    out = KEPT / f"{name}-{seed}"
    again = (out / "manifest.json").is_file()
    return api.sweep(SCENARIOS / f"{name}.yaml", seed=seed, seeds=5, out=out, resume=again).frame


def ratios(cells: pd.DataFrame) -> pd.DataFrame:
    """Mean, lowest and highest ratio to vanilla over the seeds, by step."""
    table = cells.pivot(index="seed", columns="step", values=GOODPUT)
    return table.div(table[VANILLA], axis=0).agg(["mean", "min", "max"])


def spread(found: pd.Series) -> str:
    """``0.77 (0.76-0.79)``."""
    return f"{found['mean']:.2f} ({found['min']:.2f}-{found['max']:.2f})"


def row(*cells: str) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def ladder(cases: dict[str, pd.DataFrame]) -> str:
    """The ladder beside the paper's, and vanilla in tokens per second."""
    found = {title: ratios(cells) for title, cells in cases.items()}
    lines = [row("step", "paper, CP 7B", *found), "|---" * (2 + len(found)) + "|"]
    for step, papers in PAPERS.items():
        ours = ["1" if step == VANILLA else spread(each[step]) for each in found.values()]
        lines.append(row(TITLES.get(step, step), papers, *ours))
    return "\n".join(lines)


def vanilla(cases: dict[str, pd.DataFrame]) -> str:
    """Vanilla's tokens per second in every column, with the deviation over seeds."""
    found = {title: cells[cells.step == VANILLA][GOODPUT] for title, cells in cases.items()}
    said = ", ".join(f"{title} {each.mean():.0f} ({each.std():.0f})" for title, each in found.items())
    return f"Vanilla's tokens/s, with the standard deviation over seeds: {said}."


def baselines(cases: dict[str, pd.DataFrame], chosen_on: dict[str, pd.DataFrame]) -> str:
    """What stands beside the ladder; the best fixed draft is chosen on other seeds."""
    best = []
    for title, cells in cases.items():
        means = chosen_on[title].groupby("step")[GOODPUT].mean()
        fixed = means[[step for step in means.index if step.startswith("fixed ")]]
        name = str(fixed.idxmax())
        best.append(f"{name.removeprefix('fixed ').upper()}: {spread(ratios(cells)[name])}")
    found = [ratios(cells) for cells in cases.values()]
    bandit = "SPIN's bandit rewarded by round, with a prior, exploring little"
    return "\n".join(
        [
            row("", *cases),
            "|---" * (1 + len(found)) + "|",
            row("autoregressive, this engine", *(f"{each['autoregressive']['mean']:.2f}" for each in found)),
            row(f"best fixed draft, chosen on seeds {CHOOSING}-{CHOOSING + 4}", *best),
            row(bandit, *(spread(each["selection by round"]) for each in found)),
            row(
                "the oracle's selection (knows every acceptance)",
                *(spread(each["selection by oracle"]) for each in found),
            ),
        ]
    )


def sensitivity(cells: pd.DataFrame) -> str:
    """Ratios to the same assumption's vanilla."""
    lines = [row("assumption", "vanilla, tokens/s", *STEPS.values()), "|---" * (2 + len(STEPS)) + "|"]
    for assumption, title in ASSUMPTIONS.items():
        own = cells[cells.assumption == assumption]
        means = ratios(own).loc["mean"]
        base = own[own.step == VANILLA][GOODPUT].mean()
        lines.append(row(title, f"{base:.1f}", *(f"{means[step]:.2f}" for step in STEPS)))
    return "\n".join(lines)


def put(page: str, mark: str, text: str) -> str:
    """``page`` with ``text`` between the marks."""
    ends = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    pattern = re.compile(f"({re.escape(ends[0])}\n).*?(\n{re.escape(ends[1])})", re.S)
    if not pattern.search(page):
        raise SystemExit(f"{PAGE}: no {ends[0]}")
    return pattern.sub(lambda match: f"{match[1]}\n{text}\n{match[2]}", page)


def main() -> None:
    """All of it."""
    ours, others = simulated("ladder", SEEDS), simulated("ladder", CHOOSING)
    cases, chosen_on = (
        {
            title: f[(f.prompts == prompts) & (f.target == target)]
            for (prompts, target), title in CASES.items()
        }
        for f in (ours, others)
    )
    page = PAGE.read_text(encoding="utf-8")
    page = put(page, "vanilla", vanilla(cases))
    page = put(page, "ladder", ladder(cases))
    page = put(page, "baselines", baselines(cases, chosen_on))
    page = put(page, "sensitivity", sensitivity(simulated("sensitivity", SEEDS)))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
