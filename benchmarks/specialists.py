"""Selection on specialists, live: selectors against the best fixed draft, the oracle's bound printed first.

    python -m benchmarks.specialists --out specialists.json                        # one GPU, three minutes
    python -m benchmarks.specialists --tiny --device cpu --out specialists.json    # a rehearsal

``scenarios/one-gpu.yaml`` is deployed: the family that ships, widened to a 7B target and five drafts. Two
of them are specialists. The prompts are of ten domains, mixed. First the machine is profiled, and the
acceptance of the models over the workload is recorded. Every variant, and oracles that know it, are
then simulated: the bound and the predictions are written before anything is served. Then the models serve
every variant in turn; acceptance is theirs.

``contextual`` starts from what ``profiles/family-greedy.npz`` tells of the drafts: other requests of the same
domains, which it learns to tell apart by what they accept. No selector is told a domain. The best fixed draft
and its length are chosen afterwards, on the very requests that are judged.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_state import gpu_states
from benchmarks.mixed_drafters import shown as figures_of_mixed
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.costs.sheets.shapes import shape_of
from spinsim.engine.records import Records
from spinsim.family.family import folder as member_folder
from spinsim.family.widen import widen
from spinsim.files import write_atomically
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.prompts import materialise
from spinsim.profiling.session import Session
from spinsim.profiling.timing import QUICK
from spinsim.profiling.workplace import Workplace
from spinsim.recording import load_trace, save_trace
from spinsim.results.environment import environment
from spinsim.scenario import PolicyChoice
from spinsim.scenario_file import LoadedScenario, load
from spinsim.scenario_file.variants import override
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.profile import measure_host, rehearse_selectors
from spinsim.studies.run import run_scenario
from spinsim.studies.selector_training import train
from spinsim.studies.trace import record_workload
from spinsim.workload.for_scenario import build_workload

SCHEMA = "spinsim.specialists/1"
SCENARIO = Path(__file__).parents[1] / "scenarios" / "one-gpu.yaml"
KNOWN = Path(__file__).parents[1] / "profiles" / "family-greedy.npz"
AIM = 1.10  # of the best fixed draft
REHEARSED = 32  # tokens of an output in the short runs that show what the host takes
TRAINED = "TRAINED"  # where a variant wants the trained file
SPIN = {"name": "spin", "explore": 0.1, "share": "prior", "prior_weight": 2}
ORACLES = ("oracle", "contextual_oracle", "planned_oracle")
TINY = (  # the family as it was trained: for a CPU
    *(
        f"models.{name}.dtype=fp32"
        for name in ("target", *(f"drafts.{d}" for d in ("tiny", "code", "maths")))
    ),
    *(f"models.drafts.{name}.dtype=fp32" for name in ("small", "large")),
    "live.widen=false",
)
Numbers = dict[str, Any]


def workload(clients: int, requests: int, tokens: int, most: int) -> list[str]:
    """Requests of mixed domains, answers of ``tokens``, prompts of about a hundred."""
    return [
        override("workload.arrivals", {"process": "closed", "concurrency": clients}),
        f"workload.requests={requests}",
        f"workload.output_tokens={{distribution: fixed, value: {tokens}}}",
        "workload.prompt_tokens={distribution: lognormal, median: 96, sigma: 0.3, min: 48, max: 160}",
        f"limits.batch={clients}",
        f"limits.max_length={most}",
    ]


def variants(most: int, fixed: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
    """Overrides by name. Selectors that decide no lengths have the longest that a fixed draft has."""

    def chosen(selector: Mapping[str, Any], length: Mapping[str, Any]) -> list[str]:
        return [override("policies.selector", dict(selector)), override("policies.length", dict(length))]

    alike = {"name": "fixed", "tokens": most}
    found = {
        f"{draft} {tokens}": chosen({"name": "fixed", "draft": draft}, {"name": "fixed", "tokens": tokens})
        for draft, lengths in fixed.items()
        for tokens in lengths
    }
    planned = {"name": "planned"}
    contextual = {"name": "contextual", "trained": TRAINED, "longest": {"small": 4, "large": 4}, "hold": 4}
    return found | {
        "spin": chosen(SPIN, alike),
        "joint": chosen({"name": "joint"}, alike),
        "planned": chosen(planned, planned),
        "contextual": chosen(contextual, planned),
        "oracle": chosen({"name": "oracle"}, alike),
        "contextual_oracle": chosen({"name": "contextual_oracle", "trained": TRAINED}, planned),
        "planned_oracle": chosen({"name": "planned_oracle"}, planned),
    }


def widened_target(shape: str, folder: Path) -> list[str]:
    """Overrides for the family's target at the cost of ``shape``, in fp32, which is written to ``folder``."""
    where = torch.device("cpu")
    model = widen(member_folder("target"), shape_of(shape), dtype=torch.float32, device=where, seed=1)
    model.save_pretrained(folder)
    return [override("models.target", {"shape": shape, "weights": str(folder), "dtype": "fp32"})]


