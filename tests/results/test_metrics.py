"""Numbers worked out by hand, and the rules around them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from spinsim.engine.records import CANCELLED, COMPLETED, KINDS, REJECTED, Records, RequestRecord
from spinsim.results.summary import distribution, summarise
from spinsim.results.window import CLOSED, OPEN, WHOLE, window_of
from spinsim.scenario import Scenario

S = 1_000_000_000
MakeScenario = Callable[..., Scenario]


def add_round(
    records: Records,
    marks: tuple[float, float, float, float],
    rows: list[tuple[int, int, int, int, int]],
    kv: tuple[int, int] = (0, 0),
) -> None:
    """``marks``: assigned, drafted, verification started, committed (s); rows: (request, draft,
    drafted, accepted, committed); ``kv``: (real, executed)."""
    r = records.rounds
    r.micro_batch.append(0)
    r.depth.append(1)
    r.size.append(len(rows))
    columns = (r.assigned_ns, r.drafted_ns, r.verify_started_ns, r.committed_ns)
    for column, mark in zip(columns, marks, strict=True):
        column.append(round(mark * S))
    r.packing.append("padded")
    for column, value in ((r.rows, len(rows)), (r.piece, 0), (r.query_tokens, 0), (r.real_query_tokens, 0)):
        column.append(value)
    r.real_kv_tokens.append(kv[0])
    r.kv_tokens.append(kv[1])
    for request, draft, drafted, accepted, committed in rows:
        row = (request, 0, draft, drafted, accepted, committed, 0)
        targets = (r.request, r.position, r.draft, r.drafted, r.accepted, r.committed, r.catch_up_tokens)
        for column, value in zip(targets, row, strict=True):
            column.append(value)


def add_operation(
    records: Records, lane: int, kind: str, model: int, start: float, end: float, tokens: int = 0
) -> None:
    o = records.operations
    times = (round(start * S), round(start * S), round(end * S))
    row = (lane, KINDS.index(kind), model, 0, 1, tokens, *times)
    columns = (
        o.lane, o.kind, o.model, o.micro_batch, o.rows, o.tokens, o.submitted_ns, o.started_ns, o.finished_ns,
    )  # fmt: skip
    for column, value in zip(columns, row, strict=True):
        column.append(value)


@pytest.fixture
def hand_made() -> Records:
    """Six requests over ten seconds; the window of a run without warm-up is [0 s, 6 s].

    0 arrives at 0, first token 1, then commits 3 at 2 s and 2 at 4 s: six tokens, e2e 4.
    1 arrives at 1, first token 2, one token only.
    2 arrives at 2, first token 4, then commits 1 at 6 s (counts) and 2 at 8 s (does not).
    3 is rejected at 3; 4 arrives at 4 and gives up at 5; 5 arrives at 6 and is never served.
    """
    records = Records(
        lanes=(("target", ("gpu0",)), ("drafts", ("gpu0", "gpu1"))),
        drafts=("small", "large"),
        ended_ns=10 * S,
        last_arrival_ns=6 * S,
        label_s={"roofline": 3.0, "measured": 1.0},
    )
    lives = (
        (0, 0.0, 0.5, 1.0, 4.0, COMPLETED, 6),
        (1, 1.0, 1.5, 2.0, 2.0, COMPLETED, 1),
        (2, 2.0, 3.5, 4.0, 8.0, COMPLETED, 4),
        (3, 3.0, None, None, 3.0, REJECTED, 0),
        (4, 4.0, None, None, 5.0, CANCELLED, 0),
        (5, 6.0, None, None, None, "unfinished", 0),
    )
    for request, arrival, admitted, first, finished, status, tokens in lives:
        moments = [-1 if t is None else round(t * S) for t in (arrival, admitted, first, finished)]
        records.requests[request] = RequestRecord(
            request, "", "", 10, *moments, status=status, output_tokens=tokens
        )
    add_round(records, (1.0, 1.25, 1.25, 2.0), [(0, 0, 4, 2, 3)], kv=(30, 40))
    add_round(records, (2.0, 3.0, 3.0, 4.0), [(0, 1, 4, 1, 2)], kv=(30, 60))
    add_round(records, (4.0, 4.0, 4.0, 6.0), [(2, -1, 0, 0, 1)])
    add_round(records, (6.0, 7.0, 7.0, 8.0), [(2, 1, 2, 1, 2)], kv=(500, 900))
    add_operation(records, 1, "propose", 0, 1.0, 1.25)
    add_operation(records, 0, "verify", -1, 1.25, 2.0)
    add_operation(records, 1, "catch_up", 1, 1.5, 2.5, tokens=13)
    add_operation(records, 1, "propose", 1, 2.5, 3.0)
    add_operation(records, 0, "verify", -1, 3.0, 4.0)
    add_operation(records, 0, "verify", -1, 4.0, 6.0)
    add_operation(records, 1, "propose", 1, 5.5, 7.5)
    return records


@pytest.fixture
def summary(hand_made: Records, make_scenario: MakeScenario) -> dict:
    scenario = make_scenario(metrics={"warmup_s": 0}, slo={"ttft_s": 1.5, "tpot_s": 0.7})
    return summarise(hand_made, scenario, mode="simulated", acceptance_source="synthetic")


def test_goodput_counts_first_tokens_and_what_commits_inside_the_window(summary: dict) -> None:
    assert summary["duration_s"] == 6
    assert summary["tokens"] == {"prompt": 50, "committed": 9, "first": 3, "drafted": 8, "accepted": 3}
    assert summary["goodput_tokens_per_s"] == pytest.approx(9 / 6)
    assert summary["run"]["committed"] == 11


def test_latency_by_hand(summary: dict) -> None:
    latency = summary["latency"]
    assert latency["ttft_s"] == {
        "count": 3,
        "mean": 4 / 3,
        "p50": 1.0,
        "p90": 1.8,
        "p99": pytest.approx(1.98),
    }
    assert latency["tpot_s"]["count"] == 2, "an output of one token has no TPOT"
    assert latency["tpot_s"]["mean"] == pytest.approx((3 / 5 + 4 / 3) / 2)
    assert latency["e2e_s"]["mean"] == pytest.approx((4 + 1 + 6) / 3)
    assert latency["itl_s"]["count"] == 3  # 1 -> 2, 2 -> 4, 4 -> 6; the gap that ends at 8 s is outside
    assert latency["itl_s"]["mean"] == pytest.approx(5 / 3)
    assert latency["queue_s"]["mean"] == pytest.approx((0.5 + 0.5 + 1.5) / 3)


def test_objectives_count_cancelled_and_unfinished_as_missed(summary: dict) -> None:
    # Met: 0 (TPOT 0.6) and 1 (no TPOT). Judged: all but the rejected one.
    slo = summary["slo"]
    assert (slo["requests_met"], slo["requests_judged"]) == (2, 5)
    assert slo["attainment"] == pytest.approx(0.4)
    assert slo["goodput_requests_per_s"] == pytest.approx(2 / 6)


def test_acceptance_length_leaves_out_rounds_without_a_draft(summary: dict) -> None:
    spec = summary["speculation"]
    assert (spec["rounds"], spec["verifications"], spec["committed_by_verifications"]) == (3, 2, 5)
    assert spec["acceptance_length"] == pytest.approx(2.5)
    assert spec["acceptance_rate"] == pytest.approx(3 / 8)
    assert spec["acceptance_histogram"] == [0, 1, 1]
    assert spec["drafted_histogram"] == [0, 0, 0, 0, 2]
    assert spec["switches"] == 1
    assert spec["catch_up_tokens"] == 13


def test_a_lookup_that_found_nothing_is_a_verification_of_one_token(
    hand_made: Records, make_scenario: MakeScenario
) -> None:
    """vLLM leaves such rows out of its mean acceptance length; docs/metrics.md says how to get to it."""
    add_round(hand_made, (4.5, 4.5, 4.5, 5.0), [(2, 0, 0, 0, 1)])
    scenario = make_scenario(metrics={"warmup_s": 0})
    spec = summarise(hand_made, scenario, mode="simulated", acceptance_source="synthetic")["speculation"]
    assert spec["acceptance_length"] == pytest.approx((3 + 2 + 1) / 3)
    empty = spec["drafted_histogram"][0]
    theirs = (spec["committed_by_verifications"] - empty) / (spec["verifications"] - empty)
    assert theirs == pytest.approx((3 + 2) / 2)


def test_each_draft_by_hand(summary: dict) -> None:
    drafts = summary["speculation"]["per_draft"]
    assert list(drafts) == ["small", "large", "none"]
    assert drafts["small"]["share"] == pytest.approx(1 / 3)
    assert drafts["small"]["draft_time_s"] == pytest.approx(0.25)
    assert drafts["large"]["draft_time_s"] == pytest.approx(0.5), "the proposal that ends at 7.5 s is outside"
    assert drafts["large"]["catch_up_time_s"] == pytest.approx(1.0)
    assert drafts["none"]["acceptance_length"] is None


def test_busy_time_of_a_device_in_two_lanes_is_a_union(summary: dict) -> None:
    # gpu0 has both lanes: [1, 6] without a gap; gpu1 the drafts alone: .25 + 1 + .5 + .5 up to 6 s.
    assert summary["devices"]["gpu0"]["busy_fraction"] == pytest.approx(5 / 6)
    assert summary["devices"]["gpu1"]["busy_fraction"] == pytest.approx(2.25 / 6)
    assert summary["lanes"]["drafts"]["busy_s"]["propose"] == pytest.approx(1.25)


def test_padding_and_cost_shares(summary: dict) -> None:
    verification = summary["verification"]
    assert (verification["kv_tokens"], verification["padded_kv_tokens"]) == (60, 100)
    assert verification["padding_fraction"] == pytest.approx(0.4)
    assert summary["costs"]["roofline"] == pytest.approx(0.75)
    assert sum(summary["costs"][label] for label in ("measured", "interpolated", "roofline", "constant")) == 1


def test_request_counts_are_of_the_whole_run_and_add_up(summary: dict) -> None:
    counts = summary["requests"]
    assert counts["submitted"] == 6
    parts = ("completed", "rejected", "cancelled", "unfinished")
    assert [counts[part] for part in parts] == [3, 1, 1, 1]


def test_the_keys_that_other_tools_rely_on(summary: dict) -> None:
    keys = {
        "": "schema mode scenario seed duration_s window requests tokens goodput_tokens_per_s latency slo "
        "speculation verification devices host costs acceptance",
        "requests": "submitted completed rejected preempted cancelled",
        "tokens": "prompt committed drafted accepted",
        "latency": "ttft_s tpot_s e2e_s itl_s",
        "slo": "ttft_s tpot_s attainment goodput_requests_per_s",
        "speculation": "rounds acceptance_length acceptance_rate switches catch_up_tokens "
        "acceptance_histogram per_draft",
        "verification": "kv_tokens padded_kv_tokens padding_fraction",
        "host": "orchestrator_s idle_caused_s",
        "costs": "measured interpolated roofline",
        "acceptance": "source",
    }
    for section, names in keys.items():
        assert set(names.split()) <= set(summary[section] if section else summary), section
    for row in summary["latency"].values():
        assert {"mean", "p50", "p90", "p99"} <= set(row)
    json.dumps(summary, allow_nan=False)


def test_without_objectives_there_is_no_slo_section(hand_made: Records, make_scenario: MakeScenario) -> None:
    summary = summarise(hand_made, make_scenario(slo=None), mode="live", acceptance_source="models")
    assert "slo" not in summary
    assert summary["mode"] == "live"


def test_the_window_of_an_open_and_of_a_closed_loop(hand_made: Records) -> None:
    window = window_of(hand_made, 1.0)
    assert (window.start_ns, window.end_ns, window.rule) == (1 * S, 6 * S, OPEN)
    hand_made.closed_loop = True
    assert window_of(hand_made, 1.0).rule == CLOSED


@pytest.mark.parametrize(
    ("last_arrival_s", "warmup_s", "window_s"),
    [(0, 0, (0, 10)), (0, 3, (3, 10)), (6, 7, (7, 10)), (0.5, 0, (0, 10)), (6, 20, (0, 10)), (6, 9, (0, 10))],
)
def test_where_no_window_fits_the_whole_run_counts_and_says_why(
    hand_made: Records, last_arrival_s: float, warmup_s: float, window_s: tuple[int, int]
) -> None:
    hand_made.last_arrival_ns = round(last_arrival_s * S)
    window = window_of(hand_made, warmup_s)
    assert (window.start_ns, window.end_ns) == (window_s[0] * S, window_s[1] * S)
    assert window.rule == WHOLE
    assert window.note


def test_a_run_that_was_stopped_ends_its_window_there(hand_made: Records) -> None:
    hand_made.ended_ns = 5 * S
    assert window_of(hand_made, 0.0).end_ns == 5 * S


def test_a_run_that_did_nothing_has_numbers_all_the_same(make_scenario: MakeScenario) -> None:
    records = Records(lanes=(("target", ("gpu0",)),), drafts=(), interrupted="interrupted by the user")
    records.requests[0] = RequestRecord(0, "", "", 5, 0)
    summary = summarise(records, make_scenario(), mode="live", acceptance_source="models")
    assert summary["goodput_tokens_per_s"] is None
    assert summary["speculation"]["acceptance_length"] is None
    assert summary["latency"]["ttft_s"] == {"count": 0, "mean": None, "p50": None, "p90": None, "p99": None}
    assert summary["interrupted"] == "interrupted by the user"
    assert summary["devices"]["gpu0"]["busy_fraction"] == 0
    json.dumps(summary, allow_nan=False)


def test_percentiles_are_linear_between_order_statistics() -> None:
    values = np.array([4.0, math.nan, 1.0, 3.0, 2.0])
    row = distribution(values)
    assert row["count"] == 4
    assert row["mean"] == 2.5
    assert row["p50"] == 2.5
    assert row["p90"] == pytest.approx(3.7)  # position 0.9 * 3 among 1, 2, 3, 4


@pytest.mark.parametrize("seed", range(4))
def test_sums_agree_on_any_run(
    seed: int, make_records: Callable[..., Records], make_scenario: MakeScenario
) -> None:
    records = make_records(seed)
    records.last_arrival_ns = 0  # the whole run
    summary = summarise(
        records, make_scenario(metrics={"warmup_s": 0}), mode="simulated", acceptance_source="synthetic"
    )
    spec, tokens = summary["speculation"], summary["tokens"]
    histogram = spec["acceptance_histogram"]
    assert sum(histogram) == spec["verifications"] == sum(spec["drafted_histogram"])
    assert sum(i * n for i, n in enumerate(histogram)) == tokens["accepted"]
    assert sum(i * n for i, n in enumerate(spec["drafted_histogram"])) == tokens["drafted"]
    drafts = spec["per_draft"].values()
    for key, total in (
        ("rounds", spec["rounds"]),
        ("drafted", tokens["drafted"]),
        ("accepted", tokens["accepted"]),
    ):
        assert sum(row[key] for row in drafts) == total
    assert sum(row["share"] for row in drafts) == pytest.approx(1)
    assert (
        tokens["committed"]
        == summary["run"]["committed"]
        == sum(r.output_tokens for r in records.requests.values())
    )
    assert sum(row["committed"] for row in drafts) + tokens["first"] == tokens["committed"]
    assert spec["switches"] == sum(r.switches for r in records.requests.values())
    assert spec["catch_up_tokens"] == sum(r.catch_up_tokens for r in records.requests.values())
    assert all(0 <= d["busy_fraction"] <= 1 for d in summary["devices"].values())


def test_a_draft_called_none_is_told_from_no_draft(hand_made: Records, make_scenario: MakeScenario) -> None:
    hand_made.drafts = ("none", "large")
    summary = summarise(hand_made, make_scenario(), mode="simulated", acceptance_source="synthetic")
    assert list(summary["speculation"]["per_draft"]) == ["none", "large", "(none)"]
