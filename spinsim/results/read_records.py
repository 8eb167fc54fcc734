"""The records behind a results folder: its rounds, operations and load, as the run left them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinsim.engine.columns import Column
from spinsim.engine.records import KINDS, REASONS, Records
from spinsim.engine.world import NS
from spinsim.results.read import RunFolder, Table, read_folder
from spinsim.results.timeline import write_timeline

_OPERATION = ("operation", "lane", "kind", "model", "micro_batch", "rows", "tokens")
_TIMES = ("submitted_ns", "started_ns", "finished_ns")
_HEADER = (
    *("assigned_ns", "micro_batch", "depth", "rows", "piece"),
    *("query_tokens", "kv_tokens", "real_query_tokens", "real_kv_tokens"),
)
_MOMENTS = ("drafted", "verify_started", "committed")
_LOAD = ("admitted", "waiting", "kv_tokens")


def write_whole_timeline(folder: Path) -> Path:
    """Write timeline.json of every operation of the run; its path. Raises InputError as reading does."""
    path = folder / "timeline.json"
    write_timeline(path, read_records(folder, read_folder(folder)), cap=None)
    return path


def read_records(folder: Path, run: RunFolder) -> Records:
    """What a timeline shows of a run: without its requests, and the rows of its rounds.

    Operations that were running when the run was interrupted are not in a folder: they count as never
    finished.
    """
    lanes = tuple((name, tuple(lane["devices"])) for name, lane in run.summary["lanes"].items())
    records = Records(lanes, tuple(run.drafts))
    records.ended_ns = round(run.summary["run"]["duration_s"] * NS)
    _operations(records, Table(folder / "inputs.parquet", (*_OPERATION, *_TIMES)))
    _rounds(
        records,
        Table(folder / "decisions.parquet", (*_HEADER, "packing")),
        Table(folder / "rounds.parquet", ("round", *(f"{name}_s" for name in _MOMENTS))),
    )
    load = records.load
    if run.load:
        _fill(load.at_ns, _nanoseconds(run.load["time_s"]))
        reasons = _places(run.labels["load.reason"], REASONS)
        _fill(load.reason, reasons[run.load["reason"]])
        for name in _LOAD:
            _fill(getattr(load, name), run.load[name])
    return records


def _operations(records: Records, table: Table) -> None:
    """Operations lie in a folder by their end, and in the records by their submission."""
    columns = {name: table[name] for name in (*_OPERATION, *_TIMES)}
    ids = columns.pop("operation")
    real = ids >= 0  # no timer
    columns["lane"] = _places(table.labels["lane"], [name for name, _ in records.lanes])[columns["lane"]]
    columns["kind"] = _places(table.labels["kind"], KINDS)[columns["kind"]]
    for name, column in columns.items():
        whole = np.full(int(ids.max(initial=-1)) + 1, -1, dtype=np.int64)
        whole[ids[real]] = column[real]
        _fill(getattr(records.operations, name), whole)


def _rounds(records: Records, decisions: Table, rows: Table) -> None:
    rounds = records.rounds
    for name in _HEADER:
        _fill(getattr(rounds, name), decisions[name])
    codes = decisions["packing"]
    rounds.packing.extend(map(decisions.labels["packing"].__getitem__, codes.tolist()))
    number = rows["round"]
    _fill(rounds.size, np.bincount(number, minlength=len(rounds.packing)))
    first = np.flatnonzero(np.diff(number, prepend=-1))  # each round has at least one row
    for name in _MOMENTS:
        _fill(getattr(rounds, f"{name}_ns"), _nanoseconds(rows[f"{name}_s"][first]))


def _places(labels: list[str], known: Any) -> NDArray[np.int64]:
    """By code of ``labels``, its index in ``known``; -1 for another."""
    place = {name: i for i, name in enumerate(known)}
    return np.array([place.get(label, -1) for label in labels], dtype=np.int64)


def _nanoseconds(seconds: NDArray[Any]) -> NDArray[np.int64]:
    """As they were: a float of seconds is nearer to its nanosecond than to any other for 26 days."""
    return np.where(np.isnan(seconds), -1, np.rint(seconds * NS)).astype(np.int64)


def _fill(column: Column, values: NDArray[Any]) -> None:
    column.frombytes(np.ascontiguousarray(values.astype(column.dtype)).tobytes())
