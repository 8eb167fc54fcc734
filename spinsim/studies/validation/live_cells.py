"""The live half of a validation: every cell, with repetitions, and nothing else while models are deployed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from math import ceil
from typing import Any

from spinsim.lab.fingerprint import file_digest
from spinsim.live.deployment import Deployment
from spinsim.live.field import is_given
from spinsim.live.live_run import run_scenario
from spinsim.live.prompts import Prompted
from spinsim.progress import Progress
from spinsim.results.summary import summarise
from spinsim.scenario import Scenario, TraceAcceptance
from spinsim.studies.validation.agreement import Rounds, measured, rounds_by_request
from spinsim.studies.validation.fit_workload import first, fitting, least, shortened
from spinsim.studies.validation.folder import Folder, LiveCell, live_key
from spinsim.studies.validation.operations import OperationTable, operation_table
from spinsim.studies.validation.plan import Cell, Options, at_load, deployments, is_closed
from spinsim.studies.validation.shared_deployment import Arena
from spinsim.workload.for_scenario import build_workload

Numbers = dict[str, Any]
Around = Callable[[str], AbstractContextManager[object]]

OVERRUN = 1.25  # a live run that takes so much longer than allowed is done again with fewer requests


@dataclass
class _Runs:
    """What the repetitions of a cell gave so far."""

    metrics: list[dict[str, float | None]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    requests_per_s: list[float] = field(default_factory=list)
    operations: list[OperationTable] = field(default_factory=list)
    clocks: list[Numbers] = field(default_factory=list)
    cpus: list[Numbers] = field(default_factory=list)
    rounds: Rounds | None = None


def run_live(
    cells: Sequence[Cell],
    folder: Folder,
    options: Options,
    progress: Progress | None = None,
    *,
    deployed: Deployment | None = None,
    around: Around = nullcontext,
) -> None:
    """Every cell that the folder has not yet, each kept when it is done; the folder's plan says which.

    Models are deployed once for all cells that can share them; ``deployed``: they are already, for all cells.
    ``around`` is entered with a cell's name for its runs. A cell whose run fails is noted in the plan
    and left out. Raises InputError as deployments do, and a run's error where every cell has one.
    """
    plan: Numbers = {"options": asdict(options), "cells": [], "failed": [], "deployments": []}
    errors: list[Exception] = []
    total = sum(1 + len(_loads(cell, options)) for cell in cells)
    for group in deployments(cells):
        arena = Arena(group, folder.root, options.seconds, progress, deployed)
        noted = _Deployed(plan, folder, arena, _known_deployment(folder, [cell.name for cell in group]))
        with arena:
            for cell in group:
                try:
                    for live in _cell_and_loads(arena, folder, cell, options, around):
                        noted.keep(live)
                        if progress is not None:
                            progress("cells", len(plan["cells"]), total)
                except RunFailed as failed:
                    plan["failed"].append({"name": failed.name, "error": str(failed.error)})
                    errors.append(failed.error)
                    folder.write_plan(plan)
    if errors and not plan["cells"]:
        raise errors[0]
    folder.drop_earlier()


def _cell_and_loads(
    arena: Arena, folder: Folder, cell: Cell, options: Options, around: Around
) -> Iterator[LiveCell]:
    """A cell's live half, and those at shares of its load. Raises RunFailed."""
    with around(cell.name):
        live = _kept(arena, folder, cell, options)
    yield live
    for load in _loads(cell, options):
        loaded = at_load(cell, load, live.requests_per_s)
        with around(loaded.name):
            live_at_load = _kept(arena, folder, loaded, options)
        yield live_at_load


class _Deployed:
    """What the plan notes of one deployment and its cells. ``known``: what an earlier session noted of it."""

    def __init__(self, plan: Numbers, folder: Folder, arena: Arena, known: Numbers) -> None:
        self._plan, self._folder, self._arena, self._known = plan, folder, arena, known
        self._noted: Numbers = {"cells": [], "drift": [], "wall_s": {}}
        plan["deployments"].append(self._noted)

    def keep(self, live: LiveCell) -> None:
        """A finished cell. Where every cell was finished before, nothing was deployed now."""
        noted, arena, known = self._noted, self._arena, self._known
        self._plan["cells"].append(live.key)
        noted["cells"].append(live.name)
        noted["drift"] = known.get("drift", []) if arena.drift is None else arena.drift
        noted["wall_s"] = arena.wall_s or known.get("wall_s", {})
        if machine := known.get("machine", {}) if arena.drift is None else arena.machine:
            noted["machine"] = machine
        self._folder.write_plan(self._plan)


