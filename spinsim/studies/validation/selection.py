"""A validation's YAML: a sweep's grid, and which of its combinations to run, instead of all of them.

::

    scenario: base.yaml
    set: {costs: ...}
    grid:
      policy: {vanilla: {...}, spin: {...}}
      clients: {8 clients: {...}, 32 clients: {...}}
    cells:
      - {policy: vanilla}                                          # with every number of clients
      - {policy: [vanilla, spin], clients: 32 clients, loads: [0.5, 0.8], repetitions: 3}

Each line is a product of the values it names; an axis that it leaves out takes all of its values. ``loads``
adds Poisson cells at these shares of what a closed cell served; ``repetitions`` is how often its cells run at
least, whatever the command line asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from spinsim.errors import InputError
from spinsim.scenario import Section
from spinsim.scenario.messages import explain
from spinsim.scenario.yaml_places import KeyPath, Place, parse
from spinsim.scenario_file import read_text
from spinsim.scenario_file.variants import Axis, axis_of, grid, override

LOADS, REPETITIONS = "loads", "repetitions"


class _File(Section):
    scenario: str  # relative to the file
    grid: Annotated[dict[str, Any], Field(min_length=1)]
    cells: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
    set: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Combination:
    """One cell: its label on every axis, what they set, its loads, and the fewest repetitions."""

    labels: dict[str, Any]
    overrides: list[str]
    loads: tuple[float, ...] = ()
    repetitions: int = 1


@dataclass(frozen=True)
class Selection:
    """The cells of a file, each once, in order of the first line that names it."""

    scenario: Path
    overrides: tuple[str, ...]
    combinations: tuple[Combination, ...]


def read_selection(path: Path) -> Selection | None:
    """The cells that a validation's YAML names; None where ``path`` is a scenario or a sweep.

    Raises InputError with the line.
    """
    document = parse(read_text(path), str(path))
    if not isinstance(document.data, Mapping) or not {"scenario", "cells"} <= document.data.keys():
        return None

    def line(*key: str) -> int:
        return _place(document.places, key).line

    try:
        content = _File.model_validate(document.data, strict=True)
    except ValidationError as error:
        key, message = explain(error, _File)[0]
        raise InputError(message, key=".".join(key), file=str(path), line=line(*key)) from None
    axes = [axis_of(name, values, str(path), line("grid", name)) for name, values in content.grid.items()]
    found: dict[tuple[Any, ...], Combination] = {}
    for number, wanted in enumerate(content.cells):
        try:
            made = list(_combinations(wanted, axes))
        except InputError as error:
            where = ("cells", str(number))
            raise InputError(error.message, key=".".join(where), file=str(path), line=line(*where)) from None
        for cell in made:
            identity = tuple(cell.labels.values())
            known = found.get(identity, cell)
            found[identity] = replace(
                cell,
                loads=tuple(dict.fromkeys((*known.loads, *cell.loads))),
                repetitions=max(known.repetitions, cell.repetitions),
            )
    overrides = tuple(override(key, value) for key, value in content.set.items())
    return Selection(path.parent / content.scenario, overrides, tuple(found.values()))


def _combinations(wanted: Mapping[str, Any], axes: Sequence[Axis]) -> Iterator[Combination]:
    """The product that one line names. Raises InputError where it names what the grid has not."""
    names = [axis.name for axis in axes]
    for name in wanted:
        if name not in (*names, LOADS, REPETITIONS):
            raise InputError(f"no axis {name!r}; one of {', '.join(names)}, or {LOADS}, {REPETITIONS}")
    chosen = [_chosen(axis, wanted[axis.name]) if axis.name in wanted else axis for axis in axes]
    loads = _loads(wanted.get(LOADS, ()))
    repetitions = wanted.get(REPETITIONS, 1)
    if isinstance(repetitions, bool) or not isinstance(repetitions, int) or repetitions < 1:
        raise InputError(f"{REPETITIONS} is {repetitions!r}; an integer of at least 1")
    for labels, overrides in grid(chosen):
        yield Combination(labels, overrides, loads, repetitions)


def _chosen(axis: Axis, wanted: Any) -> Axis:
    several = wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
    for label in several:
        if label not in axis.labels:
            known = ", ".join(str(known) for known in axis.labels)
            raise InputError(f"{axis.name} has no value {label!r}; one of {known}")
    places = [axis.labels.index(label) for label in dict.fromkeys(several)]
    if not places:
        raise InputError(f"{axis.name} names no value; leave it out for all of them")
    return Axis(axis.name, tuple(axis.labels[i] for i in places), tuple(axis.overrides[i] for i in places))


def _loads(wanted: Any) -> tuple[float, ...]:
    loads = wanted if isinstance(wanted, Sequence) and not isinstance(wanted, str) else [wanted]
    for load in loads:
        if isinstance(load, bool) or not isinstance(load, int | float) or load <= 0:
            raise InputError(f"{LOADS} holds {load!r}; shares of a cell's rate, such as 0.8")
    return tuple(float(load) for load in loads)


def _place(places: Mapping[KeyPath, Place], key: KeyPath) -> Place:
    while key and key not in places:
        key = key[:-1]
    return places.get(key, Place("", 0))
