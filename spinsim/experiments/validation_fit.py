"""As much of a workload as runs within the allowed seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spinsim.costs.base import Predictor
from spinsim.experiments.simulate import simulate_scenario
from spinsim.live.prompts import Prompted
from spinsim.scenario import Scenario

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
    scenario: Scenario, base_dir: Path, prompted: Prompted, predictor: Predictor, seconds: float
) -> int:
    """How many of the first requests are predicted to take the allowed time, each prediction a simulation."""
    count = len(prompted.workload.requests)
    while True:
        part = first(prompted, count).workload
        done = simulate_scenario(scenario, base_dir, workload=part, predictor=predictor)
        took = done.records.ended_ns * 1e-9
        if took <= seconds or count <= least(scenario, prompted):
            return count
        count = shortened(scenario, prompted, count, took, seconds)
