"""Attention over the slot cache: writes the new K/V, then runs the packing that the pass asks for."""

from __future__ import annotations

from typing import Any

import torch

from spinsim.runner.attention import in_torch
from spinsim.runner.batch import AttentionBatch

NAME = "spinsim"  # under which transformers finds our attention function
# Arguments that cannot change a result here; sliding windows are checked when a model is loaded.
IGNORED = {
    "sliding_window",
    "dropout",
    "is_causal",
    "position_ids",
    "use_cache",
    "cache_position",
    "output_attentions",
}


def attend(query: torch.Tensor, batch: AttentionBatch, layer: int, scale: float) -> torch.Tensor:
    """Causal attention of packed queries ``[T, heads, dim]`` over their rows' slots."""
    if batch.backend is not None:
        return batch.backend.attend(query, batch, layer, scale)  # type: ignore[no-any-return]
    if query.is_cuda:
        from spinsim.runner.attention import in_triton

        return in_triton.attend_pieces(query, batch, layer, scale)
    return in_torch.attend(query, batch, layer, scale)


def transformers_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    *,
    attention_batch: AttentionBatch,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function that models call: ``[1, heads, T, dim]`` in, ``[1, T, heads, dim]`` out.

    Raises ValueError on an argument that would change the result and that we do not implement
    (soft caps, sinks, a mask).
    """
    given = {name for name, value in kwargs.items() if value is not None and value is not False}
    unknown = sorted(given - IGNORED)
    if unknown or attention_mask is not None:
        raise ValueError(f"attention with {', '.join(unknown) or 'a mask'} is not implemented")
    layer: int = module.layer_idx  # type: ignore[assignment]
    new_keys, new_values = key[0].transpose(0, 1), value[0].transpose(0, 1)
    attention_batch.cache.write(layer, attention_batch.write, new_keys, new_values)
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return attend(query[0].transpose(0, 1), attention_batch, layer, scale)[None], None


def register() -> None:
    """Makes transformers know the function; registering twice is harmless."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, transformers_attention)
