"""The live ladder: round robin within a time, resumable, and a soak that accounts for everybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import ladder
from benchmarks.ladder import Budget, climb, ratios
from benchmarks.ladder_steps import BEST, NAMES, VANILLA
from benchmarks.ledger import Ledger
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario
from tests.live.test_run import scenario_file

torch.set_num_threads(1)  # tiny matrices: a second thread only waits

SCENARIOS = Path(__file__).parents[2] / "scenarios"
CLOSED = {
    "requests": 6,
    "arrivals": {"process": "closed", "concurrency": 4},
    "prompt_tokens": {"distribution": "uniform", "min": 2, "max": 30},
    "output_tokens": {"distribution": "uniform", "min": 4, "max": 12},
}


def asked(tmp_path: Path, *more: str) -> list[str]:
    loaded = scenario_file(tmp_path, workload=CLOSED)
    return [str(loaded.path), "--device", "cpu", "--out", str(tmp_path / "ladder.json"), *more]


def written(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "ladder.json").read_text())
    return found


def test_processes_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("--steps", VANILLA, BEST, "+ pipeline")
    assert ladder.main(asked(tmp_path, "--repetitions", "1", *steps)) == 0
    first = written(tmp_path)
    assert set(first["best_fixed"]["goodput_on_the_other_workload"]) == {"a", "b"}
    assert ladder.main(asked(tmp_path, "--repetitions", "2", "--resume", *steps)) == 0
    second = written(tmp_path)
    assert second["best_fixed"] == first["best_fixed"]  # chosen once
    assert len(second["sessions"]) == 2
    for name in (VANILLA, BEST, "+ pipeline"):
        assert [(row["repetition"], row["session"]) for row in second["steps"][name]] == [(0, 0), (1, 1)]
        assert second["steps"][name][0] == first["steps"][name][0]
        assert all(
            row["requests"]["completed"] == 6 and not row["slots_held"] for row in second["steps"][name]
        )
    assert second["steps"][VANILLA][0]["padding_fraction"] > 0
    assert f"best fixed ({first['best_fixed']['draft']})" in capsys.readouterr().out


def test_no_time_starts_nothing_and_says_where_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ladder.main(asked(tmp_path, "--seconds", "0", "--steps", VANILLA, "--repetitions", "2")) == 0
    assert written(tmp_path)["steps"] == {}
    assert "2 runs found no time; --resume goes on with 'vanilla'" in capsys.readouterr().out


def test_a_file_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    once = ("--repetitions", "1", "--steps", VANILLA)
    assert ladder.main(asked(tmp_path, *once)) == 0
    before = (tmp_path / "ladder.json").read_bytes()
    assert ladder.main([*asked(tmp_path, *once), "--resume", "--set", "seed=7"]) == 2
    assert "scenario_sha256" in capsys.readouterr().err
    assert (tmp_path / "ladder.json").read_bytes() == before


def test_round_robin_stops_at_the_first_that_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else short steps would be repeated more often than long ones."""
    clock = [0.0]
    wall = {"short": 1.0, "long": 5.0}
    order: list[str] = []

    def run(name: str, *_: object) -> dict[str, float]:
        order.append(name)
        clock[0] += wall[name]
        return {"goodput_tokens_per_s": 1.0, "wall_s": wall[name]}

    monkeypatch.setattr(ladder, "measure", run)
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    ledger = Ledger(tmp_path / "l.json", {}, resume=False)
    ledger.begin_session()
    steps = {"short": ["short"], "long": ["long"]}
    left = climb(steps, 3, lambda changes: changes[0], None, ledger, Budget(15.0, 0.0))  # type: ignore
    assert order == ["short", "long", "short", "long", "short"]
    assert left == [(2, "long")]
    again = Ledger(tmp_path / "l.json", {}, resume=True)
    again.begin_session()
    assert climb(steps, 3, lambda changes: changes[0], None, again, Budget(100.0, 0.0)) == []  # type: ignore
    assert order[5:] == ["long"]
    assert [row["session"] for row in again.steps["long"]] == [0, 0, 1]


def test_ratios_are_taken_within_a_repetition() -> None:
    def rows(*values: tuple[int, float]) -> list[dict[str, Any]]:
        return [{"repetition": r, "goodput_tokens_per_s": x} for r, x in values]

    assert ratios(rows((0, 3.0), (2, 8.0)), rows((0, 2.0), (1, 9.0), (2, 4.0))) == [1.5, 2.0]


def test_the_soak_accounts_for_everybody_at_a_load_that_can_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.soak.OUTPUTS", (1, 12))
    assert ladder.main(asked(tmp_path, "--repetitions", "0", "--soak", "40")) == 0
    found = written(tmp_path)["soak"]
    assert found["completed"] + found["cancelled"] == 40
    assert found["rejected"] == found["lost"] == found["run"]["slots_held"] == 0
    assert found["completed"] > found["cancelled"]
    assert found["arrivals_per_s"] == pytest.approx(0.7 * found["closed_loop_requests_per_s"])
    assert found["held_before"].keys() == found["held_after"].keys()
    assert found["held_before"]["graphs"] == {"target": 0, "a": 0, "b": 0}  # none on a CPU


def test_what_follows_the_steps(tmp_path: Path) -> None:
    """fp32 rounds as well; ``generate`` comes last, since our attention is gone afterwards."""
    rest = ("--agreement", "3", "--generate", "--repetitions", "1", "--steps", VANILLA)
    assert ladder.main(asked(tmp_path, *rest)) == 0
    found = written(tmp_path)
    assert found["agreement"]["holds"] is True
    assert found["agreement"]["argmax"] == 1
    assert found["transformers"]["batch"] == 4
    assert found["transformers"]["assisted_batch_1_tokens_per_s"] > 0


def test_one_gpu_is_the_same_ladder() -> None:
    two, one = (load(SCENARIOS / f"{name}.yaml").scenario for name in ("two-gpus", "one-gpu"))
    moved = {"name", "description", "devices", "placement"}
    assert one.model_dump(exclude=moved) == two.model_dump(exclude=moved)
    assert set(one.devices) == {"gpu0"} == {*one.placement.target, *one.placement.drafts.values()}
    for name, changes in ladder.ladder("tiny", "small").items():
        assert name in NAMES
        loaded = load(SCENARIOS / "one-gpu.yaml", [*changes, "workload.requests=16"])
        simulated = simulate_scenario(loaded.scenario, loaded.base_dir)
        assert {r.status for r in simulated.records.requests.values()} == {"completed"}
