"""Recordings of others: chains rebuilt from rounds, prompt lookup replayed, and their import."""

from __future__ import annotations

import json
import os
from array import array
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from spinsim import api
from spinsim.acceptance.chains import UNKNOWN, LengthSchedule, probabilities, rebuild
from spinsim.acceptance.known_text import EVERYTHING, Text, replay
from spinsim.acceptance.prompt_lookup import PromptLookup
from spinsim.cli import app
from spinsim.errors import InputError
from spinsim.recording import PROBABILITY_STEPS, load_trace

DATA = Path(os.environ.get("SPINSIM_DATA", "/nowhere"))
recorded = pytest.mark.skipif(not DATA.is_dir(), reason="SPINSIM_DATA names no folder of public recordings")


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def bench(**changed) -> dict:
    row = {"id": 7, "prompt_token_ids": [1, 2], "generated_token_ids": [3, 4], "acc_a": {"acc_len": [1, 2]}}
    return row | changed


def stderr_of(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    return result.exit_code, result.output


# --- chains -------------------------------------------------------------------------------------


@given(
    hits=st.lists(st.booleans(), min_size=1, max_size=60),
    schedule=st.sampled_from(["constant:1", "constant:4", "heuristic", "heuristic:3:6"]),
    start=st.integers(0, 1),
)
def test_rounds_give_back_the_hits_they_came_from(hits, schedule, start):
    """What is rebuilt is right, and what is not comes after a proposal accepted whole."""
    lengths = LengthSchedule.of(schedule)
    at, accepted, whole = start, [], set()
    while at < len(hits):
        asked = lengths.proposed([*accepted, 0])[-1]
        right = 0
        while right < asked and at + right < len(hits) and hits[at + right]:
            right += 1
        accepted.append(right)
        if right == asked:
            whole.add(at + right)
        at += right + 1
    rebuilt = rebuild(accepted, lengths.proposed(accepted), start, len(hits))
    for position, (hit, truth) in enumerate(zip(rebuilt.hits, hits, strict=True)):
        if hit == UNKNOWN:
            assert position < start or position in whole
        else:
            assert hit == truth


def test_unknown_positions_are_drawn_at_the_requests_own_rate():
    one, nothing = rebuild([2], [2], 0, 3), rebuild([], [], 0, 1)
    assert one.hits == [1, 1, UNKNOWN]
    other = rebuild([0, 1], [2, 2], 0, 3)
    assert probabilities([one, nothing, other]) == [[1, 1, 1], [pytest.approx(0.6)], [0, 1, 0]]


def test_a_schedule_that_proposed_less_than_was_accepted_is_refused():
    with pytest.raises(ValueError, match="round 2 accepted 5 of 4"):
        rebuild([0, 5], LengthSchedule.of("heuristic").proposed([0, 5]), 0, 7)


@pytest.mark.parametrize("text", ["", "constant", "constant:0", "heuristic:1:2:3", "stopped:x", "tree:3"])
def test_schedules_that_are_none(text):
    with pytest.raises(ValueError, match=r"schedule|length"):
        LengthSchedule.of(text)


# --- prompt lookup ------------------------------------------------------------------------------


def by_hand(tokens: list[int], end: int, sizes: tuple[int, int], longest: int) -> tuple[int, list[int]]:
    """The size of the suffix found, and the proposal, the slow way."""
    for size in range(min(sizes[1], end), sizes[0] - 1, -1):
        suffix = tokens[end - size : end]
        for at in range(size, end):
            if tokens[at - size : at] == suffix:
                return size, tokens[at : min(end, at + longest)]
    return 0, []


@given(
    prompt=st.lists(st.integers(0, 2), min_size=1, max_size=20),
    output=st.lists(st.integers(0, 2), min_size=1, max_size=30),
    sizes=st.tuples(st.integers(1, 3), st.integers(0, 4)),
    longest=st.integers(1, 6),
)
def test_lookup_proposes_what_the_definition_says(prompt, output, sizes, longest):
    sizes = sizes[0], sizes[0] + sizes[1]
    rule = PromptLookup(sizes[1], sizes[0], longest, latest=False)
    tokens = [*prompt, *output]
    looked = replay(rule, Text(array("i", prompt), array("i", output)), len(output), EVERYTHING)
    assert len(looked.runs) == len(output)
    for position in range(1, len(output)):  # the first token is prefill's
        end = len(prompt) + position
        size, proposal = by_hand(tokens, end, sizes, longest)
        right = 0
        while right < len(proposal) and tokens[end + right : end + right + 1] == proposal[right : right + 1]:
            right += 1
        assert (looked.offered[position], looked.runs[position]) == (len(proposal), right)
        matched = looked.matched[position]
        assert matched >= size
        assert (matched > 0) == (size > 0)
        assert matched == size or size == sizes[1]  # only the largest is extended


# --- files --------------------------------------------------------------------------------------


def test_vllms_metrics_become_a_chain(tmp_path):
    def response(name, accepted, drafted, completion):
        metrics = {"per_step_accepted": accepted, "per_step_drafted": drafted}
        usage = {"prompt_tokens": 7, "completion_tokens": completion}
        return {"id": name, "usage": usage, "metrics": {"speculative_decoding": metrics}}

    file = lines(
        tmp_path / "eagle.jsonl",
        [
            response("a", [2, 0, 1], [3, 3, 1], 7),  # 1 + 3 + 1 + 2: the last proposal was accepted whole
            response("b", [1], [2], 5),  # two tokens of steps without proposals
            response("c", [], [], 1),
        ],
    )
    done = api.import_trace("vllm_metrics", file, out=tmp_path / "t.npz").result
    trace = load_trace(tmp_path / "t.npz")
    assert trace.keys == ("a",)
    assert trace.prompt_tokens == (7,)
    assert trace.domains == ("eagle",)
    chances = trace.drafts["eagle"].rows.row(0) / PROBABILITY_STEPS
    # Position 0 is prefill's; 1 and 2 were right, 3 wrong, 4 wrong, 5 right, and 6 came after a whole
    # proposal.
    assert chances == pytest.approx([0.6, 1, 1, 0, 0, 1, 0.6], abs=1e-4)
    assert [note.split()[0] for note in done.notes] == ["5", "1", "1"]


def answer(lengths: list[int], steps: list[int], model: str = "vicuna-sps-temp-0.0") -> dict:
    choice = {"accept_lengths": lengths, "decoding_steps": steps, "turns": ["x"] * len(steps)}
    return {"question_id": 81, "model_id": model, "choices": [choice]}


def test_each_turn_of_a_spec_bench_answer_is_a_request(tmp_path):
    file = lines(tmp_path / "sps.jsonl", [answer([3, 1, 2], [2, 1])])
    questions = lines(tmp_path / "q.jsonl", [{"question_id": 81, "category": "math", "turns": ["x" * 40]}])
    api.import_trace("spec_bench", file, out=tmp_path / "t.npz", schedule="stopped:20", prompts=questions)
    trace = load_trace(tmp_path / "t.npz")
    assert trace.keys == ("81", "81/turn2")
    assert trace.prompt_tokens == (10, 1)
    assert trace.temperature == 0
    rows = trace.drafts["sps"].rows
    assert [(rows.row(i) / PROBABILITY_STEPS).tolist() for i in range(2)] == [[1, 1, 0, 0], [1, 0]]


def test_several_files_mix_as_domains_of_their_names(tmp_path):
    def recording(name: str, keys: range) -> Path:
        row = {"prompt_token_ids": [1, 2, 3], "generated_token_ids": [1, 2, 3, 1, 2, 3, 1]}
        drafts = {"acc_ngram": {"acc_len": [1] * 7}, "acc_eagle": {"acc_len": [1, 3, 2, 1, 1, 1, 1]}}
        return lines(tmp_path / f"{name}.jsonl", [{"id": str(key), **row, **drafts} for key in keys])

    files = [recording("small", range(2)), recording("large", range(6))]
    api.import_trace("specdecode_bench", files, out=tmp_path / "t.npz")
    trace = load_trace(tmp_path / "t.npz")
    assert trace.domains.count("small") == 2
    assert trace.domains[:4].count("small") == 1
    assert trace.keys[trace.domains.index("small")] == "small/0"
    lookup, outputs = trace.drafts["ngram"].lookup, trace.outputs
    assert lookup is not None
    assert outputs is not None
    assert trace.drafts["eagle"].lookup is None
    assert lookup.matched.row(0).tolist() == [0, 0, 0, 3, 4, 5, 6]
    assert lookup.offered.row(0).tolist() == [0, 0, 0, 3, 3, 3, 3]
    assert outputs.row(0).tolist() == [1, 2, 3, 1, 2, 3, 1]
    some = trace.select([3, 1])
    assert some.keys == (trace.keys[3], trace.keys[1])
    assert np.array_equal(some.drafts["eagle"].rows.row(1), trace.drafts["eagle"].rows.row(1))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--import", "nope", "f"],
            "--import: no format 'nope'; rounds, spec_bench, specdecode_bench or vllm_metrics",
        ),
        (
            ["--import", "vllm_metrics", "absent"],
            "absent: cannot be read: No such file or directory; JSON Lines",
        ),
        (["--import", "spec_bench", "absent"], "--schedule: answers of Spec-Bench do not say how many"),
        (["--import", "spec_bench", "absent", "--schedule", "tree"], "--schedule: 'tree' is no schedule"),
        (["a.yaml", "b.yaml"], "SCENARIO: 2 files; one scenario"),
        (["a.yaml", "--schedule", "constant:3"], "--schedule: goes with --import"),
    ],
)
def test_bad_imports_are_one_line(arguments, said):
    code, output = stderr_of("trace", *arguments)
    assert code == 2
    assert output.startswith(said)
    assert output.count("\n") == 1


