"""``spinsim replay``: a live run's inputs through the engine again, every decision compared."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from spinsim.drafters.costs import build_predictor
from spinsim.drafters.for_scenario import drafters_of
from spinsim.engine.inputs import EmptySchedule
from spinsim.engine.records import Records
from spinsim.engine.world import Lookups
from spinsim.errors import InputError, reason_of
from spinsim.live.field import modelled_lookups, replayed_future
from spinsim.live.looking_ahead import TABLE, LookedUp
from spinsim.live.replayed_inputs import ReplayWorld
from spinsim.results.inputs import read_inputs
from spinsim.results.tables import write_decisions, write_rounds
from spinsim.scenario_file import load
from spinsim.serving import assemble, trusting
from spinsim.studies.divergence import in_flight, in_prefill, in_rounds, left_out
from spinsim.workload.for_scenario import build_workload
from spinsim.workload.request import Request

DECISIONS, ROUNDS, INPUTS = "decisions.parquet", "rounds.parquet", "inputs.parquet"
COLUMNS = {  # that a replay compares, or names
    DECISIONS: ("assigned_ns", "micro_batch", "requests", "drafts", "lengths", "packing"),
    ROUNDS: ("round", "request"),
    INPUTS: ("operation", "kind", "model", "micro_batch", "rows", "tokens"),
}
T = TypeVar("T")


@dataclass(frozen=True)
class Replayed:
    """``difference`` is empty when every decision came out the same."""

    inputs: int
    rounds: int
    decisions: int  # requests assigned a draft and a length, over all rounds
    difference: str


def replay(folder: Path) -> Replayed:
    """Replay the results folder of a live run.

    Where something differs, ``difference`` names the first decision that does. Raises InputError when the
    folder is not a live run's, or one of its files is damaged.
    """
    summary = _live_summary(folder)
    capacity = {str(model): int(tokens) for model, tokens in summary["run"]["kv_capacity_tokens"].items()}
    loaded = load(folder / "scenario.yaml", _as_laid_out(summary))
    scenario = loaded.scenario
    log = _whole(read_inputs, folder / "inputs.parquet")
    recorded = {name: _whole(_read, folder / name) for name in COLUMNS}
    workload = build_workload(scenario, loaded.base_dir)
    workload = replace(workload, requests=_as_run(workload.requests, folder))
    predictor = build_predictor(trusting(scenario), loaded.base_dir)
    keeping = [name for name, drafter in drafters_of(scenario).items() if drafter.keeps_kv]
    if missing := [name for name in ("target", *keeping) if name not in capacity]:
        raise InputError(
            f"has no K/V capacity of {missing[0]}, which scenario.yaml has; both as `run` wrote them",
            file=str(folder / "summary.json"),
        )
    try:
        future = replayed_future(scenario, loaded.base_dir, workload)
        serving = assemble(scenario, loaded.base_dir, predictor, capacity, **future)
    except ValueError as error:  # K/V memory that holds no request of the scenario
        return Replayed(len(log), 0, 0, f"the run cannot begin: {error}")
    world = ReplayWorld(serving.layout.lanes, log)
    looked: Lookups | None = modelled_lookups(scenario, loaded.base_dir, workload)
    if serving.policies.read_lookups and (folder / TABLE).exists():
        looked = _whole(LookedUp, folder / TABLE)
    engine = serving.start(world, workload, lookups=looked)
    stopped = ""
    try:
        world.env.run(until=engine.done)
    except EmptySchedule:
        pass  # the run was interrupted where its log ends
    except Exception as error:  # inputs that fit other decisions make the engine fail in many ways
        # simpy wraps an exhausted schedule, which is no divergence, in a RuntimeError.
        if "No scheduled events left" not in str(error):
            stopped = str(error) or "an operation ended otherwise than one of its kind can"
    with TemporaryDirectory() as again:
        write_decisions(Path(again), engine.records)
        write_rounds(Path(again), engine.records)
        now = {name: pq.read_table(Path(again) / name) for name in (DECISIONS, ROUNDS)}
    difference = _difference(recorded, now, engine.records, world, stopped)
    rounds = engine.records.rounds
    return Replayed(len(log), len(rounds.size), len(rounds.request), difference)


def _difference(
    recorded: Mapping[str, pa.Table],
    now: Mapping[str, pa.Table],
    records: Records,
    world: ReplayWorld,
    stopped: str,
) -> str:
    """The first decision that differs; where none is found, what else does."""
    was, then = recorded[DECISIONS], now[DECISIONS]
    flying = {number: world.operations[number] for number in (*world.env.in_flight, *world.env.handled)}
    found = [
        in_rounds(was, then, records.drafts),
        in_flight(was, records, flying, records.drafts) if stopped else None,
        in_prefill(recorded[INPUTS], records.operations, world.operations),
    ]
    if differences := [one for one in found if one is not None]:
        return min(differences, key=lambda one: one.decided_ns).text
    if left := left_out(recorded[INPUTS], was, records):
        return left
    if stopped:
        return f"after {then.num_rows} rounds as recorded: {stopped}"
    if was.num_rows != then.num_rows:
        last = min(was.num_rows, then.num_rows)
        more = "was recorded" if was.num_rows > last else "is decided now"
        return f"round {last} {more} alone: {was.num_rows} rounds were recorded, {then.num_rows} are made now"
    return _first_cell(recorded[ROUNDS], now[ROUNDS])


def _read(path: Path) -> pa.Table:
    """A table of the folder. Raises ValueError where it lacks a column."""
    table = pq.read_table(path)
    if missing := [name for name in COLUMNS[path.name] if name not in table.column_names]:
        raise ValueError(f"it has no column {missing[0]}")
    return table


def _whole(read: Callable[[Path], T], path: Path) -> T:
    """What ``read`` makes of a file of the folder. Raises InputError for one that is missing or damaged."""
    try:
        return read(path)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise InputError(
            f"cannot be replayed: {reason_of(error)}; the file as `run` wrote it", file=str(path)
        ) from None


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
    columns = ["request", "prompt_tokens"]
    table = _whole(lambda path: pq.read_table(path, columns=columns), folder / "requests.parquet")
    lengths = dict(zip(table["request"].to_pylist(), table["prompt_tokens"].to_pylist(), strict=True))
    return tuple(
        replace(request, prompt_tokens=lengths.get(request.id, request.prompt_tokens)) for request in requests
    )


def _first_cell(old: pa.Table, new: pa.Table) -> str:
    """Where two tables of equally many rows differ; empty where they do not."""
    for name in old.column_names:
        if name not in new.column_names or old.num_rows != new.num_rows:
            return f"{ROUNDS}: {old.num_rows} rows of {name} were recorded, and others are made now"
        if not old[name].equals(new[name]):
            pairs = zip(old[name].to_pylist(), new[name].to_pylist(), strict=True)
            found = next(((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1]), None)
            if found is not None:
                row, (was, now) = found
                request, number = old["request"][row].as_py(), old["round"][row].as_py()
                return f"round {number}, request {request}: {name} {was} was recorded, {now} now"
    return ""
