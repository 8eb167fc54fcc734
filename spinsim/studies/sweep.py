"""``spinsim sweep``: every combination of a grid, a row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt, ValidationError

from spinsim.errors import InputError
from spinsim.lab.cell import check_files
from spinsim.lab.evaluate import Lab
from spinsim.lab.rows import Planned, Row, planned_cell, rows_of
from spinsim.results.expected_metrics import check_metrics, kind, optional_sections
from spinsim.results.metrics import Metric, usual_metrics
from spinsim.scenario import Scenario, Section
from spinsim.scenario.messages import explain
from spinsim.scenario.yaml_places import KeyPath, Place, parse
from spinsim.scenario_file import load, read_text, resolved_yaml
from spinsim.scenario_file.variants import Axis, axis_of, grid, override, said_by, seeds_from


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What to run. ``seeds`` repetitions from ``seed`` (None: the scenario's) on, in every combination."""

    scenario: Path
    axes: tuple[Axis, ...]
    overrides: tuple[str, ...] = ()
    seeds: int = 1
    seed: int | None = None
    metrics: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.scenario.stem


@dataclass(frozen=True, slots=True)
class Sweep:
    """A finished sweep; ``axes`` names what was varied."""

    scenario: str
    axes: tuple[str, ...]
    metrics: tuple[Metric, ...]
    rows: tuple[Row, ...] = field(repr=False)
    scenarios: Mapping[str, str] = field(default_factory=dict, repr=False)  # resolved YAML by name


class _File(Section):
    scenario: str  # relative to the file
    grid: Annotated[dict[str, Any], Field(min_length=1)]
    set: dict[str, Any] = Field(default_factory=dict)
    seeds: PositiveInt = 1
    seed: Annotated[int, Field(ge=0)] | None = None
    metrics: tuple[str, ...] = ()


def read_sweep(path: Path) -> SweepPlan | None:
    """The plan that a sweep's YAML states; None where ``path`` is a scenario.

    Keys: ``scenario``, ``grid`` (a list of values by key, or by any name a mapping from labels to
    what they set), ``set``, ``seeds``, ``seed``, ``metrics``. Raises InputError with the line.
    """
    document = parse(read_text(path), str(path))
    if not isinstance(document.data, Mapping) or "scenario" not in document.data:
        return None
    try:
        content = _File.model_validate(document.data, strict=True)
    except ValidationError as error:
        key, message = explain(error, _File)[0]
        place = _place(document.places, key)
        raise InputError(message, key=".".join(key), file=place.file, line=place.line) from None
    return SweepPlan(
        path.parent / content.scenario,
        tuple(
            axis_of(name, values, str(path), _place(document.places, ("grid", name)).line)
            for name, values in content.grid.items()
        ),
        tuple(override(key, item) for key, item in content.set.items()),
        content.seeds,
        content.seed,
        content.metrics,
    )


def _place(places: Mapping[KeyPath, Place], key: KeyPath) -> Place:
    while key and key not in places:
        key = key[:-1]
    return places.get(key, Place("", 0))


def planned(sweep: SweepPlan) -> list[Planned]:
    """Every cell, checked but for the files that it reads. Raises InputError that names the option."""
    return _planned(sweep, files=False)[0]


def _planned(sweep: SweepPlan, *, files: bool) -> tuple[list[Planned], list[Scenario]]:
    """Every cell, and a scenario of each kind: nothing runs before all are valid."""
    if not sweep.axes:
        raise InputError("nothing to vary; give --grid key.path=value,value,...", key="grid")
    first = load(sweep.scenario, sweep.overrides).scenario.seed if sweep.seed is None else sweep.seed
    varied = any(axis.name == "seed" for axis in sweep.axes)
    if varied and sweep.seeds > 1:
        raise InputError("the grid varies the seed itself; leave out one of the two", key="--seeds")
    given_by = {text: axis.origin for axis in sweep.axes for texts in axis.overrides for text in texts}
    cells = []
    kinds: dict[tuple[str, ...], Scenario] = {}
    for labels, overrides in grid(sweep.axes):
        for seed in seeds_from(first, sweep.seeds):
            given = [*sweep.overrides, *([] if varied else [f"seed={seed}"]), *overrides]
            with said_by(given_by):
                loaded = load(sweep.scenario, given)
                if files:
                    check_files(loaded)
                cell = planned_cell(loaded, sweep.plugins)
            cells.append(Planned(labels, loaded.scenario.seed, cell))
            kinds.setdefault(kind(loaded.scenario), loaded.scenario)
    return cells, list(kinds.values())


def sweep(wanted: SweepPlan, lab: Lab) -> Sweep:
    """Run a sweep. Failed cells are rows without a summary.

    Raises InputError before anything runs, also for a metric that no cell has.
    """
    cells, scenarios = _planned(wanted, files=True)
    metrics = check_metrics(wanted.metrics, scenarios, "--metric", everywhere=False)
    metrics = metrics or usual_metrics(set().union(*map(optional_sections, scenarios)))
    lab.store.write_manifest(
        "sweep",
        {
            "scenario": wanted.scenario.name,
            "axes": {axis.name: list(axis.labels) for axis in wanted.axes},
            "overrides": list(wanted.overrides),
            "code": cells[0].cell.code,
            "cells": [{"key": p.cell.key, "seed": p.seed, **p.labels} for p in cells],
        },
    )
    rows = rows_of(cells, lab.evaluate(p.cell for p in cells))
    base = load(wanted.scenario, wanted.overrides)
    return Sweep(
        wanted.name,
        tuple(axis.name for axis in wanted.axes),
        tuple(metrics),
        tuple(rows),
        {base.scenario.name: resolved_yaml(base)},
    )
