"""Running the ladder: steps, the best fixed plans, copies and a sharded target, on the same seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from spinsim.costs.sheets.shapes import shape_of
from spinsim.errors import InputError
from spinsim.lab.cell import check_fits
from spinsim.lab.evaluate import Lab
from spinsim.lab.rows import Planned, Row, planned_cell, rows_of
from spinsim.lab.statistics import Interval, mean_interval, relative_difference
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario, load, resolved_yaml
from spinsim.scenario_file.variants import seeds_from
from spinsim.studies.ladder import steps as ladder_steps
from spinsim.studies.ladder.best import best_fixed
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

CONFIDENCE = 0.95
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


@dataclass(frozen=True, slots=True)
class Step:
    """One step. ``goodput`` in tokens/s of all GPUs together, ``None`` where it could not run (``why``).

    ``to_vanilla`` and ``to_best_serial``: mean ratios over pairs of seeds, with intervals.
    ``summaries``: of its runs, by seed; of ``replicas``, one of the copies.
    """

    name: str
    what: str
    gpus: int
    goodput: Interval | None
    to_vanilla: Interval | None = None
    to_best_serial: Interval | None = None
    to_best_alternative: Interval | None = None
    why: str = ""
    summaries: tuple[dict[str, Any], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Ladder:
    """Every step, in order; ``alternative`` names the better of replicas and sharded, if there is one."""

    scenario: str
    seeds: tuple[int, ...]
    steps: tuple[Step, ...]
    alternative: str | None
    notes: tuple[str, ...]
    rows: tuple[Row, ...] = field(repr=False)
    written: str = field(default="", repr=False)  # the scenario as resolved YAML


@dataclass(frozen=True, slots=True)
class _Work:
    """A step as cells: for each seed one, or one for each copy, whose goodputs add up."""

    name: str
    what: str
    gpus: int
    cells: tuple[tuple[Planned, ...], ...] = ()
    why: str = ""


def ladder(plan: LadderPlan, lab: Lab) -> Ladder:
    """Simulate every step with the same seeds. Raises InputError before anything runs.

    Best plans are chosen on another seed, for the scenario's placement, for a copy and for a sharded target
    each. A step that the scenario does not allow (a model that fits no single copy, costs that know no
    sharded target) says why, and the others go on.
    """
    loaded = load(plan.scenario, plan.overrides)
    check_fits(loaded)
    scenario = loaded.scenario
    wanted = _wanted(plan.steps)
    numbers = seeds_from(scenario.seed if plan.seed is None else plan.seed, plan.seeds)
    lab.store.write_manifest("ladder", _manifest(plan, numbers))
    smallest = _smallest(loaded)
    work: list[_Work] = []
    for name, overrides in ladder_steps.paper_steps(scenario, smallest, plan.tokens).items():
        if name in wanted:
            work.append(_step(plan, name, _said(name, smallest, plan.tokens), overrides, numbers))
    work.extend(_best_steps(plan, lab, loaded, numbers, wanted))
    for name, overrides in ladder_steps.planned_steps().items():
        if name in wanted:
            work.append(_step(plan, name, "", overrides, numbers))
    cells = [one for step in work for copies in step.cells for one in copies]
    rows = rows_of(cells, lab.evaluate([one.cell for one in cells], "steps"))
    return _result(plan, loaded, work, rows, numbers)


def _wanted(names: Sequence[str]) -> set[str]:
    for name in names:
        if name not in ORDER:
            raise InputError(f"{name!r} is no step; choose from {', '.join(ORDER)}", key="--step")
    return set(names or ORDER)


def _smallest(loaded: LoadedScenario) -> str:
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
        ladder_steps.DECOMPOSITION: "and decomposed",
        ladder_steps.PIPELINE: "and SPIN's micro-batches",
    }[name]


def _step(
    plan: LadderPlan,
    name: str,
    what: str,
    overrides: Iterable[str],
    seeds: Sequence[int],
    *,
    copies: int = 1,
) -> _Work:
    given = [*plan.overrides, *overrides]
    first = load(plan.scenario, given)
    cells = tuple(
        tuple(
            Planned(
                {"step": name, "copy": copy},
                seed,
                planned_cell(
                    load(plan.scenario, [*given, f"seed={seed + copy * TUNING_SEED}"]), plan.plugins
                ),
            )
            for copy in range(copies)
        )
        for seed in seeds
    )
    return _Work(name, what, copies * len(gpus(first.scenario)), cells)


def _best_steps(
    plan: LadderPlan, lab: Lab, loaded: LoadedScenario, seeds: Sequence[int], wanted: set[str]
) -> list[_Work]:
    """The best fixed plans of the scenario, of its copies, and of a sharded target."""
    scenario = loaded.scenario
    devices = gpus(scenario)
    copies = _copies(plan, scenario)
    deep = range(1, DEEPEST + 1)
    whole = set(scenario.placement.target) == set(devices)
    found = []
    for name, depths, base, count in (
        (BEST_SERIAL, (1,), (), 1),
        (BEST, deep, (), 1),
        (REPLICAS, (1,), ladder_steps.replica(scenario, copies) if copies > 1 else None, copies),
        (SHARDED, (1,), None if whole else ladder_steps.sharded(scenario, devices), 1),
    ):
        if name not in wanted:
            continue
        if base is None:
            why = "the target's devices are all that there are"
            if name == REPLICAS and len(devices) > 1:
                why = "no fewer devices hold a copy"
            found.append(_Work(name, "", len(devices), why=why))
            continue
        try:
            check_fits(load(plan.scenario, [*plan.overrides, *base]))
            best = _chosen(plan, lab, base, depths, f"choosing {name}")
            found.append(_step(plan, name, str(best), (*base, *best.overrides()), seeds, copies=count))
        except InputError as error:
            if base:
                found.append(_Work(name, "", len(devices), why=error.message))
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
            check_fits(load(plan.scenario, [*plan.overrides, *ladder_steps.replica(scenario, copies)]))
        except InputError:
            continue
        return copies
    return devices // len(scenario.placement.target)


def _chosen(plan: LadderPlan, lab: Lab, base: Sequence[str], depths: Sequence[int], phase: str) -> FixedPlan:
    given = [*plan.overrides, *base]
    scenario = load(plan.scenario, given).scenario
    seed = f"seed={(scenario.seed if plan.seed is None else plan.seed) + TUNING_SEED}"

    def rates(plans: Sequence[FixedPlan]) -> dict[FixedPlan, float]:
        cells = [
            planned_cell(load(plan.scenario, [*given, *one.overrides(), seed]), plan.plugins) for one in plans
        ]
        outcomes = lab.evaluate(cells, phase)
        found = {}
        for one, cell in zip(plans, cells, strict=True):
            summary = outcomes[cell.key].summary
            found[one] = _goodput(summary) if summary else 0.0
        if not any(found.values()):
            raise InputError(outcomes[cells[0].key].error or "no plan of this step could be simulated")
        return found

    drafts = list(scenario.models.drafts)
    return best_fixed(rates, drafts, scenario.limits.max_length, depths=depths)[0]


def _goodput(summary: Mapping[str, Any]) -> float:
    return float(summary["goodput_tokens_per_s"] or 0.0)


def _result(
    plan: LadderPlan, loaded: LoadedScenario, work: Sequence[_Work], rows: Sequence[Row], seeds: Sequence[int]
) -> Ladder:
    by_step: dict[str, dict[int, list[Row]]] = {}
    for row in rows:
        by_step.setdefault(row.labels["step"], {}).setdefault(row.seed, []).append(row)
    rates: dict[str, dict[int, float]] = {}
    for step in work:
        ended = by_step.get(step.name, {})
        rates[step.name] = {
            seed: sum(_goodput(row.summary) for row in copies if row.summary is not None)
            for seed, copies in ended.items()
            if all(row.summary is not None for row in copies)
        }
    alternatives = [name for name in (REPLICAS, SHARDED) if rates.get(name)]
    mean = {name: sum(values.values()) / len(values) for name, values in rates.items() if values}
    alternative = max(alternatives, key=mean.__getitem__, default=None)
    ratio = partial(_ratio, rates)
    found = []
    for step in sorted(work, key=lambda one: ORDER.index(one.name)):
        values = list(rates[step.name].values())
        failed = [row.error for row in rows if row.labels["step"] == step.name and row.summary is None]
        found.append(
            Step(
                step.name,
                step.what,
                step.gpus,
                mean_interval(values, CONFIDENCE) if values else None,
                ratio(step.name, VANILLA),
                ratio(step.name, BEST_SERIAL),
                ratio(step.name, alternative),
                step.why or (failed[0] if failed else ""),
                tuple(dict(row.summary) for row in rows if row.labels["step"] == step.name and row.summary),
            )
        )
    notes = [] if len(seeds) > 1 else ["one seed has no interval; give --seeds 3 or more"]
    return Ladder(
        loaded.scenario.name,
        tuple(seeds),
        tuple(found),
        alternative,
        tuple(notes),
        tuple(rows),
        resolved_yaml(loaded),
    )


def _ratio(rates: dict[str, dict[int, float]], name: str, to: str | None) -> Interval | None:
    base, other = rates.get(to or "", {}), rates.get(name, {})
    pairs = [(base[seed], other[seed]) for seed in other if base.get(seed)]
    if not pairs:
        return None
    one = relative_difference([a for a, _ in pairs], [b for _, b in pairs], CONFIDENCE)
    low, high = (None if bound is None else 1 + bound for bound in (one.low, one.high))
    return Interval(1 + one.estimate, low, high, one.confidence, one.samples)


def _manifest(plan: LadderPlan, seeds: Sequence[int]) -> dict[str, Any]:
    return {
        "scenario": plan.scenario.name,
        "overrides": list(plan.overrides),
        "seeds": list(seeds),
        "tokens": plan.tokens,
        "steps": list(plan.steps),
    }
