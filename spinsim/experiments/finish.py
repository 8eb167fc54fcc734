"""What an experiment leaves in its folder beside its cells: a table, a summary, a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from spinsim.experiments.capacity import Capacity
from spinsim.experiments.compare import Comparison
from spinsim.experiments.rows import Row, failures, write_table
from spinsim.experiments.statistics import Interval
from spinsim.experiments.store import Store, write_atomically
from spinsim.experiments.sweep import Sweep
from spinsim.experiments.tune import Tuning

Summary = dict[str, Any]


def interval(found: Interval | None) -> Summary | None:
    """As plain values; None for what is not a number."""
    if found is None or found.estimate != found.estimate:
        return None
    return {
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence,
        "samples": found.samples,
    }


def comparison_summary(c: Comparison) -> Summary:
    """summary.json of a comparison."""
    return {
        "schema": "spinsim.comparison/1",
        "baseline": c.baseline,
        "seeds": list(c.seeds),
        "metrics": {
            metric.path: {
                name: {
                    "mean": interval(effects[i].mean),
                    "difference": interval(effects[i].difference),
                    "relative": interval(effects[i].relative),
                    "verdict": effects[i].verdict,
                }
                for name, effects in c.effects.items()
            }
            for i, metric in enumerate(c.metrics)
        },
        "notes": list(c.notes),
        **_cells(c.rows),
    }


def sweep_summary(s: Sweep) -> Summary:
    """summary.json of a sweep: its size, and what failed. The numbers are in sweep.parquet."""
    return {
        "schema": "spinsim.sweep/1",
        "scenario": s.scenario,
        "axes": list(s.axes),
        "metrics": [metric.path for metric in s.metrics],
        **_cells(s.rows),
    }


def capacity_summary(c: Capacity) -> Summary:
    """summary.json of a capacity search."""
    return {
        "schema": "spinsim.capacity/1",
        "scenario": c.scenario,
        "objectives": dict(c.objectives),
        "attainment": c.attainment,
        "capacity_requests_per_s": interval(c.rate),
        "curve": [
            {"rate": p.rate, "attainment": p.mean, "fitted": p.fitted, "seeds": list(p.attainments)}
            for p in c.curve
        ],
        "notes": list(c.notes),
        **_cells(c.rows),
    }


def tuning_summary(t: Tuning) -> Summary:
    """summary.json of a search; gains are of the held-out workload."""
    return {
        "schema": "spinsim.tuning/1",
        "scenario": t.scenario,
        "objectives": [metric.path for metric in t.objectives],
        "keys": list(t.keys),
        "trials": [
            {
                "number": trial.number,
                "state": trial.state,
                "parameters": trial.parameters,
                "values": trial.values and list(trial.values),
                "feasible": trial.feasible,
                "error": trial.error or None,
            }
            for trial in t.trials
        ],
        "as_written": {effect.metric.path: interval(effect.mean) for effect in t.baseline},
        "winners": {
            winner.name: {
                "trial": winner.trial.number,
                "parameters": winner.trial.parameters,
                "gain": {
                    effect.metric.path: {
                        "mean": interval(effect.mean),
                        "relative": interval(effect.relative),
                        "verdict": effect.verdict,
                    }
                    for effect in winner.gain
                },
            }
            for winner in t.winners
        },
        "notes": list(t.notes),
        **_cells(t.rows),
    }


def _cells(rows: Sequence[Row]) -> Summary:
    return {"cells": len(rows), "failed": failures(rows)}


def finish(store: Store, name: str, rows: Sequence[Row], summary: Mapping[str, Any], report: str) -> None:
    """Write NAME.parquet, summary.json, environment.json and report.html, where there is a folder."""
    if store.folder is None:
        return
    from spinsim.reporting.environment import environment

    write_table(store.folder / f"{name}.parquet", rows)
    write_atomically(store.folder / "environment.json", json.dumps(environment(), indent=2) + "\n")
    write_atomically(store.folder / "report.html", report)
    write_atomically(store.folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")


def write_winners(store: Store, tuning: Tuning) -> None:
    """NAME.yaml for each winner: a whole scenario, as simulate and run take it."""
    if store.folder is not None:
        for winner in tuning.winners:
            write_atomically(store.folder / f"{winner.name}.yaml", winner.yaml)
