"""Operations as a table: times by lane, K/V by round, and where the difference of two worlds sits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.engine.records import KINDS
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.validation.operations import (
    COLUMNS,
    OperationTable,
    compared_operations,
    groups,
    largest_cause,
    operation_errors,
    operation_table,
    read_operations,
    row_bucket,
    times,
    write_operations,
)
from tests.validation.tiny_models import tiny_scenario

VERIFY, PROPOSE = KINDS.index("verify"), KINDS.index("propose")


def table(*rows: dict[str, int]) -> OperationTable:
    blank = dict.fromkeys(COLUMNS, 0) | {"kind": VERIFY, "model": -1, "rows": 4}
    full = [blank | row for row in rows]
    return OperationTable(("a",), {name: np.array([row[name] for row in full], np.int64) for name in COLUMNS})


def simulated(folder: Path, micro_batches: int) -> OperationTable:
    loaded = tiny_scenario(
        folder,
        policies={
            "selector": {"name": "round_robin"},
            "length": {"name": "fixed", "tokens": 3},
            "packing": {"name": "ragged"},
            "pipeline": {"name": "fixed", "micro_batches": micro_batches},
        },
    )
    return operation_table(simulate_scenario(loaded.scenario, loaded.base_dir).records)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_kv_tokens_are_those_of_the_round(tmp_path: Path, micro_batches: int) -> None:
    """Every operation has some; a ragged verification reads its contexts and the proposals besides."""
    columns = simulated(tmp_path, micro_batches).columns
    speculative = columns["kind"] != KINDS.index("prefill")
    assert (columns["kv_tokens"][speculative] > 0).all()
    assert (columns["kv_tokens"][~speculative] == -1).all()
    for micro_batch in range(micro_batches):
        mine = np.flatnonzero(speculative & (columns["micro_batch"] == micro_batch))
        contexts = 0
        for i in mine[np.argsort(columns["submitted_ns"][mine], kind="stable")]:
            if columns["kind"][i] == PROPOSE:
                contexts += columns["kv_tokens"][i]
            elif columns["kind"][i] == VERIFY:
                # 3 proposals a row, none more than the request still lacks
                assert contexts <= columns["kv_tokens"][i] <= contexts + 3 * columns["rows"][i]
                contexts = 0


def test_a_file_gives_back_the_table(tmp_path: Path) -> None:
    made = simulated(tmp_path, 2)
    write_operations(tmp_path / "t.parquet", made)
    again = read_operations(tmp_path / "t.parquet")
    assert again.drafts == made.drafts
    for name in COLUMNS:
        assert np.array_equal(again.columns[name], made.columns[name]), name


def test_a_lane_that_stands_idle_waits_for_the_host_and_one_that_does_not_turns_around() -> None:
    made = table(
        {"submitted_ns": 0, "started_ns": 5, "finished_ns": 100},
        {"submitted_ns": 60, "started_ns": 103, "finished_ns": 200},  # queued behind the first
        {"submitted_ns": 250, "started_ns": 257, "finished_ns": 300},
        {"lane": 1, "submitted_ns": 100, "started_ns": 111, "finished_ns": 150},
    )
    found = {name: (1e9 * values).round().tolist() for name, values in times(made).items()}
    assert found["duration"] == [95, 97, 43, 39]
    assert np.nan_to_num(found["handover"], nan=-1).tolist() == [5, -1, 7, 11]
    assert np.nan_to_num(found["turnaround"], nan=-1).tolist() == [-1, 3, -1, -1]
    assert np.nan_to_num(found["after_idle"], nan=-1).tolist() == [95, -1, 43, 39]
    assert np.nan_to_num(found["after_work"], nan=-1).tolist() == [-1, 97, -1, -1]


@given(st.integers(1, 10_000))
def test_rows_are_counted_under_the_next_power_of_two(rows: int) -> None:
    bucket = int(row_bucket(np.array([rows]))[0])
    assert bucket & (bucket - 1) == 0
    assert bucket / 2 < rows <= bucket


def cell(live_ns: int, simulated_ns: int, times_: int, seconds: float) -> dict[str, Any]:
    live = table(*({"started_ns": 0, "finished_ns": live_ns, "lane": i} for i in range(times_)))
    said = table({"started_ns": 0, "finished_ns": simulated_ns})
    return {"operations": compared_operations([live, live], said), "live_s": [seconds, seconds]}


def test_errors_are_weighed_by_how_often_the_live_runs_had_them() -> None:
    one, other = cell(100, 110, 3, 1e-6), cell(200, 100, 1, 1e-6)
    (row,) = one["operations"]
    assert (row["kind"], row["model"], row["rows"]) == ("verify", "target", 4)
    assert row["error"] == pytest.approx(0.1)
    assert row["live"]["count"] == 3  # a run
    (over,) = operation_errors([one, other])
    assert over["live_s"] == pytest.approx((3 * 100 + 200) / 4 * 1e-9)
    assert over["simulated_s"] == pytest.approx((3 * 110 + 100) / 4 * 1e-9)
    assert over["effect"] == pytest.approx((430 - 500) / 2000)


def test_a_world_against_itself_has_no_error(tmp_path: Path) -> None:
    made = simulated(tmp_path, 2)
    rows = compared_operations([made], made)
    assert {row["kind"] for row in rows} == set(KINDS)
    assert all(row["error"] == 0 for row in rows)
    for over in operation_errors([{"operations": rows, "live_s": [1.0]}]):
        assert over["effect"] == 0
        assert over["handover"]["effect"] in (0, None)
    counted = sum(found["count"] for found in groups([made]).values())
    assert counted == len(made.columns["kind"])


def test_the_largest_cause_of_a_cell_is_over_all_its_rows() -> None:
    live = table(
        {"finished_ns": 100, "rows": 4},
        {"finished_ns": 100, "rows": 8, "lane": 1},
        {"finished_ns": 150, "rows": 8, "lane": 2, "kind": PROPOSE, "model": 0},
    )
    said = table(
        {"finished_ns": 120, "rows": 4},
        {"finished_ns": 120, "rows": 8, "lane": 1},
        {"finished_ns": 120, "rows": 8, "lane": 2, "kind": PROPOSE, "model": 0},
    )
    given = {"operations": compared_operations([live], said), "live_s": [1e-6]}
    cause = {"part": "operation", "kind": "verify", "model": "target", "effect": pytest.approx(0.04)}
    assert largest_cause(given) == cause
    assert largest_cause({"operations": [], "live_s": [1.0]}) is None
