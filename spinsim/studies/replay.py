"""``spinsim replay``: a live run's inputs through the engine again, every decision compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from spinsim.costs.for_scenario import build_predictor
from spinsim.engine.engine import Engine
from spinsim.engine.inputs import EmptySchedule
from spinsim.errors import InputError
from spinsim.live.replayed_inputs import Diverged, ReplayWorld
from spinsim.results.inputs import read_inputs
from spinsim.results.tables import write_decisions, write_rounds
from spinsim.scenario_file import load
from spinsim.serving import engine_settings, lay_out, policies_for, trusting
from spinsim.workload.for_scenario import build_workload
from spinsim.workload.request import Request

TABLES = ("decisions.parquet", "rounds.parquet")


@dataclass(frozen=True)
class Replayed:
    """``difference`` is empty when every decision came out the same."""

    inputs: int
    rounds: int
    decisions: int  # requests assigned a draft and a length, over all rounds
    difference: str


def replay(folder: Path) -> Replayed:
    """Replay the results folder of a live run.

    Raises InputError when the folder is not one.
    """
    summary = _live_summary(folder)
    capacity = {str(model): int(tokens) for model, tokens in summary["run"]["kv_capacity_tokens"].items()}
    loaded = load(folder / "scenario.yaml", _as_laid_out(summary))
    scenario = loaded.scenario
    log = read_inputs(folder / "inputs.parquet")
    workload = build_workload(scenario, loaded.base_dir)
    workload = replace(workload, requests=_as_run(workload.requests, folder))
    layout = lay_out(scenario)
    predictor = build_predictor(trusting(scenario), loaded.base_dir)
    policies = policies_for(scenario, layout, predictor, loaded.base_dir)
    world = ReplayWorld(layout.lanes, log)
    settings = engine_settings(scenario, layout, capacity)
    engine = Engine(world, workload, policies, settings, tuple(scenario.models.drafts))
    engine.start()
    difference = ""
    try:
        world.env.run(until=engine.done)
    except EmptySchedule:
        pass  # the run was interrupted where its log ends
    except (Diverged, RuntimeError) as error:
        # simpy wraps an exhausted schedule, which is no divergence, in a RuntimeError.
        if isinstance(error, Diverged) or "No scheduled events left" not in str(error):
            difference = str(error)
    with TemporaryDirectory() as again:
        write_decisions(Path(again), engine.records)
        write_rounds(Path(again), engine.records)
        for name in TABLES:
            difference = difference or _first_difference(folder / name, Path(again) / name)
    rounds = engine.records.rounds
    return Replayed(len(log.kind), len(rounds.size), len(rounds.request), difference)


def _live_summary(folder: Path) -> dict[str, Any]:
    """The summary of a live run, with its KV capacity. Raises InputError where there is none."""
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        live = summary["mode"] == "live" and "kv_capacity_tokens" in summary["run"]
    except (OSError, ValueError, KeyError, TypeError):
        live = False
    if not live:
        raise InputError("is not a live run's results; give a folder that `run` wrote", file=str(folder))
    return summary


def _as_laid_out(summary: dict[str, Any]) -> list[str]:
    """Drafts of a GPU took turns, before scenarios could say otherwise: the run's own lanes tell."""
    shared = any(name.endswith("/drafts") for name in summary.get("lanes", ()))
    return ["placement.draft_lanes=shared"] if shared else []


def _as_run(requests: Sequence[Request], folder: Path) -> tuple[Request, ...]:
    """Prompt lengths as they were when the prompts had been turned into tokens."""
    table = pq.read_table(folder / "requests.parquet", columns=["request", "prompt_tokens"])
    lengths = dict(zip(table["request"].to_pylist(), table["prompt_tokens"].to_pylist(), strict=True))
    return tuple(
        replace(request, prompt_tokens=lengths.get(request.id, request.prompt_tokens)) for request in requests
    )


def _first_difference(recorded: Path, again: Path) -> str:
    old, new = pq.read_table(recorded), pq.read_table(again)
    if old.equals(new):
        return ""
    if old.num_rows != new.num_rows:
        return f"{recorded.name}: {old.num_rows} rows recorded, {new.num_rows} replayed"
    for name in old.column_names:
        if not old[name].equals(new[name]):
            pairs = zip(old[name].to_pylist(), new[name].to_pylist(), strict=True)
            row, (was, now) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
            return f"{recorded.name}: row {row}: {name} was {was}, now {now}"
    return f"{recorded.name}: columns differ"
