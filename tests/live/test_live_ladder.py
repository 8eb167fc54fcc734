"""The ladder on real devices: steps in turn, predictions kept before, runs kept as they end."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from spinsim import api
from spinsim.errors import InputError
from spinsim.lab.evaluate import Lab
from spinsim.pages.saved import write_study
from spinsim.studies.failed import CellsFailed
from spinsim.studies.ladder import live as live_ladder
from spinsim.studies.ladder.steps import BEST_SERIAL, PLANNED, REPLICAS, VANILLA
from tests.live.test_run import scenario_file

torch.set_num_threads(1)  # tiny matrices: a second thread only waits

TWO = {
    "devices": {"one": {"hardware": "cpu"}, "two": {"hardware": "cpu"}},
    "placement": {"target": ["one"], "drafts": {"a": "two", "b": "two"}},
    "workload": {
        "requests": 8,
        "arrivals": {"process": "closed", "concurrency": 4},
        "prompt_tokens": {"distribution": "uniform", "min": 2, "max": 30},
        "output_tokens": {"distribution": "uniform", "min": 8, "max": 24},
    },
    "limits": {"batch": 4, "context_tokens": 96, "prefill_chunk_tokens": 32, "max_length": 1},
    "policies": {"length": {"name": "fixed", "tokens": 1}, "packing": {"name": "ragged"}},
    "live": {"acceptance": "field"},
}
STEPS = [VANILLA, REPLICAS, PLANNED]


def climb(folder: Path, **more: Any) -> api.Ladder:
    path = scenario_file(folder, **TWO).path
    given = {"steps": STEPS, "seeds": 1, "tokens": 1, "live": True, "workers": 0, "out": folder / "ladder"}
    return api.ladder(path, **{**given, **more})


def steps_of(found: api.Ladder) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in found.summary["steps"]}


def test_steps_run_live_beside_their_prediction_and_no_run_is_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, int]] = []
    run = live_ladder._lived

    def noted(one: live_ladder.Run, deployment: Any) -> Any:
        assert (tmp_path / "ladder" / "prediction.json").is_file()
        order.append((one.step, one.planned.seed))
        return run(one, deployment)

    monkeypatch.setattr(live_ladder, "_lived", noted)
    first = steps_of(climb(tmp_path))
    assert sorted(first) == sorted(STEPS)
    told = json.loads((tmp_path / "ladder" / "prediction.json").read_text())
    for name, predicted in ((step["name"], step["goodput_tokens_per_s"]) for step in told["steps"]):
        step = first[name]
        assert step["goodput_tokens_per_s"] > 0
        assert step["predicted"]["goodput_tokens_per_s"] == predicted
        assert step["predicted_over_live"] == pytest.approx(predicted / step["goodput_tokens_per_s"])
        assert step["goodput_per_gpu"] == pytest.approx(step["goodput_tokens_per_s"] / 2)
    # the steps in turn, and the copies, which need another placement, last
    assert order == [(name, 1) for name in (VANILLA, PLANNED, REPLICAS)]
    again = climb(tmp_path, seeds=2, resume=True)
    assert order[3:] == [(name, 2) for name in (PLANNED, VANILLA, REPLICAS)]  # begins with another step
    assert steps_of(again)[VANILLA]["goodput"]["samples"] == 2
    one, other, *_ = [row.summary for row in again.result.rows if row.labels["step"] == REPLICAS]
    assert one == other  # a copy counts as often as there are copies
    assert one is not None
    assert one["requests"]["completed"] == 4  # its part of the requests
    (replicas,) = [step for step in again.result.steps if step.name == REPLICAS]
    rates = [2 * summary["goodput_tokens_per_s"] for summary in replicas.summaries[::2]]
    assert replicas.goodput is not None
    assert replicas.goodput.estimate == pytest.approx(sum(rates) / 2)
    assert again.summary["world"] == "live"
    page = (tmp_path / "ladder" / "report.html").read_bytes()
    assert write_study(tmp_path / "ladder").read_bytes() == page
    assert b"predicted" in page


def test_a_prediction_made_elsewhere_is_run_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plans, the seeds and the cut workload are its own, and nothing is simulated again."""
    here = tmp_path / "here"
    path = here / "prediction.json"
    told = climb(tmp_path, steps=[VANILLA, BEST_SERIAL], seeds=2, seconds=0.05, live=False, out=here).summary
    monkeypatch.setattr(Lab, "evaluate", None)
    found = climb(tmp_path, steps=[BEST_SERIAL], predicted=path)
    (step,) = found.summary["steps"]
    before = {step["name"]: step for step in told["steps"]}[BEST_SERIAL]
    assert step["what"] == before["what"]
    assert step["predicted"]["goodput_tokens_per_s"] == before["goodput_tokens_per_s"]
    assert step["goodput"]["samples"] == 2
    assert found.summary["measured"] == told["measured"]
    assert json.loads((tmp_path / "ladder" / "prediction.json").read_text())["seeds"] == [1, 2]
    with pytest.raises(InputError, match="--predicted: says what runs"):
        climb(tmp_path, predicted=path, seconds=1)
    path.write_text(json.dumps(told))
    with pytest.raises(InputError, match="no prediction that says how to run"):
        climb(tmp_path, predicted=path, force=True)


