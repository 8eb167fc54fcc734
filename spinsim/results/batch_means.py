"""How far one run's own numbers may be trusted: intervals from batch means over its window.

Successive tokens and requests are correlated, so their own spread says little. Means over long enough
batches are nearly independent, and their spread is an honest one (batch means: Law, "Simulation Modeling
and Analysis"; for percentiles after Woodruff 1952: an interval around the share of requests that are
faster, read off at the run's own order statistics).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from spinsim.engine.records import COMPLETED, REJECTED
from spinsim.engine.world import NS
from spinsim.results.columns import Bools, Floats, RequestColumns
from spinsim.results.round_tally import SLICES as SLICES
from spinsim.results.round_tally import RoundTally, slots_of
from spinsim.results.window import WHOLE, Window

Numbers = dict[str, Any]

LEVEL = 0.9
_STUDENT = {
    64: 1.669,
    32: 1.696,
    16: 1.753,
    8: 1.895,
}  # 95 % quantiles for so many batches less one; the most are SLICES
LEAST = 2 * min(_STUDENT)  # samples, below which nothing is said
_ONE_SIDED_Z = 1.282  # 90 %: above it, batches are taken to be correlated
PERCENTILES = (50, 99)

COVERS = (
    "where the same system under the same traffic may settle if it goes on, as far as one finite run can tell"
)
LEAVES_OUT = (
    "errors of predicted costs and of acceptance, other seeds' requests, and trends longer than a batch"
)


class Bound(NamedTuple):
    """``low`` or ``high`` is None where the run is too short to bound that side."""

    low: float | None
    high: float | None
    batches: int
    correlated: bool  # the batches still are, so the interval is too narrow

    def plain(self) -> Numbers:
        """For summary.json."""
        return self._asdict()


def _batched(slices: Floats) -> tuple[Floats, bool]:
    """Sums over as many batches (64, 32, 16 or 8) as show no correlation from one to the next, ours."""
    for batches in _STUDENT:
        sums = slices.reshape(batches, -1).sum(axis=1)
        away = sums - sums.mean()
        spread = float(away @ away)
        lag = float(away[1:] @ away[:-1]) / spread if spread > 0 else 0.0
        if (lag + 1 / batches) * batches**0.5 <= _ONE_SIDED_Z:
            return sums, False
    return sums, True


def ratio_bound(numerators: Floats, denominators: Floats) -> Bound | None:
    """Of sum(numerators) / sum(denominators), over ``SLICES`` successive slices of equal length.

    None where the denominators add up to nothing.
    """
    total = float(denominators.sum())
    if total <= 0:
        return None
    value = float(numerators.sum()) / total
    sums, correlated = _batched(numerators - value * denominators)
    half = _STUDENT[sums.size] * float(np.sqrt(sums.size * sums.var(ddof=1))) / total
    return Bound(max(value - half, 0.0), value + half, sums.size, correlated)


def percentile_bound(values: Floats, percentile: float) -> Bound | None:
    """Of a percentile of ``values``, finite and in order of arrival. None for fewer than ``LEAST``.

    Never narrower than for independent values.
    """
    n, share = values.size, percentile / 100
    if n < LEAST:
        return None
    below = (values <= np.percentile(values, percentile)).astype(np.float64)
    slot = np.arange(n) * SLICES // n
    sums, correlated = _batched(np.bincount(slot, below - below.mean(), SLICES).astype(np.float64))
    error = max(float(np.sqrt(sums.size * sums.var(ddof=1))), (n * share * (1 - share)) ** 0.5) / n
    low, high = (share + sign * _STUDENT[sums.size] * error for sign in (-1, 1))
    ranks = 0.5 / n, 1 - 0.5 / n  # beyond them lies no order statistic
    return Bound(
        float(np.quantile(values, low)) if low >= ranks[0] else None,
        float(np.quantile(values, high)) if high <= ranks[1] else None,
        sums.size,
        correlated,
    )


def within_run(requests: RequestColumns, tally: RoundTally, window: Window) -> Numbers:
    """The ``within_run`` of summary.json. ``metrics`` is empty, and ``note`` says why, for a run that was
    never in a steady state: one that only filled up and drained."""
    told: Numbers = {"level": LEVEL, "method": "batch means", "note": "", "metrics": {}}
    if window.rule == WHOLE or window.seconds <= 0:
        told["note"] = "no interval: the run fills up and drains, and is nowhere steady"
        return told
    metrics = {name: bound for name, bound in _bounds(requests, tally, window) if bound is not None}
    if not metrics:
        told["note"] = f"no interval: fewer than {LEAST} rounds and {LEAST} requests in the window"
        return told
    told["note"] = f"{COVERS}. Not in it: {LEAVES_OUT}"
    told["metrics"] = {name: bound.plain() for name, bound in metrics.items()}
    return told


def _bounds(
    requests: RequestColumns, tally: RoundTally, window: Window
) -> Iterator[tuple[str, Bound | None]]:
    first = requests.first_token
    first = first[(first >= window.start_ns / NS) & (first <= window.end_ns / NS)]
    if tally.rounds + first.size >= LEAST:
        firsts = np.bincount(slots_of(first, window), minlength=SLICES)
        yield (
            "goodput_tokens_per_s",
            ratio_bound(tally.tokens_in + firsts, np.full(SLICES, window.seconds / SLICES)),
        )
        yield "speculation.acceptance_length", ratio_bound(tally.verified_in, tally.verifications_in)
    for name, values in _latencies(requests, window):
        for p in PERCENTILES:
            yield f"latency.{name}.p{p}", percentile_bound(values, p)


def _latencies(requests: RequestColumns, window: Window) -> Iterator[tuple[str, Floats]]:
    """The samples behind each latency of the summary, by arrival."""
    arrived: Bools = (requests.arrival >= window.start_ns / NS) & (requests.arrival <= window.end_ns / NS)
    order = np.argsort(requests.arrival, kind="stable")
    completed = arrived & (requests.status == COMPLETED)
    kept = arrived & (requests.status != REJECTED)
    for name, chosen, values in (
        ("ttft_s", kept, requests.ttft),
        ("tpot_s", completed, requests.tpot),
        ("e2e_s", completed, requests.e2e),
    ):
        found = values[order][chosen[order]]
        yield name, found[np.isfinite(found)]
