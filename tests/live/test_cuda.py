"""The live world on a GPU: two lanes on one device, captured graphs, every packing; lossless."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spinsim.experiments.replay import replay
from spinsim.experiments.run import run
from spinsim.live.deployment import Deployment
from spinsim.scenario_file import LoadedScenario
from tests.live.test_run import expected, scenario_file, serve

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_gpus(folder: Path, drafts_on: str = "gpu0", **sections: object) -> LoadedScenario:
    devices = {"gpu0": {"hardware": "h200"}}
    if drafts_on != "gpu0":
        devices[drafts_on] = {"hardware": "h200"}
    placement = {"target": ["gpu0"], "drafts": {"a": drafts_on, "b": drafts_on}}
    return scenario_file(folder, devices=devices, placement=placement, **sections)


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "eager"])
@pytest.mark.parametrize("packing", ["padded", "decomposed", "ragged"])
def test_greedy_outputs_are_those_of_generate(tmp_path: Path, packing: str, graphs: bool) -> None:
    policies = {
        "selector": {"name": "random"},
        "length": {"name": "heuristic"},
        "packing": {"name": packing},
        "pipeline": {"name": "fixed", "micro_batches": 2},
        "switching": "overlapped",
    }
    loaded = on_gpus(tmp_path, policies=policies, live={"graphs": graphs})
    ran, deployment = serve(loaded)
    assert ran.error is None
    assert ran.outputs == expected_on_gpu(loaded, deployment)


def expected_on_gpu(loaded: LoadedScenario, deployment: Deployment) -> dict[int, list[int]]:
    module = deployment.models.target.module
    module.to("cpu")
    try:
        return expected(loaded.scenario, loaded.base_dir, deployment)
    finally:
        module.to("cuda")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_drafts_on_the_other_gpu(tmp_path: Path) -> None:
    loaded = on_gpus(tmp_path, "gpu1", policies={"selector": {"name": "round_robin"}})
    ran, deployment = serve(loaded)
    assert ran.error is None
    assert ran.outputs == expected_on_gpu(loaded, deployment)


def test_replay(tmp_path: Path) -> None:
    run(on_gpus(tmp_path), tmp_path / "out")
    assert replay(tmp_path / "out").difference == ""
