"""Selection on specialists, live: selectors against the best fixed draft, the oracle's bound printed first.

    python -m benchmarks.specialists --out specialists.json                        # one GPU, 200 s
    python -m benchmarks.specialists --tiny --device cpu --out specialists.json    # a rehearsal

``scenarios/one-gpu.yaml`` is deployed: the family that ships, widened to a 7B target and its five drafts, and
``prose`` besides. Three of the six are specialists: for code, maths and prose. The prompts are of ten
domains, mixed. First the machine is profiled, and the acceptance of the models over the workload is
recorded. For each number of clients, every variant, and oracles that know the future, are then simulated:
the bound and the predictions are written before anything is served. Then the models serve the variants in
turn; acceptance is theirs.

``contextual`` starts from a recording of other requests of the same domains (``known``), which it learns to
tell apart by what they accept. No selector is told a domain. The best fixed draft and its length are chosen
afterwards, on the very requests that are judged.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_state import gpu_states
from benchmarks.mixed_drafters import shown as figures_of_mixed
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.costs.sheets.shapes import shape_of
from spinsim.engine.records import Records
from spinsim.family.evaluate import held_out_prompts
from spinsim.family.family import folder as member_folder
from spinsim.family.record import trace_family
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
KNOWN_SEED, KNOWN_REQUESTS, KNOWN_TOKENS = 3, 24, 127  # of the other requests: their number by domain
LENGTHS = {  # that everybody may have, by draft; the last is not the scenario's own
    "tiny": (4, 6, 8),
    "code": (4,),
    "maths": (4,),
    "small": (4, 6),
    "large": (4,),
    "prose": (4, 6),
}
DRAFTS = tuple(LENGTHS)
THIRD = (  # the specialist that the scenario does not name
    "models.drafts.prose={shape: llama-68m, weights: 'embedded:prose'}",
    "placement.drafts.prose=gpu0",
    "acceptance.strength.prose=-1.5",
)
RIVAL = 0.97  # of the best fixed draft, foretold: one further behind is served once
AIM = 1.10  # of the best fixed draft
REHEARSED = 32  # tokens of an output in the short runs that show what the host takes
TRAINED = "TRAINED"  # where a variant wants the trained file
SPIN = {"name": "spin", "explore": 0.1, "share": "prior", "prior_weight": 2}
ORACLES = ("oracle", "contextual_oracle")
TINY = (  # the family as it was trained: for a CPU
    *(f"models.{name}.dtype=fp32" for name in ("target", *(f"drafts.{draft}" for draft in DRAFTS[:-1]))),
    "live.widen=false",
)
Numbers = dict[str, Any]


def closed(clients: int) -> str:
    """So many clients, each with one request at a time."""
    return override("workload.arrivals", {"process": "closed", "concurrency": clients})


def workload(clients: int, requests: int, tokens: int, most: int) -> list[str]:
    """Requests of mixed domains, answers of ``tokens``, prompts of about a hundred; at most ``clients``."""
    return [
        closed(clients),
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
    contextual = {
        "name": "contextual",
        "trained": TRAINED,
        "longest": {"small": 4, "large": 4},
        "hold": 4,
        "temper": 1.0,
        "explore": 0.5,
    }
    return found | {
        "spin": chosen(SPIN, alike),
        "joint": chosen({"name": "joint"}, alike),
        "planned": chosen(planned, planned),
        "contextual": chosen(contextual, planned),
        "oracle": chosen({"name": "oracle"}, alike),
        "contextual_oracle": chosen({"name": "contextual_oracle", "trained": TRAINED}, planned),
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


def known(path: Path, device: str, drafts: Sequence[str], *, tiny: bool) -> Path:
    """Records other requests of the same domains into ``path``, by the family as it was trained."""
    prompts = held_out_prompts(1 if tiny else KNOWN_REQUESTS, KNOWN_SEED)
    tokens = [16 if tiny else KNOWN_TOKENS] * len(prompts)
    save_trace(trace_family(prompts, tokens, names=drafts, device=device, batch=240), path)
    return path


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.specialists", description=__doc__)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument(
        "--tiny", action="store_true", help="the family as it was trained, a few short requests"
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[4, 8, 2], help="one after the other")
    parser.add_argument("--five", action="store_true", help="without the third specialist, prose")
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=320, help="of an answer (default 320)")
    parser.add_argument("--repetitions", type=int, default=3, help="live runs of each rival (default 3)")
    parser.add_argument("--known", type=Path, help="an earlier session's recording of other requests")
    parser.add_argument("--recorded", type=Path, help="simulate alone, over an earlier session's recording")
    parser.add_argument(
        "--alike", action="store_true", help="with --recorded: charge every selector the host time of `fixed`"
    )
    parser.add_argument("--widened", metavar="SHAPE", help="on a CPU: the target at the cost of this shape")
    parser.add_argument("--profile", type=Path, help="of this machine, in place of one measured first")
    parser.add_argument("--seconds", type=float, default=600.0, help="begin no live run after so many")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    if options.tiny:
        options.clients, options.requests, options.tokens = options.clients[:2], 4, 32
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile, and for each number of clients the bound, predictions and live runs; 1 where one failed."""
    options = arguments_of(arguments)
    began = time.perf_counter()
    most = 8
    on_cpu = options.device == "cpu" or not torch.cuda.is_available()
    overrides = [*(TINY if options.tiny or options.device == "cpu" else ())]
    if not options.five:
        overrides += [*THIRD, *(("models.drafts.prose.dtype=fp32",) if overrides else ())]
    overrides += options.overrides
    if not on_cpu:
        found = sheet_of_device(torch.cuda.get_device_name(0))
        overrides += [f"devices.gpu0.hardware={found}"] if found else []
    elif options.device == "cpu":
        overrides += ["devices.gpu0.hardware=cpu"]
    overrides += workload(max(options.clients), options.requests, options.tokens, most)
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

    drafts = list(base.scenario.models.drafts)
    device = "cpu" if on_cpu else "cuda"
    taught = options.known or known(beside("known.npz"), device, drafts, tiny=options.tiny)
    trained = beside("trained.json")
    write_atomically(trained, json.dumps(train(load_trace(taught), most)))
    lengths = {draft: LENGTHS[draft] for draft in drafts}
    every = {
        name: [text.replace(TRAINED, str(trained)) for text in changes]
        for name, changes in variants(most, lengths).items()
    }
    fixed = [name for name in every if name.split()[0] in drafts]
    if options.recorded and options.alike:
        profile = charged_alike(profile, beside("alike-profile.json"))
    costs = override("costs", {"model": "profile", "path": str(profile), "allow_roofline": True})

    def foretold(clients: int) -> dict[str, Numbers]:
        print(f"{clients} clients:", flush=True)
        given = [*overrides, costs, *replayed, closed(clients)]
        loaded = {name: load(SCENARIO, [*given, *own], options.device) for name, own in every.items()}
        return {
            name: shown(simulate_scenario(one.scenario, one.base_dir).records) for name, one in loaded.items()
        }

    by_clients: dict[int, Numbers] = {}
    if options.recorded:
        for clients in options.clients:
            by_clients[clients] = {"predicted": foretold(clients)}
            save(by_clients=by_clients)
            bounds(by_clients[clients]["predicted"], fixed)
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
    failed: dict[str, str] = {}
    for clients in options.clients:
        if time.perf_counter() - began > options.seconds:
            break
        predicted = foretold(clients)
        here = by_clients[clients] = {"predicted": predicted, "live": {name: [] for name in every}}
        save(by_clients=by_clients, failed=failed)
        best = bounds(predicted, fixed)
        for number, name in enumerate(turns(predicted, fixed, best, options.repetitions)):
            if name in failed or time.perf_counter() - began > options.seconds:
                continue
            cell = load(SCENARIO, [*overrides, costs, closed(clients), *every[name]], options.device)
            ran = run_scenario(cell.scenario, cell.base_dir, deployment)
            if ran.error is not None:
                failed[name] = str(ran.error)
            elif number:  # the first is to warm up, and does not count
                here["live"][name].append(shown(ran.records))
            save(began_live_s=time.perf_counter() - began)
        here["ratios"] = report(here, fixed)
        save()
    return 1 if failed else 0


def turns(
    predicted: Mapping[str, Numbers], fixed: Sequence[str], best: str, repetitions: int
) -> Iterator[str]:
    """The order of live runs: one to warm up, then repetitions of what is judged, to and fro, then once what
    is no rival. A fixed draft that is foretold to be far behind is not served."""
    rates = {name: one["tokens_per_s"] / predicted[best]["tokens_per_s"] for name, one in predicted.items()}
    judged = [name for name in fixed if rates[name] > RIVAL] + ["spin", "contextual"]
    yield best
    for turn in range(repetitions):
        yield from judged if turn % 2 else reversed(judged)
    others = [name for name in predicted if name not in judged and name not in ORACLES]
    yield from (name for name in others if name not in fixed or rates[name] > 0.75)


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
