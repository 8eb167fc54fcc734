"""report.html: a run on one page, from its results folder alone."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from spinsim.costs.base import LABELS
from spinsim.engine.records import KINDS, REJECTED
from spinsim.reporting import figures, page
from spinsim.reporting.lane_strip import lane_strip
from spinsim.reporting.report_data import Column, RunFolder, read_folder
from spinsim.reporting.scenario_text import describe
from spinsim.reporting.terminal import LATENCIES, duration, number, percent

BINS = 72  # of figures over time
FEW = 20  # rounds below which a share is not drawn
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
        _drafts(run, colours),
        _choices(run, colours),
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
        f"{escape(s['window']['note'])}.</p>"
    )


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
    tokens = np.histogram(
        run.rounds["committed_s"], edges, weights=run.rounds["committed"].astype(np.float64)
    )[0]
    tokens = tokens + np.histogram(first[np.isfinite(first)], edges)[0]
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


def _inside_rounds(run: RunFolder) -> Column:
    at = run.rounds["committed_s"]
    inside: Column = (at >= run.window[0]) & (at <= run.window[1])
    return inside


def _drafts(run: RunFolder, colours: dict[str, str]) -> str:
    per_draft = run.summary["speculation"]["per_draft"]
    rows = []
    for name, row in per_draft.items():
        rows.append(
            [
                f"{page.key(colours[name])}{escape(name)}",
                percent(row["share"]),
                f"{row['rounds']:,}",
                f"{row['accepted']:,} / {row['drafted']:,}",
                percent(row["acceptance_rate"]),
                number(row["acceptance_length"]),
                duration(row["draft_time_s"]),
                duration(row["catch_up_time_s"]),
            ]
        )
    header = ["draft", "share", "rounds", "accepted / drafted", "rate", "length", "drafting", "catching up"]
    parts = [page.table(header, rows)]
    arm, inside = run.arm_of_rounds(), _inside_rounds(run)
    drafted, accepted = run.rounds["drafted"], run.rounds["accepted"]
    curves, longest = [], 0
    for i, name in enumerate(run.arms):
        mine = inside & (arm == i) & (drafted > 0)
        if mine.sum() < FEW:
            continue
        reach = np.arange(1, int(drafted[mine].max()) + 1)
        share = (accepted[mine][:, None] >= reach).mean(axis=0)
        curves.append((name, colours[name], share))
        longest = max(longest, reach.size)
    if curves:
        text = (
            "Left, by draft, among all its proposals, also those shorter than i; right, of all drafts. "
            f"In all, {run.summary['tokens']['accepted']:,} of {run.summary['tokens']['drafted']:,} "
            "drafted tokens were accepted."
        )
        histogram = np.array(run.summary["speculation"]["acceptance_histogram"])
        svg = figures.acceptance(curves, longest, histogram)
        parts.append(page.figure(svg + page.legend((n, c) for n, c, _ in curves), text))
    parts.append(_domains(run, colours))
    return page.section("Drafts and acceptance", *parts)


def _domains(run: RunFolder, colours: dict[str, str]) -> str:
    """Acceptance rate by draft and domain, a shaded table; empty where there is one domain."""
    labels = run.labels["requests.domain"]
    if len(labels) < 2:
        return ""
    domain_of = np.full(int(run.requests["request"].max()) + 1, -1, dtype=np.int64)
    domain_of[run.requests["request"]] = run.requests["domain"]
    inside = _inside_rounds(run)
    domain, arm = domain_of[run.rounds["request"][inside]], run.arm_of_rounds()[inside]
    drafts = [name for name in run.arms if name in run.drafts]
    shape = (len(labels), len(run.arms))
    cell = domain * shape[1] + arm
    sums = [
        np.bincount(cell, weights=run.rounds[name][inside], minlength=shape[0] * shape[1]).reshape(shape)
        for name in ("accepted", "drafted")
    ]
    rows = []
    for d in np.argsort(labels):
        cells = [escape(labels[d] or "(none)")]
        for name in drafts:
            accepted, drafted = (part[d, run.arms.index(name)] for part in sums)
            cells.append(_shaded(accepted, drafted))
        rows.append(cells)
    header = [
        "domain",
        *(f'<th class="cell">{page.key(colours[name])}{escape(name)}</th>' for name in drafts),
    ]
    text = '<p class="note">Acceptance rate (accepted / drafted) by domain of the request and draft.</p>'
    return page.table(header, rows) + text


def _shaded(accepted: float, drafted: float) -> str:
    if not drafted:
        return '<td class="cell">\N{EN DASH}</td>'
    rate = accepted / drafted
    tint = f"color-mix(in srgb,var(--s0) {60 * rate:.0f}%,transparent)"
    title = f"{accepted:,.0f} of {drafted:,.0f}"
    return f'<td class="cell" style="background:{tint}" title="{title}">{percent(rate)}</td>'


def _choices(run: RunFolder, colours: dict[str, str]) -> str:
    """Which arm was chosen: by the request's own round, and over the run."""
    arm = run.arm_of_rounds()
    if len(run.arms) < 2 or not arm.size:
        return ""
    turn = _turns(run.rounds["request"])
    counts = np.zeros((len(run.arms), int(turn.max()) + 1))
    np.add.at(counts, (arm, turn), 1.0)
    enough = np.flatnonzero(counts.sum(axis=0) >= min(FEW, counts.sum(axis=0)[0]))
    upto = min(int(enough[-1]) + 1, int(np.percentile(turn, 99)) + 2)
    rounds = np.arange(1, upto + 1)
    ended = max(run.summary["run"]["duration_s"], 1e-9)
    place = np.minimum((run.rounds["committed_s"] / ended * BINS).astype(int), BINS - 1)
    timed = np.zeros((len(run.arms), BINS))
    np.add.at(timed, (arm, place), 1.0)
    used = np.flatnonzero(timed.sum(axis=0) > 0)
    middles = (used + 0.5) * ended / BINS
    panels = [
        ("By the request's own round", "round of the request", rounds, _shares(counts[:, :upto])),
        ("Over the run", "seconds of the run", middles, _shares(timed[:, used])),
    ]
    svg = figures.choices(panels, [colours[name] for name in run.arms])
    policy = run.scenario.get("policies", {}).get("selector", {}).get("name", "")
    text = (
        f"Share of rounds in which {escape(policy) or 'the selector'} gave a request to each draft. "
        "A selector that learns within a request shows on the left, "
        "one that adapts to the traffic on the right. "
        f"{run.summary['speculation']['switches']:,} changes of draft cost "
        f"{run.summary['speculation']['catch_up_tokens']:,} tokens of catching up."
    )
    return page.section(
        "The selector's choices", page.figure(svg + page.legend((n, colours[n]) for n in run.arms), text)
    )


