"""report.html: a run on one shell, from its results folder alone."""

from __future__ import annotations

from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from spinsim.costs.base import LABELS
from spinsim.engine.records import KINDS
from spinsim.pages import drafts, figures, load, shell
from spinsim.pages.confidence import confidence, headline_span
from spinsim.pages.lane_strip import lane_strip
from spinsim.pages.regret import regret
from spinsim.pages.run_terminal import acceptance, detail, duration, lost_rows, percent, tiles, told
from spinsim.pages.scenario_text import describe, hardware_named
from spinsim.results.few import few_requests
from spinsim.results.metrics import value
from spinsim.results.read import BINS, RunFolder, read_folder

_KIND_SHADES = dict(zip(KINDS, ("muted", "s4", "s0", "ink"), strict=True))
_LABEL_SHADES = dict(zip(LABELS, ("s2", "s0", "s1", "none"), strict=True))


def write_report(out_dir: Path) -> Path:
    """Write report.html into the folder of a run, from its other files; returns its path.

    Same files in, same bytes out. Raises InputError for anything else.
    """
    run = read_folder(out_dir)
    path = out_dir / "report.html"
    path.write_text(render(run), encoding="utf-8")
    return path


def render(run: RunFolder) -> str:
    """The whole shell."""
    s = run.summary
    colours = shell.colours_of(run.arms)
    body = [
        _head(run),
        _headline(s),
        confidence(s),
        load.latency(run),
        load.over_time(run),
        load.trade_off(run),
        drafts.drafts(run, colours),
        drafts.choices(run, colours),
        regret(run),
        _verification(run),
        _devices(run, colours),
        _costs(s),
        _scenario(run),
        f"<footer>{escape(s['schema'])}. Made from the files beside this shell.</footer>",
    ]
    return shell.page(f"{s['scenario']} ({s['mode']})", [part for part in body if part])


def _head(run: RunFolder) -> str:
    s = run.summary
    text = escape(run.scenario.get("description") or "")
    partial = (
        f'<p class="partial">Partial results: {escape(s["interrupted"])}</p>' if s["interrupted"] else ""
    )
    kicker = f"{s['mode']} run on {_devices_of(run)}, seed {s['seed']}, {acceptance(s)}"
    return (
        f'<header><p class="kicker">{escape(kicker)}</p><h1>{escape(s["scenario"])}</h1>'
        f'<p class="lede">{text}</p>{partial}</header>'
    )


def _devices_of(run: RunFolder) -> str:
    counts = Counter(hardware_named(device) for device in run.scenario["devices"].values())
    return " and ".join(f"{n} {name}" if n > 1 else str(name) for name, n in counts.items())


def _headline(s: dict[str, Any]) -> str:
    tokens = s["tokens"]
    stats = [
        shell.stat(
            f"{told(m, value(s, m))}{f' {m.unit}' if m.unit.endswith('/s') else ''}",
            m.label,
            headline_span(s, m) or detail(m, s),
        )
        for m in tiles(s)
    ]
    return (
        f'<div class="headline">{"".join(stats)}</div>'
        f'<p class="note">{tokens["committed"]:,} tokens committed '
        f"from {duration(s['window']['start_s'])} to {duration(s['window']['end_s'])}; "
        f"{escape(s['window']['note'])}.</p>" + _limits(s)
    )


def _limits(s: dict[str, Any]) -> str:
    """What held the run back, and rows of the source that were lost. Older folders know neither."""
    held, lost = s.get("held_back"), lost_rows(s)
    return "".join(
        f'<p class="note">{name}: {escape(text)}.</p>'
        for name, text in (
            ("Held back", held["text"] if held else ""),
            ("Workload", lost),
            ("Few requests", few_requests(s)),
        )
        if text
    )


def _verification(run: RunFolder) -> str:
    v = run.summary["verification"]
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in v["packings"].items()) or "none"
    text = (
        f"<b>{percent(v['padding_fraction'])} padding</b>: of {v['padded_kv_tokens']:,} KV tokens that "
        f"verifications read, {v['kv_tokens']:,} were real; of {v['padded_query_tokens']:,} query tokens, "
        f"{v['query_tokens']:,}. Packings of micro-batches: {escape(kinds)}."
    )
    d = run.decisions
    if v["padding_fraction"] <= 0 or not d["assigned_ns"].size:
        return shell.section("Verification", f"<p>{text}</p>")
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
    return shell.section(
        "Verification",
        shell.figure(svg + shell.legend([("real", "s0"), ("padding", "s1")]), text),
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
                f'<td class="wide">{shell.bar(parts)}</td>',
            ]
        )
    entries = [(kind.replace("_", "-"), shade) for kind, shade in _KIND_SHADES.items()]
    busy = ", ".join(f"{escape(name)} {percent(d['busy_fraction'])}" for name, d in s["devices"].items())
    host = s["host"]
    note = (
        f'<p class="note">Devices with at least one lane at work: {busy}. The orchestrator worked '
        f"{duration(host['orchestrator_s'])}; lanes were idle for it {duration(host['idle_caused_s'])}.</p>"
    )
    parts_ = [shell.table(["lane", "devices", "operations", "busy", ""], rows), shell.legend(entries), note]
    strip = lane_strip(run, colours)
    if strip:
        names = [(name, colours[name]) for name in run.arms if name in run.drafts]
        key = shell.legend([*names, ("verify (number: micro-batch)", "ink"), ("prefill", "muted")])
        text = (
            "A few rounds from the middle of the window; catching up is drawn paler. "
            "Hover for the details of an operation; timeline.json beside this page opens in ui.perfetto.dev."
        )
        parts_.append(shell.figure(f'<div class="plot">{strip}</div>{key}', text))
    return shell.section("Devices", *parts_)


def _costs(s: dict[str, Any]) -> str:
    costs = s["costs"]
    if not costs["predicted_s"]:
        return shell.section("Where time comes from", "<p>Measured: this run executed on real devices.</p>")
    parts = [(label, costs[label], _LABEL_SHADES[label]) for label in LABELS]
    entries = [(f"{name} {percent(share)}", shade) for name, share, shade in parts if share > 0]
    text = (
        f'<p class="note">Of {duration(costs["predicted_s"])} of predicted operations, '
        "by what stands behind the prediction: a measured point of a profile, an interpolation between "
        "such points, a roofline from hardware sheets, or a constant of the scenario.</p>"
    )
    return shell.section("Where time comes from", shell.bar(parts), shell.legend(entries), text)


def _scenario(run: RunFolder) -> str:
    s = run.summary
    full = yaml.safe_dump(run.scenario, sort_keys=False, allow_unicode=True, width=96)
    terms = [(k, v) for k, v in s["definitions"].items()]
    counts = s["requests"]
    rows = [*describe(run.scenario)]
    if s["mode"] == "live":
        given = s["acceptance"].get("decided_by") == "field"
        others = {"costs": "costs, believed"} | ({} if given else {"acceptance": "acceptance, simulated"})
        rows = [(others.get(term, term), text) for term, text in rows]
        ran = s.get("models") or {}
        rows += [("really ran", "; ".join(f"{name}: {what}" for name, what in ran.items()))] if ran else []
    rows.append(("requests", ", ".join(f"{n:,} {name}" for name, n in counts.items() if n)))
    return shell.section(
        "Scenario",
        shell.definitions(rows),
        f"<details><summary>The resolved scenario</summary><pre>{escape(full)}</pre></details>",
        f"<details><summary>How the numbers are defined</summary>{shell.definitions(terms)}</details>",
    )
