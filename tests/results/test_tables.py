"""The Parquet tables hold what the records hold, in the types and units they promise."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.engine.inputs import InputLog
from spinsim.engine.records import KINDS, Records
from spinsim.operations import CatchUpOutcome, Completed, PrefillOutcome, VerifyOutcome
from spinsim.results import arrow, blocks
from spinsim.results.inputs import INPUTS, read_inputs, write_inputs
from spinsim.results.tables import DECISIONS, LOAD, REQUESTS, ROUNDS, write_tables

SCHEMAS = {"requests": REQUESTS, "rounds": ROUNDS, "decisions": DECISIONS, "inputs": INPUTS, "load": LOAD}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, records: Records) -> dict[str, pa.Table]:
    out = tmp_path_factory.mktemp("tables")
    write_tables(out, records)
    return {path.stem: pq.read_table(path) for path in out.iterdir()}


def test_schemas(tables: dict[str, pa.Table]) -> None:
    expected = SCHEMAS
    assert {name: table.schema.remove_metadata() for name, table in tables.items()} == expected
    for table in tables.values():
        table.validate(full=True)


def test_requests_in_order_with_nulls_where_a_moment_never_came(
    tables: dict[str, pa.Table], records: Records
) -> None:
    rows = tables["requests"].to_pylist()
    assert [row["request"] for row in rows] == sorted(records.requests)
    rejected = rows[3]
    assert rejected["status"] == "rejected"
    assert rejected["first_token_s"] is None
    assert rejected["ttft_s"] is None
    assert rows[4]["output_tokens"] == 1
    assert rows[4]["tpot_s"] is None
    record = records.requests[10]
    assert rows[10]["e2e_s"] == pytest.approx((record.finished_ns - record.arrival_ns) / 1e9, abs=1e-12)
    assert rows[10]["key"] == "row-10"
    assert rows[10]["domain"] == record.domain


def test_a_round_row_per_request_with_its_headers_times(
    tables: dict[str, pa.Table], records: Records
) -> None:
    table, rounds = tables["rounds"], records.rounds
    assert table.num_rows == sum(rounds.size) == len(rounds.request)
    for name in ("request", "position", "drafted", "accepted", "committed"):
        assert table[name].to_pylist() == list(getattr(rounds, name))
    names = [records.drafts[d] if d >= 0 else "none" for d in rounds.draft]
    assert table["draft"].to_pylist() == names
    header = [i for i, size in enumerate(rounds.size) for _ in range(size)]
    assert table["round"].to_pylist() == header
    committed = [rounds.committed_ns[i] / 1e9 for i in header]
    assert table["committed_s"].to_pylist() == committed


def test_decisions_hold_whole_assignments(tables: dict[str, pa.Table], records: Records) -> None:
    table, rounds = tables["decisions"], records.rounds
    ends = list(accumulate(rounds.size))
    cuts = list(zip([0, *ends[:-1]], ends, strict=True))
    for name, column in (("requests", rounds.request), ("drafts", rounds.draft), ("lengths", rounds.drafted)):
        assert table[name].to_pylist() == [list(column[low:high]) for low, high in cuts]
    assert table["assigned_ns"].to_pylist() == list(rounds.assigned_ns)
    assert table["packing"].to_pylist() == rounds.packing


def test_inputs_in_order_of_completion(tables: dict[str, pa.Table], records: Records) -> None:
    rows = tables["inputs"].to_pylist()
    assert len(rows) == len(records.operations.lane)
    order = [(row["time_ns"], row["operation"]) for row in rows]
    assert order == sorted(order)
    for row in rows[::37]:
        i = row["operation"]
        assert row["kind"] == KINDS[records.operations.kind[i]]
        assert row["lane"] == records.lanes[records.operations.lane[i]][0]
        assert row["finished_ns"] == row["time_ns"] == records.operations.finished_ns[i]


def test_work_that_never_completed_is_no_input(tmp_path: Path, make_records) -> None:
    records = make_records(1, requests=5)
    records.operations.finished_ns[-1] = records.operations.started_ns[-1] = -1
    write_inputs(tmp_path / "inputs.parquet", records)
    log = read_inputs(tmp_path / "inputs.parquet")
    assert sorted(entry.operation for entry in log.inputs) == list(range(len(records.operations.lane) - 1))


def test_a_live_log_comes_back_as_it_was(tmp_path: Path, records: Records) -> None:
    log = InputLog()
    log.timer(5)
    log.completion(9, 2, Completed(VerifyOutcome([3, 0], [0, 1]), 6, 8))
    log.completion(9, 0, Completed(PrefillOutcome([True, False]), 1, 7))
    log.timer(11)
    log.completion(12, 1, Completed(CatchUpOutcome([b"\x01\x00\x01", b""]), 7, 12))
    log.completion(15, 3, Completed(None, 13, 14))
    path = tmp_path / "inputs.parquet"
    write_inputs(path, records, log)
    back = read_inputs(path)
    assert back == log
    assert back.inputs[1].completed() == Completed(VerifyOutcome([3, 0], [0, 1]), 6, 8)
    assert pq.read_table(path)["lane"].to_pylist()[0] == "none", "a timer is on no lane"


def test_chunks_do_not_show(
    tmp_path: Path, records: Records, tables: dict[str, pa.Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ROWS", 50)
    write_tables(tmp_path, records)
    assert pq.ParquetFile(tmp_path / "rounds.parquet").num_row_groups > 5
    for name, table in tables.items():
        assert pq.read_table(tmp_path / f"{name}.parquet").to_pylist() == table.to_pylist()


def test_tables_of_a_run_that_did_nothing(tmp_path: Path) -> None:
    write_tables(tmp_path, Records(lanes=(("target", ("gpu0",)),), drafts=()))
    schemas = SCHEMAS
    for name, schema in schemas.items():
        table = pq.read_table(tmp_path / f"{name}.parquet")
        assert table.num_rows == 0
        assert table.schema.names == schema.names


@given(st.lists(st.one_of(st.just(float("nan")), st.floats(allow_nan=False)), max_size=40))
def test_nan_becomes_null_and_nothing_else_changes(values: list[float]) -> None:
    back = arrow.numbers(np.array(values, dtype=np.float64)).to_pylist()
    assert back == [None if value != value else value for value in values]


@given(st.lists(st.text(max_size=8), max_size=20))
def test_strings_and_categories_round_trip(values: list[str]) -> None:
    values = [value.encode("utf-8", "ignore").decode() for value in values]
    assert arrow.strings(values).to_pylist() == values
    assert arrow.categories_of(values).to_pylist() == values
