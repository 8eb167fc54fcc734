"""Operations of a run as a table, and how two worlds' tables differ: by kind, model and rows. Pure.

Three times are told apart, all seen from the lane that executes an operation. Its *duration*; its *handover*,
from the input that led to it (the completion of what came before) to its start, where its lane stood idle:
the thread hops and the orchestrator; and the lane's *turnaround*, from the end of the operation before to the
start, where it was queued behind that one. Durations are also kept apart by that (``after_idle``,
``after_work``): a short operation may take longer on a lane that stood idle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spinsim.engine.records import KINDS, Records
from spinsim.engine.world import NS
from spinsim.results import arrow

Numbers = dict[str, Any]
Ints = NDArray[np.int64]

TARGET = "target"
COLUMNS = (
    "lane",
    "kind",
    "model",
    "micro_batch",
    "rows",
    "tokens",
    "kv_tokens",
    "submitted_ns",
    "started_ns",
    "finished_ns",
)
TIMES = ("duration", "handover", "turnaround", "after_idle", "after_work")


@dataclass(frozen=True)
class OperationTable:
    """Finished operations in order of submission: a column of int64 ``[N]`` by name (:data:`COLUMNS`).

    ``kind`` indexes :data:`~spinsim.engine.records.KINDS`, ``model`` indexes ``drafts`` (-1: the target).
    ``kv_tokens`` are those of the rows' contexts when the round was assigned, for verifications those read;
    -1 for prefill, whose chunks the records do not tell apart.
    """

    drafts: tuple[str, ...]
    columns: dict[str, Ints]

    def model_name(self, index: int) -> str:
        """The name of ``model`` ``index``."""
        return self.drafts[index] if index >= 0 else TARGET


def operation_table(records: Records) -> OperationTable:
    """The operations of a run that came to an end."""
    operations = records.operations
    columns = {
        name: np.asarray(getattr(operations, name), np.int64) for name in COLUMNS if name != "kv_tokens"
    }
    columns["kv_tokens"] = _kv_tokens(records, columns)
    finished = columns["finished_ns"] >= 0
    return OperationTable(records.drafts, {name: columns[name][finished] for name in COLUMNS})


def _kv_tokens(records: Records, columns: dict[str, Ints]) -> Ints:
    """Each operation belongs to the last round that its micro-batch was assigned by then."""
    rounds = records.rounds
    found = np.full(len(columns["kind"]), -1, np.int64)
    if not len(rounds.size):
        return found
    ends = np.cumsum(np.asarray(rounds.size, np.int64))
    owners = np.repeat(np.arange(len(rounds.size)), np.asarray(rounds.size, np.int64))
    prompts = {number: request.prompt_tokens for number, request in records.requests.items()}
    contexts = np.asarray([prompts[r] for r in rounds.request], np.int64) + np.asarray(rounds.position)
    draft, drafted = np.asarray(rounds.draft, np.int64), np.asarray(rounds.drafted)
    caught_up = np.asarray(rounds.catch_up_tokens)
    batches, assigned = np.asarray(rounds.micro_batch), np.asarray(rounds.assigned_ns)
    takes_part = {"propose": drafted > 0, "catch_up": caught_up > 0}
    names = len(records.drafts)
    # Context tokens by round and draft, of the rows that take part in an operation of that kind.
    sums = {
        kind: np.bincount(
            owners[rows] * names + draft[rows], contexts[rows], minlength=len(ends) * names
        ).astype(np.int64)
        for kind, chosen in takes_part.items()
        for rows in [chosen & (draft >= 0)]
    }
    for batch in np.unique(batches):
        headers = np.flatnonzero(batches == batch)
        headers = headers[np.argsort(assigned[headers], kind="stable")]
        mine = np.flatnonzero(columns["micro_batch"] == batch)
        place = np.searchsorted(assigned[headers], columns["submitted_ns"][mine], side="right") - 1
        mine, place = mine[place >= 0], place[place >= 0]
        header = headers[place]
        kind, model = columns["kind"][mine], columns["model"][mine]
        verify = kind == KINDS.index("verify")
        found[mine[verify]] = np.asarray(rounds.kv_tokens)[header[verify]]
        for name, total in sums.items():
            here = kind == KINDS.index(name)
            found[mine[here]] = total[header[here] * names + model[here]]
    return found


def write_operations(path: Path, table: OperationTable) -> None:
    """As Parquet: kind and model by name, everything else as it is."""
    index = table.columns["model"].copy()
    index[index < 0] = len(table.drafts)
    data = {name: arrow.numbers(values) for name, values in table.columns.items()}
    data["kind"] = arrow.categories(table.columns["kind"], KINDS)
    data["model"] = arrow.categories(index, [*table.drafts, TARGET])
    pq.write_table(pa.table(data), path, compression=arrow.COMPRESSION)


def read_operations(path: Path) -> OperationTable:
    """What :func:`write_operations` wrote."""
    read = pq.read_table(path).combine_chunks()
    columns: dict[str, Ints] = {}
    drafts: tuple[str, ...] = ()
    for name in COLUMNS:
        column = read.column(name)
        array = column.chunk(0) if column.num_chunks else column.combine_chunks()
        if name not in ("kind", "model"):
            columns[name] = np.array(arrow.values(array), np.int64)
            continue
        index = np.array(arrow.values(array.indices), np.int64)
        labels = array.dictionary.to_pylist()
        if name == "model":
            drafts = tuple(label for label in labels if label != TARGET)
            index[index == len(drafts)] = -1
        columns[name] = index
    return OperationTable(drafts, columns)


def times(table: OperationTable) -> dict[str, NDArray[np.float64]]:
    """Seconds ``[N]`` by name (:data:`TIMES`); NaN where a handover or turnaround does not apply."""
    columns = table.columns
    lane, submitted, started = columns["lane"], columns["submitted_ns"], columns["started_ns"]
    free = np.full(len(lane), np.iinfo(np.int64).min)
    for number in np.unique(lane):
        here = np.flatnonzero(lane == number)
        here = here[np.argsort(started[here], kind="stable")]
        free[here[1:]] = columns["finished_ns"][here[:-1]]
    idle = submitted >= free
    nothing = np.full(len(lane), np.nan)
    with np.errstate(over="ignore"):
        duration = (columns["finished_ns"] - started) / NS
        return {
            "duration": duration,
            "after_idle": np.where(idle, duration, nothing),
            "after_work": np.where(idle, nothing, duration),
            "handover": np.where(idle, (started - submitted) / NS, nothing),
            "turnaround": np.where(idle, nothing, (started - free) / NS),
        }


def groups(tables: Sequence[OperationTable]) -> dict[tuple[str, str, int], Numbers]:
    """By (kind, model, rows up to): how many a run, and the mean of each time in seconds, over runs."""
    gathered: dict[tuple[str, str, int], dict[str, list[NDArray[np.float64]]]] = {}
    for table in tables:
        columns, spent = table.columns, times(table)
        bucket = row_bucket(columns["rows"])
        identity = np.stack([columns["kind"], columns["model"], bucket], axis=1)
        for kind, model, rows in np.unique(identity, axis=0).tolist():
            here = (identity == (kind, model, rows)).all(axis=1)
            into = gathered.setdefault((KINDS[kind], table.model_name(model), rows), {t: [] for t in TIMES})
            for name in TIMES:
                into[name].append(spent[name][here])
    return {key: _means(found, len(tables)) for key, found in sorted(gathered.items(), key=_order)}


def row_bucket(rows: Ints) -> Ints:
    """The power of two that rows are counted under: the next one up."""
    return (1 << np.ceil(np.log2(np.maximum(rows, 1))).astype(np.int64)).astype(np.int64)


def _order(item: tuple[tuple[str, str, int], Any]) -> tuple[int, str, int]:
    kind, model, rows = item[0]
    return KINDS.index(kind), model, rows


def _means(found: dict[str, list[NDArray[np.float64]]], runs: int) -> Numbers:
    row: Numbers = {"count": sum(map(len, found["duration"])) / runs}
    for name, parts in found.items():
        values = np.concatenate(parts)
        values = values[~np.isnan(values)]
        row[f"{name}_s"] = float(values.mean()) if len(values) else None
        if name != "duration":
            row[f"{name}_count"] = len(values) / runs
    return row


def compared_operations(live: Sequence[OperationTable], simulated: OperationTable) -> list[Numbers]:
    """A row for each group that either world has; ``error`` is that of the mean duration."""
    here, there = groups(live), groups([simulated])
    rows = []
    for kind, model, bucket in sorted({*here, *there}, key=lambda key: _order((key, None))):
        a, b = here.get((kind, model, bucket)), there.get((kind, model, bucket))
        error = b["duration_s"] / a["duration_s"] - 1 if a and b and a["duration_s"] else None
        rows.append({"kind": kind, "model": model, "rows": bucket, "error": error, "live": a, "simulated": b})
    return rows


def operation_errors(cells: Iterable[Numbers]) -> list[Numbers]:
    """Over cells, by kind, model and rows: where the error sits.

    ``live_s`` and ``simulated_s`` are mean durations, weighted by how often the live runs had the group, so
    that the mixture of shapes is the same on both sides; ``effect`` is the difference of their sums over the
    live runs' seconds: what the group does to a run in which nothing overlaps. Likewise of
    handovers, and of durations after an idle lane and after work.
    """
    cells = list(cells)
    total = sum(float(np.mean(cell["live_s"])) for cell in cells)
    gathered: dict[tuple[str, str, int], list[tuple[Numbers, Numbers]]] = {}
    for cell in cells:
        for row in cell["operations"]:
            if row["live"] and row["simulated"]:
                key = (row["kind"], row["model"], row["rows"])
                gathered.setdefault(key, []).append((row["live"], row["simulated"]))
    return [
        {
            "kind": kind,
            "model": model,
            "rows": rows,
            "count": sum(live["count"] for live, _ in pairs),
            **_weighed(pairs, "duration", total),
            "handover": _weighed(pairs, "handover", total),
            "after_idle": _weighed(pairs, "after_idle", total),
            "after_work": _weighed(pairs, "after_work", total),
        }
        for (kind, model, rows), pairs in sorted(gathered.items(), key=lambda item: _order((item[0], None)))
    ]


def largest_cause(cell: Numbers) -> Numbers | None:
    """What adds most to a cell's difference: an operation of any number of rows, or the host before it.

    ``effect`` as of :func:`operation_errors`; ``part`` is ``operation`` or ``handover``. None where live and
    simulated runs share no operation.
    """
    effects: dict[tuple[str, str, str], float] = {}
    for row in operation_errors([cell]):
        for part, effect in (("operation", row["effect"]), ("handover", row["handover"]["effect"])):
            if effect is not None:
                key = part, row["kind"], row["model"]
                effects[key] = effects.get(key, 0.0) + effect
    if not effects:
        return None
    (part, kind, model), effect = max(effects.items(), key=lambda item: abs(item[1]))
    return {"part": part, "kind": kind, "model": model, "effect": effect}


def _weighed(pairs: Sequence[tuple[Numbers, Numbers]], name: str, total: float) -> Numbers:
    field, weigher = f"{name}_s", "count" if name == "duration" else f"{name}_count"
    both = [(a[weigher], a[field], b[field]) for a, b in pairs if None not in (a[field], b[field])]
    count = sum(n for n, _, _ in both)
    if not count:
        return {"live_s": None, "simulated_s": None, "error": None, "effect": None}
    live, simulated = (sum(n * row[side] for n, *row in both) for side in (0, 1))
    return {
        "live_s": live / count,
        "simulated_s": simulated / count,
        "error": simulated / live - 1 if live else None,
        "effect": (simulated - live) / total if total else None,
    }
