"""Small LLaMA models for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from spinsim.family.llama_modules import empty_llama, fill_random


@pytest.fixture(scope="session")
def llama() -> Callable[..., Any]:
    def build(seed: int = 0, sd: float = 0.3, **keys: Any) -> Any:
        settings = {
            "vocab_size": 90,
            "hidden_size": 48,
            "intermediate_size": 80,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "max_position_embeddings": 256,
        }
        model = empty_llama(LlamaConfig(**{**settings, **keys}), torch.float32, "cpu")
        fill_random(model, seed=seed, sd=sd)
        generator = torch.Generator().manual_seed(seed)
        for weight in model.parameters():
            if weight.ndim == 1:
                weight.uniform_(0.5, 1.5, generator=generator)
        return model

    return build
