"""Recorded acceptance: the file, its replay, the join to a workload, and the public recording."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spinsim.acceptance.for_scenario import build_field
from spinsim.acceptance.specdecode_bench import load_specdecode_bench
from spinsim.errors import InputError
from spinsim.recording import PROBABILITY_STEPS, Ragged, Recording, Trace, load_trace, save_trace
from spinsim.workload.for_scenario import build_workload
from spinsim.workload.request import Workload
from tests.acceptance.acceptance_scenarios import bits, scenario, tokens_per_round, workload

RUNS = [[0, 2, 1, 0, 3], [0, 0, 1]]
CHANCES = [[0.0, 1.0, 0.25, 0.5, 1.0], [1.0, 1.0, 0.0]]


def recording(**more) -> Trace:
    return Trace(
        target="target",
        keys=("x", "y"),
        prompt_tokens=(4, 2),
        drafts={"greedy": Recording.of_runs(RUNS), "sampled": Recording.of_probabilities(CHANCES)},
        command="spinsim trace",
        **more,
    )


def saved(path: Path, trace: Trace | None = None) -> Path:
    save_trace(trace or recording(), path)
    return path


def replay(path: Path, requests: Workload, seed: int = 7, drafts=("greedy", "sampled"), **more):
    spec = {"model": "trace", "path": str(path), **more.pop("trace", {})}
    return build_field(scenario(spec, drafts, seed, **more), requests, Path())


# --- the file -----------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_traces_survive_saving(data, tmp_path):
    count = data.draw(st.integers(1, 4))
    lengths = data.draw(st.lists(st.integers(1, 20), min_size=count, max_size=count))
    runs = [data.draw(st.lists(st.integers(0, 70_000), min_size=n, max_size=n)) for n in lengths]
    chances = [data.draw(st.lists(st.floats(0, 1), min_size=n, max_size=n)) for n in lengths]
    prompts = [data.draw(st.lists(st.integers(0, 2**31), max_size=5)) for _ in lengths]
    trace = Trace(
        target="t",
        keys=tuple(
            data.draw(st.lists(st.text(st.characters(codec="utf-8")), min_size=count, max_size=count))
        ),
        prompt_tokens=tuple(max(1, len(prompt)) for prompt in prompts),
        drafts={"r": Recording.of_runs(runs), "p": Recording.of_probabilities(chances)},
        domains=("d",) * count,
        prompts=Ragged.of(prompts, np.uint32),
        temperature=0.7,
        top_p=0.9,
        notes={"dtype": "bf16"},
    )
    again = load_trace(saved(tmp_path / "t", trace))
    for name in ("target", "keys", "prompt_tokens", "domains", "temperature", "top_p", "command", "notes"):
        assert getattr(again, name) == getattr(trace, name)
    assert again.prompts is not None
    for i, n in enumerate(lengths):
        assert again.drafts["r"].rows.row(i).tolist() == [min(run, 65535) for run in runs[i]]
        stored = again.drafts["p"].rows.row(i) / PROBABILITY_STEPS
        assert stored == pytest.approx(np.array(chances[i]), abs=0.5 / PROBABILITY_STEPS + 1e-12)
        assert again.prompts.row(i).tolist() == prompts[i]
        assert again.output_tokens()[i] == n


def test_the_same_trace_is_the_same_file(tmp_path):
    assert saved(tmp_path / "1").read_bytes() == saved(tmp_path / "2").read_bytes()


def test_a_changed_value_is_noticed(tmp_path):
    """A file whose archive is sound, but whose content is not what was recorded."""
    path, changed = saved(tmp_path / "t"), tmp_path / "changed"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:-2] + b"\x07\x00" if name == "draft0.npy" else content)
    with pytest.raises(InputError, match="checksum") as caught:
        load_trace(changed)
    assert caught.value.key == "acceptance.path"


def test_files_that_are_no_traces_are_refused(tmp_path):
    path = saved(tmp_path / "t")
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", values=np.arange(3))
    np.save(tmp_path / "other.npy", np.arange(3))
    np.savez(tmp_path / "objects.npz", meta=np.array([{}], object))
    wrong = {
        "empty": b"",
        "text": b"no trace\n",
        "cut": whole[: len(whole) // 2],
        "zip": b"PK\x05\x06" + bytes(18),
    }
    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
    for name in (*wrong, "other.npz", "other.npy", "objects.npz", "absent", "."):
        with pytest.raises(InputError, match=";") as caught:
            load_trace(tmp_path / name)
        assert caught.value.key == "acceptance.path"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_goes_unnoticed(data, tmp_path):
    """Any byte changed: the same trace (the byte meant nothing), or an InputError."""
    path = tmp_path / "t"
    if not path.exists():
        saved(path)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(content)
    try:
        trace = load_trace(damaged)
    except InputError:
        return
    assert trace.keys == ("x", "y")
    assert trace.drafts["greedy"].rows.row(0).tolist() == RUNS[0]


def test_columns_must_fit():
    with pytest.raises(ValueError, match="one length"):
        recording(domains=("only one",))


# --- replay -------------------------------------------------------------------------------------


def test_greedy_runs_are_replayed_as_recorded(tmp_path):
    accepted = replay(saved(tmp_path / "t"), workload([5, 3, 2], keys=["x", "y", "x"]))
    assert accepted.source == "trace"
    assert accepted.runs(0, 0)[:6] == [*RUNS[0], 0]
    assert accepted.runs(1, 0)[:4] == [*RUNS[1], 0]
    assert accepted.runs(2, 0)[:3] == RUNS[0][:3]  # not cut at the shorter output
    assert accepted.joined == "3 requests by key, 0 by index modulo 2"


def test_sampled_bits_follow_the_recorded_probabilities(tmp_path):
    requests = workload([5] * 8000, keys=["x"] * 8000)
    accepted = replay(saved(tmp_path / "t"), requests)
    share = np.mean([bits(accepted.runs(r, 1), 5) for r in range(8000)], axis=0)
    assert share == pytest.approx(CHANCES[0], abs=0.025)
    assert share[[0, 1, 4]].tolist() == [0, 1, 1]  # certainties stay certain
    again = replay(saved(tmp_path / "t"), requests)
    assert [again.runs(r, 1) for r in reversed(range(50))] == [
        accepted.runs(r, 1) for r in reversed(range(50))
    ]
    other = replay(saved(tmp_path / "t"), requests, seed=8)
    assert [other.runs(r, 1) for r in range(50)] != [accepted.runs(r, 1) for r in range(50)]


def test_requests_without_a_recorded_key_are_joined_by_index(tmp_path):
    accepted = replay(saved(tmp_path / "t"), workload([3, 3, 3, 3], keys=["", "", "x", "z"]))
    assert [accepted.runs(r, 0)[:3] for r in range(4)] == [RUNS[0][:3], RUNS[1], RUNS[0][:3], RUNS[1]]
    assert accepted.joined == "1 requests by key, 3 by index modulo 2"


def test_drafts_are_named_by_the_scenario(tmp_path):
    path = saved(tmp_path / "t")
    spec = {"drafts": {"mine": "greedy"}}
    accepted = replay(path, workload([3]), drafts=("sampled", "mine"), trace=spec)
    assert accepted.runs(0, 1)[:3] == RUNS[0][:3]
    with pytest.raises(
        InputError, match="'absent' is not in the recording; one of greedy, sampled"
    ) as caught:
        replay(path, workload([3]), drafts=("absent",))
    assert caught.value.key == "acceptance.drafts.absent"
    with pytest.raises(InputError) as caught:
        replay(path, workload([3]), trace={"drafts": {"z": "greedy"}})
    assert caught.value.key == "acceptance.drafts.z"


def test_outputs_beyond_the_recording_are_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"request 1 generates 4 tokens.*\('y'\) ends after 3;.*at most 3"
    ) as caught:
        replay(saved(tmp_path / "t"), workload([5, 4], keys=["x", "y"]))
    assert caught.value.key == "acceptance.path"


def test_a_recording_holds_for_its_own_sampling(tmp_path):
    path = saved(tmp_path / "t", recording(temperature=0.8, top_p=0.9))
    replay(path, workload([3]), sampling={"temperature": 0.8, "top_p": 0.9})
    for sampling, key in (({}, "temperature"), ({"temperature": 0.8}, "top_p")):
        with pytest.raises(InputError, match="the same") as caught:
            replay(path, workload([3]), sampling=sampling)
        assert caught.value.key == f"sampling.{key}"
    greedy = saved(tmp_path / "g", recording(temperature=0.0, top_p=1.0))
    replay(greedy, workload([3]), sampling={"top_p": 0.5})  # means nothing at temperature 0


def test_a_trace_is_its_own_workload(tmp_path):
    path = saved(
        tmp_path / "t", recording(domains=("d", "e"), prompts=Ragged.of([[5, 6, 7, 8], [9, 1]], np.uint32))
    )
    section = {"arrivals": {"process": "at_once"}, "source": {"format": "spinsim", "path": str(path)}}
    spec = scenario({"model": "trace", "path": str(path)}, ("greedy",), workload=section)
    requests = build_workload(spec, Path())
    assert [(r.key, r.prompt, r.prompt_tokens, r.output_tokens, r.domain) for r in requests.requests] == [
        ("x", (5, 6, 7, 8), 4, 5, "d"),
        ("y", (9, 1), 2, 3, "e"),
    ]
    assert build_field(spec, requests, Path()).joined.startswith("2 requests by key")


# --- SpecDecode-Bench ---------------------------------------------------------------------------


def line(**more) -> str:
    row = {"id": "7", "prompt_token_ids": [1, 2], "generated_token_ids": [3, 4, 5, 6]}
    return (
        json.dumps(row | {"acc_one": {"acc_len": [1, 3, 2, 1]}, "acc_two": {"acc_len": [1, 1, 2]}} | more)
        + "\n"
    )


def test_a_run_is_one_less_than_the_tokens_of_its_round(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(line())
    trace = load_specdecode_bench(path)
    assert trace.keys == ("7",)
    assert trace.output_tokens().tolist() == [3]
    accepted = replay(path, workload([3]), drafts=("two", "one"), trace={"format": "specdecode_bench"})
    assert accepted.runs(0, 1)[:4] == [0, 2, 1, 0]
    assert accepted.runs(0, 0)[:4] == [0, 0, 1, 0]


@pytest.mark.parametrize(
    "second",
    [
        "{",
        "[]",
        line(acc_one={"acc_len": [0]}),
        line(acc_one=3),
        line(acc_three={"acc_len": [1]}),
        '{"id": 3}',
    ],
)
def test_recordings_with_a_bad_line_are_refused(second, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(line() + second)
    with pytest.raises(InputError, match="a SpecDecode-Bench recording") as caught:
        load_specdecode_bench(path)
    assert (caught.value.file, caught.value.line) == (str(path), 2)
    for empty in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            load_specdecode_bench(empty)


def test_the_public_recording():
    path = Path(os.environ.get("SPINSIM_DATA", "")) / "specdecode_bench_llama31_8b_gsm8k.jsonl"
    if not os.environ.get("SPINSIM_DATA") or not path.exists():
        pytest.skip("needs the public data in $SPINSIM_DATA")
    source = {"format": "specdecode_bench", "path": str(path)}
    spec = scenario(
        {"model": "trace", "format": "specdecode_bench", "path": "$SPINSIM_DATA/" + path.name},
        ("eagle", "ngram"),
        workload={"arrivals": {"process": "at_once"}, "source": source},
    )
    requests = build_workload(spec, Path())
    accepted = build_field(spec, requests, Path())
    assert accepted.joined.startswith("300 requests by key")
    # rounds walked directly over the file's own numbers
    rows = [json.loads(text) for text in path.read_text().splitlines()]
    for draft, name in enumerate(("acc_eagle", "acc_ngram")):
        for request, row in zip(requests.requests, rows, strict=True):
            recorded = [n - 1 for n in row[name]["acc_len"]]
            walk = tokens_per_round(accepted.runs(request.id, draft), request.output_tokens, 3)
            assert walk == tokens_per_round(recorded, request.output_tokens, 3)
