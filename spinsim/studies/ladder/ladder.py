"""Planning the ladder and simulating it: steps, best fixed plans, copies and a sharded target, on one set
of seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from spinsim.costs.sheets.shapes import shape_of
from spinsim.errors import InputError
from spinsim.lab.cell import check_fits
from spinsim.lab.evaluate import Lab
from spinsim.lab.rows import Planned, planned_cell, rows_of
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario, load
from spinsim.scenario_file.variants import seeds_from
from spinsim.studies.ladder import steps as ladder_steps
from spinsim.studies.ladder.best import best_fixed
from spinsim.studies.ladder.result import Ladder, Prepared, Work, climbed, rate_of
from spinsim.studies.ladder.steps import (
    BEST,
    BEST_SERIAL,
    ORDER,
    REPLICAS,
    SHARDED,
    VANILLA,
    FixedPlan,
    gpus,
)

DEEPEST = 4  # micro-batches of a fixed plan
TUNING_SEED = 1_000_003  # added to the first seed: plans are chosen on requests that no step serves


@dataclass(frozen=True, slots=True)
class LadderPlan:
    """What to run. ``steps`` (empty: all) are names of :data:`~spinsim.studies.ladder.steps.ORDER`."""

    scenario: Path
    overrides: tuple[str, ...]
    seeds: int
    seed: int | None
    tokens: int  # a proposal of the paper's steps
    steps: tuple[str, ...]
    plugins: tuple[str, ...]
    device: str | None = None  # puts every model on the CPU, or on GPUs
    tuning: tuple[str, ...] = ()  # overrides of the runs that choose the best fixed plans

    def load(self, overrides: Iterable[str] = ()) -> LoadedScenario:
        """The scenario with further overrides. Raises InputError.

        K/V are reserved as the scenario does, also where a step's packing alone would choose otherwise:
        steps differ in what they are named for.
        """
        own = load(self.scenario, self.overrides, self.device)
        if not (further := tuple(overrides)):
            return own
        reserve = f"kv.reserve={own.scenario.kv.reserve}"
        return load(self.scenario, [*self.overrides, reserve, *further], self.device)


def ladder(plan: LadderPlan, lab: Lab) -> Ladder:
    """Simulate every step with the same seeds. Raises InputError before anything runs.

    A step that the scenario does not allow (a model that fits no single copy, costs that know no
    sharded target) says why, and the others go on.
    """
    return simulated(prepared(plan, lab), lab)


def simulated(ready: Prepared, lab: Lab) -> Ladder:
    """The steps that are planned, simulated."""
    cells = [one for step in ready.work for copies in step.cells for one in copies]
    return climbed(ready, rows_of(cells, lab.evaluate([one.cell for one in cells], "steps")))


def prepared(plan: LadderPlan, lab: Lab) -> Prepared:
    """The steps of a ladder. Best plans are chosen on another seed, for the scenario's placement, for a copy
    and for a sharded target each."""
    loaded = plan.load()
    check_fits(loaded)
    scenario = loaded.scenario
    wanted = _wanted(plan.steps)
    numbers = seeds_from(scenario.seed if plan.seed is None else plan.seed, plan.seeds)
    lab.store.write_manifest("ladder", manifest(plan, numbers))
    smallest = smallest_draft(loaded)
    work: list[Work] = []
    for name, overrides in ladder_steps.paper_steps(scenario, smallest, plan.tokens).items():
        if name in wanted:
            work.append(step_work(plan, name, _said(name, smallest, plan.tokens), overrides, numbers))
    work.extend(_best_steps(plan, lab, loaded, numbers, wanted))
    for name, overrides in ladder_steps.planned_steps().items():
        if name in wanted:
            work.append(step_work(plan, name, "", overrides, numbers))
    return Prepared(loaded, tuple(work), tuple(numbers))


def _wanted(names: Sequence[str]) -> set[str]:
    for name in names:
        if name not in ORDER:
            raise InputError(f"{name!r} is no step; choose from {', '.join(ORDER)}", key="--step")
    return set(names or ORDER)


def smallest_draft(loaded: LoadedScenario) -> str:
    """The name of the smallest draft. Raises InputError where there is none."""
    drafts = loaded.scenario.models.draft_models
    if not drafts:
        raise InputError(
            "the ladder compares ways to use drafts; name some in models.drafts", key="models.drafts"
        )
    return min(drafts, key=lambda name: shape_of(drafts[name].shape, loaded.base_dir).parameters())


def _said(name: str, smallest: str, tokens: int) -> str:
    return {
        ladder_steps.AUTOREGRESSIVE: "no draft, ragged",
        VANILLA: f"{smallest}, {tokens} tokens, padded",
        ladder_steps.SELECTION: f"SPIN's selector, {tokens} tokens, padded",
        ladder_steps.DECOMPOSITION: f"SPIN's selector, {tokens} tokens, decomposed",
        ladder_steps.PIPELINE: f"SPIN's selector, {tokens} tokens, decomposed, SPIN's micro-batches",
    }[name]


def step_work(
    plan: LadderPlan,
    name: str,
    what: str,
    overrides: Iterable[str],
    seeds: Sequence[int],
    *,
    copies: int = 1,
) -> Work:
    """A step as cells, one for each seed and copy. ``gpus`` are those of the step's scenario."""
    given = tuple(overrides)
    first = plan.load(given)
    cells = tuple(
        tuple(
            Planned(
                {"step": name, "copy": copy},
                seed,
                planned_cell(plan.load([*given, f"seed={seed + copy * TUNING_SEED}"]), plan.plugins),
            )
            for copy in range(copies)
        )
        for seed in seeds
    )
    return Work(name, what, copies * len(gpus(first.scenario)), cells, overrides=given)