def measured(place: Workplace, path: Path, selectors: Mapping[str, PolicyChoice]) -> float:
    """Profiles the deployment into ``path``; returns the seconds that it took."""
    begun = replace(place.empty_profile(), rehearsed_tokens=REHEARSED)
    session = Session(begun, path, QUICK, place.guess(), None)
    measure_host(session, place, quick=True)
    session.measure(place.bench, place.design(quick=True, packings=("ragged",)).core)
    rehearse_selectors(session, place, selectors, runs=1)
    session.write()
    return session.elapsed_s


def charged_alike(profile: Path, out: Path) -> Path:
    """The profile without what the host took to decide with any selector but `fixed`; ``out`` has it."""
    values = json.loads(profile.read_text())
    values["points"] = [
        point
        for point in values["points"]
        if point["operation"] != "handling" or point.get("policy") == "fixed"
    ]
    write_atomically(out, json.dumps(values))
    return out


def recorded(loaded: LoadedScenario, deployment: Deployment, path: Path) -> None:
    """The acceptance of every draft over the workload, as the simulations have it."""
    made = materialise(
        loaded.scenario, build_workload(loaded.scenario, loaded.base_dir), deployment.models.target
    )
    trace, _ = record_workload(loaded.scenario, deployment, made)
    save_trace(trace, path)


def shown(records: Records) -> Numbers:
    """Tokens per second of the whole run, and what came to it."""
    tokens = sum(record.output_tokens for record in records.requests.values())
    return figures_of_mixed(records) | {
        "acceptance_length": tokens / max(1, len(records.rounds.request)),
        "switches": sum(record.switches for record in records.requests.values()),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile, bound, predictions, live runs; 1 where a variant failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.specialists", description=__doc__)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument(
        "--tiny", action="store_true", help="the family as it was trained, a few short requests"
    )
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=320, help="of an answer (default 320)")
    parser.add_argument("--repetitions", type=int, default=3, help="live runs of each variant (default 3)")
    parser.add_argument("--recorded", type=Path, help="simulate alone, over an earlier session's recording")
    parser.add_argument(
        "--alike", action="store_true", help="with --recorded: charge every selector the host time of `fixed`"
    )
    parser.add_argument("--widened", metavar="SHAPE", help="on a CPU: the target at the cost of this shape")
    parser.add_argument("--profile", type=Path, help="of this machine, in place of one measured first")
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no live run after so many")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    if options.tiny:
        options.clients, options.requests, options.tokens = 2, 4, 32
    most = 8
    overrides = [*(TINY if options.tiny or options.device == "cpu" else ()), *options.overrides]
    if torch.cuda.is_available() and options.device != "cpu":
        found = sheet_of_device(torch.cuda.get_device_name(0))
        overrides += [f"devices.gpu0.hardware={found}"] if found else []
    elif options.device == "cpu":
        overrides += ["devices.gpu0.hardware=cpu"]
    overrides += workload(options.clients, options.requests, options.tokens, most)
    out: Path = options.out

    def beside(name: str) -> Path:
        return out.with_name(f"{out.stem}-{name}").resolve()

    profile = (options.profile or beside("profile.json")).resolve()
    trace = (options.recorded or beside("recorded.npz")).resolve()
    replayed = [
        override("workload.source", {"format": "spinsim", "path": str(trace)}),
        override("acceptance", {"model": "trace", "path": str(trace)}),
        "workload.prompt_tokens=null",
        "workload.output_tokens=null",
    ]
    if options.widened:  # in fp32 a wide target says what the small one says
        small = load(SCENARIO, overrides, options.device)
        recorded(small, deploy(small.scenario, small.base_dir, packings=("ragged",)), trace)
        overrides += [*widened_target(options.widened, beside("target")), replayed[0], *replayed[2:]]
    base = load(SCENARIO, overrides, options.device)
    data: Numbers = {
        "schema": SCHEMA,
        "environment": environment(),
        "options": {name: str(value) for name, value in vars(options).items()},
        "clocks": [gpu_states()],
    }

    def save(**more: Any) -> None:
        data.update(more)
        data["clocks"].append(gpu_states())
        write_atomically(out, json.dumps(data, indent=1) + "\n")

    trained = beside("trained.json")
    write_atomically(trained, json.dumps(train(load_trace(KNOWN), most)))
    every = {
        name: [text.replace(TRAINED, str(trained)) for text in changes]
        for name, changes in variants(
            most, {"tiny": (4, 6, 8), "code": (4,), "maths": (4,), "small": (4, 6), "large": (4,)}
        ).items()
    }
    if options.recorded and options.alike:
        profile = charged_alike(profile, beside("alike-profile.json"))
    costs = override("costs", {"model": "profile", "path": str(profile), "allow_roofline": True})
    given = [*overrides, costs, *replayed]

    def foretold() -> dict[str, Numbers]:
        loaded = {name: load(SCENARIO, [*given, *own], options.device) for name, own in every.items()}
        return {
            name: shown(simulate_scenario(one.scenario, one.base_dir).records) for name, one in loaded.items()
        }

    fixed = [name for name in every if name.split()[0] in base.scenario.models.drafts]
    if options.recorded:
        save(predicted=foretold())
        bounds(data["predicted"], fixed)
        return 0
    deployment = deploy(base.scenario, base.base_dir, packings=("ragged",))
    save(models=deployment.models.notes, deployed_s=time.perf_counter() - began)
    thinking = {
        name.split()[0]: load(SCENARIO, [*overrides, *every[name]], options.device).scenario.policies.selector
        for name in ("spin", "joint", "planned", "contextual")
    }
    thinking["fixed"] = PolicyChoice.model_validate({"name": "fixed", "draft": "tiny"})
    if options.profile is None:
        with Workplace(base.scenario, base.base_dir, deployment) as place:
            save(profiled_s=measured(place, profile, thinking))
    if not options.widened:
        recorded(base, deployment, trace)
    cells = {name: load(SCENARIO, [*overrides, costs, *own], options.device) for name, own in every.items()}
    predicted = foretold()
    save(predicted=predicted, live={}, began_live_s=time.perf_counter() - began)
    best = bounds(predicted, fixed)

    # A fixed draft that is foretold to be a tenth behind the best one runs once: it is no rival.
    rivals = [n for n in fixed if predicted[n]["tokens_per_s"] > 0.9 * predicted[best]["tokens_per_s"]]
    judged = [*rivals, *(name for name in every if name not in fixed and name not in ORACLES)]
    turns = [[best], *([*judged] if turn % 2 else [*reversed(judged)] for turn in range(options.repetitions))]
    turns.append([name for name in fixed if name not in rivals])
    live: dict[str, list[Numbers]] = {name: [] for name in every if name not in ORACLES}
    failed: dict[str, str] = {}
    for number, names in enumerate(turns):  # the first is to warm up, and does not count
        for name in names:
            if name in failed or time.perf_counter() - began > options.seconds:
                continue
            ran = run_scenario(cells[name].scenario, cells[name].base_dir, deployment)
            if ran.error is not None:
                failed[name] = str(ran.error)
            elif number:
                live[name].append(shown(ran.records))
            save(live=live, failed=failed)
    save(ratios=report(data, fixed))
    return 1 if failed else 0