@pytest.mark.parametrize(
    ("format", "row", "said"),
    [
        ("vllm_metrics", {"metrics": {}}, "f.jsonl:1: metrics.speculative_decoding: missing; "),
        ("vllm_metrics", {"metrics": None}, "f.jsonl:1: metrics: no JSON object; "),
        ("vllm_metrics", [1], "f.jsonl:1: a JSON list"),
        ("spec_bench", answer([9], [1]), "f.jsonl:1: choices[0].accept_lengths: round 1 accepted 8 of 5"),
        ("spec_bench", answer([1], [2]), "f.jsonl:1: choices[0].accept_lengths: 1 rounds for 2"),
        ("spec_bench", answer([10**30], [1]), "f.jsonl:1: choices[0].accept_lengths: no list of whole"),
        ("spec_bench", answer([1], [1]) | {"choices": []}, "f.jsonl:1: choices: no list with an item 0"),
        ("spec_bench", answer([1], [1], "vicuna-eagle"), "f.jsonl: vicuna-eagle proposes a tree"),
        ("spec_bench", answer([1], [1], "vicuna-7b-rest-float16"), "rest-float16 proposes a tree"),
        ("specdecode_bench", bench(acc_a={"acc_len": [0]}), "f.jsonl:1: acc_a.acc_len: no list of whole"),
        ("specdecode_bench", bench(acc_a={"acc_len": []}), "f.jsonl:1: acc_a.acc_len: no position"),
        ("specdecode_bench", bench(prompt_token_ids=[-1]), "f.jsonl:1: prompt_token_ids: no list of whole"),
        ("specdecode_bench", bench(generated_token_ids=[None]), "f.jsonl:1: generated_token_ids: no list"),
        ("specdecode_bench", bench(id=[1]), "f.jsonl:1: id: neither a text nor a whole number"),
        ("specdecode_bench", {"id": 1, "prompt_token_ids": [1]}, "f.jsonl:1: no acc_<drafter>"),
    ],
)
def test_a_file_of_another_kind_names_its_line(tmp_path, format, row, said):
    file = lines(tmp_path / "f.jsonl", [row])
    with pytest.raises(InputError) as caught:
        api.import_trace(format, file, out=tmp_path / "t.npz", schedule="constant:5")
    assert said in str(caught.value)
    assert not (tmp_path / "t.npz").exists()


