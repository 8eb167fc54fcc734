"""Tiny random configurations of the architectures that must work."""

from __future__ import annotations

from typing import Any

import torch
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

torch.set_num_threads(1)  # tiny matrices: a second thread only waits

VOCABULARY = 97
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "eos_token_id": None,
    "bos_token_id": None,
    "pad_token_id": None,
}
CONFIGS: dict[str, Any] = {
    "llama": lambda **k: LlamaConfig(**{**SHAPE, **k}),
    "llama-tied-mha": lambda **k: LlamaConfig(
        **{**SHAPE, "num_key_value_heads": 4, "tie_word_embeddings": True, **k}
    ),
    "qwen2": lambda **k: Qwen2Config(**{**SHAPE, **k}),
    "qwen3": lambda **k: Qwen3Config(**{**SHAPE, "head_dim": 16, **k}),
    "mistral": lambda **k: MistralConfig(**{**SHAPE, "sliding_window": None, **k}),
}
