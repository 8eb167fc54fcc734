"""The configuration of a model with random weights: that of the architecture which has the shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from spinsim.costs.sheets.shapes import ModelShape
from spinsim.errors import InputError
from spinsim.family.llama_modules import settings_of

ROTARY_TOKENS = 4096  # positions that the configuration names at least


def config_of(shape: ModelShape, context_tokens: int, key: str = "") -> Any:
    """The transformers configuration that gives random weights this shape.

    Qwen3's where queries and keys have norms, Qwen2's where they have biases, LLaMA's otherwise. The output
    head is untied whatever the shape says. Raises InputError (with the scenario path ``key``) for a shape
    that none of the three has.
    """
    from transformers import LlamaConfig, Qwen2Config, Qwen3Config

    extra = replace(shape, qk_norm=False, qkv_bias=False).beyond_llama()
    if shape.qk_norm and shape.qkv_bias:
        extra = "norms and biases on queries and keys"
    if extra:
        raise InputError(
            f"shape {shape.name!r} has {extra}; random weights: shapes of LLaMA, Qwen2 and Qwen3", key=key
        )
    build: Any = Qwen3Config if shape.qk_norm else Qwen2Config if shape.qkv_bias else LlamaConfig
    settings = settings_of(shape)
    settings["max_position_embeddings"] = max(context_tokens, ROTARY_TOKENS)
    return build(**settings)