def test_what_finds_no_time_is_left_for_another_session(tmp_path: Path) -> None:
    found = climb(tmp_path, steps=[VANILLA, PLANNED], minutes=1e-9)
    assert all("found no time" in step["why"] for step in found.summary["steps"])
    assert found.summary["notes"][-1].startswith("2 of 2 live runs found no time; --resume")
    assert not found.summary["failed"]


def test_a_run_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = live_ladder.run_scenario

    def breaks(scenario: Any, *given: Any, **more: Any) -> Any:
        if scenario.policies.selector.name == "planned":
            raise RuntimeError("out of memory")
        return run(scenario, *given, **more)

    monkeypatch.setattr(live_ladder, "run_scenario", breaks)
    with pytest.raises(CellsFailed) as failed:
        climb(tmp_path, steps=[VANILLA, PLANNED])
    steps = {step["name"]: step for step in failed.value.result.summary["steps"]}
    assert steps[VANILLA]["goodput_tokens_per_s"] > 0
    assert "out of memory" in steps[PLANNED]["why"]


def test_a_deployment_that_fails_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies need another placement: what it lacks is theirs to lack."""
    deploy = live_ladder.deploy

    def breaks(scenario: Any, *given: Any, **more: Any) -> Any:
        if len(scenario.devices) == 1:
            raise RuntimeError("out of memory")
        return deploy(scenario, *given, **more)

    monkeypatch.setattr(live_ladder, "deploy", breaks)
    with pytest.raises(CellsFailed) as failed:
        climb(tmp_path, steps=[VANILLA, REPLICAS])
    steps = {step["name"]: step for step in failed.value.result.summary["steps"]}
    assert steps[VANILLA]["goodput_tokens_per_s"] > 0
    assert "out of memory" in steps[REPLICAS]["why"]


def test_time_is_kept_for_the_deployments_that_follow() -> None:
    """As long as loading took, and their runs as long as the shortest so far."""
    lived = live_ladder.Lived(loading_s=20.0, took={VANILLA: 9.0, PLANNED: 6.0})
    run: Any = SimpleNamespace(step=VANILLA)
    following: Any = [[SimpleNamespace(step=REPLICAS)] * 3]
    assert lived.needed_s(following) == 20 + 3 * 6
    alone, first = live_ladder._ends(run, [], lived), live_ladder._ends(run, following, lived)
    assert first - alone == pytest.approx(38, abs=1)


def test_seconds_cut_the_workload_or_start_it_in_mid_flight(tmp_path: Path) -> None:
    path = scenario_file(tmp_path, **TWO).path
    given: dict[str, Any] = {"steps": [VANILLA], "seeds": 1, "tokens": 1, "workers": 0}
    whole = api.ladder(path, set={"workload.requests": 400}, **given).result
    (summary,) = whole.steps[0].summaries
    third = api.ladder(
        path, set={"workload.requests": 400}, seconds=summary["run"]["duration_s"] / 3, **given
    ).result
    assert third.measured == "goodput_tokens_per_s"
    assert third.steps[0].summaries[0]["requests"]["submitted"] == pytest.approx(400 / 3, abs=2)
    short = api.ladder(path, seconds=1e-3, **given).result
    assert short.measured == "decode_tokens_per_s"
    assert short.steps[0].summaries[0]["requests"]["submitted"] == 4
    assert "mid-flight" in short.notes[-1]


def test_what_bounds_live_runs_needs_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--minutes: is for live runs"):
        climb(tmp_path, live=False, minutes=1)
    with pytest.raises(InputError, match="--seconds: -1 is not allowed"):
        climb(tmp_path, seconds=-1)
