"""Whole workloads: what goes into a request, slices, caps, repetition, errors."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.errors import InputError
from spinsim.workload.for_scenario import build_workload
from tests.workload.workload_scenarios import POISSON, build, drawn, fixed, from_file, scenario

REPLAY = {"process": "replay"}
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def trace(tmp_path, times=(5, 8, 10, 30, 31), **source):
    """A trace whose i-th row has i + 1 prompt and 10 (i + 1) output tokens."""
    rows = "".join(f"{t},GPT-4,{i + 1},{10 * (i + 1)},0,API log\n" for i, t in enumerate(times))
    return from_file(tmp_path / "trace.csv", "burstgpt", BURST + rows, **source) | {"arrivals": REPLAY}


def keys(workload):
    return [request.key for request in workload.requests]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**63 - 1), st.integers(1, 60), st.integers(0, 60))
def test_same_seed_same_requests_and_longer_workloads_begin_with_shorter_ones(seed, count, more):
    short = build(drawn(requests=count, patience_s=fixed(3)), seed)
    again = build(drawn(requests=count, patience_s=fixed(3)), seed)
    longer = build(drawn(requests=count + more, patience_s=fixed(3)), seed)
    assert short == again
    assert longer.requests[:count] == short.requests
    assert [r.id for r in longer.requests] == list(range(count + more))
    assert all(a.arrival_s <= b.arrival_s for a, b in zip(longer.requests, longer.requests[1:], strict=False))
    assert all(r.prompt_tokens >= 1 and r.output_tokens >= 1 for r in longer.requests)


def test_changing_one_part_leaves_the_others_alone():
    base = build(drawn()).requests
    other = build(
        drawn(prompt_tokens=fixed(9), patience_s={"distribution": "uniform", "min": 1, "max": 2})
    ).requests
    assert [r.arrival_s for r in base] == [r.arrival_s for r in other]
    assert [r.output_tokens for r in base] == [r.output_tokens for r in other]
    assert all(1 <= r.patience_s <= 2 for r in other)
    assert all(r.patience_s == math.inf for r in base)
    slower = build(drawn(arrivals=POISSON | {"rate_per_s": 1.0})).requests
    assert [r.prompt_tokens for r in base] == [r.prompt_tokens for r in slower]
    assert [4 * r.arrival_s for r in base] == pytest.approx([r.arrival_s for r in slower])


def test_another_seed_gives_other_requests():
    one, two = build(drawn(), seed=1).requests, build(drawn(), seed=2).requests
    for part in ("arrival_s", "prompt_tokens", "output_tokens"):
        assert [getattr(r, part) for r in one] != [getattr(r, part) for r in two]


@pytest.mark.parametrize("name", ["requests", "prompt_tokens", "output_tokens"])
def test_without_a_source_everything_must_be_said(name):
    section = drawn()
    del section[name]
    with pytest.raises(InputError, match="missing") as caught:
        build(section)
    assert caught.value.key == f"workload.{name}"


def test_domains_are_drawn_by_weight_where_requests_have_none(tmp_path):
    acceptance = {
        "model": "logistic",
        "strength": {"a": 0.0},
        "domains": {"code": {"weight": 3}, "prose": {"weight": 1}},
    }
    drawn_domains = [
        r.domain
        for r in build_workload(scenario(drawn(requests=4000), acceptance=acceptance), tmp_path).requests
    ]
    assert drawn_domains.count("code") / 4000 == pytest.approx(0.75, abs=0.03)
    line = '{"question_id": 1, "category": "prose", "turns": ["Why?"], "reference": ["Because."]}\n'
    own = from_file(tmp_path / "q.jsonl", "spec_bench", line, limit=1) | {"requests": 20}
    requests = build_workload(scenario(own, acceptance=acceptance), tmp_path).requests
    assert {r.domain for r in requests} == {"prose"}
    assert {r.domain for r in build(drawn()).requests} == {""}


def test_replay_keeps_gaps_and_starts_at_zero(tmp_path):
    requests = build(trace(tmp_path)).requests
    assert [r.arrival_s for r in requests] == [0, 3, 5, 25, 26]
    assert [(r.prompt_tokens, r.output_tokens) for r in requests] == [(i, 10 * i) for i in range(1, 6)]
    fast = build(trace(tmp_path) | {"arrivals": {"process": "replay", "rate_scale": 2}}).requests
    assert [r.arrival_s for r in fast] == [0, 1.5, 2.5, 12.5, 13]


def test_slices_by_row_and_by_time(tmp_path):
    assert keys(build(trace(tmp_path, skip=1, limit=3))) == ["1", "2", "3"]
    assert build(trace(tmp_path, skip=3)).requests[0].arrival_s == 0
    window = build(trace(tmp_path, start_s=2, end_s=25))  # 25 s is the fourth row, and not within
    assert keys(window) == ["1", "2"]
    assert [r.arrival_s for r in window.requests] == [1, 3]  # from the window's start
    assert keys(build(trace(tmp_path, end_s=5.5))) == ["0", "1", "2"]
    assert keys(build(trace(tmp_path, start_s=3, limit=2))) == ["1", "2"]


def test_unsorted_traces_are_sorted(tmp_path):
    requests = build(trace(tmp_path, times=(5, 9, 7))).requests
    assert [(r.id, r.key, r.arrival_s) for r in requests] == [(0, "0", 0), (1, "2", 2), (2, "1", 4)]


def test_caps_cut_lengths(tmp_path):
    requests = build(trace(tmp_path, max_prompt_tokens=2, max_output_tokens=25)).requests
    assert [r.prompt_tokens for r in requests] == [1, 2, 2, 2, 2]
    assert [r.output_tokens for r in requests] == [10, 20, 25, 25, 25]
    line = '{"id": "x", "prompt_token_ids": [5, 6, 7], "generated_token_ids": [1, 2]}\n'
    (only,) = build(from_file(tmp_path / "r.jsonl", "specdecode_bench", line, max_prompt_tokens=2)).requests
    assert (only.prompt_tokens, only.prompt) == (2, (5, 6))


def test_distributions_replace_the_lengths_of_a_source(tmp_path):
    line = '{"question": "How many apples are left?", "answer": "Three."}\n'
    section = from_file(tmp_path / "q.jsonl", "gsm8k", line)
    (kept,) = build(section | {"output_tokens": fixed(40)}).requests
    assert (kept.text, kept.output_tokens) == ("How many apples are left?", 40)
    (replaced,) = build(section | {"prompt_tokens": fixed(99)}).requests
    assert (replaced.text, replaced.prompt_tokens, replaced.output_tokens) == (None, 99, 2)


def test_requests_repeat_rows_except_in_a_replay(tmp_path):
    replayed = trace(tmp_path) | {"requests": 12}
    assert len(build(replayed).requests) == 5
    assert keys(build(replayed | {"requests": 2})) == ["0", "1"]
    repeated = build(replayed | {"arrivals": POISSON})
    assert keys(repeated) == [str(i % 5) for i in range(12)]
    assert len({r.arrival_s for r in repeated.requests}) == 12


def test_replay_needs_times(tmp_path):
    section = from_file(tmp_path / "q.jsonl", "gsm8k", '{"question": "a", "answer": "b"}\n') | {
        "arrivals": REPLAY
    }
    for unreplayable in (section, drawn(arrivals=REPLAY)):
        with pytest.raises(InputError, match="no arrival times") as caught:
            build(unreplayable)
        assert caught.value.key == "workload.arrivals.process"


def test_output_lengths_are_needed_where_the_source_has_no_answers(tmp_path):
    section = from_file(tmp_path / "p.csv", "prompt_csv", "act,prompt\nx,Tell me\n")
    with pytest.raises(InputError, match="1 of 1 requests have no answer") as caught:
        build(section)
    assert caught.value.key == "workload.output_tokens"
    assert build(section | {"output_tokens": fixed(5)}).requests[0].output_tokens == 5


def test_paths_expand_and_are_relative_to_the_scenario(tmp_path, monkeypatch):
    trace(tmp_path)
    monkeypatch.setenv("TRACES", str(tmp_path))
    monkeypatch.setenv("NAME", "trace")
    section = {"arrivals": REPLAY, "source": {"format": "burstgpt", "path": "$TRACES/${NAME}.csv"}}
    assert len(build(section).requests) == 5
    section["source"]["path"] = "trace.csv"
    assert len(build(section, base_dir=tmp_path).requests) == 5
    section["source"]["path"] = "$NOWHERE_SET/trace.csv"
    with pytest.raises(InputError, match=r"\$NOWHERE_SET is not set") as caught:
        build(section)
    assert caught.value.key == "workload.source.path"


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ({"skip": 5}, "workload.source"),
        ({"start_s": 100}, "workload.source"),
        ({"start_s": 5, "end_s": 4}, "workload.source.end_s"),
    ],
)
def test_empty_slices_are_refused(tmp_path, source, key):
    with pytest.raises(InputError, match=";") as caught:
        build(trace(tmp_path, **source))
    assert caught.value.key == key


def test_times_cannot_slice_a_source_without_times(tmp_path):
    section = from_file(tmp_path / "q.jsonl", "gsm8k", '{"question": "a", "answer": "b"}\n', end_s=5)
    with pytest.raises(InputError, match="no times") as caught:
        build(section)
    assert caught.value.key == "workload.source.end_s"


def test_resampled_rows_are_drawn_by_the_seed_and_arrive_when_others_would_have(tmp_path):
    plain = build(trace(tmp_path))
    drawn_rows = [build(trace(tmp_path, resample=True), seed) for seed in range(40)]
    assert build(trace(tmp_path, resample=True), 3) == drawn_rows[3]
    for workload in drawn_rows:
        assert [r.arrival_s for r in workload.requests] == [r.arrival_s for r in plain.requests]
        assert all(r.output_tokens == 10 * r.prompt_tokens for r in workload.requests)
    lengths = [tuple(r.prompt_tokens for r in workload.requests) for workload in drawn_rows]
    assert len(set(lengths)) > 30
    assert any(len(set(drawn_once)) < 5 for drawn_once in lengths)  # with replacement
    mean = sum(map(sum, lengths)) / (40 * 5)
    assert abs(mean - 3) < 0.5
    more = build(
        trace(tmp_path, resample=True) | {"requests": 4, "arrivals": {"process": "closed", "concurrency": 2}},
        3,
    )
    assert [r.prompt_tokens for r in more.requests] == list(lengths[3][:4])
