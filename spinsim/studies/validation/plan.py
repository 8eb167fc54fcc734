"""The cells of a validation: scenarios, or sweeps of them, grouped by what has to be deployed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from spinsim.errors import InputError
from spinsim.lab.cell import cell_of
from spinsim.scenario import ClosedLoop, Poisson, Scenario
from spinsim.scenario_file import LoadedScenario, load
from spinsim.scenario_file.variants import axis, grid
from spinsim.studies.sweep import read_sweep
from spinsim.studies.validation.selection import Combination, read_selection


@dataclass(frozen=True)
class Options:
    """``seconds``: longest live run of a cell. ``loads``: shares of every closed cell's request rate.

    ``intervals``: simulated runs behind each interval. ``workers``: processes for the simulated half (None:
    one a core; 0: this process), which import ``plugins``.
    """

    repetitions: int = 3
    intervals: int = 20
    seconds: float = 8.0
    loads: tuple[float, ...] = ()
    workers: int | None = 0
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """One scenario to run in both worlds. ``labels`` say what the grid set, by axis.

    ``loads``: shares of the rate that it serves in a closed loop, for Poisson cells of their own.
    ``repetitions``: the fewest live runs.
    """

    name: str
    loaded: LoadedScenario
    labels: dict[str, Any]
    loads: tuple[float, ...] = ()
    repetitions: int = 1

    @property
    def key(self) -> str:
        """A hash of all that decides the result but the repetitions."""
        return cell_of(self.loaded).key


def plan(
    paths: Sequence[Path], grids: Sequence[str], overrides: Sequence[str], device: str | None
) -> list[Cell]:
    """Every cell, checked: nothing is loaded or run before all scenarios are valid.

    A path is a scenario, a sweep's YAML (:func:`~spinsim.studies.sweep.read_sweep`), or one that names
    some of a grid's cells (:mod:`~spinsim.studies.validation.selection`); ``grids`` are further axes over
    all of them. Raises InputError, also where two cells have one name.
    """
    cells: list[Cell] = []
    for path in paths:
        scenario, fixed, wanted = _wanted(path)
        for labels, varied in grid([axis(text) for text in grids]):
            for combination in wanted:
                given = [*fixed, *overrides, *combination.overrides, *varied]
                loaded = load(scenario, given, device)
                named = combination.labels | labels
                said = ", ".join(str(label) for label in named.values())
                name = f"{loaded.scenario.name}: {said}" if said else loaded.scenario.name
                cells.append(Cell(name, loaded, named, combination.loads, combination.repetitions))
    names = [cell.name for cell in cells]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two cells are called {name!r}; give the scenarios names of their own")
    deciding = {cell.loaded.scenario.live.acceptance for cell in cells}
    if len(deciding) > 1:  # one table would average errors of time alone with errors of acceptance and time
        raise InputError(
            "models in some cells, field in others; one of them in a validation, and another for the rest",
            key="live.acceptance",
        )
    return cells


def _wanted(path: Path) -> tuple[Path, Sequence[str], Sequence[Combination]]:
    """The scenario of a file, what all of its cells set, and its cells."""
    selection = read_selection(path)
    if selection is not None:
        return selection.scenario, selection.overrides, selection.combinations
    swept = read_sweep(path)
    if swept is None:
        return path, (), [Combination({}, [])]
    cells = [Combination(labels, varied) for labels, varied in grid(swept.axes)]
    return swept.scenario, swept.overrides, cells


def at_load(cell: Cell, load: float, requests_per_s: float) -> Cell:
    """The cell with Poisson arrivals at ``load`` times the rate that it served in a closed loop."""
    rate = load * requests_per_s
    scenario = cell.loaded.scenario
    arrivals = Poisson(process="poisson", rate_per_s=rate)
    workload = scenario.workload.model_copy(update={"arrivals": arrivals})
    changed = scenario.model_copy(update={"workload": workload})
    name = f"{cell.name}, {100 * load:g} % load"
    return Cell(name, replace(cell.loaded, scenario=changed), cell.labels | {"load": load})


def is_closed(cell: Cell) -> bool:
    """Does the cell's load follow what is served?"""
    return isinstance(cell.loaded.scenario.workload.arrivals, ClosedLoop)


def deployments(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that one deployment serves, together, in order of their first."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(_deployment_key(cell.loaded.scenario), []).append(cell)
    return list(groups.values())


def deployed_scenario(cells: Sequence[Cell]) -> Scenario:
    """What to deploy for all ``cells``: the first one's scenario with room for the largest batch."""
    scenarios = [cell.loaded.scenario for cell in cells]
    limits = scenarios[0].limits.model_copy(
        update={
            "batch": max(s.limits.batch for s in scenarios),
            "max_length": max(s.limits.max_length for s in scenarios),
        }
    )
    return scenarios[0].model_copy(update={"limits": limits})


def _deployment_key(scenario: Scenario) -> str:
    """Models, devices, sampling and seed: the seed is in random weights and in sampled tokens."""
    values = scenario.model_dump(mode="json")
    kept = {key: values[key] for key in ("models", "devices", "placement", "live", "kv", "sampling", "seed")}
    kept["context"] = values["limits"]["context_tokens"]
    # Capacities are the policies' business.
    for draft in kept["models"]["drafts"].values():
        draft.pop("capacity")
    return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
