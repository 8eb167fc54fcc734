"""A ladder as plain values: summary.json, and what ``--json`` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from spinsim.files import write_atomically
from spinsim.lab.rows import failures
from spinsim.lab.store import Store
from spinsim.studies.ladder.bounds import bounds
from spinsim.studies.ladder.result import Ladder, Step
from spinsim.studies.ladder.rounds import round_of
from spinsim.studies.outcome import interval, write_files

DEFINITIONS = {
    "goodput_tokens_per_s": "output tokens per second of the window, of all GPUs of the step together; of "
    "decoding alone where requests start in mid-flight",
    "ratio_to_vanilla": "mean goodput over that of vanilla; a seed draws the same requests for both",
    "ratio_to_best_serial": "the same over the best fixed plan of one micro-batch, chosen on another seed",
    "ratio_to_best_alternative": "the same over the better of replicas and sharded, on the same GPUs",
    "round": "of a micro-batch, means: tokens committed; milliseconds from one round to the next (of all "
    "micro-batches together), of its verification, of its proposals; and the share of its time in which the "
    "target works; were all else done beside that, the rate would be higher by the inverse of the share",
    "binds": "the lane that works most of the time",
}

LIVE_DEFINITIONS = {
    "predicted": "what the simulation gave for the step; it was kept before the first live run",
    "predicted_over_live": "its goodput over the live one",
    "bounds": "by comparison: what was reached, and what perfect overlap of measured operations allows",
}
PREDICTED = (
    "goodput_tokens_per_s", "goodput_per_gpu", "ratio_to_vanilla", "ratio_to_best_serial",
    "ratio_to_best_alternative", "ttft_s", "tpot_s", "acceptance_length", "round", "binds",
)  # fmt: skip


def ladder_summary(found: Ladder) -> dict[str, Any]:
    """``steps`` in order; a step that could not run has ``why`` and no figures."""
    return {
        "schema": "spinsim.ladder/1",
        "scenario": found.scenario,
        "world": "simulated",
        "measured": found.measured,
        "seeds": list(found.seeds),
        "best_alternative": found.alternative,
        "steps": [_step(step, found.measured) for step in found.steps],
        "notes": list(found.notes),
        "definitions": DEFINITIONS,
        "cells": len(found.rows),
        "failed": failures(found.rows),
    }


def live_summary(found: Ladder, predicted: dict[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """As of :func:`ladder_summary`, of live runs; ``predicted`` is the summary that was kept before them.

    Each step has the prediction beside it. ``about`` says what ran, and on which devices.
    """
    summary = ladder_summary(found)
    foretold = {step["name"]: step for step in predicted["steps"]}
    for step in summary["steps"]:
        said = foretold[step["name"]]
        step["predicted"] = {key: said.get(key) for key in PREDICTED}
        live, simulated = step["goodput_tokens_per_s"], said["goodput_tokens_per_s"]
        step["predicted_over_live"] = simulated / live if live and simulated else None
    return summary | {
        "world": "live",
        **about,
        "bounds": [asdict(bound) for bound in bounds(summary["steps"])],
        "definitions": DEFINITIONS | LIVE_DEFINITIONS,
    }


def _step(step: Step, metric: str) -> dict[str, Any]:
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
        "round": round_of(step.summaries, metric),
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
    return _finish(store, found, ladder_summary(found), report)


def finish_live(
    store: Store, found: Ladder, summary: dict[str, Any], report: Callable[[dict[str, Any], str], str]
) -> dict[str, Any]:
    """Write a live ladder's files; returns ``summary``."""
    return _finish(store, found, summary, report)


def _finish(
    store: Store, found: Ladder, summary: dict[str, Any], report: Callable[[dict[str, Any], str], str]
) -> dict[str, Any]:
    if store.folder is not None:
        write_atomically(store.folder / "scenario.yaml", found.written)
    return write_files(store, "ladder", found.rows, summary, lambda: report(summary, found.written))
