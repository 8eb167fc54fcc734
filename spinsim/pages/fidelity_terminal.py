"""Profiles, traces and validations on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from spinsim.pages.run_terminal import print_uncut, short_of_cpus
from spinsim.pages.stdout import stdout_console
from spinsim.recording import PROBABILITY_STEPS, Trace
from spinsim.results.metrics import Metric, shown_in

if TYPE_CHECKING:
    from spinsim.profiling.drift import Drift

MOST_OPERATIONS = 16
OPERATION_HEAD = (
    "operation", "rows up to", "a run", "live, ms", "simulated", "error", "effect", "handover", "simulated",
)  # fmt: skip


def _table(first: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column(first, style="bold", overflow="fold")  # where it is narrow, names give way to figures
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def percent(value: float | None, digits: int = 1) -> str:
    """``+3.2 %``; a dash for nothing."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def signed(value: float | None) -> str:
    """``+3.2 %``; a dash for nothing."""
    return "-" if value is None else f"{100 * value:+.1f} %"


def operation_cells(row: Mapping[str, Any]) -> list[str]:
    """A group of a validation's operations, under :data:`OPERATION_HEAD`."""
    return [
        f"{row['kind']} {row['model']}",
        f"{row['rows']}",
        f"{row['count']:,.0f}",
        milliseconds(row["live_s"]),
        milliseconds(row["simulated_s"]),
        signed(row["error"]),
        signed(row["effect"]),
        milliseconds(row["handover"]["live_s"]),
        milliseconds(row["handover"]["simulated_s"]),
    ]


def print_profile(done: Any, console: Console | None = None) -> None:
    """Held-out errors by operation, and where the profile is. ``done``: an experiments' ``Profiled``."""
    console = console or stdout_console()
    table = _table("held-out errors", "operation", "points", "fit", "median", "p95")
    for row in done.fits:
        operation = " ".join(filter(None, (row["operation"], row["part"])))
        table.add_row(
            row["model"],
            operation,
            str(row["points"]),
            row["fit"],
            percent(row["median_error"]),
            percent(row["p95_error"]),
        )
    print_uncut(console, table, above=0, below=0)
    said = f"{done.added} points in {done.seconds:.0f} s; {len(done.profile.points)} in {done.path}"
    console.print(said, highlight=False, soft_wrap=True)
    if done.unrehearsed:
        names, resume = ", ".join(done.unrehearsed), "--resume goes on, and --minutes gives more time"
        console.print(f"no time was left for short runs with: {names}; {resume}", soft_wrap=True)
    if short := short_of_cpus({"cpus": done.cpus.told()}, "the measuring"):
        console.print(f"CPUs: {short}", highlight=False, soft_wrap=True)


def print_drift(drift: Drift, path: Path, console: Console | None = None) -> None:
    """Points measured again beside what the profile says, and the host."""
    console = console or stdout_console()
    table = _table("model", "operation", "profiled", "again", "change")
    for point in drift.points:
        operation = " ".join(filter(None, (point.operation, point.packing)))
        table.add_row(
            point.model,
            operation,
            f"{1e3 * point.profiled_s:.3f} ms",
            f"{1e3 * point.seconds:.3f} ms",
            signed(point.factor - 1),
        )
    for operation, factor in drift.host.items():
        table.add_row("host", operation, "", "", signed(factor - 1))
    print_uncut(console, table, above=0, below=0)
    console.print(f"noted in {path}", highlight=False, soft_wrap=True)


def describe_trace(trace: Trace) -> dict[str, Any]:
    """A trace in numbers. ``accepted``: of a draft, the share of positions at which one token would be."""
    accepted = {}
    for name, recording in trace.drafts.items():
        values = recording.rows.values
        share = values > 0 if recording.kind == "runs" else values / PROBABILITY_STEPS
        accepted[name] = float(np.mean(share)) if len(values) else 0.0
    return {
        "target": trace.target,
        "requests": len(trace.keys),
        "output_tokens": int(trace.output_tokens().sum()),
        "temperature": trace.temperature,
        "top_p": trace.top_p,
        "accepted": accepted,
    }