class RunFailed(Exception):
    """A cell's live run ended with an error."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(f"{name}: {error}")
        self.name, self.error = name, error


def _loads(cell: Cell, options: Options) -> tuple[float, ...]:
    return tuple(dict.fromkeys((*options.loads, *cell.loads))) if is_closed(cell) else ()


def _known_deployment(folder: Folder, names: Sequence[str]) -> Numbers:
    """What an earlier session noted of the deployment that served these cells."""
    if (folder.root / "plan.json").is_file():
        for deployed in folder.plan()["deployments"]:
            if set(deployed["cells"]) & set(names):
                found: Numbers = deployed
                return found
    return {}


def _kept(arena: Arena, folder: Folder, cell: Cell, options: Options) -> LiveCell:
    plugins = [file_digest(path) for path in options.plugins]
    repetitions = max(options.repetitions, cell.repetitions)
    key = live_key(cell.key, [repetitions, options.seconds, *plugins])
    known = folder.get(key)
    if known is None:
        known = _lived(arena, folder, key, cell, replace(options, repetitions=repetitions))
        folder.put(known)
    return known


def _lived(arena: Arena, folder: Folder, key: str, cell: Cell, options: Options) -> LiveCell:
    scenario = cell.loaded.scenario
    predictor = arena.predictor(scenario)
    arena.prepare()
    prompted = arena.prompted(scenario)
    believed, expected = arena.simulated(scenario, prompted)
    whole = len(build_workload(scenario, arena.base_dir).requests)
    guess = ceil(whole * options.seconds / max(arena.predicted_s(scenario), 1e-9))
    with arena.spending("fit workload"):
        count = max(guess, least(scenario, prompted))
        count = fitting(believed, arena.base_dir, expected, predictor, options.seconds, count)
    with arena.spending("live runs"):
        try:
            runs, count = _repeated(arena, scenario, prompted, count, options)
        except Exception as error:
            raise RunFailed(cell.name, error) from error
    return LiveCell(
        key=key,
        name=cell.name,
        labels=cell.labels,
        scenario=folder.portable(believed, arena.base_dir),
        workload=first(expected, count).workload,
        of=whole,
        setting=_setting(scenario),
        recorded=isinstance(believed.acceptance, TraceAcceptance) or is_given(believed),
        runs=tuple(runs.metrics),
        live_s=tuple(runs.seconds),
        requests_per_s=sorted(runs.requests_per_s)[len(runs.requests_per_s) // 2],
        operations=tuple(runs.operations),
        rounds=runs.rounds or {},
        clocks=tuple(runs.clocks),
        cpus=tuple(runs.cpus),
    )


def _repeated(
    arena: Arena, scenario: Scenario, prompted: Prompted, count: int, options: Options
) -> tuple[_Runs, int]:
    """The repetitions, and of how many requests: fewer where the first one took far longer than predicted."""
    predictor = arena.predictor(scenario)
    runs = _Runs()
    while len(runs.seconds) < options.repetitions:
        ran = run_scenario(
            scenario,
            arena.base_dir,
            arena.deployment,
            arena.progress,
            prompted=first(prompted, count),
            predictor=predictor,
        )
        if ran.error is not None:
            raise ran.error
        elapsed = ran.records.ended_ns * 1e-9
        if elapsed > OVERRUN * options.seconds and count > least(scenario, prompted):
            count, runs = shortened(scenario, prompted, count, elapsed, options.seconds), _Runs()
            continue
        summary = summarise(ran.records, scenario, mode="live", acceptance_source=ran.acceptance_source)
        runs.metrics.append(measured(summary, ran.records))
        runs.seconds.append(elapsed)
        runs.requests_per_s.append(_served(summary))
        runs.operations.append(operation_table(ran.records))
        if clocks := ran.clocks.told():
            runs.clocks.append(clocks)
        if cpus := ran.cpus.told():
            runs.cpus.append(cpus)
        runs.rounds = runs.rounds or rounds_by_request(ran.records)
    return runs, count


def _served(summary: Numbers) -> float:
    """Requests a second at the run's goodput: without the run-out of a closed loop, where clients leave."""
    served = summary["requests"]["completed"]
    tokens = summary["run"]["committed"] / max(served, 1)
    return float(summary["goodput_tokens_per_s"] / tokens) if tokens else 0.0


def _setting(scenario: Scenario) -> str:
    """What two cells must share to be a pair of policies: everything but those."""
    values = scenario.model_dump(mode="json", exclude={"policies", "name", "description"})
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
