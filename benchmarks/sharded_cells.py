"""A target over several GPUs: its passes against their floors, live beside simulated, the paper's ladder.

    python -m benchmarks.sharded_cells --gpus 2 --seconds 540 --out FOLDER          # two GPUs
    python -m benchmarks.sharded_cells --gpus 4 --seconds 570 --out FOLDER          # four
    python -m benchmarks.sharded_cells --gpus 2 --quick --device cpu --out FOLDER   # rehearsed on CPU ranks

Parts (``sharded_deployments.py``) run one after the other, each in a process of its own that deploys its
models once. A part measures a profile, and verifications of 1, 8 and 32 rows of 5 tokens against their floor.
Then it simulates every cell, from that profile and from the hardware's sheet, and prints and keeps what it
found. Then it runs them live, in turn, twice. Weights are random; what is accepted comes from the scenario's
field. Everything reaches FOLDER when it is known. A command that finds its FOLDER there does what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

from benchmarks.gpu_state import gpu_states
from benchmarks.sharded_deployments import PARTS, QUICK, Overrides, Part, Size, loaded, written
from benchmarks.sharded_tables import shown
from spinsim.costs.base import Predictor
from spinsim.costs.for_scenario import TARGET, models_on_devices, priced_alike
from spinsim.costs.operators import PassCosts
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.drafters.costs import build_predictor
from spinsim.engine.records import Records
from spinsim.engine.world import NS
from spinsim.files import write_atomically
from spinsim.live.deployment import Deployment, deploy
from spinsim.operations import KINDS
from spinsim.profiling.probes import Probe
from spinsim.profiling.session import Session
from spinsim.profiling.timing import Effort
from spinsim.profiling.workplace import Workplace
from spinsim.results.environment import environment
from spinsim.results.summary import summarise
from spinsim.scenario import PolicyChoice
from spinsim.scenario_file import LoadedScenario
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.ladder.best import best_fixed
from spinsim.studies.ladder.steps import AUTOREGRESSIVE, BEST, FixedPlan, paper_steps
from spinsim.studies.profile import measure_fixed
from spinsim.studies.run import run_scenario

SCHEMA = "spinsim.sharded-cells/1"
EFFORT = Effort(seconds=0.02, fewest=3, most=8, warm=1, passes=2)
TIMED = Effort(seconds=0.2, fewest=5, most=40, warm=3, passes=1)  # of verifications against their floor
REHEARSED = Effort(seconds=0.005, fewest=1, most=2, warm=1, passes=1)
CHARGED = ("fixed", "spin", "round_robin")  # selectors of cells, whose host time is measured
CLIMBING = "workload.requests={}"
LONGEST_S = 12.0  # of a cell
CLOSING_S = 15.0  # of a deployment
TOKENS = 4  # of a proposal in the ladder
Row = dict[str, Any]
Mode = Literal["simulated", "live"]


class Results:
    """A part's file in the making; ``told`` and ``runs`` have a row for each cell (and repetition)."""

    def __init__(self, folder: Path, part: Part) -> None:
        name = part.name.replace(",", "").replace(" ", "-")
        self.path, self.profile = folder / f"{name}.json", folder / f"{name}.profile.json"
        self.data: Row = {"schema": SCHEMA, "part": part.name, "copies": part.copies, "sessions": []}
        self.data |= {"floors": [], "plans": {}, "told": [], "runs": [], "left_out": []}
        if self.path.exists():
            self.data = json.loads(self.path.read_text(encoding="utf-8"))
        self.data["left_out"] = []
        self.data["sessions"].append({"environment": environment(), "clocks": [gpu_states()]})

    def write(self) -> None:
        """Replace the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(self.data, indent=1) + "\n")

    def add(self, kind: str, row: Row) -> None:
        """Keep a row, and print it."""
        self.data[kind].append(row)
        self.write()
        print(f"{kind:6s} " + " ".join(f"{key}={_brief(value)}" for key, value in row.items()), flush=True)

    def done(self, cell: str) -> int:
        """Repetitions of a cell."""
        return sum(row["cell"] == cell for row in self.data["runs"])


def _brief(value: object) -> str:
    if isinstance(value, list | dict):
        return f"[{len(value)}]"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def figures(records: Records, cell: LoadedScenario, mode: Mode, source: str) -> Row:
    """What a run came to, in both worlds alike. ``operations``: their means by kind, model and rows."""
    found = summarise(records, cell.scenario, mode=mode, acceptance_source=source)
    latency = found["latency"]
    return {
        "goodput_tokens_per_s": found["goodput_tokens_per_s"],
        "ttft_p50_s": latency["ttft_s"]["p50"],
        "tpot_p50_s": latency["tpot_s"]["p50"],
        "acceptance_length": found["speculation"]["acceptance_length"],
        "duration_s": found["run"]["duration_s"],
        "lanes": {name: row["busy_fraction"] for name, row in found["lanes"].items()},
        "operations": operations(records),
    }


def operations(records: Records) -> dict[str, float]:
    """Mean seconds by kind and model: what lanes that share a GPU make of them is in it."""
    done = records.operations
    spans: dict[str, list[int]] = {}
    for kind, draft, began, end in zip(done.kind, done.model, done.started_ns, done.finished_ns, strict=True):
        model = records.drafts[draft] if draft >= 0 else TARGET
        if end >= 0:
            spans.setdefault(f"{KINDS[kind]} {model}", []).append(end - began)
    return {name: statistics.fmean(found) / NS for name, found in sorted(spans.items())}


# --- what comes before the live half -------------------------------------------------------------------


def measure_profile(
    results: Results, part: Part, whole: LoadedScenario, deployment: Deployment, effort: Effort
) -> None:
    """The fixed points of a profile, written beside the results."""
    with Workplace(whole.scenario, whole.base_dir, deployment) as place:
        first = next(iter(whole.scenario.models.drafts))
        selectors = {name: PolicyChoice(name=name) for name in CHARGED}
        selectors["fixed"] = PolicyChoice.model_validate({"name": "fixed", "draft": first})
        session = Session(place.empty_profile(), results.profile, effort, place.guess(), None)
        try:
            measure_fixed(session, place, part.packings, selectors)
        finally:
            session.write()


def measure_floors(
    results: Results, whole: LoadedScenario, deployment: Deployment, size: Size, effort: Effort
) -> None:
    """Verifications of 5 tokens a row beside what bytes, flops and collectives ask for, launches apart."""
    model = models_on_devices(whole.scenario, whole.base_dir)[0]
    costs = PassCosts(model.shape, model.dtype, model.hardware, devices=len(model.devices), greedy=True)
    graphs = deployment.target.graphs
    with Workplace(whole.scenario, whole.base_dir, deployment) as place:
        for rows in (rows for rows in size.rows if rows <= place.batch):
            probe = Probe("verify", "", -1, rows, TOKENS + 1, size.context, "ragged", graphs=graphs)
            shape = probe.shape
            floor = costs.body(int(shape.tokens)) + costs.output(int(shape.head))
            floor += costs.attention.seconds(shape.kv_tokens, shape.queries, shape.pairs)
            measured = place.bench.measure(probe, effort).seconds
            row = {"model": model.shape.name, "devices": len(model.devices), "rows": rows}
            results.add("floors", {**row, "seconds": measured, "floor_s": floor, "ratio": measured / floor})


class Predictors:
    """By what a scenario's costs depend on: fitting a profile takes a second."""

    def __init__(self) -> None:
        self._known: dict[str, Predictor] = {}

    def of(self, cell: LoadedScenario) -> Predictor:
        """The predictor of its costs."""
        key = priced_alike(cell.scenario)
        if key not in self._known:
            self._known[key] = build_predictor(cell.scenario, cell.base_dir)
        return self._known[key]

    def figures(self, cell: LoadedScenario) -> Row:
        """Of the cell, simulated."""
        done = simulate_scenario(cell.scenario, cell.base_dir, predictor=self.of(cell))
        return figures(done.records, cell, "simulated", done.acceptance_source)


