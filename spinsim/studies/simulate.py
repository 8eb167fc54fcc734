"""``spinsim simulate``: one scenario in predicted time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spinsim.costs.for_scenario import never_compared, profile_of
from spinsim.costs.profiled.elsewhere import laid_elsewhere
from spinsim.results.folder import Additions
from spinsim.results.hindsight import hindsight
from spinsim.results.publish import Progress, Summary, publish
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario
from spinsim.serving import lay_out
from spinsim.simulated.simulation import Simulated, simulate_scenario


def simulate(
    loaded: LoadedScenario,
    out: Path | None,
    progress: Progress | None = None,
    *,
    intervals: int = 0,
    report: Callable[[Path], object] | None = None,
    engine: str = "auto",
) -> Summary:
    """Simulate a loaded scenario and, with ``out``, write its results folder; returns the summary.

    ``intervals``: so many further runs, with other seeds and other noise, for the summary's intervals.
    ``report`` writes report.html into the folder that it is given. ``engine``: see :func:`simulate_scenario`.
    """
    return simulate_and_publish(loaded, out, progress, intervals=intervals, report=report, engine=engine)[1]


def simulate_and_publish(
    loaded: LoadedScenario,
    out: Path | None,
    progress: Progress | None = None,
    *,
    intervals: int = 0,
    report: Callable[[Path], object] | None = None,
    engine: str = "auto",
) -> tuple[Simulated, Summary]:
    """:func:`simulate`, with the records that its tables are made of.

    What a policy raises within the run is raised when the results so far are in ``out``.
    """
    scenario = loaded.scenario
    simulated = simulate_scenario(scenario, loaded.base_dir, progress, engine=engine, partial=out is not None)
    notes: dict[str, Any] = {}
    if odd := never_compared(scenario, loaded.base_dir):
        notes["never_compared"] = list(odd)
    if elsewhere := _elsewhere(loaded):
        notes["profile_elsewhere"] = elsewhere
    extras: dict[str, dict[str, Any]] = {}
    if out is not None:  # an experiment's cells do without
        notes["regret"], curves = _in_hindsight(scenario, simulated)
        extras = {"regret.json": curves} if curves else {}
    if intervals and not simulated.records.interrupted:
        from spinsim.studies.intervals import intervals_of  # needs scipy, which takes 0.3 s to load

        notes["intervals"] = intervals_of(
            scenario, loaded.base_dir, intervals, progress, predictor=simulated.predictor
        )
    additions = Additions(documents=extras, report=report)
    summary = publish(
        loaded, out, simulated, mode="simulated", progress=progress, notes=notes, additions=additions
    )
    if simulated.error is not None:
        raise simulated.error
    return simulated, summary


def _elsewhere(loaded: LoadedScenario) -> str:
    """Whether the scenario's profile is of K/V laid otherwise than the scenario lays them."""
    profile = profile_of(loaded.scenario, loaded.base_dir)
    return "" if profile is None else laid_elsewhere(profile, loaded.scenario.kv.paged_by)


def _in_hindsight(scenario: Scenario, simulated: Simulated) -> tuple[dict[str, Any], dict[str, Any]]:
    return hindsight(
        simulated.records,
        {request.id: request.output_tokens for request in simulated.workload.requests},
        simulated.field.one_by_one(),
        simulated.predictor,
        remote=lay_out(scenario).remote,
        allow_none=scenario.policies.allow_none,
        context_tokens=scenario.limits.context_tokens,
    )
