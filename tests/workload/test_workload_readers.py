"""Every public format: good rows, malformed rows with their line, wholly wrong files."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spinsim.errors import InputError
from spinsim.scenario import Source
from spinsim.workload.formats import READERS
from spinsim.workload.formats.row import Row
from spinsim.workload.request import MalformedRow
from spinsim.workload.source import load_rows
from tests.workload.workload_scenarios import build, fixed, from_file

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def read(format: str, text: str | bytes, tmp_path: Path) -> tuple[list[Row], list[tuple[int, str]]]:
    """Good rows, and (line, problem) of the malformed ones."""
    path = tmp_path / "source"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    items = list(READERS[format].read(path))
    malformed = [item for item in items if isinstance(item, MalformedRow)]
    assert all(item.file == str(path) for item in malformed)
    return [item for item in items if isinstance(item, Row)], [
        (item.line, item.problem) for item in malformed
    ]


def lines(*rows: Any) -> str:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)


def test_azure_reads_both_years_and_reports_bad_rows(tmp_path):
    text = AZURE + lines(
        "2023-11-16 18:15:46.6805900,374,44",
        "2024-05-10 00:00:00.009930+00:00,12,3",
        "yesterday,1,2",
        "2023-11-16 18:15:46.6805900,0,44",
        "2023-11-16 18:15:46.6805900,7",
        "",
        "2023-11-16 18:15:47.6805900,5,six",
    )
    rows, malformed = read("azure", text, tmp_path)
    assert [(r.key, r.prompt_tokens, r.output_tokens) for r in rows] == [("0", 374, 44), ("1", 12, 3)]
    assert rows[0].arrival_s is not None
    assert rows[1].arrival_s is not None
    assert rows[1].arrival_s - rows[0].arrival_s == pytest.approx(175 * 86400 + 20653.32934, abs=1e-6)
    assert [line for line, _ in malformed] == [4, 5, 6, 8]
    assert "ContextTokens is 0; an integer from 1 to 2^31 - 1" in malformed[1][1]
    assert "2 fields; 3" in malformed[2][1]


def test_mooncake_times_are_milliseconds(tmp_path):
    good = {"timestamp": 1500, "input_length": 10, "output_length": 4, "hash_ids": [1]}
    text = lines(
        good,
        good | {"timestamp": None},
        good | {"input_length": 2.5},
        "{",
        [1],
        good | {"output_length": True},
    )
    rows, malformed = read("mooncake", text, tmp_path)
    assert rows == [Row("0", 10, 4, 1.5, blocks=(1,))]
    assert [line for line, _ in malformed] == [2, 3, 4, 5, 6]


def test_a_key_that_stands_twice_spoils_its_row(tmp_path):
    good = '{"timestamp": 0, "input_length": 10, "output_length": 4, "hash_ids": [1]}'
    rows, malformed = read("mooncake", good + "\n" + good.replace("4,", '4, "output_length": 9,'), tmp_path)
    assert len(rows) == 1
    assert malformed == [(2, "not JSON: the key 'output_length' is given twice; keep one")]


def test_burstgpt_reports_failed_calls(tmp_path):
    text = BURST + lines(
        "5,ChatGPT,472,18,490,Conversation log", "45,ChatGPT,1087,0,1087,API log", "nan,GPT-4,1,1,2,x"
    )
    rows, malformed = read("burstgpt", text, tmp_path)
    assert rows == [Row("0", 472, 18, 5.0)]
    assert [line for line, _ in malformed] == [3, 4]


def test_sharegpt_takes_the_first_exchange(tmp_path):
    def talk(*turns: tuple[str, str]) -> dict[str, Any]:
        return {"id": "c", "conversations": [{"from": who, "value": said} for who, said in turns]}

    good = talk(("human", "h" * 40), ("gpt", "g" * 12), ("human", "more"), ("gpt", "again"))
    cut = talk(("gpt", "the end of something"), ("system", "Be brief."), ("human", "And?"), ("gpt", "No."))
    bad = [talk(("human", "anyone?")), talk(), {"id": 3}, talk(("human", " "), ("gpt", "x")), 17]
    rows, malformed = read("sharegpt", json.dumps([good, cut, *bad], indent=1), tmp_path)
    assert [(r.key, r.prompt_tokens, r.output_tokens) for r in rows] == [("c", 10, 3), ("c", 4, 1)]
    assert rows[1].text == "Be brief.\nAnd?"
    assert len(malformed) == len(bad)
    text = (tmp_path / "source").read_text().splitlines()
    starts = [n for n, line in enumerate(text, 1) if line.startswith((" {", " 17"))]
    assert [line for line, _ in malformed] == starts[2:]


def test_a_broken_array_keeps_what_came_before(tmp_path):
    text = '[\n{"instruction": "Add", "input": "1 1", "output": "2"},\n{"instruction": "Sub", "output": "1"\n'
    rows, malformed = read("alpaca", text, tmp_path)
    assert [(r.text, r.output_tokens) for r in rows] == [("Add\n\n1 1", 1)]
    ((line, problem),) = malformed
    assert line == 3
    assert "the rest of the file is not read" in problem


def test_alpaca_comes_as_json_lines_too(tmp_path):
    rows, malformed = read(
        "alpaca", lines({"instruction": "Go", "input": "", "output": "Gone"}, "?"), tmp_path
    )
    assert [r.text for r in rows] == ["Go"]
    assert [line for line, _ in malformed] == [2]


def test_spec_bench_has_categories_and_some_references(tmp_path):
    good = {"question_id": 81, "category": "writing", "turns": ["Compose a post.", "Again."]}
    text = lines(good, good | {"reference": ["a" * 9]}, good | {"turns": []}, good | {"category": 4})
    rows, malformed = read("spec_bench", text, tmp_path)
    assert [(r.key, r.domain, r.prompt_tokens, r.output_tokens) for r in rows] == [
        ("81", "writing", 4, None),
        ("81", "writing", 4, 3),
    ]
    assert [line for line, _ in malformed] == [3, 4]


def test_gsm8k_and_prompt_csv(tmp_path):
    rows, malformed = read(
        "gsm8k", lines({"question": "2+2?", "answer": "4" * 8}, {"question": "x"}), tmp_path
    )
    assert [(r.prompt_tokens, r.output_tokens, r.text) for r in rows] == [(1, 2, "2+2?")]
    assert [line for line, _ in malformed] == [2]
    text = 'act,prompt\na,"one\ntwo"\nb,\nc,"last"\n'
    rows, malformed = read("prompt_csv", text, tmp_path)
    assert [(r.key, r.text, r.output_tokens) for r in rows] == [("0", "one\ntwo", None), ("2", "last", None)]
    assert [line for line, _ in malformed] == [4]


def test_prompts_may_be_longer_than_the_csv_modules_default(tmp_path):
    rows, malformed = read("prompt_csv", f'prompt\n"{"x" * 300_000}"\nshort\n', tmp_path)
    assert [r.prompt_tokens for r in rows] == [75_000, 2]
    assert not malformed


@pytest.mark.parametrize("columns", ["[" * 10**5, ",".join(map(str, range(10**4)))])
def test_a_file_that_is_no_table_is_refused_in_a_short_line(tmp_path, columns):
    (tmp_path / "table.csv").write_text(columns)
    with pytest.raises(InputError, match="no column prompt in the header") as caught:
        list(READERS["prompt_csv"].read(tmp_path / "table.csv"))
    assert len(caught.value.message) < 400


def test_specdecode_bench_outputs_end_with_the_shortest_recording(tmp_path):
    good = {"id": "9", "prompt_token_ids": [1, 2, 3], "generated_token_ids": [4, 5, 6, 7]}
    recorded = good | {"acc_eagle": {"acc_len": [1, 2, 1]}, "acc_ngram": {"acc_len": [1, 1, 1, 1]}}
    text = lines(good, recorded, good | {"prompt_token_ids": ["a"]}, good | {"generated_token_ids": []})
    rows, malformed = read("specdecode_bench", text, tmp_path)
    assert [(r.key, r.prompt, r.prompt_tokens, r.output_tokens) for r in rows] == [
        ("9", (1, 2, 3), 3, 4),
        ("9", (1, 2, 3), 3, 3),
    ]
    assert [line for line, _ in malformed] == [3, 4]


def test_token_estimates_count_bytes(tmp_path):
    rows, _ = read("gsm8k", lines({"question": "a" * 9, "answer": "\u00e9" * 4}), tmp_path)
    assert (rows[0].prompt_tokens, rows[0].output_tokens) == (3, 2)


def test_text_that_is_not_utf8_spoils_its_row_alone(tmp_path):
    questions = (b"\xff", b"a", b"\\ud800")
    text = b"".join(b'{"question": "%s", "answer": "b"}\n' % question for question in questions)
    rows, malformed = read("gsm8k", text, tmp_path)
    assert [r.text for r in rows] == ["a"]
    assert malformed == [(1, "text is not valid UTF-8"), (3, "text is not valid UTF-8")]


def test_malformed_rows_are_counted_in_the_workload(tmp_path):
    section = from_file(tmp_path / "x.jsonl", "gsm8k", lines({"question": "a", "answer": "b"}, "oops"))
    workload = build(section)
    assert len(workload.requests) == 1
    assert workload.malformed == (
        MalformedRow(str(tmp_path / "x.jsonl"), 2, "not JSON: Expecting value at column 1"),
    )


@pytest.mark.parametrize("format", READERS)
def test_wrong_files_are_refused_with_what_is_expected(format, tmp_path):
    wrong = {
        "empty": "",
        "prose": "Once upon a time\nthere was a file.\n",
        "numbers": "1,2\n3,4\n",
        "json": "[1, {}]",
    }
    for name, text in wrong.items():
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            build(from_file(path, format))
        assert str(path) in str(caught.value)
        assert ";" in caught.value.message
        if format != "spinsim":  # not a text file: no lines to name
            assert (caught.value.file, caught.value.line) == (str(path), 1)
    for missing in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match="cannot read") as caught:
            build(from_file(missing, format))
        assert caught.value.key == "workload.source.path"


def test_a_large_file_of_another_format_is_given_up_early(tmp_path):
    path = tmp_path / "x.jsonl"
    with pytest.raises(InputError, match="no row of format gsm8k") as caught:
        build(from_file(path, "gsm8k", "a,b\n" * 2000 + lines({"question": "a", "answer": "b"})))
    assert (caught.value.file, caught.value.line) == (str(path), 1)
    late = "a,b\n" * 900 + lines({"question": "a", "answer": "b"}) + "a,b\n" * 2000
    assert len(build(from_file(path, "gsm8k", late)).malformed) == 2900


def test_absurd_counts_are_malformed(tmp_path):
    text = BURST + lines(
        f"1,x,{10**30},5,5,x", f"1,x,5,{2**31},5,x", f"1,x,{2**31 - 1},5,5,x", f"1,x,{'9' * 5000},5,5,x"
    )
    rows, malformed = read("burstgpt", text, tmp_path)
    assert [r.prompt_tokens for r in rows] == [2**31 - 1]
    assert [line for line, _ in malformed] == [2, 3, 5]


HEADERS = {"csv": "prompt,output\n", "azure": AZURE, "burstgpt": BURST, "prompt_csv": "act,prompt\n"}


@pytest.mark.parametrize("format", READERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_bring_down_a_reader(format, data, tmp_path):
    """Whatever the file holds: a workload, or an InputError."""
    scraps = st.sampled_from(
        [
            b'{"question": "a", "answer": "b"}',
            b'{"a": [',
            b'"',
            b"\n",
            b",",
            b"[",
            b"]",
            b"{}",
            b"\r",
            b"\x00",
            b"1e999",
            b"[",
        ]
    )
    pieces = st.lists(scraps | st.binary(max_size=12), max_size=12).map(b"".join)
    body = data.draw(pieces, "body")
    path = tmp_path / "source"
    path.write_bytes(HEADERS.get(format, "").encode() + body)
    try:
        workload = build(from_file(path, format) | {"output_tokens": fixed(3)})
    except InputError:
        return
    assert workload.requests


PUBLIC = {
    "azure": ("AzureLLMInferenceTrace_conv.csv", 19_366, 0),
    "mooncake": ("mooncake_conversation_trace.jsonl", 12_031, 0),
    "spec_bench": ("spec_bench_question.jsonl", 480, 0),
    "gsm8k": ("gsm8k_train.jsonl", 7_473, 0),
    "prompt_csv": ("chatgpt_prompts.csv", 206, 3),  # three rows have unescaped quotes
    "specdecode_bench": ("specdecode_bench_llama31_8b_gsm8k.jsonl", 300, 0),
}


@pytest.mark.parametrize("format", PUBLIC)
def test_public_data(format):
    name, rows, malformed = PUBLIC[format]
    path = Path(os.environ.get("SPINSIM_DATA", "")) / name
    if not os.environ.get("SPINSIM_DATA") or not path.exists():
        pytest.skip("needs the public data in $SPINSIM_DATA")
    section = {
        "arrivals": {"process": "at_once"},
        "source": {"format": format, "path": f"$SPINSIM_DATA/{name}"},
    }
    if format in ("azure", "mooncake"):
        section["arrivals"] = {"process": "replay"}
    if format in ("spec_bench", "prompt_csv"):
        section["output_tokens"] = fixed(64)
    workload = build(section)
    assert (len(workload.requests), len(workload.malformed)) == (rows, malformed)
    assert all(r.prompt_tokens >= 1 and r.output_tokens >= 1 for r in workload.requests)
    if format == "azure":
        assert workload.requests[-1].arrival_s == pytest.approx(3501.721937, abs=1e-6)
    if format == "spec_bench":
        assert len({r.domain for r in workload.requests}) == 13


def test_blank_turns_and_other_names_of_the_same_thing_lose_no_request(tmp_path):
    """Chat messages, singular and plural, capitals, a blank system turn, a blank first answer."""
    asked, said = {"from": "human", "value": "abcd"}, {"from": "gpt", "value": "abcdefgh"}
    good, bad = read(
        "sharegpt",
        json.dumps(
            [
                {"conversations": [{"from": "system", "value": ""}, asked, said]},
                {"conversations": [{"from": "system", "value": None}, asked, said]},
                {
                    "messages": [
                        {"role": "user", "content": "abcd"},
                        {"role": "assistant", "content": "abcdefgh"},
                    ]
                },
                {"conversation": [asked, said]},
                {"items": [asked, said]},
                {
                    "conversations": [
                        {"from": "Human", "value": "abcd"},
                        {"from": "Assistant", "value": "abcdefgh"},
                    ]
                },
                {
                    "conversations": [
                        {"from": "user", "value": "abcd"},
                        {"from": "model", "value": "abcdefgh"},
                    ]
                },
                {"conversations": [asked, {"from": "gpt", "value": " "}, said]},
                {"conversations": [{"from": "human", "value": None}, said]},
                {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "x"}]},
            ]
        ),
        tmp_path,
    )
    assert [(row.prompt_tokens, row.output_tokens, row.text) for row in good] == [(1, 2, "abcd")] * 8
    assert [problem for _, problem in bad] == ["value is missing; a text", "content is missing; a text"]


def test_optional_fields_may_be_blank(tmp_path):
    good, bad = read(
        "alpaca",
        json.dumps([{"instruction": "abcd", "input": blank, "output": "ab"} for blank in ("  ", "", None)]),
        tmp_path,
    )
    assert ([row.text for row in good], bad) == (["abcd"] * 3, [])
    good, bad = read("spec_bench", lines({"question_id": 1, "turns": ["abcd"]}), tmp_path)
    assert ([row.domain for row in good], bad) == ([""], [])


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_files_read_as_their_contents(compress, tmp_path):
    text = "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "2024-05-10 00:00:00+00:00,7,5\n" * 3
    assert read("azure", compress(text.encode()), tmp_path) == read("azure", text, tmp_path)
    path = tmp_path / "cut"
    path.write_bytes(compress(text.encode() * 50)[:-12])
    with pytest.raises(InputError, match=r"damaged.*whole compressed file") as caught:
        load_rows(Source(format="azure", path=str(path)), tmp_path)
    assert caught.value.key == "workload.source.path"


@pytest.mark.parametrize("start", [b"PAR1", b"PK\x03\x04"])
def test_what_must_be_unpacked_first_is_named(start, tmp_path):
    with pytest.raises(InputError, match="unpack or convert it to text first"):
        read("gsm8k", start + b"....", tmp_path)


def test_lost_rows_are_told_with_the_first_of_them(tmp_path):
    from spinsim.pages.run_terminal import lost_rows

    (tmp_path / "share.json").write_text(
        json.dumps(
            [
                {"conversations": []},
                {"items": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            ]
        )
    )
    rows = load_rows(Source(format="sharegpt", path="share.json"), tmp_path)
    assert (rows.read, len(rows.malformed)) == (1, 1)
    (lost,) = rows.malformed
    said = {
        "rows_read": rows.read,
        "malformed_rows": 1,
        "first": [f"{lost.file}:{lost.line}: {lost.problem}"],
    }
    expected = (
        "1 of 2 rows read; 1 malformed, the first share.json:1: no human turn that an assistant answers"
    )
    assert lost_rows({"workload": said}) == expected
    assert lost_rows({}) == ""
