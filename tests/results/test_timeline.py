"""timeline.json is a trace that Perfetto opens: ordered, nested, with every arrow at both ends."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from spinsim import api
from spinsim.engine.records import Records
from spinsim.results import folder
from spinsim.results.timeline import LANES, LOAD, MICRO_BATCHES, timeline, write_timeline
from tests.engine.harness import Deployment, policies, requests, run

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory, records: Records) -> dict:
    path = tmp_path_factory.mktemp("timeline") / "timeline.json"
    write_timeline(path, records)
    return json.loads(path.read_text(encoding="utf-8"))


def test_time_never_runs_backwards_and_no_slice_is_negative(trace: dict) -> None:
    events = [event for event in trace["traceEvents"] if event["ph"] != "M"]
    assert [event["ts"] for event in events] == sorted(event["ts"] for event in events)
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")


def test_every_track_is_named_once(trace: dict) -> None:
    used = {(e["pid"], e["tid"]) for e in trace["traceEvents"] if e["ph"] != "M"}
    named = [(e["pid"], e["tid"]) for e in trace["traceEvents"] if e["name"] == "thread_name"]
    assert used == set(named)
    assert len(named) == len(set(named))
    names = {e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert names == {"target [gpu0]", "drafts@gpu1 [gpu1]", "micro-batch 0", "micro-batch 1"}


def test_slices_of_a_lane_follow_each_other_and_those_of_a_round_nest(trace: dict) -> None:
    tracks = defaultdict(list)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append(event)
    for (process, _), events in tracks.items():
        if process == LANES:
            for before, after in pairwise(events):
                assert before["ts"] + before["dur"] <= after["ts"] + 1e-3
    for (process, _), events in tracks.items():
        if process == MICRO_BATCHES:
            end = 0.0
            for event in events:
                if event["cat"] == "round":
                    assert event["ts"] >= end - 1e-3, "rounds of one micro-batch overlap"
                    end = event["ts"] + event["dur"]
                else:
                    assert event["ts"] + event["dur"] <= end + 1e-3


def test_an_arrow_from_each_proposal_to_its_verification(trace: dict, records: Records) -> None:
    ends = Counter((event["id"], event["ph"]) for event in trace["traceEvents"] if event["ph"] in "sf")
    assert set(ends.values()) == {1}
    starts = {i for i, phase in ends if phase == "s"}
    assert starts == {i for i, phase in ends if phase == "f"}
    assert starts == {i for i, kind in enumerate(records.operations.kind) if kind == 2}


def test_slices_name_draft_rows_and_tokens(trace: dict, records: Records) -> None:
    proposals = [e for e in trace["traceEvents"] if e.get("cat") == "propose"]
    o = records.operations
    for event in proposals:
        i = event["args"]["operation"]
        assert event["name"] == f"{records.drafts[o.model[i]]} {o.rows[i]}x{o.tokens[i]}"
        assert event["args"]["draft"] == records.drafts[o.model[i]]
        assert event["dur"] == pytest.approx((o.finished_ns[i] - o.started_ns[i]) / 1e3, abs=1e-3)


def test_the_cap_is_kept_and_said(records: Records) -> None:
    capped = timeline(records, cap=25)
    operations = [e for e in capped["traceEvents"] if e["ph"] == "X" and e["pid"] == LANES]
    assert len(operations) == 25
    said = capped["otherData"]
    assert (said["operations_shown"], said["operations"]) == (25, len(records.operations.lane))
    assert not said["complete"]
    last = max(e["ts"] for e in operations)
    assert all(e["ts"] <= last for e in capped["traceEvents"] if e["ph"] == "X" and e["cat"] == "round")
    assert timeline(records, cap=None)["otherData"]["complete"]


@pytest.mark.parametrize("batches", [1, 3])
def test_the_whole_timeline_is_made_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """The bytes that the run itself would have written without a cap."""
    settings = ["workload.requests=20", f"policies.pipeline={{name: fixed, micro_batches: {batches}}}"]
    out = tmp_path / "out"
    api.simulate(SCENARIOS / "quickstart.yaml", set=settings, out=out)
    whole = (out / "timeline.json").read_bytes()
    monkeypatch.setattr(folder, "CAP", 50)
    api.simulate(SCENARIOS / "quickstart.yaml", set=settings, out=out, force=True)
    page = (out / "report.html").read_bytes()
    assert len((out / "timeline.json").read_bytes()) < len(whole) / 2
    api.report(out, timeline=True)
    assert (out / "timeline.json").read_bytes() == whole
    assert (out / "report.html").read_bytes() == page


def test_a_run_that_did_nothing(tmp_path: Path) -> None:
    path = tmp_path / "timeline.json"
    write_timeline(path, Records(lanes=(("target", ("gpu0",)),), drafts=()))
    document = json.loads(path.read_text(encoding="utf-8"))
    assert {event["ph"] for event in document["traceEvents"]} == {"M"}


def test_counters_are_the_recorded_load() -> None:
    done = run(Deployment(requests([(100, 100)] * 8), batch_limit=2, policies=policies(selector="random")))
    load = done.records.load
    counters = [e for e in timeline(done.records)["traceEvents"] if e["ph"] == "C"]
    assert {e["pid"] for e in counters} == {LOAD}
    for name, of in (
        ("admitted", lambda args: args["requests"]),
        ("waiting", lambda args: args["batch limit"] + args["memory"]),
        ("K/V of the target", lambda args: args["tokens"]),
    ):
        shown = [(e["ts"], of(e["args"])) for e in counters if e["name"] == name]
        assert all(before[1] != after[1] or name == "waiting" for before, after in pairwise(shown))
        column = {"admitted": load.admitted, "waiting": load.waiting}.get(name, load.kv_tokens)
        known = dict(zip([round(at / 1e3, 3) for at in load.at_ns], column, strict=True))
        assert all(known[at] == value for at, value in shown)
        assert max(value for _, value in shown) == max(column)
