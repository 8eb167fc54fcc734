"""As much of a workload as runs within the allowed seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spinsim.costs.base import Predictor
from spinsim.live.field import is_given
from spinsim.live.prompts import Prompted
from spinsim.scenario import LogisticAcceptance, Scenario
from spinsim.simulated.simulation import simulate_scenario

MARGIN = 0.9  # of the allowed seconds are aimed for, since predictions err
TURNS = 2  # requests of every client of a closed loop, at least


def first(prompted: Prompted, count: int) -> Prompted:
    """The first ``count`` requests."""
    workload = prompted.workload
    return replace(prompted, workload=replace(workload, requests=workload.requests[:count]))


def least(scenario: Scenario, prompted: Prompted) -> int:
    """Fewer requests would say little: two of every client, or as many as a batch holds."""
    clients = prompted.workload.concurrency
    floor = scenario.limits.batch if clients is None else TURNS * clients
    return min(floor, len(prompted.workload.requests))


def shortened(scenario: Scenario, prompted: Prompted, count: int, took: float, seconds: float) -> int:
    """How many fit into ``seconds``, where ``count`` requests took ``took``; :func:`least` or more."""
    return max(least(scenario, prompted), min(count - 1, int(count * MARGIN * seconds / took)))


def fitting(
    scenario: Scenario,
    base_dir: Path,
    prompted: Prompted,
    predictor: Predictor,
    seconds: float,
    count: int | None = None,
) -> int:
    """How many of the first requests are predicted to take the allowed time, each prediction a simulation.

    ``count``: not more than so many, where an earlier prediction said that they might.
    """
    count = min(count or len(prompted.workload.requests), len(prompted.workload.requests))
    while True:
        took = predicted_s(scenario, base_dir, first(prompted, count), predictor)
        if took <= seconds or count <= least(scenario, prompted):
            return count
        count = shortened(scenario, prompted, count, took, seconds)


def predicted_s(scenario: Scenario, base_dir: Path, prompted: Prompted, predictor: Predictor) -> float:
    """Seconds that the requests are predicted to take."""
    bare = without_domains(scenario)
    done = simulate_scenario(bare, base_dir, workload=prompted.workload, predictor=predictor)
    return done.records.ended_ns * 1e-9


def without_domains(scenario: Scenario) -> Scenario:
    """Synthetic acceptance alike for all requests: real prompts bring domains that it does not know.

    Where acceptance is given to live runs, requests keep the domains that it knows.
    """
    acceptance = scenario.acceptance
    if is_given(scenario) or not isinstance(acceptance, LogisticAcceptance) or not acceptance.domains:
        return scenario
    return scenario.model_copy(update={"acceptance": acceptance.model_copy(update={"domains": {}})})
