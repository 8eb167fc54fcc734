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
from spinsim.pages.rounds import SLICES, round_counts
from spinsim.pages.run_terminal import (
    LATENCIES,
    acceptance,
    detail,
    lost_rows,
    moved_clocks,
    short_of_cpus,
    tiles,
    told,
)
from spinsim.pages.scenario_text import described_run, hardware_named
from spinsim.results.few import few_requests
from spinsim.results.metrics import value
from spinsim.results.read import BINS, RunFolder, read_folder

_KIND_SHADES = dict(zip(KINDS, ("muted", "s4", "s0", "ink"), strict=True))
_LABEL_SHADES = dict(zip(LABELS, ("s2", "s0", "s1", "none", "s3"), strict=True))


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
    counts = round_counts(run)
    return page(
        "run.html",
        s=s,
        run=run,
        colours=colours,
        kicker=f"{s['mode']} run on {_devices(run)}, seed {s['seed']}, {acceptance(s)}",
        stats=stats_of(s),
        limits=_limits(s),
        confidence=confidence(s),
        correlated=CORRELATED,
        latencies={**LATENCIES, "itl_s": "between commits"},
        latency=load.latency(run),
        over_time=load.over_time(run, counts),
        occupancy=load.occupancy(run),
        trade_off=load.trade_off(run, counts),
        slices=SLICES,
        acceptance=drafts.acceptance(run, counts, colours),
        domains=drafts.domains(run, counts, colours),
        choices=drafts.choices(run, counts, colours),
        regret=regret(run),
        padding=_padding(run),
        kinds=[
            (kind, kind.replace("_", "-"), shade)
            for kind, shade in _KIND_SHADES.items()
            if any(lane["busy_s"].get(kind) for lane in s["lanes"].values())
        ],
        strip=lane_strip(run, colours),
        costs=[(label, s["costs"].get(label, 0.0), _LABEL_SHADES[label]) for label in LABELS],
        description=described_run(run.scenario, s),
        resolved=yaml.safe_dump(run.scenario, sort_keys=False, allow_unicode=True, width=96),
    )


def _devices(run: RunFolder) -> str:
    counts = Counter(hardware_named(device) for device in run.scenario["devices"].values())
    return " and ".join(f"{n} {name}" if n > 1 else str(name) for name, n in counts.items())


def stats_of(s: dict[str, Any]) -> list[Stat]:
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
        ("Clocks", moved_clocks(s)),
        ("CPUs", short_of_cpus(s)),
        ("Profile", s.get("profile_elsewhere", "")),
    )
    return [f"{name}: {text}" for name, text in said if text]


def _padding(run: RunFolder) -> Drawn | None:
    """KV tokens of the mean verification over time; None where nothing was padded."""
    if run.summary["verification"]["padding_fraction"] <= 0:
        return None
    count, real, padded = (np.zeros(BINS) for _ in range(3))
    for assigned_ns, real_tokens, tokens in run.decisions.blocks(
        "assigned_ns", "real_kv_tokens", "kv_tokens"
    ):
        place = run.bins(assigned_ns / 1e9)
        count += np.bincount(place, minlength=BINS)
        real += np.bincount(place, real_tokens, BINS)
        padded += np.bincount(place, tokens, BINS)
    used = np.flatnonzero(count)
    if not used.size:
        return None
    ended = max(run.summary["run"]["duration_s"], 1e-9)
    svg = runs.padding((used + 0.5) * ended / BINS, *(kv[used] / count[used] for kv in (real, padded)))
    return Drawn(svg, [("real", "s0"), ("padding", "s1")])
