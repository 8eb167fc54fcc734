"""A run in numbers: summary.json. Every ratio is printed with its numerator and denominator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from spinsim.costs.base import ASSUMED, LABELS
from spinsim.costs.prices import price_per_hour
from spinsim.engine.columns import blocks
from spinsim.engine.records import CANCELLED, COMPLETED, REJECTED, UNFINISHED, Records
from spinsim.engine.world import NS
from spinsim.results import decoding as decoding  # registers its metric
from spinsim.results.batch_means import within_run
from spinsim.results.blocks import pairwise_sum
from spinsim.results.columns import Bools, Floats, Ints, RequestColumns, ratio
from spinsim.results.commit_gaps import commit_gaps
from spinsim.results.held_back import held_back
from spinsim.results.lanes import device_busy, lane_busy
from spinsim.results.metrics import Run, add_computed, definitions
from spinsim.results.round_tally import RoundTally
from spinsim.results.speculation import RoundRows, speculation, verification
from spinsim.results.window import CLOSED, Window, window_of
from spinsim.scenario import Scenario

SCHEMA = "spinsim.summary/1"
PERCENTILES = (50, 90, 99)
_WINDOW = (
    "all metrics but requests, run, host and costs cover it; "
    "requests belong to it by their arrival, tokens and rounds by their commit"
)
_SECTIONS = {
    "tpot_s": "(latency - TTFT) / (output tokens - 1), outputs of one token left out",
    "itl_s": "gap between commits; under speculation a commit carries several tokens, "
    "so this misleads: use tpot_s",
    "within_run": "intervals of this run's own numbers, from batch means over the window: the chance of one "
    "finite run, not the error of predicted costs or acceptance",
    "regret": "time lost to a selector that knew every acceptance, by round; see docs/metrics.md",
    "held_back": "what limits the run, in the order of docs/metrics.md; admitted, waiting: time averages "
    "of requests, for_memory and for_batch shares of the time in which one waits for either",
    "padding_fraction": "1 - kv_tokens / padded_kv_tokens, real over executed",
}

Numbers = dict[str, Any]


def summarise(
    records: Records,
    scenario: Scenario,
    *,
    mode: Literal["simulated", "live"],
    acceptance_source: str,
) -> Numbers:
    """The contents of summary.json: plain numbers, strings, lists and mappings.

    Durations in seconds. A ratio without a denominator, or the latency of no request, is None.
    """
    window = window_of(records, scenario.metrics.warmup_s)
    requests = RequestColumns(records)
    tally = RoundTally(records, window)
    arrived = _within(requests.arrival, window)
    tokens = _tokens(requests, tally, arrived, window)
    summary: Numbers = {
        "schema": SCHEMA,
        "mode": mode,
        "scenario": scenario.name,
        "seed": scenario.seed,
        "interrupted": records.interrupted or None,
        "duration_s": window.seconds,
        "window": _window(records, requests, arrived, window),
        "requests": _request_counts(requests),
        "tokens": tokens,
        "goodput_tokens_per_s": ratio(tokens["committed"], window.seconds),
        "latency": _latency(records, requests, arrived, window),
    }
    if scenario.slo is not None:
        limits = (scenario.slo.ttft_s, scenario.slo.tpot_s)
        summary["slo"] = _slo(requests, arrived, limits, window.seconds)
    summary["within_run"] = within_run(requests, tally, window)
    summary["speculation"] = speculation(records, tally, window)
    summary["verification"] = verification(records, window)
    summary["devices"] = device_busy(records, window)
    summary["lanes"] = lane_busy(records, window)
    summary["host"] = {"orchestrator_s": records.orchestrator_s, "idle_caused_s": records.idle_caused_s}
    summary["held_back"] = held_back(records, requests, scenario, window, summary["lanes"])
    summary["costs"] = _cost_shares(records.label_s)
    summary["acceptance"] = {"source": acceptance_source}
    if mode == "live":
        summary["acceptance"]["decided_by"] = scenario.live.acceptance
    summary["run"] = _whole_run(records, requests)
    if scenario.kv.prefix_cache:
        summary["prefix_cache"] = _prefix_cache(records, requests)
    price = price_per_hour(scenario)
    if price is not None:
        summary["cost"] = {"price_per_hour": price}
    add_computed(summary, Run(records, window, requests, RoundRows(records, window), price))
    summary["definitions"] = {"window": _WINDOW, **definitions(), **_SECTIONS}
    return summary


def _window(records: Records, requests: RequestColumns, arrived: Bools, window: Window) -> Numbers:
    return {
        "start_s": window.start_ns / NS,
        "end_s": window.end_ns / NS,
        "rule": window.rule,
        "closed_loop": window.rule == CLOSED or records.closed_loop,
        "note": window.note,
        "arrived": int(arrived.sum()),
        "completed": int((arrived & (requests.status == COMPLETED)).sum()),
    }


def _tokens(requests: RequestColumns, tally: RoundTally, arrived: Bools, window: Window) -> Numbers:
    """Of prompts that arrived in the window, and of what was committed in it; ``first``: prefill's."""
    firsts = int(_within(requests.first_token, window).sum())
    return {
        "prompt": int(requests.prompt_tokens[arrived & (requests.status != REJECTED)].sum()),
        "committed": int(tally.committed.sum()) + firsts,
        "first": firsts,
        "drafted": int(tally.drafted.sum()),
        "accepted": int(tally.accepted.sum()),
    }


