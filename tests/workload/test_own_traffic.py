"""Traffic of the user's own: columns by name, what they may hold, and errors that point at the line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spinsim import api
from spinsim.errors import InputError
from spinsim.workload.request import Workload
from tests.workload.workload_scenarios import build, fixed

ROWS: list[dict[str, Any]] = [
    {"ts": 1500, "in": 12, "out": 3, "ask": "what is a queue?", "kind": "talk", "who": "a"},
    {"ts": 1000, "in": 30, "out": 5, "ask": "add 2 and 3", "kind": "maths", "who": "b"},
]
COLUMNS = {"arrival": "ts", "arrival_unit": "ms", "prompt": "in", "output": "out"}
ALL = {**COLUMNS, "text": "ask", "domain": "kind", "id": "who"}


def written(path: Path, form: str, rows: list[dict[str, Any]]) -> Path:
    if form == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines))
    return path


def served(path: Path, form: str, columns: dict[str, Any] | None, **more: Any) -> Workload:
    source = {"format": form, "path": str(path), **({} if columns is None else {"columns": columns})}
    return build({"source": source, "arrivals": {"process": "replay"}, **more})


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_columns_are_found_by_the_names_that_the_scenario_gives(form: str, tmp_path: Path) -> None:
    first, second = served(written(tmp_path / "mine", form, ROWS), form, ALL).requests
    assert (first.arrival_s, first.prompt_tokens, first.output_tokens) == (0.0, 30, 5)
    assert (first.text, first.domain, first.key) == ("add 2 and 3", "maths", "b")
    assert second.arrival_s == pytest.approx(0.5)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_without_a_mapping_columns_have_their_own_names(form: str, tmp_path: Path) -> None:
    rows = [{"arrival": 0, "prompt": 4, "output": 2}, {"arrival": 2.5, "prompt": 5, "output": 3}]
    requests = served(written(tmp_path / "mine", form, rows), form, None).requests
    assert [(r.arrival_s, r.prompt_tokens, r.output_tokens) for r in requests] == [(0, 4, 2), (2.5, 5, 3)]


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    csv, jsonl = (written(tmp_path / form, form, ROWS) for form in ("csv", "jsonl"))
    assert served(csv, "csv", ALL).requests == served(jsonl, "jsonl", ALL).requests


def test_nested_keys_have_dotted_names(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"usage": {"prompt_tokens": 7, "completion_tokens": 2}, "a.b": 3}\n')
    columns = {"prompt": "usage.prompt_tokens", "output": "usage.completion_tokens", "id": "a.b"}
    (request,) = served(path, "jsonl", columns, arrivals={"process": "at_once"}).requests
    assert (request.prompt_tokens, request.output_tokens, request.key) == (7, 2, "3")


@pytest.mark.parametrize(
    ("times", "unit", "gap_s"),
    [
        (("1700000000", "1700000002.5"), "s", 2.5),
        (("1700000000000000000", "1700000000250000000"), "ns", 0.25),
        (("2026-03-29T01:59:59Z", "2026-03-29T04:00:01+02:00"), "s", 2.0),
        (("2026-03-29 01:59:59.5", "2026-03-29 02:00:00"), "s", 0.5),
        (("1e-3", "2e-3"), "s", 1e-3),
    ],
)
def test_times_are_numbers_in_a_unit_or_dates(
    times: tuple[str, str], unit: str, gap_s: float, tmp_path: Path
) -> None:
    rows = [{"at": at, "in": 1, "out": 1} for at in times]
    columns = {"arrival": "at", "arrival_unit": unit, "prompt": "in", "output": "out"}
    requests = served(written(tmp_path / "mine", "csv", rows), "csv", columns).requests
    assert requests[1].arrival_s == pytest.approx(gap_s, abs=1e-6)


def test_a_text_without_a_length_is_measured_by_its_bytes(tmp_path: Path) -> None:
    path = written(tmp_path / "mine", "csv", [{"ask": "x" * 41}])
    at_once = {"arrivals": {"process": "at_once"}, "output_tokens": fixed(3)}
    (request,) = served(path, "csv", {"text": "ask"}, **at_once).requests
    assert (request.prompt_tokens, request.output_tokens, len(request.text or "")) == (11, 3, 41)


def test_bad_rows_are_set_aside_with_their_line(tmp_path: Path) -> None:
    rows = [*ROWS, {"ts": "soon", "in": 1, "out": 1}, {"ts": 1, "in": "7.5", "out": 1}, {"ts": 1, "in": 1}]
    workload = served(written(tmp_path / "mine.jsonl", "jsonl", rows), "jsonl", COLUMNS)
    assert len(workload.requests) == 2
    assert [(row.line, row.problem) for row in workload.malformed] == [
        (3, "ts is 'soon'; a number, or a date and time in ISO 8601"),
        (4, "in is '7.5'; an integer from 1 to 2^31 - 1"),
        (5, "out is missing; an integer from 1 to 2^31 - 1"),
    ]


def scenario(folder: Path, source: str, arrivals: str = "{process: replay}") -> Path:
    path = folder / "scenario.yaml"
    path.write_text(
        "name: mine\nworkload:\n"
        f"  arrivals: {arrivals}\n"
        f"  source: {source}\n"
        "models: {target: {shape: llama-3-8b}}\n"
        "devices: {gpu0: {hardware: h100}}\n"
        "placement: {target: [gpu0]}\n"
        "costs: {model: roofline}\n"
        "acceptance: {model: constant, probability: 0.5}\n"
        "policies: {selector: {name: fixed, draft: none}, length: {name: none}}\n"
    )
    return path


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "{format: csv, path: t.csv, columns: {output: out}}",
            "4: workload.source.columns: says nothing",
        ),
        ("{format: csv, path: t.csv, columns: {promt: in}}", "4: workload.source.columns.promt: unknown key"),
        (
            "{format: azure, path: t.csv, columns: {prompt: in}}",
            "4: workload.source.columns: has no effect",
        ),
        (
            "{format: csv, path: t.csv, columns: {prompt: in, output: out}}",
            "3: workload.arrivals.process: replays a csv source without times",
        ),
        (
            "{format: csv, path: t.csv, columns: {prompt: in, arrival_unit: ms}, start_s: 1}",
            "4: workload.source.start_s: csv records no times",
        ),
        (
            "{format: csv, path: t.csv, columns: {arrival: at, prompt: in}}",
            "4: workload.source.columns: {folder}/t.csv:1: no column at in the header (ts, in, out);",
        ),
        (
            "{format: csv, path: t.csv}",
            "4: workload.source.columns: {folder}/t.csv:1: no column prompt or text among ts",
        ),
        (
            "{format: jsonl, path: t.csv, columns: {arrival: at, prompt: in}}",
            "4: workload.source: {folder}/t.csv:1: no row of format jsonl: not JSON",
        ),
    ],
)
def test_errors_name_scenario_line_and_key(source: str, said: str, tmp_path: Path) -> None:
    written(tmp_path / "t.csv", "csv", [{"ts": 1, "in": 2, "out": 3}])
    path = scenario(tmp_path, source)
    with pytest.raises(InputError) as caught:
        api.simulate(path)
    assert f"{path}:{said.format(folder=tmp_path)}" in str(caught.value)


@pytest.mark.parametrize(
    ("form", "header"),
    [
        ("csv", "prompt,output,prompt"),
        ("azure", "TIMESTAMP,ContextTokens,GeneratedTokens,ContextTokens"),
        ("burstgpt", "Timestamp,Request tokens,Response tokens,Model,Timestamp"),
        ("prompt_csv", "act,prompt,prompt"),
    ],
)
def test_a_column_that_a_header_names_twice_is_refused(form: str, header: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{header}\n{',' * header.count(',')}\n")
    twice = header.split(",")[-1]
    with pytest.raises(InputError, match=rf"t\.csv:1: column {twice}: 2 columns of the header"):
        served(path, form, None)


def test_columns_without_a_name_may_be_several(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("prompt,output,,\n4,2,,\n")
    (request,) = served(path, "csv", None, arrivals={"process": "at_once"}).requests
    assert (request.prompt_tokens, request.output_tokens) == (4, 2)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_whole_numbers_may_be_written_with_a_point(form: str, tmp_path: Path) -> None:
    """As tables are saved in which a column has gaps."""
    rows = [{"ts": 0, "in": 12.0, "out": "3.0"}, {"ts": 1, "in": 1e3, "out": 2}]
    requests = served(written(tmp_path / "mine", form, rows), form, COLUMNS).requests
    assert [(each.prompt_tokens, each.output_tokens) for each in requests] == [(12, 3), (1000, 2)]


@pytest.mark.parametrize("role", ["id", "domain", "text"])
def test_half_a_character_spoils_its_row_alone(role: str, tmp_path: Path) -> None:
    """JSON may spell one; results in Parquet cannot hold it, which was found out when the run had ended."""
    rows = [*ROWS, {**ROWS[0], ALL[role]: "\ud800"}]
    workload = served(written(tmp_path / "mine.jsonl", "jsonl", rows), "jsonl", ALL)
    assert len(workload.requests) == 2
    assert [(row.line, row.problem) for row in workload.malformed] == [(3, "text is not valid UTF-8")]
