"""Benchmarks of the simulator on one core: a table of medians, each beside its target.

Times are user CPU seconds, of processes that do nothing else. ``x simpy`` compares a simulation with the
time that simpy alone took, in the same process, for as many bare timeouts as the simulation had operations.
"2 deep": two micro-batches take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import micro
from benchmarks.trace import write_trace
from spinsim.simulated.simulation import ENGINES

ROOT = Path(__file__).resolve().parent.parent
SCENARIO = ROOT / "scenarios" / "azure-conversation.yaml"
PUBLIC_TRACE = "AzureLLMInferenceTrace_conv.csv"
SMALL, LARGE, SHORT = 20_000, 1_000_000, 0.125
MEMORY_MB = 600


@dataclass(frozen=True)
class Case:
    """One simulation of the trace and what is wanted of it; ``target_s`` counts the results folder too."""

    name: str
    overrides: tuple[str, ...]
    target_s: float | None = None


CASES = (
    Case("fixed", ("policies.selector={name: fixed}",), 20.0),
    Case("fixed, 2 deep", (
        "policies.selector={name: fixed}", "policies.pipeline={name: fixed, micro_batches: 2}",
    )),
    Case("SPIN", (), 40.0),
    Case("SPIN, 2 deep", ("policies.pipeline={name: fixed, micro_batches: 2}",)),
    Case("no speculation", (
        "policies.selector={name: fixed, draft: none}", "policies.length={name: none}",
    )),
)  # fmt: skip


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="repetitions of each simulation (default 3)")
    parser.add_argument(
        "--only", nargs="*", choices=("trace", "scaling", "help", "micro"), help="parts to run"
    )
    parser.add_argument(
        "--engine", choices=ENGINES, default="auto", help="what plays the simulations (default auto)"
    )
    parser.add_argument("--json", type=Path, help="write every measurement here as well")
    options = parser.parse_args()
    parts = options.only or ("trace", "scaling", "help", "micro")
    console = Console(width=None if sys.stdout.isatty() else 118)
    console.print(_machine())
    measured: dict[str, Any] = {"machine": _machine()}
    with tempfile.TemporaryDirectory() as scratch:
        if "trace" in parts:
            measured["trace"] = _trace(console, Path(scratch), options.runs, options.engine)
        if "scaling" in parts:
            measured["scaling"] = _scaling(console, Path(scratch), options.runs, options.engine)
    if "help" in parts:
        measured["help_s"] = _help(console, max(options.runs, 5))
    if "micro" in parts:
        measured["micro"] = _micro(console)
    console.print(_load("load at the end"))
    if options.json is not None:
        options.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


def _machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = names[0] if names else cpu
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}; {_load('load')}"


def _load(label: str) -> str:
    return f"{label} {os.getloadavg()[0]:.1f} (1 minute)" if hasattr(os, "getloadavg") else ""


def _child(scenario: Path, out: str, engine: str, overrides: Sequence[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.child", str(scenario), out, engine, *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _public_trace() -> Path | None:
    folder = os.environ.get("SPINSIM_DATA", "")
    path = Path(folder) / PUBLIC_TRACE
    return path if folder and path.exists() else None


def _trace(console: Console, scratch: Path, runs: int, engine: str) -> dict[str, Any]:
    path = _public_trace()
    said = "the public trace"
    if path is None:
        path = scratch / "synthetic.csv"
        write_trace(path)
        said = f"SYNTHETIC trace of the same statistics ($SPINSIM_DATA has no {PUBLIC_TRACE})"
    results: dict[str, list[dict[str, Any]]] = {case.name: [] for case in CASES}
    for run in range(runs):  # in turn, so that all share the machine's good and bad moments
        for case in CASES:
            print(f"run {run + 1} of {runs}: {case.name} ...", file=sys.stderr, flush=True)
            overrides = [f"workload.source.path={path}", *case.overrides]
            results[case.name].append(_child(SCENARIO, str(scratch / "out"), engine, overrides))
    table = Table(title=f"{SCENARIO.stem}: {said}; user CPU seconds, median (fastest to slowest) of {runs}")
    for heading in (
        "case",
        "simulate",
        "with folder",
        "target",
        "peak MB",
        "rounds",
        "us/round",
        "x real time",
        "x simpy",
    ):
        table.add_column(heading, justify="left" if heading == "case" else "right")
    for case in CASES:
        rows = results[case.name]
        one, simulate = rows[0], _median(rows, "simulate_s")
        total, peak = _median(rows, "total_s"), _median(rows, "total_mb")
        floor = median(r["simulate_s"] / (r["simpy_event_s"] * r["operations"]) for r in rows)
        table.add_row(
            case.name,
            _spread(rows, "simulate_s"),
            _spread(rows, "total_s"),
            "" if case.target_s is None else f"{case.target_s:.0f}: {_met(total, case.target_s)}",
            f"{_median(rows, 'simulate_mb'):.0f}, {peak:.0f}: {_met(peak, MEMORY_MB)}",
            f"{one['rounds']:,}",
            f"{simulate / one['rounds'] * 1e6:.1f}",
            f"{one['traffic_s'] / simulate:.0f}",
            f"{floor:.1f}",
        )
    console.print(table)
    return {"data": said, "cases": results}


def _scaling(console: Console, scratch: Path, runs: int, engine: str) -> list[dict[str, Any]]:
    table = Table(
        title=f"SPIN's selector, synthetic traces, outputs and gaps x {SHORT}; median of {runs} and of 1"
    )
    for heading in ("requests", "simulate", "with folder", "ms/request", "peak MB", "kB/request"):
        table.add_column(heading, justify="right")
    sizes: dict[int, list[dict[str, Any]]] = {SMALL: [], LARGE: []}
    for size, rows in sizes.items():
        write_trace(scratch / f"{size}.csv", size, output_scale=SHORT)
        for _ in range(runs if size == SMALL else 1):
            trace = [f"workload.source.path={scratch / f'{size}.csv'}"]
            rows.append(_child(SCENARIO, str(scratch / "out"), engine, trace))
        table.add_row(
            f"{size:,}",
            _spread(rows, "simulate_s"),
            _spread(rows, "total_s"),
            f"{_median(rows, 'simulate_s') / size * 1e3:.3f}",
            f"{_median(rows, 'total_mb'):.0f}",
            f"{_median(rows, 'total_mb') / size * 1024:.1f}",
        )
    console.print(table)
    small, large = (_median(sizes[size], "simulate_s") / size for size in (SMALL, LARGE))
    console.print(f"time per request, {LARGE:,} over {SMALL:,}: {large / small:.2f} (1.00 is linear)")
    return [row for rows in sizes.values() for row in rows]


def _help(console: Console, runs: int) -> list[float]:
    spent = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "spinsim", "--help"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    told = median(spent)
    console.print(f"spinsim --help: {told:.2f} s of CPU, median of {runs}; target 0.3: {_met(told, 0.3)}")
    return spent


def _micro(console: Console) -> list[dict[str, Any]]:
    table = Table(title=f"microseconds of CPU a call, by rows; median of {micro.REPEATS}")
    table.add_column("what")
    for rows in micro.ROWS:
        table.add_column(f"{rows} rows" if rows > 1 else "1 row", justify="right")
    told = []
    for group in (micro.predictions, micro.packings, micro.selectors):
        for line in group(SCENARIO):
            table.add_row(line.name, *(f"{line.call_us[rows]:.2f}" for rows in micro.ROWS))
            told.append({"name": line.name, "call_us": line.call_us})
        table.add_section()
    console.print(table)
    return told


def _median(rows: Sequence[dict[str, Any]], key: str) -> float:
    return float(median(row[key] for row in rows))


def _spread(rows: Sequence[dict[str, Any]], key: str) -> str:
    values = sorted(row[key] for row in rows)
    return (
        f"{median(values):.1f} ({values[0]:.1f} to {values[-1]:.1f})"
        if len(values) > 1
        else f"{values[0]:.1f}"
    )


def _met(value: float, limit: float) -> str:
    return "met" if value <= limit else "missed"


if __name__ == "__main__":
    main()