def _best_steps(
    plan: LadderPlan, lab: Lab, loaded: LoadedScenario, seeds: Sequence[int], wanted: set[str]
) -> list[Work]:
    """The best fixed plans of the scenario, of its copies, and of a sharded target."""
    scenario = loaded.scenario
    devices = gpus(scenario)
    specs = [scenario.devices[name] for name in devices]
    alike = len({(spec.hardware, spec.memory_gib) for spec in specs}) == 1
    copies = _copies(plan, scenario) if alike else 1
    deep = range(1, DEEPEST + 1)
    whole = set(scenario.placement.target) == set(devices)
    tuning = replace(plan, overrides=(*plan.overrides, *plan.tuning))
    tuned = tuning.load().scenario
    found = []
    for name, depths, placed, count in (
        (BEST_SERIAL, (1,), lambda _: (), 1),
        (BEST, deep, lambda _: (), 1),
        (REPLICAS, (1,), partial(ladder_steps.replica, copies=copies) if copies > 1 else None, copies),
        (SHARDED, (1,), None if whole else partial(ladder_steps.sharded, devices=devices), 1),
    ):
        if name not in wanted:
            continue
        if placed is None:
            why = "the target's devices are all that there are"
            if name == REPLICAS and not alike:
                why = "copies need devices that are all alike"
            elif name == REPLICAS and len(devices) > 1:
                why = "no fewer devices hold a copy"
            found.append(Work(name, "", len(devices), why=why))
            continue
        base = placed(scenario)
        try:
            check_fits(plan.load(base))
            best = _chosen(tuning, lab, placed(tuned), depths, f"choosing {name}")
            found.append(step_work(plan, name, str(best), (*base, *best.overrides()), seeds, copies=count))
        except InputError as error:
            if base:
                found.append(Work(name, "", len(devices), why=error.message))
                continue
            raise
    return found


def _copies(plan: LadderPlan, scenario: Scenario) -> int:
    """How many copies the devices make: each on as few of the target's as hold one; 1 where none fits."""
    devices = len(gpus(scenario))
    for each in range(1, len(scenario.placement.target) + 1):
        copies = devices // each
        if copies < 2 or devices % each:
            continue
        try:
            check_fits(plan.load(ladder_steps.replica(scenario, copies)))
        except InputError:
            continue
        return copies
    return devices // len(scenario.placement.target)


def _chosen(plan: LadderPlan, lab: Lab, base: Sequence[str], depths: Sequence[int], phase: str) -> FixedPlan:
    scenario = plan.load(base).scenario
    seed = f"seed={(scenario.seed if plan.seed is None else plan.seed) + TUNING_SEED}"

    def rates(plans: Sequence[FixedPlan]) -> dict[FixedPlan, float]:
        cells = [planned_cell(plan.load([*base, *one.overrides(), seed]), plan.plugins) for one in plans]
        outcomes = lab.evaluate(cells, phase)
        found = {}
        for one, cell in zip(plans, cells, strict=True):
            summary = outcomes[cell.key].summary
            found[one] = rate_of(scenario, summary) if summary else 0.0
        if not any(found.values()):
            raise InputError(outcomes[cells[0].key].error or "no plan of this step could be simulated")
        return found

    drafts = list(scenario.models.drafts)
    return best_fixed(rates, drafts, scenario.limits.max_length, depths=depths)[0]


def manifest(plan: LadderPlan, seeds: Sequence[int]) -> dict[str, Any]:
    """What the ladder is, for the manifest of its folder."""
    return {
        "scenario": plan.scenario.name,
        "overrides": list(plan.overrides),
        "seeds": list(seeds),
        "tokens": plan.tokens,
        "steps": list(plan.steps),
    }
