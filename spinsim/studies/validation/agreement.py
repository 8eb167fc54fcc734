"""Live beside simulated, in numbers: errors with the spread of repetitions, rankings, coverage. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from spinsim.engine.records import KINDS, Records
from spinsim.engine.world import NS
from spinsim.results.metrics import shown_in, value

Numbers = dict[str, Any]
Rounds = dict[int, list[tuple[int, int, int]]]


def measured(summary: Mapping[str, Any], records: Records) -> dict[str, float | None]:
    """What validation compares of one run: headlines, mean times by operation, busy fractions.

    ``host_idle_round_s``: idle time of lanes that the host caused, by micro-batch and round.
    """
    found = {known.measure: value(summary, known) for known in shown_in("intervals")}
    operations = records.operations
    kinds = np.asarray(operations.kind)
    started, finished = np.asarray(operations.started_ns), np.asarray(operations.finished_ns)
    for index, kind in enumerate(KINDS):
        chosen = (kinds == index) & (started >= 0)
        mean = float((finished - started)[chosen].mean()) / NS if chosen.any() else None
        found[f"{kind}_mean_s"] = mean
    rounds = records.rounds
    if len(rounds.size):
        spent = np.asarray(rounds.committed_ns) - np.asarray(rounds.assigned_ns)
        found["round_mean_s"] = float(spent.mean()) / NS
        found["host_idle_round_s"] = summary["host"]["idle_caused_s"] / len(rounds.size)
    for device, row in summary["devices"].items():
        found[f"busy.{device}"] = row["busy_fraction"]
    for lane, row in summary["lanes"].items():
        found[f"busy.{lane}"] = row["busy_fraction"]
    return found


def compared(live: Sequence[Mapping[str, float | None]], simulated: Mapping[str, float | None]) -> Numbers:
    """By metric: median and range of the repetitions, the simulated value, its relative error.

    ``spread`` is (largest - smallest) / median over the repetitions.
    """
    found: Numbers = {}
    for name in simulated:
        values = [number for run in live if (number := run.get(name)) is not None]
        said = simulated[name]
        if not values or said is None:
            continue
        middle = float(np.median(values))
        found[name] = {
            "live": middle,
            "repetitions": values,
            "simulated": said,
            "error": said / middle - 1 if middle else None,
            "spread": (max(values) - min(values)) / middle if middle else None,
        }
    return found


def rounds_by_request(records: Records) -> Rounds:
    """(draft, drafted, accepted) of every round of every request, in order."""
    rounds = records.rounds
    found: Rounds = {request: [] for request in records.requests}
    for request, draft, drafted, accepted in zip(
        rounds.request, rounds.draft, rounds.drafted, rounds.accepted, strict=True
    ):
        found[request].append((draft, drafted, accepted))
    return found


def identical_share(live: Rounds, simulated: Rounds) -> float | None:
    """Share of requests whose rounds are the same in both worlds."""
    common = live.keys() & simulated.keys()
    if not common:
        return None
    return sum(live[request] == simulated[request] for request in common) / len(common)


def covered(
    live: Sequence[Mapping[str, float | None]], intervals: Mapping[str, Mapping[str, float]]
) -> Numbers:
    """How many live values lie inside their interval, and the intervals' relative widths.

    A metric that no noise moved has no interval: with the same requests, and policies that do not look at
    time, acceptance is one number.
    """
    inside = checked = 0
    widths: list[float] = []
    outside: dict[str, int] = {}
    for known in shown_in("intervals"):
        name, interval = known.measure, intervals.get(known.path)
        if interval is None or interval["low"] == interval["high"]:
            continue
        if interval["median"]:
            widths.append((interval["high"] - interval["low"]) / interval["median"])
        for run in live:
            live_value = run.get(name)
            if live_value is None:
                continue
            checked += 1
            if interval["low"] <= live_value <= interval["high"]:
                inside += 1
            else:
                outside[name] = outside.get(name, 0) + 1
    return {"checked": checked, "covered": inside, "outside": outside, "widths": widths}


def errors(cells: Sequence[Numbers]) -> Numbers:
    """By metric, over cells: mean and worst of the absolute errors."""
    names = dict.fromkeys(name for cell in cells for name in cell["metrics"])
    found: Numbers = {}
    for name in names:
        values = [
            (abs(row["error"]), cell["name"])
            for cell in cells
            if (row := cell["metrics"].get(name)) is not None and row["error"] is not None
        ]
        worst = max(values, default=(None, None), key=lambda item: item[0] or 0.0)
        found[name] = {
            "cells": len(values),
            "mean": float(np.mean([error for error, _ in values])) if values else None,
            "worst": worst[0],
            "worst_cell": worst[1],
        }
    return found


def ranking(cells: Sequence[Numbers]) -> Numbers:
    """Do both worlds order policies alike?

    Pairs of cells that share everything but their policies, whose live medians differ by more than the
    range of either's repetitions. Judged by goodput, or where arrivals set the pace by median latency.
    """
    pairs = alike = 0
    undecided = 0
    differing: list[Numbers] = []
    for a, b, name in _pairs(cells):
        first, second = a["metrics"][name], b["metrics"][name]
        ranges = [max(m["repetitions"]) - min(m["repetitions"]) for m in (first, second)]
        gap = first["live"] - second["live"]
        if abs(gap) <= max(ranges):
            undecided += 1
            continue
        pairs += 1
        if (first["simulated"] - second["simulated"]) * gap > 0:
            alike += 1
            continue
        differing.append(
            {
                "cells": [a["name"], b["name"]],
                "metric": name,
                "live": [first["live"], second["live"]],
                "simulated": [first["simulated"], second["simulated"]],
            }
        )
    return {"pairs": pairs, "alike": alike, "undecided": undecided, "differing": differing}


def _pairs(cells: Sequence[Numbers]) -> Iterator[tuple[Numbers, Numbers, str]]:
    for a, b in combinations(cells, 2):
        if a["setting"] != b["setting"]:
            continue
        name = "e2e_p50_s" if a["open_loop"] else "goodput_tokens_per_s"
        if name in a["metrics"] and name in b["metrics"]:
            yield a, b, name


def overall(cells: Sequence[Numbers]) -> Numbers:
    """What all cells come to."""
    shares = [
        (cell["identical_requests"], cell["requests"])
        for cell in cells
        if cell["identical_requests"] is not None
    ]
    coverage = [cell["coverage"] for cell in cells if cell["coverage"] is not None]
    widths = [width for cell in coverage for width in cell["widths"]]
    speedups = [cell["speedup"] for cell in cells if cell["speedup"]]
    total = sum(count for _, count in shares)
    return {
        "errors": errors(cells),
        "ranking": ranking(cells),
        "identical_requests": sum(share * count for share, count in shares) / total if total else None,
        "intervals": {
            "checked": sum(cell["checked"] for cell in coverage),
            "covered": sum(cell["covered"] for cell in coverage),
            "outside": {
                name: sum(cell["outside"].get(name, 0) for cell in coverage)
                for name in dict.fromkeys(name for cell in coverage for name in cell["outside"])
            },
            "median_width": float(np.median(widths)) if widths else None,
        },
        "speedup": {
            "median": float(np.median(speedups)) if speedups else 0.0,
            "worst": min(speedups, default=0.0),
        },
    }
