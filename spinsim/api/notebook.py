"""Results as a notebook shows them: a line and small tables, without pandas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinsim.pages.fidelity_terminal import compared_metrics, describe_trace, error_of
from spinsim.pages.render import page
from spinsim.pages.run_terminal import LATENCIES, duration, lost_rows, number, percent
from spinsim.results.few import few_requests

if TYPE_CHECKING:
    from spinsim.profiling.drift import Drift
    from spinsim.studies.import_trace import ImportedTrace
    from spinsim.studies.profile import Profiled
    from spinsim.studies.trace import Traced

MOST_ROWS = 40


def shown(
    title: str, header: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()
) -> str:
    """A heading, a table, and notes below it. All are plain text; rows beyond ``MOST_ROWS`` are counted."""
    given = [[str(cell) for cell in row] for row in rows]
    said = list(notes)
    if len(given) > MOST_ROWS:
        said.append(f"and {len(given) - MOST_ROWS:,} rows more")
    return page("notebook.html", title=title, header=header, rows=given[:MOST_ROWS], notes=said)


def run_shown(s: Mapping[str, Any]) -> str:
    """A run's summary: latencies, drafts, and what held it back."""
    latencies = [
        [LATENCIES[name], *(duration(row[point]) for point in ("mean", "p50", "p90", "p99"))]
        for name, row in s["latency"].items()
        if name in LATENCIES
    ]
    drafts = [
        [name, percent(row["share"]), percent(row["acceptance_rate"]), number(row["acceptance_length"])]
        for name, row in s["speculation"]["per_draft"].items()
    ]
    title = f"{s['scenario']}, {s['mode']}, seed {s['seed']}"
    goodput = f"{number(s['goodput_tokens_per_s'], 4)} tokens/s goodput"
    held, lost = (s.get("held_back") or {}).get("text", ""), lost_rows(s)
    notes = [f"held back: {held}" if held else "", f"workload: {lost}" if lost else "", few_requests(s)]
    return shown(title, ["latency", "mean", "p50", "p90", "p99"], latencies) + shown(
        goodput, ["draft", "share", "rate", "length"], drafts, notes
    )


def profile_shown(done: Profiled) -> str:
    """A profile's fits: how far they are from points that they did not see."""
    rows = [
        [
            row["model"],
            " ".join(filter(None, (row["operation"], row["part"]))),
            row["points"],
            row["fit"],
            percent(row["median_error"]),
            percent(row["p95_error"]),
        ]
        for row in done.fits
    ]
    said = f"{done.path}: {len(done.profile.points):,} points, {done.added:,} of them new"
    return shown(said, ["model", "operation", "points", "fit", "median error", "p95 error"], rows)


def drift_shown(drift: Drift, path: Path) -> str:
    """Points measured again beside what the profile says."""
    rows = [
        [
            point.model,
            " ".join(filter(None, (point.operation, point.packing))),
            duration(point.profiled_s),
            duration(point.seconds),
            f"{point.factor:.3f}",
        ]
        for point in drift.points
    ]
    title = f"{path}: {len(drift.points):,} points measured again"
    return shown(title, ["model", "operation", "profiled", "again", "again / profiled"], rows)


def trace_shown(done: Traced | ImportedTrace) -> str:
    """What was recorded, and how often a draft's token would be accepted."""
    said = describe_trace(done.trace)
    rows = [[name, percent(share)] for name, share in said["accepted"].items()]
    left = f"{done.skipped:,} requests were left out for their length" if done.skipped else ""
    title = f"{done.path}: {said['requests']:,} requests, {said['output_tokens']:,} output tokens"
    return shown(title, ["draft", "positions where one token is accepted"], rows, [left])


def validation_shown(done: Mapping[str, Any]) -> str:
    """Errors of every cell beside the spread of its live repetitions; before there are any, that."""
    if not done["cells"]:
        return shown("no cell is simulated yet", [], [], ["validate_again simulates beside the live runs"])
    metrics = compared_metrics(done)
    rows = []
    for cell in done["cells"]:
        goodput = cell["metrics"]["goodput_tokens_per_s"]
        live = [number(goodput["live"], 4), percent(goodput["spread"])]
        rows.append([cell["name"], *live, *(error_of(cell, metric) for metric in metrics)])
    notes = [
        f"{name}: mean error {percent(error['mean'])}, worst {percent(error['worst'])}"
        for name, error in done["errors"].items()
        if error["mean"] is not None
    ]
    header = ["cell", "live, tokens/s", "spread", *(f"error of {metric.label}" for metric in metrics)]
    return shown(f"{len(done['cells'])} cells, live and simulated", header, rows, notes)