def print_trace(trace: Trace, path: Path, skipped: int, console: Console | None = None) -> None:
    """What was recorded."""
    console = console or stdout_console()
    said = describe_trace(trace)
    table = _table("draft", "one token accepted at")
    for name, share in said["accepted"].items():
        table.add_row(name, percent(share) + " of positions")
    console.print(table)
    left = f", {skipped} left out for their length" if skipped else ""
    console.print(
        f"{said['requests']} requests, {said['output_tokens']:,} positions{left}; "
        f"{path.stat().st_size / 1024:.0f} KiB in {path}",
        highlight=False,
        soft_wrap=True,
    )


def short_names(names: Sequence[str]) -> list[str]:
    """Cells' names without the scenario's, where they share it."""
    scenarios = {name.partition(": ")[0] for name in names}
    if len(scenarios) > 1:
        return list(names)
    return [name.partition(": ")[2] or name for name in names]


def _operations(rows: Sequence[dict[str, Any]]) -> Table:
    """The groups of operations that do most to a run's length, in milliseconds."""
    table = _table("operation, rows, ms", "live", "sim.", "error", "effect", "handover", "sim.")
    worst = sorted(rows, key=lambda row: -max(abs(row["effect"] or 0), abs(row["handover"]["effect"] or 0)))
    for row in sorted(worst[:MOST_OPERATIONS], key=rows.index):
        handover = row["handover"]
        table.add_row(
            f"{row['kind']} {row['model']} {row['rows']}",
            milliseconds(row["live_s"]),
            milliseconds(row["simulated_s"]),
            signed(row["error"]),
            signed(row["effect"]),
            milliseconds(handover["live_s"]),
            milliseconds(handover["simulated_s"]),
        )
    return table


def milliseconds(seconds: float | None) -> str:
    """Three digits, without the unit; a dash for nothing."""
    return "-" if seconds is None else f"{1e3 * seconds:.3g}"


GIVEN = (
    "Acceptance was given to the live runs (live.acceptance: field): errors are of time alone, and are not "
    "to be set beside those of runs in which models decided."
)


def given_note(done: Mapping[str, Any]) -> str:
    """What to say of a validation whose live runs took acceptance from the field; else empty."""
    return GIVEN if done.get("acceptance") == "field" else ""


def elsewhere_note(done: Mapping[str, Any]) -> str:
    """That the profile is of another machine than the live runs; empty where it is not known to be."""
    elsewhere = done.get("profile_elsewhere", "")
    return f"The profile was {elsewhere}." if elsewhere else ""


def moved_clocks_note(done: Mapping[str, Any]) -> str:
    """Which cells' GPUs changed their clock while a live run was at work; empty where none did."""
    moved = [cell["name"] for cell in done["cells"] if any(run["moved"] for run in cell.get("clocks", ()))]
    return f"The GPUs' clocks moved during live runs of: {', '.join(short_names(moved))}." if moved else ""


def short_of_cpus_note(done: Mapping[str, Any]) -> str:
    """Which cells' threads waited for a CPU while a live run was at work; empty where none did."""
    short = [cell["name"] for cell in done["cells"] if any(run["short"] for run in cell.get("cpus", ()))]
    return (
        f"Other jobs took the host's CPUs during live runs of: {', '.join(short_names(short))}."
        if short
        else ""
    )


def left_out_note(done: Mapping[str, Any]) -> str:
    """What is not in the cells' intervals; empty where nothing is left out, or there are none."""
    notes = [(cell.get("intervals") or {}).get("note", "") for cell in done["cells"]]
    return ". ".join(note[0].upper() + note[1:] for note in dict.fromkeys(notes) if note)


def compared_metrics(done: Mapping[str, Any]) -> list[Metric]:
    """The metrics by which a validation is introduced: of those registered for it, what its cells have."""
    errors = done["errors"]
    introduced = shown_in("tiles")
    return [
        metric
        for metric in shown_in("intervals")
        if metric in introduced and errors.get(metric.measure, {}).get("mean") is not None
    ]


