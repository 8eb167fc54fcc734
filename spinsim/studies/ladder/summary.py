"""A ladder as plain values: summary.json, and what ``--json`` prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from spinsim.files import write_atomically
from spinsim.lab.rows import failures
from spinsim.lab.store import Store
from spinsim.studies.ladder.ladder import Ladder, Step
from spinsim.studies.outcome import interval, write_files

DEFINITIONS = {
    "goodput_tokens_per_s": "output tokens per second of the window, of all GPUs of the step together",
    "ratio_to_vanilla": "mean goodput over that of vanilla; a seed draws the same requests for both",
    "ratio_to_best_serial": "the same over the best fixed plan of one micro-batch, chosen on another seed",
    "ratio_to_best_alternative": "the same over the better of replicas and sharded, on the same GPUs",
    "binds": "the lane that works most of the time",
}


def ladder_summary(found: Ladder) -> dict[str, Any]:
    """``steps`` in order; a step that could not run has ``why`` and no figures."""
    return {
        "schema": "spinsim.ladder/1",
        "scenario": found.scenario,
        "seeds": list(found.seeds),
        "best_alternative": found.alternative,
        "steps": [_step(step) for step in found.steps],
        "notes": list(found.notes),
        "definitions": DEFINITIONS,
        "cells": len(found.rows),
        "failed": failures(found.rows),
    }


def _step(step: Step) -> dict[str, Any]:
    goodput = step.goodput
    return {
        "name": step.name,
        "what": step.what,
        "gpus": step.gpus,
        "goodput_tokens_per_s": goodput and goodput.estimate,
        "goodput_per_gpu": goodput and goodput.estimate / step.gpus,
        "goodput": interval(goodput),
        "ratio_to_vanilla": step.to_vanilla and step.to_vanilla.estimate,
        "ratio_to_best_serial": step.to_best_serial and step.to_best_serial.estimate,
        "ratio_to_best_alternative": step.to_best_alternative and step.to_best_alternative.estimate,
        "intervals": {
            "ratio_to_vanilla": interval(step.to_vanilla),
            "ratio_to_best_serial": interval(step.to_best_serial),
            "ratio_to_best_alternative": interval(step.to_best_alternative),
        },
        "ttft_s": _latency(step, "ttft_s"),
        "tpot_s": _latency(step, "tpot_s"),
        "acceptance_length": _mean(s["speculation"]["acceptance_length"] for s in step.summaries),
        "binds": _binds(step.summaries),
        "why": step.why or None,
    }


def _latency(step: Step, name: str) -> dict[str, float | None]:
    found = [summary["latency"][name] for summary in step.summaries]
    return {part: _mean(one.get(part) for one in found) for part in ("mean", "p50", "p99")}


def _mean(values: Any) -> float | None:
    known = [float(value) for value in values if value is not None]
    return fmean(known) if known else None


def _binds(summaries: Sequence[dict[str, Any]]) -> str | None:
    return summaries[0]["held_back"].get("text") if summaries else None


def finish_ladder(
    store: Store, found: Ladder, report: Callable[[dict[str, Any], str], str]
) -> dict[str, Any]:
    """Write a ladder's files, ``report`` its page from summary and scenario; returns its summary."""
    summary = ladder_summary(found)
    if store.folder is not None:
        write_atomically(store.folder / "scenario.yaml", found.written)
    return write_files(store, "ladder", found.rows, summary, lambda: report(summary, found.written))
