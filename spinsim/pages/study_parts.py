"""What the pages of comparisons, sweeps, capacities and searches have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from spinsim.costs.base import LABELS
from spinsim.lab.rows import Row, failures
from spinsim.lab.statistics import Interval
from spinsim.pages.run_terminal import NOTHING, lost_rows, number, percent
from spinsim.pages.scenario_text import describe, value_text
from spinsim.results.few import FEW, requests_behind
from spinsim.results.metrics import Metric, value
from spinsim.studies.compare import Effect

_LATENCIES = ("latency.tpot_s.", "latency.e2e_s.", "latency.ttft_s.")


def is_share(metric: Metric) -> bool:
    """Is it one of those that are told in percent?"""
    return metric.unit == "share"


def shown(metric: Metric, amount: float | None) -> str:
    """A value in its title's unit; a share in percent."""
    if is_share(metric):
        return percent(None if amount is None or amount != amount else amount)
    return number(None if amount is None or amount != amount else amount * metric.scale, 4)


def spread(interval: Interval, metric: Metric) -> str:
    """``low to high``; a dash for none."""
    if interval.low is None or interval.high is None:
        return NOTHING
    return f"{shown(metric, interval.low)} to {shown(metric, interval.high)}"


def signed(share: Interval | float | None) -> str:
    """A relative difference, or the estimate of an interval, in percent."""
    share = share.estimate if isinstance(share, Interval) else share
    return NOTHING if share is None or share != share else f"{round(100 * share, 1) + 0.0:+.1f} %"


def signed_spread(interval: Interval | None) -> str:
    """Its interval."""
    if interval is None or interval.low is None:
        return NOTHING
    return f"{signed(interval.low)} to {signed(interval.high)}"


def changed(effect: Effect) -> str:
    """An effect's difference to the baseline: in percent of it, of a share in percentage points."""
    return _points(effect.difference) if is_share(effect.metric) else signed(effect.relative)


def changed_spread(effect: Effect) -> str:
    """Its interval."""
    if not is_share(effect.metric):
        return signed_spread(effect.relative)
    found = effect.difference
    if found is None or found.low is None:
        return NOTHING
    return f"{_points(found.low)} to {_points(found.high)}"


def _points(share: Interval | float | None) -> str:
    text = signed(share)
    return text if text == NOTHING else text.replace(" %", " pp")


def capitalised(text: str) -> str:
    """With a first capital letter, the others as they are."""
    return text[:1].upper() + text[1:]


def bare(metric: Metric) -> str:
    """A metric's title without its unit."""
    return metric.title.rpartition(",")[0] or metric.title


def against(up: str, across: str) -> str:
    """The heading of one metric drawn against another, from their titles."""
    return capitalised(f"{up.partition(',')[0]} against {across.partition(',')[0]}")


def provenance(rows: Sequence[Row]) -> str:
    """What stands behind the figures: labels of costs, their mean shares of the time, and of acceptance."""
    found = [row.summary for row in rows if row.summary is not None]
    if not found:
        return ""
    shares = {label: sum(s["costs"].get(label) or 0.0 for s in found) / len(found) for label in LABELS}
    costs = ", ".join(f"{percent(share)} {label}" for label, share in shares.items() if share)
    acceptance = ", ".join(sorted({s["acceptance"]["source"] for s in found}))
    return f"costs: {costs or 'nothing was predicted'}; acceptance: {acceptance}"


def shortcomings(rows: Sequence[Row]) -> list[str]:
    """What makes less of the figures than they seem: rows that a source lost, runs of few requests."""
    found = [row.summary for row in rows if row.summary is not None]
    if not found:
        return []
    lost = next((text for s in found if (text := lost_rows(s))), "")
    said = [f"workload: {lost}"] if lost else []
    behind = min(requests_behind(s) for s in found)
    few = f"some runs rest on no more than {behind} requests; with fewer than {FEW}, shares say little"
    return [*said, few] if behind < FEW else said


def described(scenarios: Mapping[str, str]) -> list[tuple[str, list[tuple[str, str]], str]]:
    """Of scenarios as resolved YAML by name: the name, terms in plain text, the YAML."""
    return [(name, describe(yaml.safe_load(text)), text) for name, text in scenarios.items()]


def behind(rows: Sequence[Row], scenarios: Mapping[str, str]) -> dict[str, Any]:
    """What every page of simulations says of them: :func:`provenance`, :func:`shortcomings`, failures, and
    and the scenarios."""
    return {
        "scenarios": described(scenarios),
        "behind": [provenance(rows), *shortcomings(rows)],
        "failed": [
            {**failed, "labels": {key: value_text(label) for key, label in failed["labels"].items()}}
            for failed in failures(rows)
        ],
        "cells": len(rows),
    }


def grouped(rows: Sequence[Row], axes: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their labels on ``axes``, in the order of the sweep."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.labels[name] for name in axes), []).append(row)
    return groups


def values_of(rows: Sequence[Row], metric: Metric) -> list[float]:
    """A metric of every row that has it, in its title's unit."""
    found = (value(row.summary or {}, metric) for row in rows)
    return [number * metric.scale for number in found if number is not None]


def mean_shown(metric: Metric, rows: Sequence[Row]) -> str:
    """The mean over rows, in its title's unit."""
    found = values_of(rows, metric)
    return shown(metric, sum(found) / len(found) / metric.scale) if found else NOTHING


def trade_off_of(metrics: Sequence[Metric]) -> tuple[int, int] | None:
    """Places of a latency and of the first metric, to draw one against the other; None where either
    is missing. TPOT is preferred, and its median."""
    if not metrics or metrics[0].path.startswith("latency."):
        return None
    for kind in _LATENCIES:
        for i, metric in enumerate(metrics):
            if metric.path.startswith(kind):
                return i, 0
    return None