@pytest.mark.parametrize("write", ["{}", "[{}]"])
def test_a_key_that_stands_twice_is_refused(tmp_path, write):
    file = tmp_path / "f.jsonl"
    file.write_text(write.format(json.dumps(bench()).replace('"id": 7', '"id": 7, "id": 8')))
    with pytest.raises(InputError, match=r"f\.jsonl:1: not JSON .the key 'id' is given twice"):
        api.import_trace("specdecode_bench", file, out=tmp_path / "t.npz", schedule="constant:5")


@pytest.mark.parametrize("write", ["array", "indented", "gzip", "zstd"])
def test_a_file_may_be_an_array_or_compressed(tmp_path, write):
    rows = [bench(id=number) for number in (1, 2, 1)]
    made = {"array": json.dumps(rows), "indented": json.dumps(rows, indent=1)}
    text = made.get(write, "".join(json.dumps(row) + "\n" for row in rows)).encode()
    file = tmp_path / "f.jsonl"
    file.write_bytes(pyarrow.compress(text, write, asbytes=True) if write in ("gzip", "zstd") else text)
    trace = api.import_trace("specdecode_bench", file, out=tmp_path / "t.npz").result.trace
    assert trace.keys == ("1", "2", "1#2")  # a name that comes again is another request
    assert trace.output_tokens().tolist() == [2, 2, 2]


def test_an_element_of_an_array_is_told_by_its_line(tmp_path):
    file = tmp_path / "f.json"
    file.write_text(json.dumps([bench(), bench(id=None)], indent=1))
    line = 2 + json.dumps([bench()], indent=1).count("\n") - 1
    with pytest.raises(InputError, match=rf"f.json:{line}: id: neither"):
        api.import_trace("specdecode_bench", file, out=tmp_path / "t.npz")


