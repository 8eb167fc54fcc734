"""Drafts of a run: how far their proposals got, and how the selector chose."""

from __future__ import annotations

import numpy as np

from spinsim.pages.figures import runs
from spinsim.pages.render import Cell, Drawn
from spinsim.pages.run_terminal import NOTHING, percent
from spinsim.results.read import BINS, Column, RunFolder

FEW = 20  # rounds below which a share is not drawn


def acceptance(run: RunFolder, colours: dict[str, str]) -> Drawn | None:
    """How far proposals got, by draft; None where hardly any were made."""
    arm, inside = run.arm_of_rounds, run.inside
    drafted, accepted = run.rounds["drafted"], run.rounds["accepted"]
    curves, longest = [], 0
    for i, name in enumerate(run.arms):
        mine = inside & (arm == i) & (drafted > 0)
        if mine.sum() < FEW:
            continue
        reach = np.arange(1, int(drafted[mine].max()) + 1)
        share = (accepted[mine][:, None] >= reach).mean(axis=0)
        curves.append((name, colours[name], share))
        longest = max(longest, reach.size)
    if not curves:
        return None
    histogram = np.array(run.summary["speculation"]["acceptance_histogram"])
    return Drawn(runs.acceptance(curves, longest, histogram), [(name, shade) for name, shade, _ in curves])


def domains(run: RunFolder, colours: dict[str, str]) -> list[list[str | Cell]]:
    """A head and rows of acceptance rates by domain and draft, shaded; empty where there is one domain."""
    labels = run.labels["requests.domain"]
    if len(labels) < 2:
        return []
    domain_of = np.full(int(run.requests["request"].max()) + 1, -1, dtype=np.int64)
    domain_of[run.requests["request"]] = run.requests["domain"]
    inside = run.inside
    domain, arm = domain_of[run.rounds["request"][inside]], run.arm_of_rounds[inside]
    drafts = [name for name in run.arms if name in run.drafts]
    shape = (len(labels), len(run.arms))
    cell = domain * shape[1] + arm
    sums = [
        np.bincount(cell, weights=run.rounds[name][inside], minlength=shape[0] * shape[1]).reshape(shape)
        for name in ("accepted", "drafted")
    ]
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


def choices(run: RunFolder, colours: dict[str, str]) -> Drawn | None:
    """Which arm was chosen: by the request's own round, and over the run."""
    arm = run.arm_of_rounds
    if len(run.arms) < 2 or not arm.size:
        return None
    turn = _turns(run.rounds["request"])
    counts = _count_pairs(arm, turn, len(run.arms), int(turn.max()) + 1)
    enough = np.flatnonzero(counts.sum(axis=0) >= min(FEW, counts.sum(axis=0)[0]))
    upto = min(int(enough[-1]) + 1, int(np.percentile(turn, 99)) + 2)
    rounds = np.arange(upto + 1) + 0.5  # bars around 1, 2, ...
    ended = max(run.summary["run"]["duration_s"], 1e-9)
    timed = _count_pairs(arm, run.bins(run.rounds["committed_s"]), len(run.arms), BINS)
    panels = [
        ("By the request's own round", "round of the request", rounds, _shares(counts[:, :upto])),
        ("Over the run", "seconds of the run", np.linspace(0, ended, BINS + 1), _shares(timed)),
    ]
    svg = runs.choices(panels, [colours[name] for name in run.arms])
    used = counts.sum(axis=1) > 0
    return Drawn(svg, [(name, colours[name]) for name, any_ in zip(run.arms, used, strict=True) if any_])


def _turns(request: Column) -> Column:
    """For each row, how many rows of the same request came before."""
    order = np.argsort(request, kind="stable")
    begins = np.concatenate(([True], request[order][1:] != request[order][:-1]))
    starts = np.flatnonzero(begins)
    lengths = np.diff(np.append(starts, request.size))
    within = np.arange(request.size, dtype=np.int32) - np.repeat(starts.astype(np.int32), lengths)
    out = np.empty(request.size, dtype=np.int32)
    out[order] = within
    return out


def _count_pairs(row: Column, column: Column, rows: int, columns: int) -> Column:
    """How often each (row, column) occurs, of shape (rows, columns)."""
    cell = row.astype(np.int32) * columns + column
    counts: Column = np.bincount(cell, minlength=rows * columns).reshape(rows, columns)
    return counts


def _shares(counts: Column) -> Column:
    totals = counts.sum(axis=0)
    shares: Column = counts / np.where(totals > 0, totals, 1.0)
    return shares
