"""The report's sections on latency and load."""

from __future__ import annotations

from html import escape

import numpy as np

from spinsim.engine.records import REJECTED
from spinsim.pages import figures, shell
from spinsim.pages.run_terminal import LATENCIES, duration
from spinsim.results.read import BINS, Column, RunFolder

SLICES = 24  # of the window, in the figure of goodput against latency
FEW_SLICES = 6  # below which it is not drawn


def latency(run: RunFolder) -> str:
    s = run.summary
    slo = s.get("slo", {})
    arrival = run.requests["arrival_s"]
    inside = (arrival >= run.window[0]) & (arrival <= run.window[1])
    status = run.labels["requests.status"]
    done = inside & np.isin(run.requests["status"], [i for i, n in enumerate(status) if n == "completed"])
    names = {"ttft_s": "Time to first token", "tpot_s": "Time per output token", "e2e_s": "End to end"}
    samples = [
        (title, run.requests[name][inside if name == "ttft_s" else done], slo.get(name))
        for name, title in names.items()
    ]
    rows = []
    for name, title in {**LATENCIES, "itl_s": "between commits"}.items():
        row = s["latency"][name]
        cells = [duration(row[column]) for column in ("mean", "p50", "p90", "p99")]
        rows.append([escape(title), *cells, f"{row['count']:,}"])
    text = (
        "Share of requests that were at least as fast, cut at the 99.5th percentile. "
        "Gaps between commits are listed for completeness: a commit carries several tokens, "
        "so they say little about the pace a reader sees; TPOT does."
    )
    return shell.section(
        "Latency",
        shell.figure(figures.latency(samples), text),
        shell.table(["", "mean", "p50", "p90", "p99", "samples"], rows),
    )


def over_time(run: RunFolder) -> str:
    ended = run.summary["run"]["duration_s"]
    if ended <= 0:
        return ""
    edges = np.linspace(0, ended, BINS + 1)
    first = run.requests["first_token_s"]
    finished, arrival = run.requests["finished_s"], run.requests["arrival_s"]
    tokens = np.bincount(run.bins(run.rounds["committed_s"]), run.rounds["committed"], BINS)
    tokens += np.bincount(run.bins(first[np.isfinite(first)]), minlength=BINS)
    status = run.labels["requests.status"]
    served = np.isfinite(first)
    refused = np.isin(run.requests["status"], [i for i, n in enumerate(status) if n == REJECTED])

    def until(moments: Column) -> Column:
        moments = np.sort(moments[np.isfinite(moments)])
        return np.searchsorted(moments, edges, side="right")

    being_served = until(first) - until(finished[served])
    waiting = until(arrival[~refused]) - until(first) - until(finished[~served & ~refused])
    svg = figures.over_time(
        edges,
        tokens / np.diff(edges),
        run.summary["goodput_tokens_per_s"],
        waiting,
        being_served,
        run.window,
    )
    text = (
        f"Above: tokens committed per second; dashed, the mean over the window, which is shaded. "
        f"Below: requests {shell.key('s0')}past their first token and {shell.key('s1')}before it."
    )
    return shell.section("Over time", shell.figure(svg, text))


def trade_off(run: RunFolder) -> str:
    """Goodput against the pace of requests, by slices of the window; empty where there are few."""
    start, end = run.window
    length = (end - start) / SLICES
    if length <= 0:
        return ""
    finished, tpot = run.requests["finished_s"], run.requests["tpot_s"]
    ended = np.isfinite(finished) & np.isfinite(tpot) & (finished >= start) & (finished <= end)
    place = np.clip((finished[ended] - start) / length, 0, SLICES - 1).astype(int)
    paces = [tpot[ended][place == i] for i in range(SLICES)]
    used = [i for i, found in enumerate(paces) if found.size]
    if len(used) < FEW_SLICES:
        return ""
    x = np.array([np.median(paces[i]) for i in used])
    tokens = tokens_by_slice(run)
    s = run.summary
    own = s.get("within_run", {}).get("metrics", {})
    factor, unit = (1e3, "ms") if x.max() < 1 else (1.0, "s")
    spans = [
        np.array(
            [v * f for v in (own[path]["low"], own[path]["high"]) if v is not None] if path in own else []
        )
        for path, f in (("latency.tpot_s.p50", factor), ("goodput_tokens_per_s", 1.0))
    ]
    mean = (s["latency"]["tpot_s"]["p50"] * factor, s["goodput_tokens_per_s"])
    svg = figures.slices(x * factor, tokens[used] / length, f"median TPOT, {unit}", mean, spans)
    text = (
        f"Each dot is one of {SLICES} slices of the window: tokens committed per second, and the median "
        "TPOT of the requests that ended in it. The cross is the whole window, with its 90 % intervals "
        "within the run. Where load comes in waves, dots move up and to the right together."
    )
    return shell.section("Goodput against latency", shell.figure(svg, text))


def tokens_by_slice(run: RunFolder) -> Column:
    """Tokens committed in each of ``SLICES`` equal parts of the window; they add up to the summary's."""
    start, end = run.window

    def summed(moments: Column, weights: Column) -> Column:
        inside = (moments >= start) & (moments <= end)
        place = np.clip((moments[inside] - start) / (end - start) * SLICES, 0, SLICES - 1).astype(int)
        return np.bincount(place, weights[inside], SLICES)

    first = run.requests["first_token_s"]
    return summed(run.rounds["committed_s"], run.rounds["committed"]) + summed(first, np.ones(first.size))
