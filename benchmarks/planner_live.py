"""The planner live on one GPU, beside the best fixed plan, ``joint`` and vanilla; what it takes of the host.

    python -m benchmarks.planner_live --foretell FILE               # anywhere: simulated from sheets
    python -m benchmarks.planner_live --foretold FILE --out OUT     # one GPU, 170 s
    python -m benchmarks.planner_live --small --foretell FILE       # a rehearsal on a CPU; then --foretold

One deployment, an 8B target and four drafts beside it on the same GPU, serves two workloads with given
acceptance: requests that ``differ`` in which draft is the best for them, and requests that are ``alike``, in
the middle of long answers. ``FILE`` has the fixed plans, which were chosen on another seed, and what every
plan makes by data sheets with each seed, the oracle's bound included. The live session reads it,
prints it, and simulates nothing. Plans take turns seed by seed, and ``OUT`` is written after every run. What
ran is summed up over the seeds that all plans have run, with intervals (95 %) of paired ratios.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu_state import gpu_states
from benchmarks.planner_live_cases import (
    CASES,
    DEPLOYED,
    PACKINGS,
    SCENARIO,
    SHAPES,
    SHORT,
    SMALL_MODELS,
    Case,
    plans,
)
from benchmarks.planner_live_report import bounds, report
from benchmarks.planner_time import planner_timed
from spinsim.files import write_atomically
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.live_run import run_scenario
from spinsim.results.environment import environment
from spinsim.results.publish import publish
from spinsim.scenario_file import LoadedScenario, load
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.ladder.best import best_fixed
from spinsim.studies.ladder.ladder import DEEPEST, TUNING_SEED
from spinsim.studies.ladder.result import measured, rate_of
from spinsim.studies.ladder.rounds import round_of
from spinsim.studies.ladder.steps import ORACLE, FixedPlan

SCHEMA = "spinsim.planner-live/1"
SEEDS = (101, 102, 103, 104, 105)
RIVAL = 0.95  # of the best fixed plan's rate, foretold
Numbers = dict[str, Any]


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planner_live",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--foretell", type=Path, metavar="FILE", help="simulate, and write what is foretold")
    what.add_argument("--foretold", type=Path, metavar="FILE", help="what is run live")
    parser.add_argument("--hardware", default="h200", help="with --foretell: the sheet (default h200)")
    parser.add_argument("--seconds", type=float, default=165.0, help="begin nothing that would end later")
    parser.add_argument("--small", action="store_true", help="small models on a CPU, short requests")
    parser.add_argument("--out", type=Path, help="with --foretold: where the live figures go")
    options = parser.parse_args(arguments)
    if options.foretold and options.out is None:
        parser.error("--foretold needs --out")
    return options


class Setting(NamedTuple):
    """Where the plans run: the GPU's sheet, and whether the models are ``small``."""

    hardware: str
    small: bool

    def overrides(self, case: Case | None = None) -> list[str]:
        """The deployment's, and a case's workload."""
        found = [*DEPLOYED, *(SMALL_MODELS if self.small else ()), f"devices.gpu0.hardware={self.hardware}"]
        if case is not None:
            found += [*case.overrides, *(SHORT[case.name] if self.small else ())]
        return found

    def load(self, case: Case | None = None, own: Sequence[str] = ()) -> LoadedScenario:
        """The scenario, with overrides of a plan's own."""
        return load(SCENARIO, [*self.overrides(case), *own], "cpu" if self.small else None)


def foretell(setting: Setting) -> Numbers:
    """What every plan makes with every seed, by sheets."""
    found: Numbers = {"schema": SCHEMA, **setting._asdict(), "seeds": SEEDS, "cases": {}}
    for case in CASES:
        fixed = rivals(setting, case)
        rates: dict[str, list[float]] = {}
        rounds: dict[str, Numbers | None] = {}
        for name, own in plans(fixed).items():
            summaries = [simulated(setting.load(case, [*own, f"seed={seed}"])) for seed in SEEDS]
            scenario = setting.load(case, own).scenario
            rates[name] = [round(rate_of(scenario, summary), 1) for summary in summaries]
            rounds[name] = round_of(summaries, measured(scenario))
        found["cases"][case.name] = {"fixed": [str(plan) for plan in fixed], "rates": rates, "rounds": rounds}
    return found


def rivals(setting: Setting, case: Case) -> list[FixedPlan]:
    """The best fixed plan by sheets, on a seed that nothing else runs with; and those of other drafts that
    are so little behind it that they may be ahead live."""

    def rates(asked: Sequence[FixedPlan]) -> dict[FixedPlan, float]:
        loaded = {plan: setting.load(case, [*plan.overrides(), f"seed={TUNING_SEED}"]) for plan in asked}
        return {plan: rate_of(one.scenario, simulated(one)) for plan, one in loaded.items()}

    scenario = setting.load(case).scenario
    best, known = best_fixed(rates, list(SHAPES), scenario.limits.max_length, depths=range(1, DEEPEST + 1))
    by_draft: dict[str | None, FixedPlan] = {best.draft: best}
    for plan in sorted(known, key=known.__getitem__, reverse=True):
        if known[plan] > RIVAL * known[best]:
            by_draft.setdefault(plan.draft, plan)
    return list(by_draft.values())


