"""Latency and load of a run, over its requests and over time."""

from __future__ import annotations

import numpy as np

from spinsim.engine.records import COMPLETED, REJECTED
from spinsim.pages.figures import runs
from spinsim.pages.render import Drawn
from spinsim.pages.rounds import SLICES, RoundCounts, slices_of
from spinsim.results.read import BINS, Column, RunFolder

WAITING = (("batch limit", "s1"), ("memory", "s5"))  # reasons to wait, and their colours
FEW_SLICES = 6  # below which it is not drawn


def latency(run: RunFolder) -> Drawn:
    """Cumulative shares of requests by latency."""
    slo = run.summary.get("slo", {})
    arrival = run.requests["arrival_s"]
    inside = (arrival >= run.window[0]) & (arrival <= run.window[1])
    done = inside & _ended_as(run, COMPLETED)
    names = {"ttft_s": "Time to first token", "tpot_s": "Time per output token", "e2e_s": "End to end"}
    samples = [
        (title, run.requests[name][inside if name == "ttft_s" else done], slo.get(name))
        for name, title in names.items()
    ]
    return Drawn(runs.latency(samples))


def over_time(run: RunFolder, counts: RoundCounts) -> Drawn | None:
    """Goodput and requests in the system; None where no time passed."""
    ended = run.summary["run"]["duration_s"]
    if ended <= 0:
        return None
    edges = np.linspace(0, ended, BINS + 1)
    first = run.requests["first_token_s"]
    finished, arrival = run.requests["finished_s"], run.requests["arrival_s"]
    tokens = counts.tokens_by_bin + np.bincount(run.bins(first[np.isfinite(first)]), minlength=BINS)
    served = np.isfinite(first)
    refused = _ended_as(run, REJECTED)

    def until(moments: Column) -> Column:
        moments = np.sort(moments[np.isfinite(moments)])
        return np.searchsorted(moments, edges, side="right")

    being_served = until(first) - until(finished[served])
    waiting = until(arrival[~refused]) - until(first) - until(finished[~served & ~refused])
    svg = runs.over_time(
        edges,
        tokens / np.diff(edges),
        run.summary["goodput_tokens_per_s"],
        waiting,
        being_served,
        run.window,
    )
    return Drawn(svg)


def occupancy(run: RunFolder) -> Drawn | None:
    """Who is served, who waits and why, and K/V memory, as means of equal parts of the run.

    None in folders that do not have it.
    """
    ended = run.summary["run"]["duration_s"]
    if ended <= 0 or not run.load or not run.load["time_s"].size:
        return None
    edges = np.linspace(0, ended, BINS + 1)
    at, reason = run.load["time_s"], run.load["reason"]
    reasons = run.labels["load.reason"]

    def mean(values: Column) -> Column:
        """Of a step function over each part."""
        steps = np.concatenate(([0.0], np.cumsum(values[:-1] * np.diff(at))))
        until = np.interp(edges, at, steps, left=0.0) + values[-1] * np.maximum(edges - at[-1], 0)
        parts: Column = np.diff(until) / np.diff(edges)
        return parts

    waiting = [
        (why, shade, mean(np.where(reason == reasons.index(why), run.load["waiting"], 0)))
        for why, shade in WAITING
        if why in reasons
    ]
    waiting = [row for row in waiting if row[2].any()]
    capacity = run.summary["run"].get("kv_capacity_tokens", {}).get("target", 0)
    held = mean(run.load["kv_tokens"]) / capacity if capacity else None
    svg = runs.occupancy(edges, mean(run.load["admitted"]), waiting, held, run.window)
    return Drawn(svg, [("admitted", "s0"), *((f"waiting for {why}", shade) for why, shade, _ in waiting)])


def trade_off(run: RunFolder, counts: RoundCounts) -> Drawn | None:
    """Goodput against the pace of completed requests, by slices of the window; None where there are few."""
    start, end = run.window
    length = (end - start) / SLICES
    median = run.summary["latency"]["tpot_s"]["p50"]
    if length <= 0 or median is None:
        return None
    finished, tpot = run.requests["finished_s"], run.requests["tpot_s"]
    ended = _ended_as(run, COMPLETED) & np.isfinite(tpot) & (finished >= start) & (finished <= end)
    place = np.clip((finished[ended] - start) / length, 0, SLICES - 1).astype(int)
    paces = [tpot[ended][place == i] for i in range(SLICES)]
    used = [i for i, found in enumerate(paces) if found.size]
    if len(used) < FEW_SLICES:
        return None
    x = np.array([np.median(paces[i]) for i in used])
    tokens = tokens_by_slice(run, counts)
    s = run.summary
    own = s.get("within_run", {}).get("metrics", {})
    factor, unit = (1e3, "ms") if x.max() < 1 else (1.0, "s")
    spans = [
        np.array(
            [v * f for v in (own[path]["low"], own[path]["high"]) if v is not None] if path in own else []
        )
        for path, f in (("latency.tpot_s.p50", factor), ("goodput_tokens_per_s", 1.0))
    ]
    mean = (median * factor, s["goodput_tokens_per_s"])
    return Drawn(runs.slices(x * factor, tokens[used] / length, f"median TPOT, {unit}", mean, spans))


def _ended_as(run: RunFolder, status: str) -> Column:
    """For each request, is this how it ended?"""
    codes = [code for code, name in enumerate(run.labels["requests.status"]) if name == status]
    ended: Column = np.isin(run.requests["status"], codes)
    return ended


def tokens_by_slice(run: RunFolder, counts: RoundCounts) -> Column:
    """Tokens committed in each of ``SLICES`` equal parts of the window; they add up to the summary's."""
    start, end = run.window
    first = run.requests["first_token_s"]
    firsts = np.bincount(slices_of(first[(first >= start) & (first <= end)], run), minlength=SLICES)
    tokens: Column = counts.tokens_by_slice + firsts
    return tokens
