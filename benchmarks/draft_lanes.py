"""A lane for each draft of a GPU: what it gains, when a lane starts, how well the law of contention predicts.

    python -m benchmarks.draft_lanes scenarios/one-gpu.yaml --set limits.batch=32 --out FILE
    python -m benchmarks.draft_lanes scenarios/family-cpu.yaml --device cpu --quick --out FILE   # a rehearsal

    python -m benchmarks.draft_lanes --judge docs/measurements/h200-draft-lanes.json    # the law, again

Under three minutes on a GPU. Every model runs on a lane of its own on the target's GPU:

``drafting``  proposals of some drafts, in turn on one lane and side by side, and what the law says of that
``start``     a short operation handed to an idle lane while another lane works: when it starts and ends
``law``       subsets of lanes kept busy: the law is fitted to the pairs and every third larger subset at some
              batch sizes, and held against the other subsets and the other sizes
``live``      the scenario with drafts that take turns, and with lanes of their own
``priority``  drafting beside a verification, with drafts' kernels as they are and before the target's
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.draft_lanes_law import HELD_OUT, judged, judged_again, predicted
from benchmarks.draft_lanes_measured import (
    LENGTH,
    Lanes,
    Numbers,
    beside_verification,
    busy_groups,
    drafting,
    start,
)
from benchmarks.draft_lanes_table import shown
from benchmarks.gpu_state import gpu_states
from benchmarks.live_runs import measure
from spinsim.costs.contention import KernelLaw
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.errors import InputError
from spinsim.files import write_atomically
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.quiet_interpreter import quiet
from spinsim.profiling.timing import Effort
from spinsim.results.environment import environment
from spinsim.scenario_file import load

SCHEMA = "spinsim.draft-lanes/1"
AIMS = {"drafting_over_in_turn": 0.7, "start_ms": 0.2, "held_out": HELD_OUT}


def live(
    path: Path, overrides: Sequence[str], device: str | None, deployment: Deployment
) -> Iterator[Numbers]:
    """The scenario with both kinds of lanes, on one deployment, each twice."""
    for lanes in ("shared", "own", "own", "shared"):
        loaded = load(path, [*overrides, f"placement.draft_lanes={lanes}"], device)
        figures = measure(loaded, deployment)
        kept = ("goodput_tokens_per_s", "tpot_p50_s", "acceptance_length", "rounds", "duration_s", "lanes")
        yield {"draft_lanes": lanes, **{name: figures[name] for name in kept}}


def found_hardware(options: argparse.Namespace) -> list[str]:
    """Overrides that name the GPU that is there; none on a CPU, or where it has no sheet."""
    sheet = sheet_of_device(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
    if sheet is None or options.device == "cpu":
        return []
    devices = load(options.scenario, options.overrides, options.device).scenario.devices
    return [f"devices.{name}.hardware={sheet}" for name in devices]


def run(options: argparse.Namespace) -> Numbers:
    """Every part, the file rewritten after each."""
    began = time.perf_counter()
    options.overrides = [*found_hardware(options), *options.overrides]
    loaded = load(options.scenario, options.overrides, options.device)
    scenario = loaded.scenario
    data: Numbers = {"schema": SCHEMA, "aims": AIMS, "wall_s": {}, "environment": environment()}
    data["device"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    quick = options.quick
    effort = Effort(0.005, 1, 4, 1, 1) if quick else Effort(0.06, 6, 40, 2, 1)
    row_counts = [rows for rows in ((1, 2, 3) if quick else (2, 6, 16, 32)) if rows <= scenario.limits.batch]
    fitted_rows = (1, 3) if quick else (2, 16)
    context = min(300, scenario.limits.context_tokens - scenario.limits.max_length - LENGTH)

    def part(name: str, value: Any) -> None:
        data[name] = value
        data["wall_s"][name] = round(time.perf_counter() - began, 2)
        write_atomically(options.out, json.dumps(data, indent=1) + "\n")
        print(f"[{data['wall_s'][name]:6.1f} s] {name}", flush=True)

    options.out.parent.mkdir(parents=True, exist_ok=True)
    deployment = deploy(scenario, loaded.base_dir)
    part("gpus_before", gpu_states())
    lanes = Lanes(loaded, deployment, context)
    with quiet():
        rows = list(drafting(lanes, row_counts, 3 if quick else 25))
        part("start", start(lanes, 5 if quick else 40))
        groups = list(busy_groups(lanes, row_counts, effort))
        part("law", judged(groups, fitted_rows))
        law = KernelLaw(**data["law"]["law"])
        part("drafting", predicted(rows, law))
        part("priority", {"0": beside_verification(lanes, effort)})
    lanes.bench.close()
    part("live", list(live(options.scenario, options.overrides, options.device, deployment)))
    if options.priority:
        del lanes, deployment
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        first = Lanes(loaded, deploy(scenario, loaded.base_dir, draft_priority=-1), context)
        with quiet():
            part("priority", data["priority"] | {"-1": beside_verification(first, effort)})
        first.bench.close()
    part("gpus_after", gpu_states())
    return data


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write. Exit codes as the command line's: 2 for bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", type=Path, nargs="?")
    parser.add_argument("--judge", type=Path, metavar="FILE", help="fit and judge the law by a file of --out")
    parser.add_argument("--out", type=Path, help="JSON file, rewritten after every part")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="few rows and samples: a rehearsal")
    parser.add_argument(
        "--no-priority", dest="priority", action="store_false", help="without a second deployment"
    )
    options = parser.parse_args(arguments)
    if options.judge is None and (options.scenario is None or options.out is None):
        parser.error("a scenario and --out FILE, or --judge FILE")
    try:
        data = run(options) if options.judge is None else judged_again(options.judge)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(shown(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