def simulated(loaded: LoadedScenario) -> Numbers:
    """The summary of a simulated run."""
    ran = simulate_scenario(loaded.scenario, loaded.base_dir)
    return publish(loaded, None, ran, mode="simulated")


def turns(foretold: Numbers) -> Iterator[tuple[int, Case, str]]:
    """(seed, case, plan): everything with a seed before the next one, which begins with another plan."""
    for at, seed in enumerate(foretold["seeds"]):
        for case in CASES:
            names = [name for name in foretold["cases"][case.name]["rates"] if name != ORACLE]
            first = at % len(names)
            yield from ((seed, case, name) for name in (*names[first:], *names[:first]))


class Session:
    """The live part: one deployment, and the file that keeps every run as it ends."""

    def __init__(self, setting: Setting, foretold: Numbers, out: Path, seconds: float) -> None:
        self._setting, self._foretold, self._out, self._seconds = setting, foretold, out, seconds
        self._began = time.perf_counter()
        self._took: dict[tuple[str, str], float] = {}
        self._data: Numbers = {
            "schema": SCHEMA,
            "environment": environment(),
            "foretold": foretold,
            "runs": [],
            "clocks": [gpu_states()],
        }

    def run(self) -> int:
        """Deploys, and runs the plans in turn until the time is over; 1 where a run failed."""
        base = self._setting.load(CASES[-1])
        with deploy(base.scenario, base.base_dir, packings=PACKINGS) as deployment:
            self._save(models=deployment.models.notes, deployed_s=self._passed_s())
            self._warm(deployment)
            for seed, case, name in turns(self._foretold):
                expected_s = self._took.get((case.name, name), max(self._took.values(), default=0.0))
                if self._passed_s() + expected_s > self._seconds:
                    break
                self._data["runs"].append(self._one(deployment, seed, case, name))
                self._save(passed_s=self._passed_s())
        self._data["report"] = report(self._foretold, self._data["runs"])
        self._save(passed_s=self._passed_s())
        return 1 if any("error" in run for run in self._data["runs"]) else 0

    def _warm(self, deployment: Deployment) -> None:
        """A few requests that do not count."""
        loaded = self._setting.load(CASES[0], ["workload.requests=8"])
        run_scenario(loaded.scenario, loaded.base_dir, deployment)

    def _one(self, deployment: Deployment, seed: int, case: Case, name: str) -> Numbers:
        fixed = map(FixedPlan.read, self._foretold["cases"][case.name]["fixed"])
        loaded = self._setting.load(case, [*plans(fixed)[name], f"seed={seed}"])
        found: Numbers = {"seed": seed, "case": case.name, "plan": name}
        began = time.perf_counter()
        with planner_timed(time.perf_counter) as spent:
            ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
        if ran.error is not None:
            return found | {"error": str(ran.error)}
        summary = publish(loaded, None, ran, mode="live", notes={"cpus": ran.cpus.told()})
        summary.pop("definitions", None)
        self._took[case.name, name] = time.perf_counter() - began
        metric, rounds = measured(loaded.scenario), len(ran.records.rounds.size)
        return found | {
            "tokens_per_s": rate_of(loaded.scenario, summary),
            "round": round_of([summary], metric),
            "host_ms_per_round": 1e3 * ran.records.orchestrator_s / max(1, rounds),
            "idle_ms_per_round": 1e3 * ran.records.idle_caused_s / max(1, rounds),
            "planner": spent.told(),
            "summary": json.loads(json.dumps(summary)),
        }

    def _passed_s(self) -> float:
        return time.perf_counter() - self._began

    def _save(self, **more: Any) -> None:
        self._data.update(more)
        self._data["clocks"].append(gpu_states())
        write_atomically(self._out, json.dumps(self._data, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Foretell, or run what was foretold."""
    options = arguments_of(arguments)
    if options.foretell:
        found = foretell(Setting("cpu" if options.small else options.hardware, options.small))
        write_atomically(options.foretell, json.dumps(found, indent=1) + "\n")
        bounds(found)
        return 0
    foretold = json.loads(options.foretold.read_text(encoding="utf-8"))
    bounds(foretold)
    setting = Setting(foretold["hardware"], foretold["small"])
    return Session(setting, foretold, options.out, options.seconds).run()


if __name__ == "__main__":
    raise SystemExit(main())
