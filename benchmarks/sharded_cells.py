"""A target over several GPUs: its passes against their floors, live beside simulated, the paper's ladder.

    python -m benchmarks.sharded_cells --gpus 2 --seconds 540 --out FOLDER          # two GPUs
    python -m benchmarks.sharded_cells --gpus 4 --seconds 570 --out FOLDER          # four
    python -m benchmarks.sharded_cells --gpus 2 --quick --device cpu --out FOLDER   # rehearsed on CPU ranks

Parts (``sharded_deployments.py``) run one after the other, each in a process of its own that deploys its
models once. A part measures a profile, and verifications of 1, 8 and 32 rows of 5 tokens against their floor.
Then it simulates every cell, from that profile and from the hardware's sheet, and prints and keeps what it
found. Then it runs them live, in turn, twice. Weights are random; what is accepted comes from the scenario's
field. Everything reaches FOLDER when it is known. A command that finds its FOLDER there does what is missing:
a part's PART.profile.json of the same deployment is gone on with, also one without the part's results beside.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.gpu_state import gpu_states
from benchmarks.sharded_deployments import PARTS, QUICK, Part, Size, loaded, written
from benchmarks.sharded_measures import measure_floors, measure_profile
from benchmarks.sharded_results import Results, figures
from benchmarks.sharded_tables import shown
from benchmarks.sharded_told import Predictors, plan_cells, tell
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.live_run import run_scenario
from spinsim.profiling.timing import Effort
from spinsim.scenario_file import LoadedScenario

EFFORT = Effort(seconds=0.02, fewest=3, most=8, warm=1, passes=2)
TIMED = Effort(seconds=0.2, fewest=5, most=40, warm=3, passes=1)  # of verifications against their floor
REHEARSED = Effort(seconds=0.005, fewest=1, most=2, warm=1, passes=1)
LONGEST_S = 12.0  # of a cell
CLOSING_S = 15.0  # of a deployment


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


def run_part(part: Part, options: argparse.Namespace, hardware: str, until: float) -> None:
    """All of a part that is missing. Raises what keeps it from being deployed."""
    size = QUICK if options.quick else Size()
    results = Results(options.out, part)
    with TemporaryDirectory() as scratch:
        (folder := Path(scratch) / "tiny").mkdir()  # a rehearsal's models are named after it, in profiles too
        path = written(part, folder, hardware)
        whole = loaded(path, part, size)
        began = time.monotonic()
        deployment = deploy(whole.scenario, whole.base_dir, packings=part.packings)
        try:
            results.data["sessions"][-1]["deploy_s"] = time.monotonic() - began
            results.data["kv_tokens"] = deployment.kv_tokens
            print(f"{part.name}: deployed in {time.monotonic() - began:.1f} s", flush=True)
            measure(results, part, whole, deployment, size, options.quick)
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


def measure(
    results: Results, part: Part, whole: LoadedScenario, deployment: Deployment, size: Size, quick: bool
) -> None:
    """Floors, and the profile of what is no copy, as far as they are not kept yet."""
    if not results.data["floors"]:
        timed = REHEARSED if quick else TIMED
        _attempt(results, "floors", lambda: measure_floors(results, whole, deployment, size, timed))
    if part.copies == 1 and not (results.data.get("profiled") and results.profile.exists()):
        effort = REHEARSED if quick else EFFORT
        results.data["profiled"] = _attempt(
            results, "profile", lambda: measure_profile(results, part, whole, deployment, effort)
        )
        results.write()


def _close(deployment: Deployment) -> None:
    """End the deployment, or this process with everything in it where that takes too long."""
    closing = threading.Thread(target=deployment.close, daemon=True)
    closing.start()
    closing.join(CLOSING_S)
    if closing.is_alive():
        print(f"the deployment did not end within {CLOSING_S:g} s; its processes are ended", flush=True)
        os._exit(0)


def _attempt(results: Results, what: str, measure: Callable[[], None]) -> bool:
    """Run ``measure``, and say whether it came to its end; what fails is noted, and the part goes on."""
    began, whole = time.monotonic(), True
    try:
        measure()
    except Exception as error:
        whole = False
        results.data["left_out"].append(f"{what}: {type(error).__name__}: {error}")
        print(f"failed {what}: {type(error).__name__}: {error}", flush=True)
    print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)
    return whole


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
