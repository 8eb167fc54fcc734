"""Tables of results folders as CSV and Markdown: every table, every cell, whatever command wrote them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spinsim import api
from spinsim.errors import InputError
from spinsim.results.export import MARKDOWN_ROWS, export
from tests.studies.experiment_files import write_scenario


def cells(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_every_table_of_a_run_is_there_with_every_row(tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = api.simulate(write_scenario(tmp_path), out=out).summary
    names = {path.name for path in api.tables(out)}
    for parquet in out.glob("*.parquet"):
        table = pq.read_table(parquet)
        head, *rows = cells(out / "tables" / f"{parquet.stem}.csv")
        assert head == table.column_names
        assert len(rows) == table.num_rows
    assert {"summary.csv", "summary.md", "summary-latency.csv", "summary-lanes.md"} <= names
    assert {"summary-speculation-per_draft.csv", "requests.md"} <= names
    assert {"latency.svg", "over-time.svg", "choices.svg"} <= names  # of its page
    said = dict(cells(out / "tables" / "summary.csv")[1:])
    assert float(said["goodput_tokens_per_s"]) == summary["goodput_tokens_per_s"]
    head, *rows = cells(out / "tables" / "summary-latency.csv")
    by_name = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert float(by_name["ttft_s"]["p99"]) == summary["latency"]["ttft_s"]["p99"]


def test_csv_and_markdown_say_the_same(tmp_path: Path) -> None:
    out = tmp_path / "out"
    api.simulate(write_scenario(tmp_path), out=out)
    for path in api.tables(out, out=tmp_path / "elsewhere"):
        assert path.parent == tmp_path / "elsewhere"
        if path.suffix == ".md":
            lines = path.read_text(encoding="utf-8").splitlines()
            assert len(lines) == len(cells(path.with_suffix(".csv"))) + 1  # the rule below the head


def test_experiments_have_tables_too(tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    policies = ["length=fixed,tokens=1", "length=fixed,tokens=2"]
    api.compare(path, policies, seeds=2, workers=0, out=tmp_path / "compared")
    names = {path.name for path in api.tables(tmp_path / "compared")}
    assert "comparison.csv" in names
    head, *rows = cells(tmp_path / "compared" / "tables" / "comparison.csv")
    assert head[:2] == ["alternative", "seed"]
    alternatives = {row[0] for row in rows}
    assert set(policies) <= alternatives
    assert len(rows) == 2 * len(alternatives)


def test_odd_cells_survive(tmp_path: Path) -> None:
    table = pa.table(
        {"a|b": ["x|y\nz", None], "list": [[1, 2], []], "bytes": [b"\x01\xff", None], "yes": [True, False]}
    )
    pq.write_table(table, tmp_path / "odd.parquet")
    (tmp_path / "summary.json").write_text(
        json.dumps({"schema": "x", "rows": [{"k": {"inner": 1}}, {"other": 2}]})
    )
    export(tmp_path, tmp_path / "tables")
    assert cells(tmp_path / "tables" / "odd.csv") == [
        ["a|b", "list", "bytes", "yes"],
        ["x|y\nz", "[1, 2]", "01ff", "true"],
        ["", "[]", "", "false"],
    ]
    assert cells(tmp_path / "tables" / "summary-rows.csv") == [["k.inner", "other"], ["1", ""], ["", "2"]]
    markdown = (tmp_path / "tables" / "odd.md").read_text().splitlines()
    assert markdown[2] == "| x\\|y<br>z | [1, 2] | 01ff | true |"


def test_long_tables_are_csv_alone(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": list(range(MARKDOWN_ROWS + 1))}), tmp_path / "long.parquet")
    (path,) = export(tmp_path, tmp_path / "tables")
    assert path.name == "long.csv"
    assert len(cells(path)) == MARKDOWN_ROWS + 2


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no results; a folder that a command wrote"):
        api.tables(tmp_path)
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(InputError, match=r"summary.json: not JSON"):
        api.tables(tmp_path)


def test_a_sweep_has_a_row_each_combination(tmp_path: Path) -> None:
    """Beside the row of every simulation, which nobody reads."""
    out = tmp_path / "swept"
    grid = {"policies.length.tokens": [1, 2], "limits.batch": [2]}
    swept = api.sweep(
        write_scenario(tmp_path), grid, seeds=2, workers=0, metrics=["goodput", "acceptance_length"], out=out
    )
    assert out / "tables" / "combinations.md" in api.tables(out)
    head, *rows = cells(out / "tables" / "combinations.csv")
    assert [row[:3] for row in rows] == [["1", "2", "2"], ["2", "2", "2"]]
    rates = [row.summary["goodput_tokens_per_s"] for row in swept.result.rows if row.summary][:2]
    said = dict(zip(head, rows[0], strict=True))
    name = "goodput_tokens_per_s"
    assert float(said[name]) == sum(rates) / 2
    assert [float(said[f"{name}.{end}"]) for end in ("least", "most")] == [min(rates), max(rates)]
    assert "speculation.acceptance_length" in said