def bounds(predicted: Mapping[str, Numbers], fixed: Sequence[str]) -> str:
    """Prints what is foretold of every variant, over the best fixed draft; returns that one's name."""
    rates = {name: one["tokens_per_s"] for name, one in predicted.items()}
    best = max(fixed, key=rates.__getitem__)
    for name in sorted(rates, key=rates.__getitem__, reverse=True):
        what = "bound" if name in ORACLES else "foretold"
        length = predicted[name]["acceptance_length"]
        print(
            f"{what:8} {name:18} {rates[name]:8,.0f} tokens/s, {rates[name] / rates[best]:.3f} of {best}; "
            f"acceptance length {length:.2f}",
            flush=True,
        )
    return best


def report(data: Numbers, fixed: Sequence[str]) -> dict[str, float]:
    """Prints a line a variant; returns live tokens per second over those of the best fixed draft."""
    rates = {name: [run["tokens_per_s"] for run in runs] for name, runs in data["live"].items() if runs}
    means = {name: statistics.mean(values) for name, values in rates.items()}
    rivals = [name for name in fixed if name in means]
    if not rivals:
        return {}
    best = max(rivals, key=means.__getitem__)
    ratios = {name: mean / means[best] for name, mean in means.items()}
    for name in sorted(means, key=means.__getitem__, reverse=True):
        foretold, values = data["predicted"][name]["tokens_per_s"], rates[name]
        error = 100 * (foretold / means[name] - 1)
        print(
            f"{name:12} {means[name]:8,.0f} tokens/s live ({min(values):,.0f} to {max(values):,.0f}), "
            f"{ratios[name]:.3f} of {best}; foretold {foretold:,.0f} ({error:+.1f} %); "
            f"acceptance length {data['live'][name][0]['acceptance_length']:.2f}"
        )
    return ratios


if __name__ == "__main__":
    raise SystemExit(main())
