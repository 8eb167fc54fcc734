"""The host card: its scenario fits every machine, and the whole path runs on a CPU."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks import host_card
from benchmarks.gpu_state import changing, read_states
from spinsim.costs.profiled.profile import OPERATIONS
from spinsim.errors import InputError
from spinsim.scenario_file import load
from spinsim.serving import lay_out
from spinsim.studies.validation.plan import deployments, plan

TABLE = "0, NVIDIA H100 80GB HBM3, 580.159.04, 81559, 1755, 1980, 2619, 312.55, 700.00, 41\n"


def test_the_state_of_a_gpu_is_read_as_nvidia_smi_writes_it() -> None:
    (state,) = read_states(TABLE)
    assert state["name"] == "NVIDIA H100 80GB HBM3"
    assert (state["sm_mhz"], state["power_w"], state["temperature_c"]) == (1755, 312.55, 41)
    assert changing([state]) == [
        {"index": 0, "sm_mhz": 1755, "memory_mhz": 2619, "power_w": 312.55, "temperature_c": 41}
    ]


def test_what_a_gpu_does_not_tell_is_left_out() -> None:
    (state,) = read_states(TABLE.replace("312.55", "[N/A]"))
    assert "power_w" not in state
    assert read_states("") == []


@pytest.mark.parametrize(("gpus", "drafts_on"), [(1, "gpu0"), (2, "gpu1"), (4, "gpu1")])
def test_the_scenario_fits_any_number_of_gpus(gpus: int, drafts_on: str) -> None:
    overrides = host_card.scenario_overrides(gpus, "h200")
    scenario = load(host_card.SCENARIO, overrides).scenario
    assert {device.hardware for device in scenario.devices.values()} == {"h200"}
    assert set(scenario.placement.drafts.values()) == {drafts_on}
    assert set(lay_out(scenario).remote) == {gpus > 1}
    cells = plan([host_card.CELLS], [], overrides, None)
    assert len(cells) == 6
    assert len(deployments(cells)) == 1  # they share the card's one deployment


def test_a_second_card_of_a_day_replaces_none(tmp_path: Path) -> None:
    first = host_card.free_path(tmp_path, "2026-01-02-h100-1")
    first.touch()
    assert first.name == "2026-01-02-h100-1.json"
    assert host_card.free_path(tmp_path, "2026-01-02-h100-1").name == "2026-01-02-h100-1-run2.json"


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(InputError, match="no CUDA device"):
        host_card.machine("cuda")


@pytest.mark.slow
def test_a_rehearsal_leaves_a_card_and_its_live_half(tmp_path: Path) -> None:
    asked = ["--quick", "--device", "cpu", "--repetitions", "1", "--seconds", "0.5"]
    folders = ["--out", str(tmp_path / "cards"), "--work", str(tmp_path / "work")]
    assert host_card.main([*asked, *folders]) == 0
    (path,) = (tmp_path / "cards").glob("*.json")
    card: dict[str, Any] = json.loads(path.read_text())
    assert card["failed"] == []
    assert card["quick"] is True
    names = [cell["name"].partition(": ")[2] for cell in card["cells"]]
    assert names == ["no speculation", "68M", "1.1B", "spin", "joint", "spin decomposed"]
    for cell in card["cells"]:
        assert cell["metrics"]["goodput_tokens_per_s"]["live"] > 0
    assert {point["operation"] for point in card["profile"]["points"]} <= set(OPERATIONS)
    assert {row["kind"] for row in card["operations"]} == {"prefill", "catch_up", "propose", "verify"}
    parts = [clock["part"] for clock in card["clocks"]]
    assert {"deploy", "profile", "live cells", "predictions"} < set(parts)
    with tarfile.open(path.with_name(f"{path.stem}-live.tgz")) as tar:
        tar.extractall(tmp_path, filter="data")
    assert (tmp_path / path.stem / "plan.json").is_file()
