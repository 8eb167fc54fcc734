"""``spinsim run``: one scenario served live, into a results folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from spinsim.costs.for_scenario import profile_of
from spinsim.costs.profiled.elsewhere import laid_elsewhere, profile_elsewhere
from spinsim.drafters.costs import build_predictor
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.field import refuse_unknown_future
from spinsim.live.interrupts import Interrupts
from spinsim.live.live_run import Ran, run_scenario
from spinsim.live.looking_ahead import TABLE
from spinsim.live.machine import this_machine
from spinsim.live.outputs import decoder, outputs_table
from spinsim.live.places import found_devices, other_hardware, torch_device
from spinsim.results.folder import Additions
from spinsim.results.hindsight import of_recording
from spinsim.results.publish import Progress, Summary, publish
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario
from spinsim.scenario_file.one_world import not_read
from spinsim.serving import trusting


def run(
    loaded: LoadedScenario,
    out: Path | None,
    progress: Progress | None = None,
    *,
    report: Callable[[Path], object] | None = None,
) -> Summary:
    """Load the models, serve the workload, write the results folder; returns the summary.

    ``report`` writes report.html into the folder that it is given. Raises InputError before anything
    runs for what cannot be run, and LaneError after the partial results are written when a worker failed.
    """
    refuse_unknown_future(loaded.scenario)  # before models are loaded
    predictor = build_predictor(trusting(loaded.scenario), loaded.base_dir)
    with Interrupts() as interrupts:
        with deploy(loaded.scenario, loaded.base_dir, progress) as deployment:
            ran = run_scenario(
                loaded.scenario,
                loaded.base_dir,
                deployment,
                progress,
                predictor=predictor,
                over=interrupts.hold,
            )
            ranks = deployment.ranks() if ran.error is None else {}
        notes = _notes(loaded, deployment, ran, ranks)
        known = None if ran.given is None else ran.given.field
        notes["regret"], curves = of_recording(
            loaded.scenario, loaded.base_dir, ran.records, ran.workload, predictor, known
        )
        additions = Additions(
            log=ran.log,
            documents={"regret.json": curves} if curves else {},
            tables=_tables(loaded.scenario, deployment, ran),
            report=report,
        )
        summary = publish(loaded, out, ran, mode="live", progress=progress, notes=notes, additions=additions)
    if ran.error is not None and not isinstance(ran.error, KeyboardInterrupt):
        raise ran.error
    return summary


def _notes(
    loaded: LoadedScenario, deployment: Deployment, ran: Ran, ranks: Mapping[str, Any]
) -> dict[str, Any]:
    """Further keys of the summary."""
    scenario = loaded.scenario
    found: dict[str, Any] = {
        "models": deployment.models.notes,
        "found_devices": found_devices(scenario),
        "other_hardware": other_hardware(scenario),
        "not_read": not_read(scenario, "live"),
        "kv_slots": deployment.kv_slots,
        "kv_slots_held": ran.slots_held,
    }
    told = {
        "profile_elsewhere": _elsewhere(loaded),
        "ranks": ranks,
        "clocks": ran.clocks.told(),
        "cpus": ran.cpus.told(),
    }
    return found | {key: value for key, value in told.items() if value}


def _tables(scenario: Scenario, deployment: Deployment, ran: Ran) -> dict[str, pa.Table]:
    """Further Parquet files."""
    tables = {}
    if ran.given is None:
        decode = decoder(scenario.models.target.weights, deployment.models.target.name)
        tables["outputs.parquet"] = outputs_table(ran.workload, ran.prompts, ran.outputs, decode)
    if ran.looked is not None:
        tables[TABLE] = ran.looked.table()
    return tables


def _elsewhere(loaded: LoadedScenario) -> str:
    """Whether the scenario's profile is of another machine than this one, or of K/V laid otherwise."""
    profile, kv = profile_of(loaded.scenario, loaded.base_dir), loaded.scenario.kv
    if profile is None:
        return ""
    device = torch_device(loaded.scenario, loaded.scenario.placement.target[0])
    found = profile_elsewhere(profile, this_machine(device)), laid_elsewhere(profile, kv.paged_by)
    return "; ".join(filter(None, found))
