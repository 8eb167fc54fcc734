"""``spinsim tune``: search the policies' parameters in the simulator, then measure the gain afresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from spinsim.engines import engine_of
from spinsim.errors import InputError
from spinsim.lab.cell import check_fits
from spinsim.lab.evaluate import Lab
from spinsim.lab.fingerprint import code_digest
from spinsim.lab.rows import Row, plan, rows_of
from spinsim.results.expected_metrics import check_metrics
from spinsim.results.metrics import Metric
from spinsim.scenario import Scenario
from spinsim.scenario_file import load, resolved_yaml
from spinsim.scenario_file.variants import said_by, seeds_from
from spinsim.studies.compare import Effect, effects
from spinsim.studies.export import beside_target, fixed
from spinsim.studies.tuning.holdout import Split, held_out
from spinsim.studies.tuning.search_space import Space, check_ranges, space_of
from spinsim.studies.tuning.trials import Search, Trial, TunePlan, constraint
from spinsim.workload.for_scenario import build_workload

EXPORTABLE = "one draft beside the target, rounds in turn, rows packed raggedly"


@dataclass(frozen=True, slots=True)
class Winner:
    """A chosen trial; ``gain`` compares it with the scenario as written, on what tuning did not see."""

    name: str  # "best", or "front-1" and so on
    trial: Trial
    gain: tuple[Effect, ...]
    yaml: str


@dataclass(frozen=True, slots=True)
class Tuning:
    """A finished search. ``baseline``: the scenario as written, on what tuning did not see.

    ``held_out`` says what that was: fresh seeds alone, or rows of a recorded workload too.
    """

    scenario: str
    objectives: tuple[Metric, ...]
    keys: tuple[str, ...]
    trials: tuple[Trial, ...]
    baseline: tuple[Effect, ...]
    winners: tuple[Winner, ...]
    notes: tuple[str, ...]
    held_out: str
    rows: tuple[Row, ...] = field(repr=False)
    scenarios: Mapping[str, str] = field(default_factory=dict, repr=False)  # resolved YAML by name
    importances: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # shares by objective


def tune(wanted: TunePlan, lab: Lab) -> Tuning:
    """Search, choose, and re-measure.

    The sampler is Optuna's TPE (Watanabe 2023), several objectives included; its first trial is the
    scenario as written. Raises InputError before anything runs for what cannot be searched.
    """
    loaded = load(wanted.scenario, wanted.overrides)
    choices: Mapping[str, tuple[str, ...]] = {}
    if wanted.engine is not None:
        wanted, choices = exportable(wanted, loaded.scenario)
        loaded = load(wanted.scenario, wanted.overrides)
    check_fits(loaded)
    space = space_of(
        loaded.scenario, only=wanted.only, choose=wanted.choose, ranges=wanted.ranges, choices=choices
    )
    check_ranges(space, wanted.scenario, wanted.overrides)
    check_metrics(wanted.objectives, [loaded.scenario], "--objective")
    check_metrics([constraint(text).metric.path for text in wanted.require], [loaded.scenario], "--require")
    first = loaded.scenario.seed if wanted.seed is None else wanted.seed
    split = held_out(loaded, wanted.holdout, wanted.holdout_overrides)
    with said_by({text: f"--holdout-set {text}" for text in wanted.holdout_overrides}):
        other = load(wanted.scenario, [*wanted.overrides, *split.testing])
        try:
            build_workload(other.scenario, other.base_dir)
        except InputError as error:
            raise other.places.locate(error) from None
    lab.store.write_manifest("tuning", _manifest(wanted, space, first))
    search = Search(wanted, space, split, first, lab)
    search.run(space.start(loaded.scenario))
    chosen = search.chosen()
    names = (
        ["best"][: len(chosen)]
        if len(search.objectives) == 1
        else [f"front-{i + 1}" for i in range(len(chosen))]
    )
    baseline, gains, rows = _measure(
        wanted,
        split,
        first + wanted.seeds + wanted.confirm,
        dict(zip(names, chosen, strict=True)),
        lab,
        search.objectives,
    )
    found = [load(wanted.scenario, [*wanted.overrides, *trial.overrides]) for trial in chosen]
    winners = tuple(
        Winner(name, trial, gains[name], resolved_yaml(best))
        for name, trial, best in zip(names, chosen, found, strict=True)
    )
    notes = [*split.notes, *_notes(chosen, search)]
    if wanted.engine is not None:
        notes.append(f"gains are over the scenario as {wanted.engine} would run it: {EXPORTABLE}")
    notes += [
        f"{name} does as the scenario as written does: nothing better was found"
        for name in names
        if all(effect.difference is not None and effect.difference.estimate == 0 for effect in gains[name])
    ]
    return Tuning(
        loaded.scenario.name,
        search.objectives,
        tuple(space.dimensions()),
        tuple(search.trials),
        baseline,
        winners,
        tuple(notes),
        split.held_out,
        (*search.rows, *rows),
        {loaded.scenario.name: resolved_yaml(loaded)},
        search.importances(),
    )


def exportable(wanted: TunePlan, scenario: Scenario) -> tuple[TunePlan, Mapping[str, tuple[str, ...]]]:
    """The search kept to what an engine can be told: one draft of the scenario's, and its number of tokens.

    Raises InputError for an unknown engine, no draft, or options that widen the search.
    """
    engine_of(wanted.engine or "")
    drafts = tuple(scenario.models.drafts)
    if not drafts:
        raise InputError("no draft, and nothing to tune; a scenario with drafts", key="models.drafts")
    if wanted.only or wanted.choose or wanted.ranges:
        raise InputError("goes with none of --only, --choose and --range; leave them out", key="--for")
    own = scenario.policies.selector.params.get("draft")
    first = own if own in drafts else drafts[0]
    tokens = scenario.policies.length.params.get("tokens", 4)
    start = fixed(first, tokens if isinstance(tokens, int) else 4)
    told = replace(wanted, overrides=(*wanted.overrides, *beside_target(scenario), *start), only=("length",))
    return told, {"policies.selector.draft": drafts}


def _measure(
    wanted: TunePlan,
    split: Split,
    first: int,
    chosen: dict[str, Trial],
    lab: Lab,
    objectives: tuple[Metric, ...],
) -> tuple[tuple[Effect, ...], dict[str, tuple[Effect, ...]], list[Row]]:
    """The scenario as written and the chosen trials, on fresh seeds and what was held out."""
    everyone: dict[str, tuple[str, ...]] = {"as written": ()} | {n: t.overrides for n, t in chosen.items()}
    planned = [
        plan(
            wanted.scenario,
            [*wanted.overrides, *overrides, *split.testing, f"seed={seed}"],
            {"alternative": name},
            wanted.plugins,
        )
        for seed in seeds_from(first, wanted.fresh)
        for name, overrides in everyone.items()
    ]
    rows = rows_of(planned, lab.evaluate((p.cell for p in planned), split.held_out))
    found = effects(rows, list(everyone), "as written", objectives)
    labelled = [
        Row({"trial": None, "workload": "held out", **row.labels}, row.seed, row.key, row.summary, row.error)
        for row in rows
    ]
    return found.pop("as written"), found, labelled


def _notes(chosen: Sequence[Trial], search: Search) -> list[str]:
    notes = []
    if not chosen:
        unmet = " within " + " and ".join(search.wanted.require) if search.constraints else ""
        notes.append(f"no trial ended{unmet}: nothing was chosen")
    return notes


def _manifest(wanted: TunePlan, space: Space, first: int) -> dict[str, Any]:
    return {
        "scenario": wanted.scenario.name,
        "overrides": list(wanted.overrides),
        "objectives": list(wanted.objectives),
        "keys": space.dimensions(),
        "trials": wanted.trials,
        "seed": first,
        "code": code_digest(),
    }
