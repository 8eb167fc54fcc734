"""Random weights have the shape that was asked for, and the architecture that has it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.generation import greedy_outputs
from spinsim.costs.sheets.shapes import shape_of
from spinsim.errors import InputError
from spinsim.live.deployment import deploy
from spinsim.live.live_run import run_scenario
from spinsim.live.random_weights import config_of
from tests.validation.tiny_models import TARGET, tiny_scenario

ARCHITECTURES = ("llama", "qwen2", "qwen3")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_outputs_are_those_of_generate(architecture: str, tmp_path: Path) -> None:
    models = {
        "target": {"shape": "of.json", "dtype": "fp32"},
        "drafts": {name: {"shape": "of.json", "dtype": "fp32"} for name in ("a", "b")},
    }
    (tmp_path / "of.json").write_text(json.dumps({**TARGET, "model_type": architecture}))
    loaded = tiny_scenario(tmp_path, models=models)
    shape = replace(shape_of("of.json", tmp_path), tied=False)
    with deploy(loaded.scenario, loaded.base_dir) as deployment:
        module = deployment.models.target.module
        assert module.config.model_type == architecture
        assert sum(weight.numel() for weight in module.parameters()) == shape.parameters()
        outputs = run_scenario(loaded.scenario, loaded.base_dir, deployment).outputs
        expected = greedy_outputs(loaded, deployment)
    assert {request: list(tokens) for request, tokens in outputs.items()} == expected


@pytest.mark.parametrize("name", ["qwen3-14b", "llama-3-8b"])
def test_shapes_by_name_have_a_configuration(name: str) -> None:
    shape = shape_of(name)
    config = config_of(shape, 32_768)
    assert (config.hidden_size, config.num_hidden_layers) == (shape.hidden, shape.layers)
    assert config.max_position_embeddings == 32_768


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="a mixture of experts; random weights: shapes of LLaMA"):
        config_of(shape_of("qwen3-30b-a3b"), 4096, "models.target.shape")
