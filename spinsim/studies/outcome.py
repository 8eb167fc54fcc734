"""What an experiment leaves in its folder beside its cells: a table, a summary, a report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

from spinsim.files import write_atomically
from spinsim.lab.rows import Row, failures, write_table
from spinsim.lab.statistics import Interval
from spinsim.lab.store import Store
from spinsim.studies.capacity import Capacity
from spinsim.studies.compare import Comparison
from spinsim.studies.kept import Study, write_result
from spinsim.studies.sweep import Sweep
from spinsim.studies.tuning.tune import Tuning

Summary = dict[str, Any]


def interval(found: Interval | None) -> Summary | None:
    """As plain values; None for what is not a number."""
    if found is None or not isfinite(found.estimate):
        return None
    return {
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
        "confidence": found.confidence,
        "samples": found.samples,
    }


def read_interval(kept: Summary | None) -> Interval | None:
    """What :func:`interval` wrote."""
    return None if kept is None else Interval(**kept)


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
    """summary.json of a search; gains are of what ``held_out`` says."""
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
        "held_out": t.held_out,
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


def finish_comparison(store: Store, c: Comparison, report: Callable[[Comparison], str]) -> Summary:
    """Write a comparison's files, ``report`` its page; returns its summary."""
    summary = comparison_summary(c)
    return _finish(store, "comparison", c, summary, lambda: report(c))


def finish_sweep(store: Store, s: Sweep, report: Callable[[Sweep], str]) -> Summary:
    """Write a sweep's files, ``report`` its page; returns its summary."""
    return _finish(store, "sweep", s, sweep_summary(s), lambda: report(s))


def finish_capacity(store: Store, c: Capacity, report: Callable[[Capacity], str]) -> Summary:
    """Write a capacity search's files, ``report`` its page; returns its summary."""
    return _finish(store, "capacity", c, capacity_summary(c), lambda: report(c))


def finish_tuning(store: Store, t: Tuning, report: Callable[[Tuning], str]) -> Summary:
    """Write a search's files, NAME.yaml for each winner among them; returns its summary."""
    if store.folder is not None:
        for winner in t.winners:
            write_atomically(store.folder / f"{winner.name}.yaml", winner.yaml)
    return _finish(store, "trials", t, tuning_summary(t), lambda: report(t))


def _finish(store: Store, name: str, result: Study, summary: Summary, report: Callable[[], str]) -> Summary:
    if store.folder is not None:
        write_result(store.folder, result)
    return write_files(store, name, result.rows, summary, report)


def write_files(
    store: Store, name: str, rows: Sequence[Row], summary: Summary, report: Callable[[], str]
) -> Summary:
    """NAME.parquet, environment.json, report.html and, last, summary.json, where there is a folder."""
    if store.folder is not None:
        from spinsim.results.environment import environment

        write_table(store.folder / f"{name}.parquet", rows)
        write_atomically(store.folder / "environment.json", json.dumps(environment(), indent=2) + "\n")
        write_atomically(store.folder / "report.html", report())
        text = json.dumps(summary, indent=2, allow_nan=False)
        write_atomically(store.folder / "summary.json", text + "\n")
        store.complete()
    return summary
