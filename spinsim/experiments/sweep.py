"""``spinsim sweep``: every combination of a grid, a row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveInt, ValidationError

from spinsim.errors import InputError
from spinsim.experiments.evaluate import Lab
from spinsim.experiments.metrics import Metric, metric, usual_metrics, value
from spinsim.experiments.rows import Planned, Row, plan, rows_of
from spinsim.experiments.variants import Axis, axis_of, grid, override, seeds_from
from spinsim.scenario import Section
from spinsim.scenario_errors import explain
from spinsim.scenario_file import load, read_text
from spinsim.scenario_yaml import KeyPath, Place, parse


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
    """Every cell, checked: nothing runs before all scenarios are valid."""
    if not sweep.axes:
        raise InputError("nothing to vary; give --grid key.path=value,value,...", key="grid")
    first = load(sweep.scenario, sweep.overrides).scenario.seed if sweep.seed is None else sweep.seed
    varied = any(axis.name == "seed" for axis in sweep.axes)
    if varied and sweep.seeds > 1:
        raise InputError("the grid varies the seed itself; leave out one of the two", key="--seeds")
    cells = []
    for labels, overrides in grid(sweep.axes):
        for seed in seeds_from(first, sweep.seeds):
            given = [*sweep.overrides, *([] if varied else [f"seed={seed}"]), *overrides]
            cells.append(plan(sweep.scenario, given, labels, sweep.plugins))
    return cells


def sweep(wanted: SweepPlan, lab: Lab) -> Sweep:
    """Run a sweep. Failed cells are rows without a summary."""
    cells = planned(wanted)
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
    metrics = [metric(name) for name in wanted.metrics] or usual_metrics(_has_slo(rows))
    for row in rows:
        if row.summary is not None:
            for each in metrics:  # an unknown name is an error, not an empty column
                value(row.summary, each)
            break
    return Sweep(wanted.name, tuple(axis.name for axis in wanted.axes), tuple(metrics), tuple(rows))


def _has_slo(rows: Sequence[Row]) -> bool:
    return any(row.summary is not None and "slo" in row.summary for row in rows)