def test_without_token_ids_of_outputs_nothing_is_looked_up(tmp_path):
    row = bench(acc_ngram={"acc_len": [1, 2]})
    del row["generated_token_ids"]
    done = api.import_trace(
        "specdecode_bench", lines(tmp_path / "f.jsonl", [row]), out=tmp_path / "t.npz"
    ).result
    assert "generated_token_ids are missing" in done.notes[0]
    assert done.trace.outputs is None
    assert done.trace.drafts["ngram"].lookup is None


@recorded
def test_prompt_lookup_reproduces_the_public_recording(tmp_path):
    file = DATA / "specdecode_bench_llama31_8b_gsm8k.jsonl"
    done = api.import_trace("specdecode_bench", file, out=tmp_path / "t.npz").result
    assert done.notes[0] == "eagle has another length than the text in 126 of 300 requests"
    assert "reproduce 99.98 % of 49548 positions" in done.notes[1]


@recorded
def test_a_public_answer_shows_which_schedule_it_had_not(tmp_path):
    file = DATA / "spec_bench_vicuna7b_sps68m.jsonl"
    with pytest.raises(InputError, match="accepted 4 of 2 proposed"):
        api.import_trace("spec_bench", file, out=tmp_path / "t.npz", schedule="heuristic")
    trace = api.import_trace("spec_bench", file, out=tmp_path / "t.npz", schedule="stopped:20").result.trace
    assert len(trace.keys) == 560
    assert trace.output_tokens().sum() == 91_541


# --- rounds of one's own ------------------------------------------------------------------------


ROUNDS = "request,draft,drafted,accepted\na,small,2,1\na,small,2,2\nb,small,2,0\na,big,4,4\nb,big,4,1\n"


def rows_of(path: Path, draft: str) -> list[list[float]]:
    found = load_trace(path).drafts[draft].rows
    return [(found.row(i) / PROBABILITY_STEPS).round(3).tolist() for i in range(len(found))]


def test_own_rounds_of_several_drafts_become_one_recording(tmp_path):
    """Each draft begins behind the token of prefill; where it was not asked, its own rate stands."""
    (tmp_path / "mine.csv").write_text(ROUNDS)
    as_json = lines(
        tmp_path / "mine.jsonl",
        [
            {"request": r, "draft": d, "drafted": int(k), "accepted": int(a)}
            for r, d, k, a in (line.split(",") for line in ROUNDS.splitlines()[1:])
        ],
    )
    one, two = (
        api.import_trace("rounds", tmp_path / "mine.csv", out=tmp_path / "csv.npz"),
        api.import_trace("rounds", as_json, out=tmp_path / "json.npz"),
    )
    assert one.result.notes == two.result.notes
    assert "small: 5 of 9 positions rebuilt" in one.result.notes[0]
    for path in (tmp_path / "csv.npz", tmp_path / "json.npz"):
        assert load_trace(path).keys == ("a", "b")
        # round 1 at 1: right, wrong at 2; round 2 at 3: right, right; 5 was not asked, nor 0
        assert rows_of(path, "small")[0] == [0.75, 1, 0, 1, 1, 0.75]
        assert rows_of(path, "big") == [[1, 1, 1, 1, 1, 1], [0.5, 1, 0]]


def test_own_rounds_may_take_turns_where_they_say_their_place(tmp_path):
    path = tmp_path / "turns.csv"
    path.write_text(
        "request,draft,position,drafted,accepted,prompt_tokens\n7,small,1,2,1,900\n7,big,3,2,0,900\n"
    )
    api.import_trace("rounds", path, out=tmp_path / "turns.npz")
    assert load_trace(tmp_path / "turns.npz").prompt_tokens == (900,)
    assert rows_of(tmp_path / "turns.npz", "small") == [[0.5, 1, 0, 0.5]]
    assert rows_of(tmp_path / "turns.npz", "big") == [[0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("request,draft,accepted\n1,a,2\n", "own.csv:1: no column drafted; CSV with a header"),
        ("request,draft,drafted,accepted\n1,a,2,3\n", "own.csv:2: accepted: 3 of 2 proposed tokens"),
        ("request,draft,drafted,accepted\n1,a,2,1\n1,a,2\n", "own.csv:3: accepted: missing"),
        ("request,draft,drafted,accepted\n1,a,2,x\n", "own.csv:2: accepted: no whole number"),
        ("request,draft,drafted,accepted\n", "own.csv: holds no round"),
        (
            "request,draft,drafted,accepted,position\n1,a,2,1,1\n1,a,2,1,\n",
            "own.csv:3: position: is in some rows and not in others",
        ),
    ],
)
def test_own_rounds_that_are_wrong_are_told_by_line(tmp_path, text, said):
    (tmp_path / "own.csv").write_text(text)
    code, output = stderr_of("trace", tmp_path / "own.csv", "--import", "rounds", "--out", tmp_path / "x.npz")
    assert code == 2
    assert said in " ".join(output.split())
