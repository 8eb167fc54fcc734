"""report.html: a run on one page, from its results folder alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from spinsim.costs.base import LABELS
from spinsim.engine.records import KINDS
from spinsim.pages import drafts, load
from spinsim.pages.confidence import CORRELATED, confidence, headline_span
from spinsim.pages.figures import runs
from spinsim.pages.figures.lanes import lane_strip
from spinsim.pages.palette import colours_of
from spinsim.pages.regret import regret
from spinsim.pages.render import Drawn, Stat, page
from spinsim.pages.run_terminal import LATENCIES, detail, lost_rows, tiles, told
from spinsim.pages.scenario_text import described_run, hardware_named
from spinsim.results.few import few_requests
from spinsim.results.metrics import value
from spinsim.results.read import BINS, RunFolder, read_folder

_ACCEPTANCE = {
    "synthetic": "synthetic acceptance",
    "trace": "recorded acceptance",
    "models": "acceptance by the models themselves",
}
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
    """The whole page."""
    s = run.summary
    colours = colours_of(run.arms)
    return page(
        "run.html",
        s=s,
        run=run,
        colours=colours,
        kicker=f"{s['mode']} run on {_devices(run)}, seed {s['seed']}, "
        + _ACCEPTANCE.get(s["acceptance"]["source"], ""),
        stats=_stats(s),
        limits=_limits(s),
        confidence=confidence(s),
        correlated=CORRELATED,
        latencies={**LATENCIES, "itl_s": "between commits"},
        latency=load.latency(run),
        over_time=load.over_time(run),
        occupancy=load.occupancy(run),
        trade_off=load.trade_off(run),
        slices=load.SLICES,
        acceptance=drafts.acceptance(run, colours),
        domains=drafts.domains(run, colours),
        choices=drafts.choices(run, colours),
        regret=regret(run),
        padding=_padding(run),
        kinds=[(kind, kind.replace("_", "-"), shade) for kind, shade in _KIND_SHADES.items()],
        strip=lane_strip(run, colours),
        costs=[(label, s["costs"][label], _LABEL_SHADES[label]) for label in LABELS],
        description=described_run(run.scenario, s),
        resolved=yaml.safe_dump(run.scenario, sort_keys=False, allow_unicode=True, width=96),
    )


def _devices(run: RunFolder) -> str:
    counts = Counter(hardware_named(device) for device in run.scenario["devices"].values())
    return " and ".join(f"{n} {name}" if n > 1 else str(name) for name, n in counts.items())


def _stats(s: dict[str, Any]) -> list[Stat]:
    return [
        Stat(
            f"{told(m, value(s, m))}{f' {m.unit}' if m.unit.endswith('/s') else ''}",
            m.label,
            headline_span(s, m) or detail(m, s),
        )
        for m in tiles(s)
    ]


def _limits(s: dict[str, Any]) -> Sequence[str]:
    """What held the run back, and rows of the source that were lost. Older folders know neither."""
    held = s.get("held_back")
    said = (
        ("Held back", held["text"] if held else ""),
        ("Workload", lost_rows(s)),
        ("Few requests", few_requests(s)),
    )
    return [f"{name}: {text}" for name, text in said if text]


def _padding(run: RunFolder) -> Drawn | None:
    """KV tokens of the mean verification over time; None where nothing was padded."""
    d = run.decisions
    if run.summary["verification"]["padding_fraction"] <= 0 or not d["assigned_ns"].size:
        return None
    place = run.bins(d["assigned_ns"] / 1e9)
    count = np.bincount(place, minlength=BINS)
    used = np.flatnonzero(count)
    real, padded = (
        np.bincount(place, weights=d[name], minlength=BINS)[used] / count[used]
        for name in ("real_kv_tokens", "kv_tokens")
    )
<<<<<<< HEAD
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
    if odd := s.get("never_compared"):
        text += f'<p class="note">Never compared with a machine: {escape("; ".join(odd))}.</p>'
    return shell.section("Where time comes from", shell.bar(parts), shell.legend(entries), text)


def _scenario(run: RunFolder) -> str:
    s = run.summary
    full = yaml.safe_dump(run.scenario, sort_keys=False, allow_unicode=True, width=96)
    terms = [(k, v) for k, v in s["definitions"].items()]
    counts = s["requests"]
    rows = [*describe(run.scenario)]
    if s["mode"] == "live":
        others = {"costs": "costs, believed", "acceptance": "acceptance, simulated"}
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
=======
    ended = max(run.summary["run"]["duration_s"], 1e-9)
    svg = runs.padding((used + 0.5) * ended / BINS, real, padded)
    return Drawn(svg, [("real", "s0"), ("padding", "s1")])
>>>>>>> main
