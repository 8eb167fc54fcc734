"""The ladder's steps on real devices: simulated first, then run in turn, each run kept when it ends."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from spinsim.drafters.costs import build_predictor
from spinsim.errors import InputError
from spinsim.lab.evaluate import Lab
from spinsim.lab.rows import Planned, Row
from spinsim.lab.store import Outcome
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.live_run import run_scenario
from spinsim.live.places import found_devices, other_hardware
from spinsim.packings import executed_by
from spinsim.results.publish import publish
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario
from spinsim.serving import trusting
from spinsim.studies.ladder.ladder import LadderPlan
from spinsim.studies.ladder.result import Ladder, Prepared, climbed
from spinsim.studies.outcome import read_interval

NO_TIME = "found no time; --resume goes on with it"


@dataclass(frozen=True, slots=True)
class Run:
    """One live run: a step, its planned cell, and how many copies of it stand for the step."""

    step: str
    planned: Planned
    loaded: LoadedScenario
    copies: int

    @property
    def key(self) -> str:
        """Of the store: all that decides a simulated run decides a live one."""
        return f"live-{self.planned.cell.key}"


@dataclass
class Lived:
    """What live runs gave so far; ``left``: runs that found no time.

    ``loading_s``: of the last deployment. ``took``: seconds of the last run of each step.
    """

    rows: list[Row] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    devices: dict[str, Any] = field(default_factory=dict)
    left: int = 0
    loading_s: float = 0.0
    took: dict[str, float] = field(default_factory=dict)

    def needed_s(self, groups: Sequence[Sequence[Run]]) -> float:
        """What further deployments are expected to take, their runs as long as the shortest so far."""
        shortest = min(self.took.values(), default=0.0)
        return sum(self.loading_s + len(group) * shortest for group in groups)


def run_ladder(
    plan: LadderPlan, ready: Prepared, predicted: Mapping[str, Any], lab: Lab, minutes: float | None = None
) -> tuple[Ladder, dict[str, Any]]:
    """Run every step that is planned, once a seed; what the store has is not run again.

    Returns the ladder, with what was ``predicted`` (the summary that was kept) beside each step, and what ran
    on which devices.

    Steps take turns: all of them with the first seed, then with the next, which begins with another step, so
    that none is always the first. Steps of another placement (a copy) have a deployment of their own, and
    come after the others. Of ``replicas`` one copy runs, with its part of the clients, and counts as often
    as there are copies. ``minutes`` bound the runs and the loading: what is expected to end later is left
    out, and time is kept for the deployments that follow. A run that fails is a failed row, as are all that
    a deployment was to serve which fails; the others go on.
    """
    until = None if minutes is None else time.monotonic() + 60 * minutes
    lived, runs = Lived(), list(_runs(plan, ready))
    groups = _groups(runs)
    for at, group in enumerate(groups):
        missing = [[run for run in later if lab.store.get(run.key) is None] for later in groups[at + 1 :]]
        _run_group(group, [later for later in missing if later], lived, lab, until)
    found = climbed(ready, lived.rows)
    started = {row.labels["step"] for row in lived.rows}
    foretold = {step["name"]: read_interval(step["goodput"]) for step in predicted["steps"]}
    steps = tuple(
        replace(
            step,
            predicted=foretold[step.name],
            why=step.why or ("" if step.name in started else NO_TIME),
        )
        for step in found.steps
    )
    notes = [*found.notes, *predicted["notes"]]
    if lived.left:
        notes.append(f"{lived.left} of {len(runs)} live runs found no time; --resume goes on with them")
    about = {"models": lived.models, "devices": lived.devices}
    return replace(found, steps=steps, notes=tuple(dict.fromkeys(notes))), about


def _runs(plan: LadderPlan, ready: Prepared) -> Iterator[Run]:
    """Seed by seed, and the steps in their order within a seed, from another one on each time."""
    steps = [step for step in ready.work if step.cells]
    for at, seed in enumerate(ready.seeds):
        first = at * len(steps) // len(ready.seeds)
        for step in (*steps[first:], *steps[:first]):
            copies = step.cells[at]
            loaded = plan.load([*step.overrides, f"seed={seed}"])
            yield Run(step.name, copies[0], loaded, len(copies))


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that one deployment serves, together, in the order of their first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        scenario = run.loaded.scenario
        values = scenario.model_dump(mode="json", include={"models", "devices", "placement", "kv", "live"})
        groups.setdefault(json.dumps(values, sort_keys=True), []).append(run)
    return list(groups.values())


def _run_group(
    group: Sequence[Run], later: Sequence[Sequence[Run]], lived: Lived, lab: Lab, until: float | None
) -> None:
    deployment: Deployment | None = None
    fault = ""  # of the deployment
    for at, run in enumerate(group):
        outcome = lab.store.get(run.key)
        loading_s = 0.0 if deployment else lived.loading_s
        if outcome is None and until is not None and loading_s + _ends(run, later, lived) > until:
            until = 0.0  # nor does any later one run: short steps would have more runs than long ones
            lived.left += 1
            continue
        if outcome is None and deployment is None and not fault:
            began = time.monotonic()
            try:
                deployment = _deployed(group, lab)
            except Exception as error:  # the other groups go on
                if isinstance(error, InputError) and not lived.rows:
                    raise  # nothing has run, and nothing is lost
                fault = _said(error)
            else:
                lived.models |= deployment.models.notes
                lived.devices |= found_devices(run.loaded.scenario)
            lived.loading_s = time.monotonic() - began
        if outcome is None and deployment is not None:
            began = time.monotonic()
            outcome = _lived(run, deployment)
            lived.took[run.step] = time.monotonic() - began
            lab.store.put(outcome)
        if lab.progress is not None:
            lab.progress("live runs", at + 1, len(group))
        seed, labels = run.planned.seed, run.planned.labels
        ended = outcome or Outcome(run.key, None, fault)
        for copy in range(run.copies):
            label = {**labels, "copy": copy, "world": "live"}
            lived.rows.append(Row(label, seed, run.key, ended.summary, ended.error))
    del deployment  # its memory is the next one's
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _ends(run: Run, later: Sequence[Sequence[Run]], lived: Lived) -> float:
    """When a run is expected to end, and what follows in other deployments with it."""
    expected_s = lived.took.get(run.step, max(lived.took.values(), default=0.0))
    return time.monotonic() + expected_s + lived.needed_s(later)


def _said(error: Exception) -> str:
    return error.message if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _deployed(group: Sequence[Run], lab: Lab) -> Deployment:
    """The models of a group, with room for its largest batch and graphs for its packings."""
    scenarios = [run.loaded.scenario for run in group]
    first = scenarios[0]
    limits = first.limits.model_copy(
        update={
            "batch": max(scenario.limits.batch for scenario in scenarios),
            "max_length": max(scenario.limits.max_length for scenario in scenarios),
        }
    )
    chosen = [scenario.policies.packing for scenario in scenarios]
    names = (name for one in chosen for name in executed_by(one.name, one.params.get("among")))
    scenario = first.model_copy(update={"limits": limits})
    return deploy(scenario, group[0].loaded.base_dir, lab.progress, packings=tuple(dict.fromkeys(names)))


def _lived(run: Run, deployment: Deployment) -> Outcome:
    loaded = run.loaded
    scenario: Scenario = loaded.scenario
    try:
        ran = run_scenario(
            scenario,
            loaded.base_dir,
            deployment,
            predictor=build_predictor(trusting(scenario), loaded.base_dir),
        )
        if isinstance(ran.error, KeyboardInterrupt):
            raise ran.error
        if ran.error is not None:
            raise RuntimeError(str(ran.error)) from ran.error
        if ran.slots_held:
            raise RuntimeError(f"{ran.slots_held} K/V slots are held after the run")
    except Exception as error:  # a failed row: the other steps go on
        return Outcome(run.key, None, _said(error))
    notes = {"found_devices": found_devices(scenario), "other_hardware": other_hardware(scenario)}
    summary = publish(loaded, None, ran, mode="live", notes=notes)
    summary.pop("definitions", None)
    return Outcome(run.key, json.loads(json.dumps(summary)), scenario=scenario.model_dump_json())