def plan_cells(
    results: Results, part: Part, path: Path, size: Size, costs: Sequence[str], predictors: Predictors
) -> dict[str, Overrides]:
    """The part's cells, and those of the ladder. The best fixed plan is chosen once, and kept."""
    cells = dict(part.cells)
    if not part.climbs:
        return cells
    scenario = loaded(path, part, size).scenario
    few = CLIMBING.format(max(4, 64 // part.copies))
    if part.copies == 1:
        smallest = next(iter(scenario.models.drafts))
        steps = paper_steps(scenario, smallest, TOKENS)
        cells |= {f"ladder: {name}": (few, *step) for name, step in steps.items() if name != AUTOREGRESSIVE}
    kept = results.data["plans"].get(BEST)
    if kept is None:
        seed = f"seed={scenario.seed + 1}"  # plans are chosen on requests that no cell serves

        def rates(plans: Sequence[FixedPlan]) -> dict[FixedPlan, float]:
            found = {}
            for plan in plans:
                cell = loaded(path, part, size, [few, *costs, *plan.overrides(), seed])
                found[plan] = float(predictors.figures(cell)["goodput_tokens_per_s"] or 0.0)
            return found

        drafts = list(scenario.models.drafts)
        plan, _ = best_fixed(rates, drafts, scenario.limits.max_length, depths=(1, 2))
        kept = results.data["plans"][BEST] = {"plan": str(plan), "overrides": list(plan.overrides())}
        results.write()
    cells[f"ladder: {BEST}"] = (few, *kept["overrides"])
    return cells


def tell(
    results: Results,
    part: Part,
    path: Path,
    size: Size,
    cells: Mapping[str, Overrides],
    costs: Mapping[str, Sequence[str]],
    predictors: Predictors,
) -> None:
    """Simulate every cell by every one of ``costs``, unless it was."""
    known = {(row["cell"], row["costs"]) for row in results.data["told"]}
    for name, overrides in cells.items():
        for source, given in costs.items():
            if (name, source) not in known:
                found = predictors.figures(loaded(path, part, size, [*given, *overrides]))
                results.add("told", {"cell": name, "costs": source, **found})


# --- the live half ---------------------------------------------------------------------------------------


def run_cells(
    results: Results,
    size: Size,
    cells: Mapping[str, LoadedScenario],
    deployment: Deployment,
    until: float,
) -> None:
    """Every cell that has fewer than the size's repetitions, as far as the time goes."""
    took: dict[str, float] = {}
    warmed = False
    for repetition in range(size.repetitions):
        for name, cell in cells.items():
            if results.done(name) > repetition:
                continue
            expected = took.get(name, LONGEST_S)
            if time.monotonic() + expected > until:
                results.data["left_out"].append(f"{name}: no time")
                continue
            try:
                if not warmed:
                    run_scenario(cell.scenario, cell.base_dir, deployment)  # imports, caches, clocks
                    warmed = True
                began = time.monotonic()
                ran = run_scenario(cell.scenario, cell.base_dir, deployment)
                took[name] = time.monotonic() - began
                if ran.error is not None:
                    raise ran.error
            except Exception as error:  # the other cells go on
                results.data["left_out"].append(f"{name}: {type(error).__name__}: {error}")
                print(f"failed {name}: {error}", flush=True)
                continue
            found = figures(ran.records, cell, "live", ran.acceptance_source)
            results.add("runs", {"cell": name, "repetition": repetition, **found, "held": ran.slots_held})
        results.data["sessions"][-1]["clocks"].append(gpu_states())
        results.write()


def run_part(part: Part, options: argparse.Namespace, hardware: str, until: float) -> Results:
    """All of a part that is missing. Raises what keeps it from being deployed."""
    size = QUICK if options.quick else Size()
    results = Results(options.out, part)
    with TemporaryDirectory() as scratch:
        path = written(part, Path(scratch), hardware)
        whole = loaded(path, part, size)
        began = time.monotonic()
        deployment = deploy(whole.scenario, whole.base_dir, packings=part.packings)
        try:
            results.data["sessions"][-1]["deploy_s"] = time.monotonic() - began
            results.data["kv_tokens"] = deployment.kv_tokens
            print(f"{part.name}: deployed in {time.monotonic() - began:.1f} s", flush=True)
            if not results.data["floors"]:
                _attempt(
                    results,
                    "floors",
                    lambda: measure_floors(
                        results, whole, deployment, size, REHEARSED if options.quick else TIMED
                    ),
                )
            if part.copies == 1 and not results.data.get("profiled"):
                _attempt(
                    results,
                    "profile",
                    lambda: measure_profile(
                        results, part, whole, deployment, REHEARSED if options.quick else EFFORT
                    ),
                )
                results.data["profiled"] = results.profile.exists()
                results.write()
            costs = {"sheet": ["costs={model: roofline}"]}
            if results.profile.exists():
                given = f"{{model: profile, path: {results.profile.resolve()}, allow_roofline: true}}"
                costs = {"profile": [f"costs={given}"], **costs}
            best, predictors = next(iter(costs.values())), Predictors()
            cells = plan_cells(results, part, path, size, best, predictors)
            tell(results, part, path, size, cells, costs, predictors)
            live = {name: loaded(path, part, size, [*best, *given]) for name, given in cells.items()}
            run_cells(results, size, live, deployment, until)
        finally:
            results.write()
            _close(deployment)
    return results


def _close(deployment: Deployment) -> None:
    """End the deployment, or this process with everything in it where that takes too long."""
    closing = threading.Thread(target=deployment.close, daemon=True)
    closing.start()
    closing.join(CLOSING_S)
    if closing.is_alive():
        print(f"the deployment did not end within {CLOSING_S:g} s; its processes are ended", flush=True)
        os._exit(0)


def _attempt(results: Results, what: str, measure: Callable[[], None]) -> None:
    """Run ``measure``; what fails is noted, and the part goes on."""
    began = time.monotonic()
    try:
        measure()
    except Exception as error:
        results.data["left_out"].append(f"{what}: {type(error).__name__}: {error}")
        print(f"failed {what}: {type(error).__name__}: {error}", flush=True)
    print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Every part in a process of its own, unless one is asked for; then all tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sharded_cells",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--gpus", type=int, choices=tuple(PARTS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of results and profiles")
    parser.add_argument("--seconds", type=float, default=540.0, help="of the whole command (default 540)")
    parser.add_argument("--parts", nargs="*", metavar="NAME", help="these alone, by name or number from 1")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny models on CPU ranks, few requests")
    parser.add_argument("--here", action="store_true", help="in this process: one part")
    options = parser.parse_args(arguments)
    until = time.monotonic() + options.seconds
    parts = PARTS[options.gpus]
    named = {str(at): part for at, part in enumerate(parts, 1)} | {part.name: part for part in parts}
    if unknown := [name for name in options.parts or () if name not in named]:
        parser.error(f"no part {unknown[0]!r}; {', '.join(part.name for part in parts)}")
    chosen = [named[name] for name in options.parts] if options.parts else list(parts)
    hardware = _hardware(options.device)
    if options.here:
        run_part(chosen[0], options, hardware, until)
        return 0
    given = [word for word in (arguments if arguments is not None else sys.argv[1:]) if word != "--here"]
    failed = 0
    for part in chosen:
        left = min(part.seconds, until - time.monotonic())
        if left < LONGEST_S:
            print(f"left out {part.name}: no time", flush=True)
            continue
        command = [sys.executable, "-m", "benchmarks.sharded_cells", *given, "--here"]
        command += ["--parts", part.name, "--seconds", f"{left:.0f}"]
        try:
            failed += subprocess.run(command, timeout=left + LONGEST_S + CLOSING_S).returncode != 0
        except subprocess.TimeoutExpired:
            failed += 1
    print(shown(options.out))
    return 1 if failed else 0


def _hardware(device: str) -> str:
    """The sheet of the cards at hand."""
    if device == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here; --device cpu --quick rehearses")
    return sheet_of_device(torch.cuda.get_device_name(0)) or "h100"


if __name__ == "__main__":
    raise SystemExit(main())
