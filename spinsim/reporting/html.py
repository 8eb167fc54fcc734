"""report.html: a run on one page, from its results folder alone."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from spinsim.costs.base import LABELS
from spinsim.engine.records import KINDS, REJECTED
from spinsim.reporting import figures, page, report_drafts
from spinsim.reporting.lane_strip import lane_strip
from spinsim.reporting.report_data import BINS, Column, RunFolder, read_folder
from spinsim.reporting.scenario_text import describe
from spinsim.reporting.terminal import LATENCIES, duration, interval_head, interval_rows, number, percent

_KIND_SHADES = dict(zip(KINDS, ("muted", "s4", "s0", "ink"), strict=True))
_LABEL_SHADES = dict(zip(LABELS, ("s2", "s0", "s1", "none"), strict=True))


def write_report(out_dir: Path) -> Path:
    """Write report.html into a results folder, from its other files; returns its path.

    Same files in, same bytes out. Raises InputError where the folder is no complete results folder.
    """
    run = read_folder(out_dir)
    path = out_dir / "report.html"
    path.write_text(render(run), encoding="utf-8")
    return path


def render(run: RunFolder) -> str:
    """The whole page."""
    s = run.summary
    colours = page.colours_of(run.arms)
    body = [
        _head(run),
        _headline(s),
        _latency(run),
        _over_time(run),
        report_drafts.drafts(run, colours),
        report_drafts.choices(run, colours),
        _verification(run),
        _devices(run, colours),
        _costs(s),
        _scenario(run),
        f"<footer>{escape(s['schema'])}. Made from the files beside this page.</footer>",
    ]
    return page.page(f"{s['scenario']} ({s['mode']})", [part for part in body if part])


def _head(run: RunFolder) -> str:
    s = run.summary
    text = escape(run.scenario.get("description") or "")
    partial = (
        f'<p class="partial">Partial results: {escape(s["interrupted"])}</p>' if s["interrupted"] else ""
    )
    kicker = f"{s['mode']} run, seed {s['seed']}, acceptance from {s['acceptance']['source']}"
    return (
        f'<header><p class="kicker">{escape(kicker)}</p><h1>{escape(s["scenario"])}</h1>'
        f'<p class="lede">{text}</p>{partial}</header>'
    )


def _headline(s: dict[str, Any]) -> str:
    tokens, spec, latency = s["tokens"], s["speculation"], s["latency"]
    stats = [
        page.stat(
            f"{number(s['goodput_tokens_per_s'], 4)} tok/s",
            "goodput",
            f"{tokens['committed']:,} tokens committed in {duration(s['duration_s'])}",
        )
    ]
    for name in ("ttft_s", "tpot_s"):
        row = latency[name]
        stats.append(
            page.stat(duration(row["p50"]), f"{LATENCIES[name]}, median", f"p99 {duration(row['p99'])}")
        )
    stats.append(
        page.stat(
            number(spec["acceptance_length"]),
            "acceptance length",
            f"{spec['committed_by_verifications']:,} tokens in {spec['verifications']:,} verifications",
        )
    )
    if "slo" in s:
        slo = s["slo"]
        stats.append(
            page.stat(
                percent(slo["attainment"]),
                "within objectives",
                f"{slo['requests_met']:,} of {slo['requests_judged']:,} requests",
            )
        )
    return (
        f'<div class="headline">{"".join(stats)}</div><p class="note">Measured from '
        f"{duration(s['window']['start_s'])} to {duration(s['window']['end_s'])}; "
        f"{escape(s['window']['note'])}.</p>{_intervals(s.get('intervals'))}"
    )


def _intervals(given: dict[str, Any] | None) -> str:
    """Where most runs with other seeds and other noise lie; nothing where it was not asked for."""
    if not given:
        return ""
    rows = [[escape(cell) for cell in row] for row in interval_rows(given)]
    return page.table([escape(interval_head(given)), "low", "median", "high"], rows)


def _latency(run: RunFolder) -> str:
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
    return page.section(
        "Latency",
        page.figure(figures.latency(samples), text),
        page.table(["", "mean", "p50", "p90", "p99", "samples"], rows),
    )


def _over_time(run: RunFolder) -> str:
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
        f"Below: requests {page.key('s0')}past their first token and {page.key('s1')}before it."
    )
    return page.section("Over time", page.figure(svg, text))


def _verification(run: RunFolder) -> str:
    v = run.summary["verification"]
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in v["packings"].items()) or "none"
    text = (
        f"<b>{percent(v['padding_fraction'])} padding</b>: verifications read {v['padded_kv_tokens']:,} KV "
        f"tokens, of which {v['kv_tokens']:,} were real, for {v['padded_query_tokens']:,} query tokens, "
        f"of which {v['query_tokens']:,} were. Packings of micro-batches: {escape(kinds)}."
    )
    d = run.decisions
    if v["padding_fraction"] <= 0 or not d["assigned_ns"].size:
        return page.section("Verification", f"<p>{text}</p>")
    at = d["assigned_ns"] / 1e9
    ended = max(run.summary["run"]["duration_s"], 1e-9)
    place = run.bins(at)
    count = np.bincount(place, minlength=BINS)
    used = np.flatnonzero(count)
    real, padded = (
        np.bincount(place, weights=d[name], minlength=BINS)[used] / count[used]
        for name in ("real_kv_tokens", "kv_tokens")
    )
    svg = figures.padding((used + 0.5) * ended / BINS, real, padded)
    return page.section(
        "Verification",
        page.figure(svg + page.legend([("real", "s0"), ("padding", "s1")]), text),
    )


def _devices(run: RunFolder, colours: dict[str, str]) -> str:
    s = run.summary
    rows = []
    for name, lane in s["lanes"].items():
        length = s["duration_s"] or 1.0
        parts = [
            (kind.replace("_", "-"), t / length, _KIND_SHADES[kind]) for kind, t in lane["busy_s"].items()
        ]
        rows.append(
            [
                f"{escape(name)}",
                escape(", ".join(lane["devices"])),
                f"{lane['operations']:,}",
                percent(lane["busy_fraction"]),
                f'<td class="wide">{page.bar(parts)}</td>',
            ]
        )
    entries = [(kind.replace("_", "-"), shade) for kind, shade in _KIND_SHADES.items()]
    busy = ", ".join(f"{escape(name)} {percent(d['busy_fraction'])}" for name, d in s["devices"].items())
    host = s["host"]
    note = (
        f'<p class="note">Devices with at least one lane at work: {busy}. The orchestrator worked '
        f"{duration(host['orchestrator_s'])}; lanes were idle for it {duration(host['idle_caused_s'])}.</p>"
    )
    parts_ = [page.table(["lane", "devices", "operations", "busy", ""], rows), page.legend(entries), note]
    strip = lane_strip(run, colours)
    if strip:
        names = [(name, colours[name]) for name in run.arms if name in run.drafts]
        key = page.legend([*names, ("verify (number: micro-batch)", "ink"), ("prefill", "muted")])
        text = (
            "A few rounds from the middle of the window; catching up is drawn paler. "
            "Hover for the details of an operation; timeline.json beside this page opens in ui.perfetto.dev."
        )
        parts_.append(page.figure(strip + key, text))
    return page.section("Devices", *parts_)


def _costs(s: dict[str, Any]) -> str:
    costs = s["costs"]
    if not costs["predicted_s"]:
        return page.section("Where time comes from", "<p>Measured: this run executed on real devices.</p>")
    parts = [(label, costs[label], _LABEL_SHADES[label]) for label in LABELS]
    entries = [(f"{name} {percent(share)}", shade) for name, share, shade in parts if share > 0]
    text = (
        f'<p class="note">Of {duration(costs["predicted_s"])} of predicted operations, '
        "by what stands behind the prediction: a measured point of a profile, an interpolation between "
        "such points, a roofline from hardware sheets, or a constant of the scenario.</p>"
    )
    return page.section("Where time comes from", page.bar(parts), page.legend(entries), text)


def _scenario(run: RunFolder) -> str:
    full = yaml.safe_dump(run.scenario, sort_keys=False, allow_unicode=True, width=96)
    terms = [(k, v) for k, v in run.summary["definitions"].items()]
    counts = run.summary["requests"]
    rows = [*describe(run.scenario)]
    rows.append(("requests", ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)))
    return page.section(
        "Scenario",
        page.definitions(rows),
        f"<details><summary>The resolved scenario</summary><pre>{escape(full)}</pre></details>",
        f"<details><summary>How the numbers are defined</summary>{page.definitions(terms)}</details>",
    )