def _turns(request: Column) -> Column:
    """For each row, how many rows of the same request came before."""
    order = np.argsort(request, kind="stable")
    begins = np.concatenate(([True], request[order][1:] != request[order][:-1]))
    starts = np.flatnonzero(begins)
    within = np.arange(request.size) - np.repeat(starts, np.diff(np.append(starts, request.size)))
    out = np.empty(request.size, dtype=np.int64)
    out[order] = within
    return out


def _shares(counts: Column) -> Column:
    totals = counts.sum(axis=0)
    shares: Column = counts / np.where(totals > 0, totals, 1.0)
    return shares


def _verification(run: RunFolder) -> str:
    v = run.summary["verification"]
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in v["packings"].items()) or "none"
    text = (
        f"{v['kv_tokens']:,} of {v['padded_kv_tokens']:,} KV tokens read by verifications were real: "
        f"<b>{percent(v['padding_fraction'])} padding</b>. Of {v['padded_query_tokens']:,} query tokens, "
        f"{v['query_tokens']:,} were. Packings of micro-batches: {escape(kinds)}."
    )
    d = run.decisions
    if v["padding_fraction"] <= 0 or not d["assigned_ns"].size:
        return page.section("Verification", f"<p>{text}</p>")
    at = d["assigned_ns"] / 1e9
    ended = max(run.summary["run"]["duration_s"], 1e-9)
    place = np.minimum((at / ended * BINS).astype(int), BINS - 1)
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
