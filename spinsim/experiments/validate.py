"""``spinsim validate``: the same cells live, with repetitions, and simulated; and how far apart they are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from spinsim.acceptance.trace import Trace, save_trace
from spinsim.costs.base import Predictor
from spinsim.costs.build import build_predictor
from spinsim.costs.profile import read_profile
from spinsim.errors import InputError
from spinsim.experiments.intervals import HEADLINES, bounds, collect, noise_for
from spinsim.experiments.profile import Workplace
from spinsim.experiments.run import run_scenario
from spinsim.experiments.simulate import Simulated, simulate_scenario
from spinsim.experiments.trace import record_requests
from spinsim.experiments.validation_metrics import (
    compared,
    covered,
    identical_share,
    measured,
    overall,
    rounds_by_request,
)
from spinsim.experiments.validation_plan import Cell, at_load, deployed_scenario, deployments, is_closed
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.prompts import Prompted, materialise
from spinsim.profiling.drift import TOLERANCE, drifted
from spinsim.profiling.timing import QUICK, Effort
from spinsim.reporting.environment import environment
from spinsim.reporting.metrics import summarise
from spinsim.scenario import KvSpec, NoiseSpec, ProfileCosts, Scenario, TraceAcceptance
from spinsim.workload.build import build_workload
from spinsim.workload.request import Request
from spinsim.workload.source import resolve

Progress = Callable[[str, float, float], None]
Numbers = dict[str, Any]

SCHEMA = "spinsim.validation/1"
DRIFT_POINTS = 5
MARGIN = 0.9  # of the allowed seconds are aimed for, since predictions err
ROOM = 1.5  # times the allowed seconds: as much of a workload is recorded, since acceptance is not yet known
OVERRUN = 1.25  # a live run that takes so much longer than allowed is done again with fewer requests


@dataclass(frozen=True)
class Options:
    """``seconds``: longest live run of a cell. ``loads``: shares of a closed cell's request rate."""

    repetitions: int = 3
    intervals: int = 20
    seconds: float = 8.0
    loads: tuple[float, ...] = ()


