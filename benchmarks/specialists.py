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
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_state import gpu_states
from benchmarks.mixed_drafters import shown as figures_of_mixed
from benchmarks.specialists_table import bounds, report, turns
from benchmarks.specialists_variants import (
    LENGTHS,
    MOST,
    SCENARIO,
    THIRD,
    TINY,
    TRAINED,
    closed,
    variants,
    workload,
)
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.costs.sheets.shapes import shape_of
from spinsim.engine.records import Records
from spinsim.family.evaluate import held_out_prompts
from spinsim.family.family import folder as member_folder
from spinsim.family.record import trace_family
from spinsim.family.widen import widen
from spinsim.files import write_atomically
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.live_run import run_scenario
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
from spinsim.studies.selector_training import train
from spinsim.studies.trace import record_workload
from spinsim.workload.for_scenario import build_workload

SCHEMA = "spinsim.specialists/1"
KNOWN_SEED, KNOWN_REQUESTS, KNOWN_TOKENS = 3, 24, 127  # of the other requests: their number by domain
REHEARSED = 32  # tokens of an output in the short runs that show what the host takes
Numbers = dict[str, Any]


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


class Bench:
    """What the options say, and the files beside ``out`` that the parts hand to each other."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.began = time.perf_counter()
        self.on_cpu = options.device == "cpu" or not torch.cuda.is_available()
        self.profile: Path = (options.profile or self.beside("profile.json")).resolve()
        self.trace: Path = (options.recorded or self.beside("recorded.npz")).resolve()
        self.overrides = self._overrides()
        self.base = self.load([])
        self.drafts = list(self.base.scenario.models.drafts)
        self.data: Numbers = {
            "schema": SCHEMA,
            "environment": environment(),
            "options": {name: str(value) for name, value in vars(options).items()},
            "clocks": [gpu_states()],
        }
        self.variants = self._variants()
        self.fixed = [name for name in self.variants if name.split()[0] in self.drafts]

    def beside(self, name: str) -> Path:
        """A file beside ``out``, named after it."""
        out: Path = self.options.out
        return out.with_name(f"{out.stem}-{name}").resolve()

    def load(self, own: Sequence[str]) -> LoadedScenario:
        """The scenario with overrides of its own."""
        return load(SCENARIO, [*self.overrides, *own], self.options.device)

    def save(self, **more: Any) -> None:
        """What is known so far, with the clocks of now."""
        self.data.update(more)
        self.data["clocks"].append(gpu_states())
        write_atomically(self.options.out, json.dumps(self.data, indent=1) + "\n")

    def late(self) -> bool:
        """Is it too late to begin something?"""
        return self.passed_s() > self.options.seconds

    def passed_s(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.began

    def foretold(self, clients: int) -> dict[str, Numbers]:
        """What every variant and oracle makes, simulated over the recording."""
        print(f"{clients} clients:", flush=True)
        given = [self._costs(), *self._replayed(), closed(clients)]
        loaded = {name: self.load([*given, *own]) for name, own in self.variants.items()}
        return {
            name: shown(simulate_scenario(one.scenario, one.base_dir).records) for name, one in loaded.items()
        }

    def simulate(self) -> int:
        """Bounds and predictions alone."""
        if self.options.alike:
            self.profile = charged_alike(self.profile, self.beside("alike-profile.json"))
        by_clients: dict[int, Numbers] = {}
        for clients in self.options.clients:
            by_clients[clients] = {"predicted": self.foretold(clients)}
            self.save(by_clients=by_clients)
            bounds(by_clients[clients]["predicted"], self.fixed)
        return 0

    def run(self) -> int:
        """Deploy, profile and record; then, for each number of clients, foretell and serve."""
        deployment = deploy(self.base.scenario, self.base.base_dir, packings=("ragged",))
        self.save(models=deployment.models.notes, deployed_s=self.passed_s())
        if self.options.profile is None:
            with Workplace(self.base.scenario, self.base.base_dir, deployment) as place:
                self.save(profiled_s=measured(place, self.profile, self._selectors()))
        if not self.options.widened:
            recorded(self.base, deployment, self.trace)
        by_clients: dict[int, Numbers] = {}
        failed: dict[str, str] = {}
        for clients in self.options.clients:
            if self.late():
                break
            here = by_clients[clients] = {"predicted": self.foretold(clients)}
            here["live"] = {name: [] for name in self.variants}
            self.save(by_clients=by_clients, failed=failed)
            best = bounds(here["predicted"], self.fixed)
            order = turns(here["predicted"], self.fixed, best, self.options.repetitions)
            for number, name in enumerate(order):
                if name in failed or self.late():
                    continue
                cell = self.load([self._costs(), closed(clients), *self.variants[name]])
                ran = run_scenario(cell.scenario, cell.base_dir, deployment)
                if ran.error is not None:
                    failed[name] = str(ran.error)
                elif number:  # the first is to warm up, and does not count
                    here["live"][name].append(shown(ran.records))
                self.save(passed_s=self.passed_s())
            here["ratios"] = report(here, self.fixed)
            self.save()
        return 1 if failed else 0

    def _overrides(self) -> list[str]:
        options = self.options
        found = [*(TINY if options.tiny or options.device == "cpu" else ())]
        if not options.five:
            found += [*THIRD, *(("models.drafts.prose.dtype=fp32",) if found else ())]
        found += options.overrides
        if not self.on_cpu:
            sheet = sheet_of_device(torch.cuda.get_device_name(0))
            found += [f"devices.gpu0.hardware={sheet}"] if sheet else []
        elif options.device == "cpu":
            found += ["devices.gpu0.hardware=cpu"]
        found += workload(max(options.clients), options.requests, options.tokens, MOST)
        if options.widened:  # in fp32 a wide target says what the small one says
            small = load(SCENARIO, found, options.device)
            recorded(small, deploy(small.scenario, small.base_dir, packings=("ragged",)), self.trace)
            source, _, *lengths = self._replayed()
            found += [*widened_target(options.widened, self.beside("target")), source, *lengths]
        return found

    def _variants(self) -> dict[str, list[str]]:
        tiny, device = self.options.tiny, "cpu" if self.on_cpu else "cuda"
        taught = self.options.known or known(self.beside("known.npz"), device, self.drafts, tiny=tiny)
        trained = self.beside("trained.json")
        write_atomically(trained, json.dumps(train(load_trace(taught), MOST)))
        found = variants(MOST, {draft: LENGTHS[draft] for draft in self.drafts})
        return {
            name: [text.replace(TRAINED, str(trained)) for text in changes] for name, changes in found.items()
        }

    def _replayed(self) -> list[str]:
        """Overrides: the requests of the recording, and their acceptance."""
        path = str(self.trace)
        return [
            override("workload.source", {"format": "spinsim", "path": path}),
            override("acceptance", {"model": "trace", "path": path}),
            "workload.prompt_tokens=null",
            "workload.output_tokens=null",
        ]

    def _costs(self) -> str:
        costs = {"model": "profile", "path": str(self.profile), "allow_roofline": True}
        return override("costs", costs)

    def _selectors(self) -> dict[str, PolicyChoice]:
        """Those whose host time is measured."""
        found = {
            name: self.load(self.variants[name]).scenario.policies.selector
            for name in ("spin", "joint", "planned", "contextual")
        }
        return found | {"fixed": PolicyChoice.model_validate({"name": "fixed", "draft": "tiny"})}


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile, and for each number of clients the bound, predictions and live runs; 1 where one failed."""
    bench = Bench(arguments_of(arguments))
    return bench.simulate() if bench.options.recorded else bench.run()


if __name__ == "__main__":
    raise SystemExit(main())
