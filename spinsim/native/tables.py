"""What the kernel noted, moved to the records."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from spinsim.engine import records as rec
from spinsim.engine.records import Records, RequestRecord
from spinsim.native import layout
from spinsim.workload.request import Workload

STATUSES = (rec.COMPLETED, rec.REJECTED, rec.CANCELLED, rec.UNFINISHED)  # in the kernel's order


def columns_of(records: Records) -> list[tuple[Any, ...]]:
    """The records' columns, in the order of the kernel's tables."""
    load = records.load
    loads = load.at_ns, load.admitted, load.waiting, load.reason, load.kv_tokens
    return [records.rounds.header, records.rounds.row, records.operations.columns, loads]


def declare(tables: Iterable[layout.Table], records: Records) -> None:
    """Tell the kernel how wide columns are. Rounds have one more: the number of their packing."""
    for number, (table, columns) in enumerate(zip(tables, columns_of(records), strict=True)):
        widths = [column.itemsize for column in columns]
        if number == layout.ROUNDS:
            widths.append(1)
        table.columns = len(widths)
        for i, width in enumerate(widths):
            table.width[i] = width


def flush(table: layout.Table, number: int, rows: int, records: Records, kinds: Sequence[str]) -> None:
    """Append the first ``rows`` rows of a table to the records."""
    columns = columns_of(records)[number]
    for i, column in enumerate(columns):
        column.frombytes(ctypes.string_at(table.column[i], rows * table.width[i]) if rows else b"")
    if number == layout.ROUNDS and rows:
        packings = ctypes.string_at(table.column[len(columns)], rows)
        records.rounds.packing.extend([kinds[kind] for kind in packings])


def request_records(
    workload: Workload, arrived: int, noted: dict[str, np.ndarray[Any, Any]]
) -> dict[int, RequestRecord]:
    """A record for each request that arrived."""
    columns = [
        noted[name][:arrived].tolist()
        for name in (
            *("arrived_ns", "admitted_ns", "first_token_ns", "finished_ns", "status", "generated", "rounds"),
            *("drafted", "accepted", "switches", "catch_up", "preemptions"),
        )
    ]
    found = {}
    for request, arrival, admitted, first, finished, status, generated, *counts in zip(
        workload.requests, *columns, strict=False
    ):
        tokens = generated if finished >= 0 else 0
        known = request.id, request.key, request.domain, request.prompt_tokens
        times = arrival, admitted, first, finished
        found[request.id] = RequestRecord(*known, *times, STATUSES[status], tokens, *counts)
    return found