def validate(
    cells: Sequence[Cell],
    out: Path,
    options: Options,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Numbers:
    """Every cell in both worlds; the comparison is saved as ``validation.json`` in ``out``.

    Models are deployed once for all cells that can share them. Each cell is saved when it is done, and
    ``resume`` keeps those of equal contents. Raises InputError as runs and simulations do.
    """
    store = _Store(out, resume=resume, force=force)
    done: list[Numbers] = []
    drift: list[Numbers] = []
    total = len(cells) * (1 + len(options.loads))
    for number, group in enumerate(deployments(cells)):
        arena = _Arena(group, out / f"trace-{number}.npz", options, progress)
        for cell in group:
            result = _cell(arena, store, cell, options)
            done.append(result)
            if progress is not None:
                progress("cells", len(done), total)
            for load in options.loads if is_closed(cell) else ():
                done.append(_cell(arena, store, at_load(cell, load, result["requests_per_s"]), options))
                if progress is not None:
                    progress("cells", len(done), total)
        # Where every cell was finished before, nothing was deployed now.
        drift += store.drift(number, arena.drift)
    result = {
        "schema": SCHEMA,
        "options": asdict(options),
        "drift": drift,
        **overall(done),
        "cells": done,
        "environment": environment(),
    }
    store.finish(result)
    return result


class _Store:
    """Finished cells on disk."""

    def __init__(self, out: Path, *, resume: bool, force: bool) -> None:
        self._cells = out / "cells"
        self._out = out
        if out.exists() and any(out.iterdir()) and not (resume or force):
            raise InputError(
                "already holds something; --resume goes on, --force begins anew, --out names another folder",
                file=str(out),
            )
        if force and not resume and self._cells.is_dir():
            for path in self._cells.glob("*.json"):
                path.unlink()
        self._cells.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> Numbers | None:
        """A finished cell."""
        try:
            found: Numbers = json.loads((self._cells / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

    def put(self, key: str, result: Numbers) -> None:
        """Save a finished cell, whole or not at all."""
        _write(self._cells / f"{key}.json", result)

    def drift(self, number: int, found: list[Numbers] | None) -> list[Numbers]:
        """The drift found now, or else what an earlier session found."""
        key = f"drift-{number}"
        if found is not None:
            self.put(key, {"points": found})
        known = self.get(key)
        return known["points"] if known else []

    def finish(self, result: Numbers) -> None:
        """Save the whole validation."""
        _write(self._out / "validation.json", result)


def _write(path: Path, content: Numbers) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


class _Arena:
    """One deployment, and what its cells share: predictors, prompts, the trace of what they generate.

    Models are loaded, drift is measured and the trace recorded when the first cell needs them.
    """

    def __init__(
        self, cells: Sequence[Cell], trace_path: Path, options: Options, progress: Progress | None
    ) -> None:
        self.scenario = deployed_scenario(cells)
        self.base_dir = cells[0].loaded.base_dir
        self.drift: list[Numbers] | None = None
        self.progress = progress
        self._cells = cells
        self._seconds = options.seconds
        self._trace_path = trace_path
        self._predictors: dict[str, Predictor] = {}
        self.recorded_s = 0.0
        self._lengths: dict[str, int] = {}

    @cached_property
    def deployment(self) -> Deployment:
        """The models of all cells."""
        packings = tuple(dict.fromkeys(cell.loaded.scenario.policies.packing.name for cell in self._cells))
        return deploy(self.scenario, self.base_dir, self.progress, packings=packings)

    def prepare(self) -> None:
        """Everything that comes before the first run, once."""
        if self.drift is None:
            self.drift = self._measure_drift()
            self._record([cell.loaded.scenario for cell in self._cells])

    def predictor(self, scenario: Scenario) -> Predictor:
        """Fitting a profile takes a while: once for all cells of the same costs."""
        key = scenario.model_dump_json(include={"models", "devices", "placement", "costs", "sampling"})
        if key not in self._predictors:
            self._predictors[key] = build_predictor(scenario, self.base_dir)
        return self._predictors[key]

    def _measure_drift(self) -> list[Numbers]:
        """Five points of the profile measured again, before anything runs."""
        costs = self.scenario.costs
        if not isinstance(costs, ProfileCosts):
            return []
        path = resolve(costs.path, self.base_dir, "costs.path")
        known = read_profile(path)
        with Workplace(self.scenario, self.base_dir, self.deployment) as place:
            probes = [p for quick in (False, True) for p in place.design(quick=quick).core]
            effort = QUICK if self.deployment.target.device.type == "cpu" else Effort()
            found = drifted(known, place.bench, probes, effort, most=DRIFT_POINTS)
        return [
            asdict(point) | {"factor": point.factor, "moved": abs(point.factor - 1) > TOLERANCE}
            for point in found.points
        ]

    def prompted(self, scenario: Scenario) -> Prompted:
        """The scenario's workload with its tokens, cut to what may be of use; named by its prompts.

        Useful is what is predicted to run within ``ROOM`` times the allowed seconds with the scenario's own
        acceptance: recording more would take time for nothing.
        """
        made = self._materialised(scenario)
        kept, _, _ = _fitting(
            self, scenario, made, self.predictor(scenario), ROOM * self._seconds, len(made.workload.requests)
        )
        return _first(made, kept)

    def _materialised(self, scenario: Scenario) -> Prompted:
        target = self.deployment.models.target
        made = materialise(scenario, build_workload(scenario, self.base_dir), target)
        if isinstance(scenario.acceptance, TraceAcceptance):
            return made  # its keys are those of the given trace
        limit = scenario.limits.context_tokens
        requests = tuple(
            request
            if request.prompt_tokens + request.output_tokens > limit
            else replace(request, key=_name(made.prompts[request.id]))
            for request in made.workload.requests
        )
        return replace(made, workload=replace(made.workload, requests=requests))

    def _record(self, scenarios: Sequence[Scenario]) -> None:
        """The trace of everything that cells without a trace of their own will serve."""
        wanted: dict[str, Request] = {}
        prompts: dict[int, Sequence[int]] = {}
        stops: set[int] = set()
        end_of_text = -1
        for scenario in scenarios:
            if isinstance(scenario.acceptance, TraceAcceptance):
                continue
            made = self.prompted(scenario)
            end_of_text = made.end_of_text
            for request in made.workload.requests:
                known = wanted.get(request.key)
                if not request.key or (known and known.output_tokens >= request.output_tokens):
                    continue
                if request.prompt_tokens + request.output_tokens > scenario.limits.context_tokens:
                    continue
                number = known.id if known else len(wanted)
                wanted[request.key] = replace(request, id=number)
                prompts[number] = made.prompts[request.id]
                if request.id in made.stops:
                    stops.add(number)
        if not wanted or not self.deployment.drafts:
            return
        began = time.perf_counter()
        # Without end-of-text: how far each request goes is the cell's business.
        whole = Prompted(build_workload(scenarios[0], self.base_dir), prompts, frozenset(stops), end_of_text)
        trace = record_requests(self.scenario, self.deployment, whole, wanted, self.progress)
        self._lengths = _lengths(trace)
        save_trace(trace, self._trace_path)
        self.recorded_s = time.perf_counter() - began

    def simulated(self, scenario: Scenario, prompted: Prompted) -> tuple[Scenario, Prompted]:
        """The scenario and workload as the simulated world is given them.

        Its memory is what the live deployment has, its acceptance recorded, and an output that stops
        early is as long as it will be.
        """
        tokens = self.deployment.kv_tokens
        drafts = [tokens[name] for name in scenario.models.drafts]
        kv = KvSpec(
            **scenario.kv.model_dump(exclude={"target_tokens", "draft_tokens"}),
            target_tokens=tokens["target"],
            draft_tokens=min(drafts, default=None),
        )
        changed: dict[str, Any] = {"kv": kv}
        if not isinstance(scenario.acceptance, TraceAcceptance) and self._lengths:
            changed["acceptance"] = TraceAcceptance(model="trace", path=str(self._trace_path.resolve()))
            prompted = self._ended(prompted)
        return scenario.model_copy(update=changed), prompted

    def _ended(self, prompted: Prompted) -> Prompted:
        """Outputs that may stop are as long as they were when recorded."""

        def ended(request: Request) -> Request:
            length = self._lengths.get(request.key, request.output_tokens)
            if request.id not in prompted.stops or length >= request.output_tokens:
                return request
            return replace(request, output_tokens=length)

        workload = prompted.workload
        return replace(prompted, workload=replace(workload, requests=tuple(map(ended, workload.requests))))


def _lengths(trace: Trace) -> dict[str, int]:
    return dict(zip(trace.keys, trace.output_tokens().tolist(), strict=True))


def _name(prompt: Sequence[int]) -> str:
    return sha256(",".join(map(str, prompt)).encode()).hexdigest()[:16]


def _cell(arena: _Arena, store: _Store, cell: Cell, options: Options) -> Numbers:
    key = sha256(
        f"{cell.key}/{options.repetitions}/{options.intervals}/{options.seconds}".encode()
    ).hexdigest()
    known = store.get(key[:24])
    if known is None:
        known = _validated(arena, cell, options)
        store.put(key[:24], known)
    return known | {"name": cell.name, "labels": cell.labels}


def _validated(arena: _Arena, cell: Cell, options: Options) -> Numbers:
    scenario = cell.loaded.scenario
    predictor = arena.predictor(scenario)
    arena.prepare()
    live_prompted = arena.prompted(scenario)
    believed, simulated_prompted = arena.simulated(scenario, live_prompted)
    count, simulated, wall_s = _fitting(
        arena, believed, simulated_prompted, predictor, options.seconds, len(live_prompted.workload.requests)
    )
    runs: list[Mapping[str, float | None]] = []
    durations: list[float] = []
    requests_per_s: list[float] = []
    rounds = None
    while len(runs) < options.repetitions:
        ran = run_scenario(
            scenario,
            arena.base_dir,
            arena.deployment,
            arena.progress,
            prompted=_first(live_prompted, count),
            predictor=predictor,
        )
        if ran.error is not None:
            raise ran.error
        elapsed = ran.records.ended_ns * 1e-9
        if elapsed > OVERRUN * options.seconds and count > scenario.limits.batch:
            # The prediction was far off: fewer requests, in both worlds.
            count = max(scenario.limits.batch, int(count * MARGIN * options.seconds / elapsed))
            simulated, wall_s = _timed(arena, believed, _first(simulated_prompted, count), predictor)
            runs, durations, requests_per_s, rounds = [], [], [], None
            continue
        summary = summarise(ran.records, scenario, mode="live", acceptance_source="models")
        runs.append(measured(summary, ran.records))
        durations.append(elapsed)
        requests_per_s.append(summary["requests"]["completed"] / max(elapsed, 1e-9))
        rounds = rounds or rounds_by_request(ran.records)
    summary = summarise(
        simulated.records, believed, mode="simulated", acceptance_source=simulated.acceptance_source
    )
    said = measured(summary, simulated.records)
    recorded = isinstance(believed.acceptance, TraceAcceptance)
    intervals = _intervals(arena, believed, _first(simulated_prompted, count), predictor, options.intervals)
    requests_per_s.sort()
    return {
        "name": cell.name,
        "requests": count,
        "of": len(build_workload(scenario, arena.base_dir).requests),
        "setting": _setting(scenario),
        "open_loop": live_prompted.workload.concurrency is None,
        "metrics": compared(runs, said),
        "costs": summary["costs"],
        "identical_requests": identical_share(rounds or {}, rounds_by_request(simulated.records))
        if recorded
        else None,
        "intervals": intervals,
        "coverage": covered(runs, intervals["metrics"]) if intervals else None,
        "live_s": durations,
        "requests_per_s": requests_per_s[len(requests_per_s) // 2],
        "simulated_wall_s": wall_s,
        "speedup": sorted(durations)[len(durations) // 2] / wall_s if wall_s else None,
    }


def _setting(scenario: Scenario) -> str:
    """What two cells must share to be a pair of policies: everything but those, and their number's seed."""
    values = scenario.model_dump(mode="json", exclude={"policies", "name", "description"})
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _first(prompted: Prompted, count: int) -> Prompted:
    workload = prompted.workload
    return replace(prompted, workload=replace(workload, requests=workload.requests[:count]))


def _timed(
    arena: _Arena, scenario: Scenario, prompted: Prompted, predictor: Predictor
) -> tuple[Simulated, float]:
    began = time.perf_counter()
    done = simulate_scenario(scenario, arena.base_dir, workload=prompted.workload, predictor=predictor)
    return done, time.perf_counter() - began


def _fitting(
    arena: _Arena,
    scenario: Scenario,
    prompted: Prompted,
    predictor: Predictor,
    seconds: float,
    count: int,
) -> tuple[int, Simulated, float]:
    """As many of the first requests as are predicted to take the allowed time; a batch at least."""
    while True:
        done, wall_s = _timed(arena, scenario, _first(prompted, count), predictor)
        took = done.records.ended_ns * 1e-9
        least = min(count, scenario.limits.batch)
        if took <= seconds or count <= least:
            return count, done, wall_s
        count = max(least, min(count - 1, int(count * MARGIN * seconds / took)))


def _intervals(
    arena: _Arena, scenario: Scenario, prompted: Prompted, predictor: Predictor, runs: int
) -> Numbers | None:
    """Of the same workload under other noise: what another process or day would have given."""
    noise = noise_for(scenario, arena.base_dir)
    if not runs or noise == NoiseSpec():
        return None
    noisy = scenario.model_copy(update={"noise": noise})
    drawn: dict[str, list[float]] = {name: [] for name in HEADLINES}
    for run in range(runs):
        done = simulate_scenario(
            noisy, arena.base_dir, workload=prompted.workload, predictor=predictor, noise_seed=run + 1
        )
        collect(
            drawn,
            summarise(done.records, noisy, mode="simulated", acceptance_source=done.acceptance_source),
        )
    return {"runs": runs, "noise": noise.model_dump(mode="json"), "metrics": bounds(drawn)}
