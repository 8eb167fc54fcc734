"""Drafts of a run: how far their proposals got, and how the selector chose."""

from __future__ import annotations

import math

import numpy as np

from spinsim.pages.figures import runs
from spinsim.pages.render import Cell, Drawn
from spinsim.pages.rounds import RoundCounts
from spinsim.pages.run_terminal import NOTHING, percent
from spinsim.results.read import BINS, Column, RunFolder

FEW = 20  # rounds below which a share is not drawn


def acceptance(run: RunFolder, counts: RoundCounts, colours: dict[str, str]) -> Drawn | None:
    """How far proposals got, by draft; None where hardly any were made."""
    curves, longest = [], 0
    for name, accepted, drafted in zip(run.arms, counts.accepted, counts.drafted, strict=True):
        if accepted.sum() < FEW:
            continue
        most = int(np.flatnonzero(drafted)[-1])
        beyond = accepted[::-1].cumsum()[::-1][1:]  # at least 1, at least 2, ...
        share = np.concatenate((beyond, np.zeros(most, dtype=np.int64)))[:most] / accepted.sum()
        curves.append((name, colours[name], share))
        longest = max(longest, most)
    if not curves:
        return None
    histogram = np.array(run.summary["speculation"]["acceptance_histogram"])
    return Drawn(runs.acceptance(curves, longest, histogram), [(name, shade) for name, shade, _ in curves])


def domains(run: RunFolder, counts: RoundCounts, colours: dict[str, str]) -> list[list[str | Cell]]:
    """A head and rows of acceptance rates by domain and draft, shaded; empty where there is one domain."""
    labels = run.labels["requests.domain"]
    if len(labels) < 2:
        return []
    drafts = [name for name in run.arms if name in run.drafts]
    sums = counts.accepted_of, counts.drafted_of
    header: list[str | Cell] = ["domain", *(Cell(name, colours[name], "cell") for name in drafts)]
    return [
        header,
        *(
            [
                labels[d] or "(none)",
                *(_shaded(*(float(part[d, run.arms.index(name)]) for part in sums)) for name in drafts),
            ]
            for d in np.argsort(labels)
        ),
    ]


def _shaded(accepted: float, drafted: float) -> Cell:
    if not drafted:
        return Cell(NOTHING, css="cell")
    rate = accepted / drafted
    tint = f"background:color-mix(in srgb,var(--s0) {60 * rate:.0f}%,transparent)"
    return Cell(percent(rate), css="cell", style=tint, title=f"{accepted:,.0f} of {drafted:,.0f}")


def choices(run: RunFolder, counts: RoundCounts, colours: dict[str, str]) -> Drawn | None:
    """Which arm was chosen: by the request's own round, and over the run."""
    rows = counts.by_turn.sum(axis=0)
    if len(run.arms) < 2 or not rows.size:
        return None
    enough = np.flatnonzero(rows >= min(FEW, rows[0]))
    upto = min(int(enough[-1]) + 1, _percentile_99(rows) + 2)
    rounds = np.arange(upto + 1) + 0.5  # bars around 1, 2, ...
    ended = max(run.summary["run"]["duration_s"], 1e-9)
    panels = [
        ("By the request's own round", "round of the request", rounds, _shares(counts.by_turn[:, :upto])),
        ("Over the run", "seconds of the run", np.linspace(0, ended, BINS + 1), _shares(counts.by_bin)),
    ]
    svg = runs.choices(panels, [colours[name] for name in run.arms])
    used = counts.by_turn.sum(axis=1) > 0
    return Drawn(svg, [(name, colours[name]) for name, any_ in zip(run.arms, used, strict=True) if any_])


def _percentile_99(counts: Column) -> int:
    """The 99th percentile, rounded down, of values 0, 1, 2, ... that occur ``counts`` times."""
    last = int(counts.sum()) - 1
    low, high = (int(np.searchsorted(counts.cumsum(), rank, side="right")) for rank in _ranks(0.99 * last))
    return int(low + (high - low) * (0.99 * last - int(0.99 * last)))


def _ranks(virtual: float) -> tuple[int, int]:
    return int(virtual), math.ceil(virtual)


def _shares(counts: Column) -> Column:
    totals = counts.sum(axis=0)
    shares: Column = counts / np.where(totals > 0, totals, 1.0)
    return shares
