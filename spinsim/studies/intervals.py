"""How far a prediction may be trusted: runs with other seeds and other noise, 90 % of which lie inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spinsim.costs.base import ROOFLINE, Predictor
from spinsim.costs.noting import Noting
from spinsim.costs.profiled.profile import read_profile
from spinsim.drafters.costs import build_predictor
from spinsim.lab.uncertainty import Uncertainty, on_sheets, profiled, stated
from spinsim.progress import Progress
from spinsim.results.metrics import metric, shown_in, value
from spinsim.results.summary import summarise
from spinsim.scenario import NoisyPart, ProfileCosts, RooflineCosts, Scenario
from spinsim.simulated.simulation import simulate_scenario
from spinsim.workload.for_scenario import build_workload
from spinsim.workload.request import Workload
from spinsim.workload.source import resolve

Interval = dict[str, float]

LEVEL = 0.9
FIRST = 64  # requests that tell how long prefills are
COSTS_LEFT_OUT = (
    "costs are not in these intervals, but seeds alone: there is no measured profile, and the scenario "
    "states no noise"
)
DAYS_LEFT_OUT = (
    "what another process, day or host takes is not in these intervals: the profile has no repeats "
    "(spinsim profile --again adds one), and no host of this kind was measured"
)
SHEETS_LEFT_OUT = (
    "what sheets are off by beyond the profile is not in these intervals, since no host of this kind was "
    "measured: {}"
)


def intervals_of(
    scenario: Scenario,
    base_dir: Path,
    runs: int,
    progress: Progress | None = None,
    *,
    predictor: Predictor | None = None,
) -> dict[str, Any]:
    """``runs`` simulations of a scenario, with seeds that follow its own and noise of their own.

    The noise is the scenario's, or where it states none what is not known about its costs and its text
    (:mod:`~spinsim.lab.uncertainty`). ``predictor`` is the scenario's, where it is known.
    Raises InputError as a simulation does.
    """
    predictor = predictor or build_predictor(scenario, base_dir)
    unknown = uncertainty_of(scenario, base_dir, predictor)
    drawn = nothing_drawn()
    for run in range(1, runs + 1):
        seed = scenario.seed + run
        seeded = scenario.model_copy(update={"seed": seed, "noise": unknown.drawn(seed)})
        done = simulate_scenario(seeded, base_dir, predictor=predictor)
        summary = summarise(done.records, seeded, mode="simulated", acceptance_source=done.acceptance_source)
        collect(drawn, summary)
        if progress is not None:
            progress("intervals", run, runs)
    said = {"level": LEVEL, "chance": chance(runs), "runs": runs}
    return {**said, **described(unknown), "metrics": bounds(drawn)}


def chance(runs: int) -> float:
    """That a further run lies within the bounds of so many: ``LEVEL``, or less of few runs."""
    return min(LEVEL, (runs - 1) / (runs + 1))


def nothing_drawn() -> dict[str, list[float]]:
    """An empty list for every metric that gets an interval, by its path in the summary."""
    return {known.path: [] for known in shown_in("intervals")}


def described(unknown: Uncertainty) -> dict[str, Any]:
    """``noise``, as if the scale of another day were known, and the ``sources`` that it is made of."""
    left_out = "; ".join(_left_out(unknown))
    said = {"note": left_out} if left_out else {}
    return {"noise": unknown.typical().model_dump(mode="json"), "sources": asdict(unknown), **said}


def _left_out(unknown: Uncertainty) -> Iterator[str]:
    """What a reader might take to be in the intervals, and is not."""
    if not _times_known(unknown):
        yield COSTS_LEFT_OUT
    elif not unknown.day:
        yield DAYS_LEFT_OUT
    alone = {kind: share for kind, share in unknown.beyond.items() if kind not in unknown.hosts}
    if alone:
        yield SHEETS_LEFT_OUT.format(
            ", ".join(f"{100 * share:.0f} % of {kind}" for kind, share in alone.items())
        )


def _times_known(unknown: Uncertainty) -> bool:
    """Is there any noise of times?"""
    return any((*unknown.day.values(), *unknown.model.values(), *unknown.call.values()))


def collect(drawn: Mapping[str, list[float]], summary: Mapping[str, Any]) -> None:
    """Add a run's values of those metrics, where it has them."""
    for name, values in drawn.items():
        found = value(summary, metric(name))
        if found is not None:
            values.append(float(found))


