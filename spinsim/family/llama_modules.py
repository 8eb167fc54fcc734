"""LLaMA modules without a needless initialisation: empty, or filled at random, on the device itself."""

from __future__ import annotations

from typing import Any

import torch

from spinsim.costs.sheets.shapes import ModelShape
from spinsim.errors import InputError


def config_of(shape: ModelShape, **keys: Any) -> Any:
    """The transformers LlamaConfig of a shape; ``keys`` override.

    The output head is untied whatever the shape says. Raises InputError for what LLaMA has not.
    """
    from transformers import LlamaConfig

    extra = shape.beyond_llama()
    if extra:
        raise InputError(f"shape {shape.name!r} has {extra}; allowed here: plain LLaMA shapes")
    return LlamaConfig(**{**settings_of(shape), **keys})


def settings_of(shape: ModelShape) -> dict[str, Any]:
    """What a transformers configuration calls the widths of a shape, its output head untied."""
    return {
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    }


def empty_llama(config: Any, dtype: torch.dtype, device: torch.device | str) -> Any:
    """A LlamaForCausalLM whose weights are allocated and not yet written; evaluation mode.

    The rotary frequencies are kept in fp32 whatever ``dtype`` is.
    """
    from transformers import LlamaForCausalLM
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    build: Any = LlamaForCausalLM
    with torch.device("meta"):
        model = build(config)
    model = model.to(dtype).to_empty(device=device)
    rotary: Any = LlamaRotaryEmbedding
    with torch.device(device):
        model.model.rotary_emb = rotary(config)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def fill_random(model: Any, *, seed: int, sd: float = 0.02) -> None:
    """Normal(0, sd) for matrices and ones for norms, drawn on the model's device."""
    for index, weight in enumerate(model.parameters()):
        fill_weight(weight, index, seed=seed, sd=sd)


@torch.no_grad()
def fill_weight(weight: torch.Tensor, index: int, *, seed: int, sd: float) -> None:
    """One weight of :func:`fill_random`, the ``index``-th of its model."""
    if weight.ndim == 1:
        weight.fill_(1.0)
    else:
        weight.normal_(0.0, sd, generator=_generator(weight.device, seed, index))


def _generator(device: torch.device, seed: int, index: int) -> torch.Generator:
    return torch.Generator(device).manual_seed(seed * 1_000_003 + index)


def random_llama(
    shape: ModelShape, *, dtype: torch.dtype, device: torch.device | str, seed: int = 0, **keys: Any
) -> Any:
    """A LlamaForCausalLM of that shape with random weights."""
    model = empty_llama(config_of(shape, **keys), dtype, device)
    fill_random(model, seed=seed)
    return model