def inside_of(cell: Mapping[str, Any]) -> str:
    """``7 of 8``: a cell's live values inside their intervals; a dash without intervals."""
    coverage = cell.get("coverage")
    return f"{coverage['covered']} of {coverage['checked']}" if coverage else "-"


def beyond_of(cell: Mapping[str, Any]) -> str:
    """The share of a cell's predicted time for which sheets answered."""
    return percent(cell.get("costs", {}).get("roofline"), 0)


def cause_of(cell: Mapping[str, Any]) -> str:
    """What adds most to a cell's difference, and how much of a run; a dash where nothing is known."""
    cause = cell.get("cause")
    if not cause:
        return "-"
    before = "handover to " if cause["part"] == "handover" else ""
    return f"{before}{cause['kind']} {cause['model']}, {signed(cause['effect'])} of a run"


def error_of(cell: Mapping[str, Any], metric: Metric) -> str:
    """A cell's relative error of prediction; a dash where there is none."""
    row = cell["metrics"].get(metric.measure)
    return "-" if row is None else signed(row["error"])


def print_validation(done: dict[str, Any], folder: Path, console: Console | None = None) -> None:
    """Errors by cell beside the spread of the live repetitions, then what they come to."""
    console = console or stdout_console()
    compared = compared_metrics(done)
    labels = ["live, tok/s", "spread", *(metric.label for metric in compared)]
    table = _table("cell", *(label.replace(" ", "\n") for label in labels))
    causes = _table("cell", "inside", "by sheets", "largest cause of its difference")
    causes.columns[-1].justify = "left"
    for each in (table, causes):
        each.columns[0].no_wrap, each.columns[0].overflow = False, "fold"
    shown = short_names([cell["name"] for cell in done["cells"]])
    for name, cell in zip(shown, done["cells"], strict=True):
        goodput = cell["metrics"]["goodput_tokens_per_s"]
        table.add_row(
            name,
            f"{goodput['live']:,.0f}",
            percent(goodput["spread"]),
            *(error_of(cell, metric) for metric in compared),
        )
        causes.add_row(name, inside_of(cell), beyond_of(cell), cause_of(cell))
    print_uncut(console, table, "", causes, "", _operations(done["operations"]), above=0)
    facts = Table.grid(padding=(0, 3))
    facts.add_column(style="dim", min_width=12)
    facts.add_column(overflow="fold")
    if note := given_note(done):
        facts.add_row("acceptance", note)
    if note := elsewhere_note(done):
        facts.add_row("profile", note)
    if note := moved_clocks_note(done):
        facts.add_row("clocks", note)
    if note := short_of_cpus_note(done):
        facts.add_row("CPUs", note)
    if note := left_out_note(done):
        facts.add_row("not covered", note)
    for name, error in done["errors"].items():
        if error["mean"] is not None:
            facts.add_row(name, f"mean {percent(error['mean'])}, worst {percent(error['worst'])}")
    ranking = done["ranking"]
    if ranking["pairs"]:
        facts.add_row("ranking", f"{ranking['alike']} of {ranking['pairs']} pairs ordered alike")
    identity = done["identical_requests"]
    if identity is not None:
        facts.add_row("decisions", f"{percent(identity)} of requests drafted and accepted alike")
    coverage = done["intervals"]
    if coverage["checked"]:
        facts.add_row(
            "intervals",
            f"{coverage['covered']} of {coverage['checked']} live values inside; "
            f"median width {percent(coverage['median_width'])}",
        )
    facts.add_row("speed-up", f"median {done['speedup']['median']:.0f}x of real time, one core")
    for point in done["drift"]:
        if point["moved"]:
            facts.add_row(
                "drift",
                f"{point['operation']} {point['model']}: {signed(point['factor'] - 1)} of its profile",
            )
    for cell in done["failed"]:
        facts.add_row("failed", f"{cell['name']}: {cell['error']}")
    console.print(facts)
    console.print(f"results in {folder}", highlight=False, soft_wrap=True)
