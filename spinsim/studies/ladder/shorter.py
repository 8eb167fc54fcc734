"""A ladder whose steps run for no longer than a live run may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from spinsim.errors import InputError
from spinsim.lab.evaluate import Lab
from spinsim.lab.rows import planned_cell
from spinsim.scenario import ClosedLoop, Scenario
from spinsim.scenario_file.variants import override
from spinsim.studies.ladder.ladder import LadderPlan, smallest_draft
from spinsim.studies.ladder.steps import VANILLA, paper_steps

TURNS = 3  # requests of every client: with fewer a closed loop has no steady state
FEWEST_TOKENS = 32  # still to come of a request that is met in mid-flight
SPREAD = 0.1  # of those tokens: requests of one length would all end at once


def shortened(plan: LadderPlan, seconds: float, lab: Lab) -> tuple[LadderPlan, str]:
    """The plan with a workload that vanilla is predicted to serve in ``seconds``, and how it was cut.

    Requests are left out, the same for every step. Where fewer than ``TURNS`` a client would remain, one for
    each client starts in mid-flight instead, with the context that it has in the steady state. Raises
    InputError where vanilla cannot be simulated.
    """
    loaded = plan.load()
    scenario = loaded.scenario
    summary = _vanilla(plan, lab)
    served, duration_s = summary["requests"]["submitted"], summary["run"]["duration_s"]
    if duration_s <= seconds or scenario.workload.mid_flight is not None:
        return plan, ""
    clients = _clients(scenario)
    kept = int(served * seconds / duration_s)
    if kept >= TURNS * clients:
        given = (*plan.overrides, override("workload.requests", kept))
        return replace(plan, overrides=given), f"{kept} of {served:,} requests, for steps of {seconds:g} s"
    tokens = max(FEWEST_TOKENS, round(seconds * summary["goodput_tokens_per_s"] / clients))
    summary = _vanilla(_met(plan, clients, tokens), lab)  # reads its contexts first, and then decodes faster
    left_s = seconds - summary["run"]["duration_s"]
    tokens = max(FEWEST_TOKENS, tokens + round(left_s * (summary["decode_tokens_per_s"] or 0.0) / clients))
    low, high = _around(tokens)
    return _met(plan, clients, tokens), (
        f"{clients} requests start in mid-flight, with {low} to {high} tokens to come, for steps of "
        f"{seconds:g} s; rates are of decoding alone"
    )


def _vanilla(plan: LadderPlan, lab: Lab) -> Mapping[str, Any]:
    """What vanilla comes to. Raises InputError where it cannot be simulated."""
    loaded = plan.load()
    steps = paper_steps(loaded.scenario, smallest_draft(loaded), plan.tokens)
    cell = planned_cell(plan.load(steps[VANILLA]), plan.plugins)
    outcome = lab.evaluate([cell], "how long a step takes")[cell.key]
    if outcome.summary is None:
        raise InputError(outcome.error)
    return outcome.summary


def _met(plan: LadderPlan, clients: int, tokens: int) -> LadderPlan:
    """The plan with a request for each client that starts in mid-flight, with about ``tokens`` to come."""
    low, high = _around(tokens)
    cut = (
        override("workload.requests", clients),
        override("workload.arrivals", {"process": "at_once"}),
        override("workload.mid_flight", {"distribution": "uniform", "min": low, "max": high}),
    )
    return replace(plan, overrides=(*plan.overrides, *cut))


def _around(tokens: int) -> tuple[int, int]:
    return round((1 - SPREAD) * tokens), round((1 + SPREAD) * tokens)


def _clients(scenario: Scenario) -> int:
    arrivals = scenario.workload.arrivals
    most = scenario.limits.batch
    return min(most, arrivals.concurrency) if isinstance(arrivals, ClosedLoop) else most
