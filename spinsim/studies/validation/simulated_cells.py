"""The simulated half of a validation: from the folder of the live half, on any machine, with any profile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from spinsim.costs.base import Predictor
from spinsim.drafters.costs import KnownPredictors
from spinsim.errors import InputError
from spinsim.lab.pool import cores
from spinsim.lab.uncertainty import Uncertainty
from spinsim.policies.plugins import load_plugins
from spinsim.progress import Progress
from spinsim.results.summary import summarise
from spinsim.scenario import ProfileCosts, RooflineCosts, Scenario
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.intervals import bounds, collect, described, nothing_drawn, uncertainty_of
from spinsim.studies.validation.agreement import (
    compared,
    covered,
    identical_share,
    measured,
    rounds_by_request,
)
from spinsim.studies.validation.folder import Folder, LiveCell
from spinsim.studies.validation.operations import compared_operations, operation_table

Numbers = dict[str, Any]
Replacement = ProfileCosts | RooflineCosts | None


def simulate_cells(
    root: Path,
    keys: Sequence[str],
    intervals: int,
    costs: Replacement = None,
    workers: int | None = 0,
    plugins: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[Numbers]:
    """The comparison of every cell, in order; one that cannot be simulated has a name and an error.

    ``costs`` replace those of the live half. ``workers`` and ``plugins`` as of the options.
    """
    count = min(cores() if workers is None else workers, len(keys))
    done: dict[str, Numbers] = {}

    def report() -> None:
        if progress is not None:
            progress("simulated", len(done), len(keys))

    if count <= 1:
        for key, result in _compared_cells(root, keys, intervals, costs):
            done[key] = result
            report()
    else:
        chunks = [keys[i::count] for i in range(count)]  # each fits its profile once
        with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(_chunk, root, chunk, intervals, costs, plugins) for chunk in chunks]
            for future in as_completed(futures):
                done |= future.result()
                report()
    return [done[key] for key in keys]


def _chunk(
    root: Path, keys: Sequence[str], intervals: int, costs: Replacement, plugins: Sequence[str]
) -> dict[str, Numbers]:
    load_plugins(plugins)
    return dict(_compared_cells(root, keys, intervals, costs))


def _compared_cells(
    root: Path, keys: Sequence[str], intervals: int, costs: Replacement
) -> Iterator[tuple[str, Numbers]]:
    folder = Folder(root, resume=True)
    predictors = KnownPredictors()
    for key in keys:
        cell = folder.get(key)
        if cell is None:  # the plan lists what is finished
            raise RuntimeError(f"{root} has lost its cell {key}")
        scenario = with_costs(cell.scenario, costs)
        predictor = predictors.of(scenario, root)
        try:
            yield key, compare_cell(cell, scenario, root, predictor, intervals)
        except InputError as error:
            yield key, {"name": cell.name, "error": str(error)}


def with_costs(scenario: Scenario, costs: Replacement) -> Scenario:
    """The scenario with other costs. Its policies then believe in those too.

    A profile may ask the roofline beyond its range where it says so, or the scenario's own may.
    """
    if costs is None:
        return scenario
    if isinstance(costs, ProfileCosts):
        own = scenario.costs
        allowed = costs.allow_roofline or (isinstance(own, ProfileCosts) and own.allow_roofline)
        costs = costs.model_copy(update={"allow_roofline": allowed})
    return scenario.model_copy(update={"costs": costs})


def compare_cell(
    cell: LiveCell, scenario: Scenario, base_dir: Path, predictor: Predictor, intervals: int
) -> Numbers:
    """A cell's live runs beside ``scenario`` in the simulated world; both serve the same requests."""
    began = time.process_time()
    done = simulate_scenario(scenario, base_dir, workload=cell.workload, predictor=predictor)
    cpu_s = time.process_time() - began
    summary = summarise(done.records, scenario, mode="simulated", acceptance_source=done.acceptance_source)
    workload = cell.workload  # the scenario's own file may be on another machine
    unknown = uncertainty_of(scenario, base_dir, predictor, workload=workload) if intervals else None
    drawn = intervals_of_cell(cell, scenario, base_dir, predictor, intervals, unknown) if unknown else None
    alike = identical_share(cell.rounds, rounds_by_request(done.records)) if cell.recorded else None
    return {
        "key": cell.key,
        "name": cell.name,
        "labels": cell.labels,
        "requests": len(cell.workload.requests),
        "of": cell.of,
        "setting": cell.setting,
        "open_loop": cell.workload.concurrency is None,
        "metrics": compared(cell.runs, measured(summary, done.records)),
        "operations": compared_operations(cell.operations, operation_table(done.records)),
        "costs": summary["costs"],
        "identical_requests": alike,
        "intervals": drawn,
        "coverage": covered(cell.runs, drawn["metrics"]) if drawn else None,
        "live_s": list(cell.live_s),
        "requests_per_s": cell.requests_per_s,
        "clocks": list(cell.clocks),
        "cpus": list(cell.cpus),
        "simulated_cpu_s": cpu_s,
        "speedup": sorted(cell.live_s)[len(cell.live_s) // 2] / cpu_s if cpu_s else None,
    }


def intervals_of_cell(
    cell: LiveCell,
    scenario: Scenario,
    base_dir: Path,
    predictor: Predictor,
    runs: int,
    unknown: Uncertainty,
) -> Numbers | None:
    """Of the same workload under other noise: what another process, day or host would have given."""
    if not runs or unknown.nothing:
        return None
    drawn = nothing_drawn()
    for run in range(1, runs + 1):
        noisy = scenario.model_copy(update={"noise": unknown.drawn(run)})
        done = simulate_scenario(noisy, base_dir, workload=cell.workload, predictor=predictor, noise_seed=run)
        collect(
            drawn,
            summarise(done.records, noisy, mode="simulated", acceptance_source=done.acceptance_source),
        )
    return {"runs": runs, **described(unknown), "metrics": bounds(drawn)}
