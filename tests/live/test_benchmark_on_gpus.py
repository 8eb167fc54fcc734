"""What a deployment is held to beside its speed: a soak that accounts for everybody, and what follows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import on_gpus
from spinsim.scenario_file import load
from tests.live.test_run import scenario_file

torch.set_num_threads(1)  # tiny matrices: a second thread only waits

SCENARIOS = Path(__file__).parents[2] / "scenarios"
CLOSED = {
    "requests": 6,
    "arrivals": {"process": "closed", "concurrency": 4},
    "prompt_tokens": {"distribution": "uniform", "min": 2, "max": 30},
    "output_tokens": {"distribution": "uniform", "min": 4, "max": 12},
}


def measured(tmp_path: Path, *parts: str) -> dict[str, Any]:
    loaded = scenario_file(tmp_path, workload=CLOSED)
    out = tmp_path / "found.json"
    assert on_gpus.main([str(loaded.path), "--device", "cpu", "--out", str(out), *parts]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_the_soak_accounts_for_everybody_at_a_load_that_can_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.soak.OUTPUTS", (1, 12))
    found = measured(tmp_path, "--soak", "40")["soak"]
    assert found["completed"] + found["cancelled"] == 40
    assert found["rejected"] == found["lost"] == found["run"]["slots_held"] == 0
    assert found["completed"] > found["cancelled"]
    assert found["arrivals_per_s"] == pytest.approx(0.7 * found["closed_loop_requests_per_s"])
    assert found["held_before"].keys() == found["held_after"].keys()
    assert found["held_before"]["graphs"] == {"target": 0, "a": 0, "b": 0}  # none on a CPU


def test_what_follows_it(tmp_path: Path) -> None:
    """fp32 rounds as well; ``generate`` comes last, since our attention is gone afterwards."""
    rest = ("--agreement", "3", "--generate", "--timelines", str(tmp_path / "timelines"))
    found = measured(tmp_path, *rest)
    assert found["agreement"]["holds"] is True
    assert found["agreement"]["argmax"] == 1
    assert found["transformers"]["batch"] == 4
    assert found["transformers"]["assisted_batch_1_tokens_per_s"] > 0
    kept = {path.name for path in (tmp_path / "timelines").iterdir()}
    assert kept == {"timeline-ragged.json", "timeline-ragged-2.json"}


def test_one_gpu_serves_what_two_do() -> None:
    two, one = (load(SCENARIOS / f"{name}.yaml").scenario for name in ("two-gpus", "one-gpu"))
    moved = {"name", "description", "devices", "placement"}
    assert one.model_dump(exclude=moved) == two.model_dump(exclude=moved)