def _whole_run(records: Records, requests: RequestColumns) -> Numbers:
    """What does not stop at the window's edges."""
    return {
        "duration_s": records.ended_ns / NS,
        "last_arrival_s": records.last_arrival_ns / NS,
        "committed": int(requests.output_tokens.sum()),
        "kv_capacity_tokens": dict(records.kv_capacity_tokens),
    }


def _prefix_cache(records: Records, requests: RequestColumns) -> Numbers:
    prompts = int(requests.prompt_tokens[requests.status != REJECTED].sum())
    return {
        "tokens": records.prefix_tokens,
        "prompt_tokens": prompts,
        "share": ratio(records.prefix_tokens, prompts),
    }


def _within(moments_s: Floats, window: Window) -> Bools:
    with np.errstate(invalid="ignore"):
        return (moments_s >= window.start_ns / NS) & (moments_s <= window.end_ns / NS)


def _request_counts(requests: RequestColumns) -> Numbers:
    """Of the whole run, so that they add up: submitted = completed + rejected + cancelled + unfinished."""
    return {
        "submitted": int(requests.status.size),
        "completed": int((requests.status == COMPLETED).sum()),
        "rejected": int((requests.status == REJECTED).sum()),
        "preempted": int((requests.preemptions > 0).sum()),
        "cancelled": int((requests.status == CANCELLED).sum()),
        "unfinished": int((requests.status == UNFINISHED).sum()),
        "preemptions": int(requests.preemptions.sum()),
    }


def distribution(values: Floats) -> Numbers:
    """Count, mean and percentiles (linear between order statistics) of the finite values."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return _numbers(0, None, [None] * len(PERCENTILES))
    return _numbers(finite.size, float(finite.mean()), np.percentile(finite, PERCENTILES).tolist())


def distribution_of_ns(values: Ints) -> Numbers:
    """:func:`distribution` of ``values / NS``, to the last bit, without a float each. It moves them about."""
    count = values.size
    if not count:
        return distribution(np.empty(0))
    mean = pairwise_sum(count, (values[part] / NS for part in blocks(count))) / count
    ranks = [(count - 1) * (p / 100) for p in PERCENTILES]
    below = [int(rank) for rank in ranks]
    above = [min(rank + 1, count - 1) for rank in below]
    values.partition(sorted({*below, *above}))
    points = [
        _between(float(values[i] / NS), float(values[j] / NS), rank - i)
        for rank, i, j in zip(ranks, below, above, strict=True)
    ]
    return _numbers(count, mean, points)


def _between(low: float, high: float, share: float) -> float:
    """Linear, rounded as numpy does: from the nearer end."""
    return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share


def _numbers(count: int, mean: float | None, points: Sequence[float | None]) -> Numbers:
    named = {f"p{p}": point for p, point in zip(PERCENTILES, points, strict=True)}
    return {"count": count, "mean": mean, **named}


def _latency(records: Records, requests: RequestColumns, arrived: Bools, window: Window) -> Numbers:
    """TTFT of requests that got a first token, TPOT and E2E of those that completed; ITL of commits."""
    completed = arrived & (requests.status == COMPLETED)
    return {
        "ttft_s": distribution(requests.ttft[arrived]),
        "tpot_s": distribution(requests.tpot[completed]),
        "e2e_s": distribution(requests.e2e[completed]),
        "itl_s": distribution_of_ns(commit_gaps(records, window)),
        "queue_s": distribution((requests.admitted - requests.arrival)[arrived]),
    }


def _slo(
    requests: RequestColumns, arrived: Bools, limits: tuple[float | None, float | None], duration_s: float
) -> Numbers:
    """Attainment over requests that arrived in the window and were not rejected.

    Cancelled and unfinished ones missed. An output of one token has no TPOT and cannot miss it.
    """
    ttft_s, tpot_s = limits
    met = requests.status == COMPLETED
    with np.errstate(invalid="ignore"):
        if ttft_s is not None:
            met = met & (requests.ttft <= ttft_s)
        if tpot_s is not None:
            met = met & ((requests.tpot <= tpot_s) | (requests.output_tokens <= 1))
    counted = arrived & (requests.status != REJECTED)
    attained, judged = int((met & counted).sum()), int(counted.sum())
    return {
        "ttft_s": ttft_s,
        "tpot_s": tpot_s,
        "requests_met": attained,
        "requests_judged": judged,
        "attainment": ratio(attained, judged),
        "goodput_requests_per_s": ratio(attained, duration_s),
    }


def _cost_shares(label_s: Mapping[str, float]) -> Numbers:
    """Share of predicted time behind each label; all 0 where nothing was predicted."""
    total = sum(label_s.values())
    shares: Numbers = {label: label_s.get(label, 0.0) / total if total > 0 else 0.0 for label in LABELS}
    if not shares[LABELS[ASSUMED]]:  # said where there is any: most cost models assume nothing
        del shares[LABELS[ASSUMED]]
    return {**shares, "predicted_s": total}
