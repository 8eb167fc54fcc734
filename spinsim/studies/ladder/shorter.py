"""A ladder whose steps run for no longer than a live run may take."""

from __future__ import annotations

from dataclasses import replace

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
    vanilla = paper_steps(scenario, smallest_draft(loaded), plan.tokens)[VANILLA]
    cell = planned_cell(plan.load(vanilla), plan.plugins)
    outcome = lab.evaluate([cell], "how long a step takes")[cell.key]
    if outcome.summary is None:
        raise InputError(outcome.error)
    summary = outcome.summary
    served, duration_s = summary["requests"]["submitted"], summary["run"]["duration_s"]
    if duration_s <= seconds or scenario.workload.mid_flight is not None:
        return plan, ""
    kept = int(served * seconds / duration_s)
    clients = _clients(scenario)
    if kept >= TURNS * clients:
        cut = [override("workload.requests", kept)]
        note = f"{kept} of {served:,} requests, for steps of {seconds:g} s"
    else:
        tokens = max(FEWEST_TOKENS, round(seconds * summary["goodput_tokens_per_s"] / clients))
        low, high = round((1 - SPREAD) * tokens), round((1 + SPREAD) * tokens)
        cut = [
            override("workload.requests", clients),
            override("workload.arrivals", {"process": "at_once"}),
            override("workload.mid_flight", {"distribution": "uniform", "min": low, "max": high}),
        ]
        note = (
            f"{clients} requests start in mid-flight, with {low} to {high} tokens to come, for steps of "
            f"{seconds:g} s; rates are of decoding alone"
        )
    return replace(plan, overrides=(*plan.overrides, *cut)), note


def _clients(scenario: Scenario) -> int:
    arrivals = scenario.workload.arrivals
    most = scenario.limits.batch
    return min(most, arrivals.concurrency) if isinstance(arrivals, ClosedLoop) else most
