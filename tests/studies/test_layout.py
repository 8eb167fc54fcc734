"""Which lanes a scenario has, by where its models are placed."""

from __future__ import annotations

from typing import Any

import pytest

from spinsim.scenario import Scenario
from spinsim.serving import Layout, lay_out
from spinsim.studies.replay import _as_laid_out


def layout(
    target: tuple[str, ...], drafts: dict[str, str], cpus: tuple[str, ...] = (), lanes: str = "own"
) -> Layout:
    names = dict.fromkeys((*target, *drafts.values()))
    content: dict[str, Any] = {
        "name": "laid-out",
        "workload": {
            "arrivals": {"process": "closed", "concurrency": 2},
            "requests": 2,
            "prompt_tokens": {"distribution": "fixed", "value": 8},
            "output_tokens": {"distribution": "fixed", "value": 8},
        },
        "models": {
            "target": {"shape": "llama-7b"},
            "drafts": {name: {"shape": "llama-68m"} for name in drafts},
        },
        "devices": {name: {"hardware": "cpu" if name in cpus else "h100"} for name in names},
        "placement": {"target": list(target), "drafts": drafts, "draft_lanes": lanes},
        "costs": {"model": "roofline"},
        "acceptance": {"model": "constant", "probability": 0.5},
        "limits": {"batch": 2, "context_tokens": 64},
    }
    return lay_out(Scenario.model_validate(content))


def test_a_gpu_has_a_lane_for_the_target_and_one_for_each_draft() -> None:
    found = layout(("gpu0",), {"a": "gpu0", "b": "gpu0", "c": "gpu1", "d": "gpu1"})
    assert [lane.name for lane in found.lanes] == ["gpu0/target", "gpu0/a", "gpu0/b", "gpu1/c", "gpu1/d"]
    assert [lane.devices for lane in found.lanes] == [("gpu0",)] * 3 + [("gpu1",)] * 2
    assert found.draft_lanes == (1, 2, 3, 4)
    assert found.remote == (False, False, True, True)


def test_drafts_of_a_gpu_may_take_turns() -> None:
    drafts = {"a": "gpu0", "b": "gpu1", "c": "gpu0", "d": "gpu1"}
    found = layout(("gpu0",), drafts, lanes="shared")
    assert [lane.name for lane in found.lanes] == ["gpu0/target", "gpu0/drafts", "gpu1/drafts"]
    assert found.draft_lanes == (1, 2, 1, 2)


@pytest.mark.parametrize("lanes", ["own", "shared"])
def test_a_cpu_has_one_lane(lanes: str) -> None:
    found = layout(("cpu",), {"a": "cpu", "b": "cpu"}, cpus=("cpu",), lanes=lanes)
    assert [lane.name for lane in found.lanes] == ["cpu/target"]
    assert found.draft_lanes == (0, 0)
    away = layout(("gpu0",), {"a": "cpu", "b": "cpu", "c": "gpu0"}, cpus=("cpu",))
    assert [lane.name for lane in away.lanes] == ["gpu0/target", "cpu/drafts", "gpu0/c"]
    assert away.draft_lanes == (1, 1, 2)


def test_a_target_over_several_gpus_is_one_lane() -> None:
    found = layout(("gpu0", "gpu1"), {"a": "gpu0", "b": "gpu1"})
    assert [lane.name for lane in found.lanes] == ["gpu0+gpu1/target", "gpu0/a", "gpu1/b"]
    assert found.remote == (False, False)


def test_a_run_of_before_is_replayed_with_the_lanes_that_it_had() -> None:
    """Its scenario says nothing of lanes; the lanes of its summary do."""
    shared = layout(("gpu0",), {"a": "gpu1", "b": "gpu1"}, lanes="shared")
    own = layout(("gpu0",), {"a": "gpu1", "b": "gpu1"})
    told = [_as_laid_out({"lanes": {lane.name: {} for lane in found.lanes}}) for found in (shared, own)]
    assert told == [["placement.draft_lanes=shared"], []]
