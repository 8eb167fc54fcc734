"""Does a live run that is given its acceptance take the time of one whose models decide?

    python -m benchmarks.field --out field.json                          # one GPU, about a minute
    python -m benchmarks.field --quick --device cpu --out field.json     # a rehearsal: half a minute

The scenario's workload is recorded from its own models, on the device at hand. Then the same requests are
served with ``live.acceptance: models`` and ``field`` on one deployment, in pairs whose order alternates. The
first pair does not count. Weights are fp32 and the selector is blind to time, so that both decide alike and
differ in nothing but who says what is accepted. A second comparison samples: recorded probabilities are drawn
there, so that rounds differ, and operations are compared rather than the runs' lengths. The aim: in the
median over the pairs, field takes what models take within 1 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_state import gpu_states
from spinsim.engine.records import Records
from spinsim.engine.world import NS
from spinsim.files import write_atomically
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.live_run import run_scenario
from spinsim.live.prompts import materialise
from spinsim.operations import KINDS
from spinsim.recording import save_trace
from spinsim.results.environment import environment
from spinsim.scenario_file import LoadedScenario, load
from spinsim.studies.trace import record_workload
from spinsim.workload.for_scenario import build_workload

SCHEMA = "spinsim.field-benchmark/1"
SCENARIO = Path(__file__).parents[1] / "scenarios" / "family-gpu.yaml"
AIM = 0.01
MODES = ("models", "field")
BLIND = (  # to time; in fp32 no argmax moves with the batch's shape
    "policies.selector={name: round_robin}",
    "policies.length={name: fixed, tokens: 4}",
    "policies.pipeline={name: serial}",
)
SAMPLED = ("sampling.temperature=1.0",)
QUICK = (
    "workload.requests=24",
    "workload.source=null",
    "workload.arrivals={process: closed, concurrency: 4}",
    "workload.prompt_tokens={distribution: uniform, min: 8, max: 32}",
    "workload.output_tokens={distribution: uniform, min: 16, max: 32}",
    "limits.batch=4",
    "limits.context_tokens=96",
)
FULL = ("workload.requests=96",)
Figures = dict[str, float]
Numbers = dict[str, Any]


def figures(records: Records) -> Figures:
    """Seconds: of the run, of a round, and of an operation of each kind in the mean."""
    rounds, operations = records.rounds, records.operations
    spent = np.asarray(rounds.committed_ns) - np.asarray(rounds.assigned_ns)
    found = {"run": records.ended_ns / NS, "round": float(spent.mean()) / NS}
    kinds = np.asarray(operations.kind)
    spans = np.asarray(operations.finished_ns) - np.asarray(operations.started_ns)
    for number, kind in enumerate(KINDS):
        if (kinds == number).any():
            found[kind] = float(spans[kinds == number].mean()) / NS
    return found


def decided(records: Records) -> list[tuple[int, ...]]:
    """(request, position, draft, drafted, accepted) of every row of every round."""
    r = records.rounds
    return list(zip(r.request, r.position, r.draft, r.drafted, r.accepted, strict=True))


def recorded(loaded: LoadedScenario, deployment: Deployment, path: Path) -> int:
    """Record what the scenario's models accept over its workload; returns how many requests there are."""
    workload = build_workload(loaded.scenario, loaded.base_dir)
    prompted = materialise(loaded.scenario, workload, deployment.models.target)
    trace, _ = record_workload(loaded.scenario, deployment, prompted)
    save_trace(trace, path)
    return len(trace.keys)


def compared(scenario: Path, overrides: Sequence[str], device: str | None, repetitions: int) -> Numbers:
    """Medians of both modes over ``repetitions`` pairs, and of field over models within a pair."""
    names = list(load(scenario, overrides, device).scenario.models.drafts)
    fp32 = [f"models.{name}.dtype=fp32" for name in ("target", *(f"drafts.{draft}" for draft in names))]
    common = [*overrides, *BLIND, *fp32]
    loaded = load(scenario, common, device)
    deployment = deploy(loaded.scenario, loaded.base_dir)
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "recorded.npz"
        requests = recorded(loaded, deployment, path)
        given = [
            *common,
            f"workload.source={{format: spinsim, path: {path}}}",
            f"workload.requests={requests}",
            "workload.prompt_tokens=null",
            "workload.output_tokens=null",
            f"acceptance={{model: trace, path: {path}}}",
            "sampling.stop_at_end_of_text=false",
        ]
        variants = {mode: load(scenario, [*given, f"live.acceptance={mode}"], device) for mode in MODES}
        runs: dict[str, list[Figures]] = {mode: [] for mode in MODES}
        alike: list[bool] = []
        for pair in range(-1, repetitions):
            made = {}
            for mode in MODES if pair % 2 else reversed(MODES):
                ran = run_scenario(variants[mode].scenario, variants[mode].base_dir, deployment)
                if ran.error is not None:
                    raise ran.error
                made[mode] = decided(ran.records)
                if pair >= 0:
                    runs[mode].append(figures(ran.records))
            alike.append(made["models"] == made["field"])
    medians = {
        mode: {name: statistics.median(run[name] for run in made) for name in made[0]}
        for mode, made in runs.items()
    }
    pairs = list(zip(runs["models"], runs["field"], strict=True))
    ratios = {
        name: statistics.median(field[name] / models[name] for models, field in pairs)
        for name in medians["models"]
    }
    return {
        "requests": requests,
        "alike": sum(alike) / len(alike),
        "medians": medians,
        "ratios": ratios,
        "runs": runs,
    }


def shown(name: str, found: Numbers) -> str:
    """A table of a comparison, for people."""
    lines = [f"{name}: {found['requests']} requests, {100 * found['alike']:.0f} % of pairs decided alike"]
    for part, ratio in found["ratios"].items():
        models, field = (1e3 * found["medians"][mode][part] for mode in MODES)
        lines.append(f"  {part:10s} {models:10.3f} ms {field:10.3f} ms   field {100 * (ratio - 1):+.2f} %")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Both comparisons; 0 where the greedy run's and round's times agree within the aim, else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.field", description=__doc__)
    parser.add_argument("scenario", type=Path, nargs="?", default=SCENARIO)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--repetitions", type=int, default=9, help="pairs of runs (default 9)")
    parser.add_argument("--quick", action="store_true", help="few short requests, three pairs")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    repetitions = 3 if options.quick else options.repetitions
    overrides = [*(QUICK if options.quick else FULL), *options.overrides]
    data: Numbers = {"schema": SCHEMA, "aim": AIM, "environment": environment(), "clocks": [gpu_states()]}
    for name, sampling in (("greedy", ()), ("sampled", SAMPLED)):
        data[name] = compared(options.scenario, [*overrides, *sampling], options.device, repetitions)
        print(shown(name, data[name]), flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        data["clocks"].append(gpu_states())
        write_atomically(options.out, json.dumps(data, indent=1) + "\n")
    worst = max(abs(data["greedy"]["ratios"][part] - 1) for part in ("run", "round"))
    print(f"greedy run and round: within {100 * worst:.2f} % (aim {100 * AIM:g} %)")
    return 0 if worst <= AIM else 1


if __name__ == "__main__":
    raise SystemExit(main())
