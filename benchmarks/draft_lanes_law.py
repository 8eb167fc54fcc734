"""The law of contention, fitted to some of what was kept busy side by side and held against the rest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spinsim.costs.contention import Demand, KernelLaw, side_by_side
from spinsim.costs.contention_fit import Group, errors, fit_law

HELD_OUT = 0.1  # the aim: errors of at most a tenth
Numbers = dict[str, Any]


def judged(groups: Sequence[tuple[Numbers, Group]], fitted_rows: Sequence[int]) -> Numbers:
    """The law by some subsets at ``fitted_rows``, and its errors on everything else."""
    chosen = _fitted([about for about, _ in groups], fitted_rows)
    fitted = [group for (_, group), used in zip(groups, chosen, strict=True) if used]
    law = fit_law(fitted)
    parts: dict[str, list[float]] = {}
    held: list[float] = []
    rows = []
    for (about, group), used in zip(groups, chosen, strict=True):
        size = "pairs" if len(group.seconds) == 2 else "larger subsets"
        sizes = "fitted" if used else "fitted sizes" if about["rows"] in fitted_rows else "other sizes"
        wrong = errors(law, group)
        parts.setdefault(f"{size}, {sizes}", []).extend(wrong)
        held.extend(() if used else wrong)
        slow = [s / demand.seconds for s, demand in zip(group.seconds, group.demands, strict=True)]
        rows.append(about | {"slowdowns": slow, "errors": wrong, "demands": [list(d) for d in group.demands]})
    pairs = sum(len(group.seconds) == 2 for group in fitted)
    return {
        "law": asdict(law),
        "fitted": {"pairs": pairs, "larger": len(fitted) - pairs, "rows": list(fitted_rows)},
        "errors": {name: _spread(wrong) for name, wrong in parts.items()},
        "held_out": _spread(held),
        "groups": rows,
    }


def _fitted(abouts: Sequence[Numbers], fitted_rows: Sequence[int]) -> list[bool]:
    """Which groups a law is fitted to: at the fitted rows all pairs, and every third larger subset."""
    order = sorted(
        (i for i, about in enumerate(abouts) if len(about["models"]) > 2 and about["rows"] in fitted_rows),
        key=lambda i: (abouts[i]["rows"], len(abouts[i]["models"])),
    )
    larger = set(order[::3])
    return [
        i in larger or (len(about["models"]) == 2 and about["rows"] in fitted_rows)
        for i, about in enumerate(abouts)
    ]


def judged_again(path: Path) -> Numbers:
    """The present law on what a file measured side by side: nothing is run."""
    law = json.loads(path.read_text())["law"]
    groups = []
    for row in law["groups"]:
        demands = tuple(Demand(*demand) for demand in row["demands"])
        seconds = tuple(one.seconds * s for one, s in zip(demands, row["slowdowns"], strict=True))
        groups.append(({"rows": row["rows"], "models": row["models"]}, Group(demands, seconds)))
    return {"law": judged(groups, law["fitted"]["rows"])}


def _spread(wrong: Sequence[float]) -> Numbers:
    size = np.abs(wrong)
    if not len(size):
        return {"count": 0}
    within = float((size <= HELD_OUT).mean())
    p50, p95 = np.quantile(size, (0.5, 0.95))
    return {
        "count": len(size),
        "mean": float(size.mean()),
        "p50": float(p50),
        "p95": float(p95),
        "worst": float(size.max()),
        "within_10_percent": within,
    }


def predicted(rows: Sequence[Numbers], law: KernelLaw) -> list[Numbers]:
    """The rows of ``drafting`` with what the law says of their side-by-side time."""
    told = []
    for row in rows:
        ends = side_by_side(law, [Demand(*demand) for demand in row["demands"]])
        told.append(row | {"predicted_s": max(ends), "error": max(ends) / row["side_by_side_s"] - 1})
    return told
