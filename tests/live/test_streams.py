"""The streams of the lanes; what CUDA does with them is test_cuda's."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from spinsim.engine.world import Lane
from spinsim.live import deployment
from spinsim.runner.sampling import Sampling


def test_lanes_have_streams_of_their_own_and_keep_them_from_run_to_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """torch has 32 a device and hands them out in turn, those of the graphs' capture included."""
    made: list[torch.device] = []

    def stream(device: torch.device) -> tuple[int, torch.device]:
        made.append(device)
        return len(made), device

    devices = {"gpu": torch.device("cuda", 0), "cpu": torch.device("cpu"), "rank1": torch.device("cuda", 1)}
    monkeypatch.setattr(torch.cuda, "Stream", stream)
    monkeypatch.setattr(deployment, "torch_device", lambda scenario, name: devices[name])
    nothing: Any = None
    models = SimpleNamespace(drafts={}, target=SimpleNamespace(vocabulary=8))
    deployed = deployment.Deployment(models, nothing, (), {}, {}, Sampling())  # type: ignore[arg-type]
    placement = SimpleNamespace(target=("gpu", "rank1"))
    scenario: Any = SimpleNamespace(models=models, placement=placement)
    lanes = [Lane("target", ("gpu", "rank1")), Lane("drafts", ("gpu",)), Lane("other", ("cpu",))]
    lanes.append(Lane("beside a share", ("rank1",)))  # another process has its stream
    runs = [[place.stream for place in deployed.executor(scenario, lanes)._lanes] for _ in range(40)]
    assert made == [devices["gpu"]] * 2
    assert all(run == runs[0] for run in runs)
    assert runs[0][0] != runs[0][1]
    assert runs[0][2:] == [None, None]
