"""inputs.parquet: what came in from outside a run, in the order in which it was handled.

A simulated run logs nothing: its inputs are the completions, in order of time. A live run's log
also holds its timers and what each operation answered, so that replay needs no device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from spinsim.engine.inputs import COMPLETION, TIMER, Input, InputLog
from spinsim.engine.records import KINDS, Records
from spinsim.results import arrow
from spinsim.results.blocks import ROWS, Ints, finished_in_order, gathered

_SOURCES = [name for _, name in sorted({TIMER: "timer", COMPLETION: "completion"}.items())]
NO_OPERATION = "none"

_OPERATION_COLUMNS = {
    "submitted_ns": np.int64,
    "model": np.int16,  # draft index; -1: the target
    "micro_batch": np.int16,
    "rows": np.int32,
    "tokens": np.int32,
}
INPUTS = pa.schema(
    [
        ("input", pa.dictionary(pa.int32(), pa.string())),  # timer or completion
        ("time_ns", pa.int64()),  # what "now" became
        ("operation", pa.int32()),  # in order of submission; -1 for a timer, as in the next five columns
        ("lane", pa.dictionary(pa.int32(), pa.string())),
        ("kind", pa.dictionary(pa.int32(), pa.string())),
        *((name, pa.from_numpy_dtype(dtype)) for name, dtype in _OPERATION_COLUMNS.items()),
        ("started_ns", pa.int64()),
        ("finished_ns", pa.int64()),
        ("outcome", pa.dictionary(pa.int32(), pa.string())),  # empty where the log of a live run has none
        ("accepted", pa.list_(pa.int32())),
        ("ended", pa.list_(pa.int32())),
        ("hits", pa.list_(pa.binary())),
    ]
)


def write_inputs(path: Path, records: Records, log: InputLog | None = None) -> None:
    """A row per input, in the order in which it was handled; ``log`` as the live world kept it.

    Without a log: the completed operations by time, the earlier submitted first.
    """
    if log is None:
        parts = _in_parts(finished_in_order(records.operations, records.operations.finished_ns))
        tables = (_table(records, ids, _completed(records, ids)) for ids in parts)
        arrow.write_parts(path, INPUTS, tables)
    else:
        arrow.write(path, _table(records, *_logged(log)))


def _table(records: Records, ids: Ints, logged: dict[str, pa.Array]) -> pa.Table:
    operations = records.operations
    real = ids >= 0
    lanes = [*(name for name, _ in records.lanes), NO_OPERATION]

    def of_operation(name: str, otherwise: int) -> NDArray[Any]:
        column = getattr(operations, name)
        if real.all():
            return gathered(column, ids)
        out = np.full(ids.size, otherwise, dtype=column.dtype)
        out[real] = gathered(column, ids[real])
        return out

    columns = {
        "operation": arrow.numbers(ids.astype(np.int32)),
        "lane": arrow.categories(of_operation("lane", len(lanes) - 1), lanes),
        "kind": arrow.categories(of_operation("kind", len(KINDS)), [*KINDS, NO_OPERATION]),
        **{
            name: arrow.numbers(of_operation(name, -1).astype(dtype))
            for name, dtype in _OPERATION_COLUMNS.items()
        },
        **logged,
    }
    return pa.table({name: columns[name] for name in INPUTS.names}, schema=INPUTS)


def _in_parts(found: Iterable[Ints]) -> Iterator[Ints]:
    """The same ids, as many at a time as a row group has."""
    left: Ints = np.empty(0, dtype=np.int64)
    for more in found:
        left = np.concatenate((left, more))
        while left.size >= ROWS:
            yield left[:ROWS]
            left = left[ROWS:]
    if left.size:
        yield left


def _completed(records: Records, ids: Ints) -> dict[str, pa.Array]:
    """The columns of a log of these completions."""
    finished, started = (
        gathered(column, ids) for column in (records.operations.finished_ns, records.operations.started_ns)
    )
    nothing = np.zeros(ids.size + 1, dtype=np.int32)
    empty = arrow.lists(nothing, np.zeros(0, dtype=np.int32))
    return {
        "input": arrow.categories(np.full(ids.size, COMPLETION), _SOURCES),
        "time_ns": arrow.numbers(finished),
        "started_ns": arrow.numbers(started),
        "finished_ns": arrow.numbers(finished),
        "outcome": arrow.categories(nothing[1:], [""]),
        "accepted": empty,
        "ended": empty,
        "hits": pa.ListArray.from_arrays(arrow.numbers(nothing), arrow.blobs([])),
    }


def _logged(log: InputLog) -> tuple[NDArray[Any], dict[str, pa.Array]]:
    """The operations that a log names (-1 for a timer), and its columns."""
    columns = log.columns()
    times = ("time_ns", "started_ns", "finished_ns")
    return np.array(columns["operation"], dtype=np.int64), {
        "input": arrow.categories(np.array(columns["kind"], dtype=np.int32), _SOURCES),
        **{name: arrow.numbers(np.array(columns[name], dtype=np.int64)) for name in times},
        "outcome": arrow.categories_of(columns["outcome"]),
        "accepted": _int_lists(columns["accepted"]),
        "ended": _int_lists(columns["ended"]),
        "hits": _bytes_lists(columns["hits"]),
    }


def read_inputs(path: Path) -> InputLog:
    """The log that :func:`write_inputs` wrote."""
    names = ["input", *Input._fields[1:]]  # a column for each field, the first one by its name
    table = pq.read_table(path, columns=names)
    kinds, *others = (table[name].to_pylist() for name in names)
    return InputLog([Input(*fields) for fields in zip(map(_SOURCES.index, kinds), *others, strict=True)])


def _int_lists(values: list[list[int]]) -> pa.Array:
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in values], dtype=np.int64)))
    return arrow.lists(offsets, np.fromiter(chain.from_iterable(values), dtype=np.int32))


def _bytes_lists(values: list[list[bytes]]) -> pa.Array:
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in values], dtype=np.int64)))
    return pa.ListArray.from_arrays(
        arrow.numbers(offsets.astype(np.int32)), arrow.blobs(list(chain.from_iterable(values)))
    )
