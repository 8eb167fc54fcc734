"""The Parquet tables of a results folder, written in chunks.

Times are float64 seconds of the run in the tables for reading (null where a moment never came),
and int64 nanoseconds in those for replay.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from spinsim.engine.inputs import InputLog
from spinsim.engine.records import REASONS, Records
from spinsim.results import arrow
from spinsim.results.blocks import RoundBlock, round_blocks
from spinsim.results.columns import RequestColumns, draft_labels, seconds, view
from spinsim.results.inputs import write_inputs

_REQUEST_COUNTS = (
    "prompt_tokens",
    "output_tokens",
    "rounds",
    "drafted",
    "accepted",
    "switches",
    "catch_up_tokens",
    "preemptions",
)

_HEADER_COLUMNS = (
    "assigned_ns",
    "micro_batch",
    "depth",
    "rows",
    "piece",
    "query_tokens",
    "kv_tokens",
    "real_query_tokens",
    "real_kv_tokens",
)

REQUESTS = pa.schema(
    [
        ("request", pa.int32()),
        ("key", pa.string()),
        ("domain", pa.dictionary(pa.int32(), pa.string())),
        ("status", pa.dictionary(pa.int32(), pa.string())),
        *((name, pa.int32()) for name in _REQUEST_COUNTS),
        *((f"{name}_s", pa.float64()) for name in ("arrival", "admitted", "first_token", "finished")),
        *((f"{name}_s", pa.float64()) for name in ("ttft", "tpot", "e2e")),
    ]
)
ROUNDS = pa.schema(
    [
        ("round", pa.int32()),  # the micro-batch round, a row of decisions.parquet
        ("micro_batch", pa.int16()),
        ("request", pa.int32()),
        ("position", pa.int32()),  # output tokens before the round
        ("draft", pa.dictionary(pa.int32(), pa.string())),
        ("drafted", pa.int16()),
        ("accepted", pa.int16()),
        ("committed", pa.int16()),
        ("catch_up_tokens", pa.int32()),
        *((f"{name}_s", pa.float64()) for name in ("assigned", "drafted", "verify_started", "committed")),
    ]
)
DECISIONS = pa.schema(
    [
        ("round", pa.int32()),
        ("assigned_ns", pa.int64()),
        ("micro_batch", pa.int16()),
        ("depth", pa.int16()),
        ("requests", pa.list_(pa.int32())),
        ("drafts", pa.list_(pa.int16())),  # -1: none
        ("lengths", pa.list_(pa.int16())),
        ("packing", pa.dictionary(pa.int32(), pa.string())),
        ("rows", pa.int32()),
        ("piece", pa.int32()),
        ("query_tokens", pa.int32()),
        ("kv_tokens", pa.int64()),
        ("real_query_tokens", pa.int32()),
        ("real_kv_tokens", pa.int64()),
    ]
)

LOAD = pa.schema(
    [
        ("time_s", pa.float64()),
        ("admitted", pa.int32()),
        ("waiting", pa.int32()),
        ("reason", pa.dictionary(pa.int32(), pa.string())),  # for which the next request waits; "": none does
        ("kv_tokens", pa.int64()),  # of the target, in blocks that are held
    ]
)


def write_tables(out: Path, records: Records, log: InputLog | None = None) -> None:
    """All five tables into ``out``; ``log`` holds the inputs of a live run."""
    write_requests(out, records)
    write_rounds(out, records)
    write_decisions(out, records)
    write_load(out, records)
    write_inputs(out / "inputs.parquet", records, log)


def write_requests(out: Path, records: Records) -> None:
    """requests.parquet: a row per request, in the workload's order."""
    rows = list(records.by_arrival())
    columns = RequestColumns(records)
    data = {
        "request": arrow.numbers(np.array([r.request for r in rows], dtype=np.int32)),
        "key": arrow.strings([r.key for r in rows]),
        "domain": arrow.categories_of([r.domain for r in rows]),
        "status": arrow.categories_of([r.status for r in rows]),
        **{
            n: arrow.numbers(np.array([getattr(r, n) for r in rows], dtype=np.int32)) for n in _REQUEST_COUNTS
        },
    }
    for name in ("arrival", "admitted", "first_token", "finished", "ttft", "tpot", "e2e"):
        data[f"{name}_s"] = arrow.numbers(getattr(columns, name))
    table = pa.table(data, schema=REQUESTS)
    arrow.write(out / "requests.parquet", table)


def write_rounds(out: Path, records: Records) -> None:
    """rounds.parquet: a row per request and round, in the order of the micro-batch rounds."""
    r = records.rounds
    labels = draft_labels(records)
    none = len(labels) - 1

    def table(block: RoundBlock) -> pa.Table:
        draft = block.row(r.draft).astype(np.int32)
        draft[draft < 0] = none
        data = {
            "round": arrow.numbers(block.spread(np.arange(block.first, block.last, dtype=np.int32))),
            "micro_batch": arrow.numbers(block.spread(block.header(r.micro_batch))),
            "draft": arrow.categories(draft, labels),
            **{
                name: arrow.numbers(block.row(getattr(r, name)))
                for name in ("request", "position", "drafted", "accepted", "committed", "catch_up_tokens")
            },
        }
        for name in ("assigned", "drafted", "verify_started", "committed"):
            at = seconds(block.header(getattr(r, f"{name}_ns")))
            data[f"{name}_s"] = arrow.numbers(block.spread(at))
        return pa.table({name: data[name] for name in ROUNDS.names}, schema=ROUNDS)

    arrow.write_parts(out / "rounds.parquet", ROUNDS, map(table, round_blocks(r)))


def write_decisions(out: Path, records: Records) -> None:
    """decisions.parquet: a row per micro-batch round, with everything the policies decided."""
    r = records.rounds
    lists = {"requests": r.request, "drafts": r.draft, "lengths": r.drafted}

    def table(block: RoundBlock) -> pa.Table:
        offsets = np.concatenate(([0], np.cumsum(block.sizes)))
        data = {
            "round": arrow.numbers(np.arange(block.first, block.last, dtype=np.int32)),
            "packing": arrow.categories(block.header(r.packing.codes), r.packing.labels),
            **{name: arrow.numbers(block.header(getattr(r, name))) for name in _HEADER_COLUMNS},
            **{name: arrow.lists(offsets, block.row(column)) for name, column in lists.items()},
        }
        return pa.table({name: data[name] for name in DECISIONS.names}, schema=DECISIONS)

    arrow.write_parts(out / "decisions.parquet", DECISIONS, map(table, round_blocks(r)))


def write_load(out: Path, records: Records) -> None:
    """load.parquet: a row whenever the requests that are served, or that wait, or the K/V memory change."""
    load = records.load
    data = {
        "time_s": arrow.numbers(seconds(view(load.at_ns))),
        "reason": arrow.categories(view(load.reason).astype(np.int32), list(REASONS)),
        **{name: arrow.numbers(view(getattr(load, name))) for name in ("admitted", "waiting", "kv_tokens")},
    }
    table = pa.table({name: data[name] for name in LOAD.names}, schema=LOAD)
    arrow.write(out / "load.parquet", table)
