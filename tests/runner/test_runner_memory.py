"""A runner holds a model's weights once, while it is made and afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

import pytest
import torch

from spinsim.runner import fused
from spinsim.runner.for_model import make_runner
from spinsim.runner.kv import Layout
from spinsim.runner.loading import random_model
from spinsim.runner.plan import RunnerPlan
from tests.runner.runner_configs import CONFIGS


@pytest.fixture
def counted() -> Iterator[None]:
    """What was there before the test is not counted."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def live_bytes() -> int:
    """Of all tensors that are counted; what several share counts once."""
    storages = {}
    for found in gc.get_objects():
        if type(found) in (torch.Tensor, torch.nn.Parameter) and found.device.type == "cpu":
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
@pytest.mark.usefixtures("counted")
def test_fused_weights_are_the_module_s_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGS[name](num_hidden_layers=6, hidden_size=256, intermediate_size=512)
    model = random_model(config, 1, context_tokens=64)
    module = model.module
    layer = sum(p.numel() * p.element_size() for p in module.model.layers[0].parameters())
    loaded = live_bytes()
    assert loaded >= model.weight_bytes
    most, fuse = 0, fused._one_below_the_other

    def watched(parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
        nonlocal most
        whole = fuse(parameters)
        most = max(most, live_bytes())
        return whole

    def said() -> torch.Tensor:
        module.set_attn_implementation("sdpa")
        with torch.inference_mode():
            return module(torch.arange(12)[None], use_cache=False).logits  # type: ignore[no-any-return]

    monkeypatch.setattr(fused, "_one_below_the_other", watched)
    before = said()
    runner = make_runner(model, Layout(1, 64), RunnerPlan(1, 1))
    cache = runner.cache.keys.nbytes + runner.cache.values.nbytes
    assert loaded < most < loaded + cache + layer
    assert live_bytes() < loaded + cache + layer // 4, "beside the weights: logits, and tables of positions"
    assert torch.equal(said(), before), "the module still runs by itself"