def bounds(drawn: Mapping[str, Iterable[float]]) -> dict[str, Interval]:
    """By metric, where a further run lies with a chance of ``LEVEL``, and the median.

    The k-th smallest of n runs exceeds a further one with a chance of k / (n + 1), so that 19 runs are the
    fewest of which smallest and largest hold 90 % (Weibull's plotting position). Fewer hold (n - 1) / (n +
    1).
    """
    tail = (1 - LEVEL) / 2
    found: dict[str, Interval] = {}
    for name, values in drawn.items():
        numbers = list(values)
        if numbers:
            low, middle, high = np.quantile(numbers, (tail, 0.5, 1 - tail), method="weibull")
            found[name] = {"low": float(low), "median": float(middle), "high": float(high)}
    return found


def uncertainty_of(
    scenario: Scenario,
    base_dir: Path,
    predictor: Predictor,
    *,
    workload: Workload | None = None,
    without_host: str = "",
) -> Uncertainty:
    """Of times the scenario's noise, or where it states none what its profile or sheets do not know; other
    text.

    ``workload``: in place of the scenario's. ``without_host``: as of
    :func:`~spinsim.lab.uncertainty.profiled`.
    """
    noise, costs = scenario.noise, scenario.costs
    if noise.per_run_sd or noise.per_call_sd:
        return stated(scenario)
    if isinstance(costs, RooflineCosts):
        return on_sheets(scenario, without_host=without_host)
    if not isinstance(costs, ProfileCosts):
        return stated(scenario)
    profile = read_profile(resolve(costs.path, base_dir, "costs.path"))
    beyond = shares_beyond(scenario, base_dir, predictor, workload) if costs.allow_roofline else {}
    workload = workload or build_workload(scenario, base_dir)
    prefill_s = seconds_of_prefill(workload, scenario, predictor)
    seconds: dict[NoisyPart, float] = {"prefill": prefill_s} if prefill_s else {}
    return profiled(profile, predictor, scenario, beyond=beyond, seconds=seconds, without_host=without_host)


def seconds_of_prefill(workload: Workload, scenario: Scenario, predictor: Predictor) -> float:
    """In the mean over the prefills of the first requests, each by itself; 0 without a prompt that fits."""
    chunk, most = scenario.limits.prefill_chunk_tokens, scenario.limits.context_tokens
    asked = [
        (min(chunk, request.prompt_tokens - start), start)
        for request in workload.requests[:FIRST]
        if request.prompt_tokens < most
        for start in range(0, request.prompt_tokens, chunk)
    ]
    return float(np.mean([predictor.prefill([n], [start]).seconds for n, start in asked])) if asked else 0.0


def shares_beyond(
    scenario: Scenario, base_dir: Path, predictor: Predictor, workload: Workload | None = None
) -> dict[NoisyPart, float]:
    """By kind of operation the share of the predicted time for which sheets answer, by a simulation.

    What policies ask counts as well. Kinds that the profile covers are left out.
    """
    noting = Noting(predictor)
    simulate_scenario(scenario, base_dir, workload=workload, predictor=noting)
    return {kind: share for kind, share in noting.shares(ROOFLINE).items() if share > 0}


__all__ = [
    "LEVEL",
    "bounds",
    "collect",
    "described",
    "intervals_of",
    "nothing_drawn",
    "seconds_of_prefill",
    "shares_beyond",
    "uncertainty_of",
]
