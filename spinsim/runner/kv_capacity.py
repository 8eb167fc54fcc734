"""How many requests fit: KV slots from the memory that is free once the models are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from spinsim.errors import InputError
from spinsim.runner.kv import round_up
from spinsim.runner.loading import LoadedModel


@dataclass(frozen=True, slots=True)
class Capacity:
    """``slots`` of ``slot_tokens`` tokens each; ``tokens`` is what the simulator is to be given."""

    slots: int
    slot_tokens: int
    bytes_per_token: int
    free_bytes: int

    @property
    def tokens(self) -> int:
        return self.slots * self.slot_tokens


def slot_tokens(context_tokens: int, max_length: int) -> int:
    """Tokens a slot must hold: the longest context and a proposal beyond it, in whole pages."""
    return round_up(context_tokens + max_length + 1)


def kv_bytes_per_token(model: LoadedModel, dtype: torch.dtype | None = None) -> int:
    """Bytes of K and V that one token takes, over all layers."""
    size = torch.empty((), dtype=dtype or model.module.dtype).element_size()
    return 2 * model.layers * model.kv_heads * model.head_dim * size


def free_memory(device: torch.device | str) -> int:
    """Bytes that could still be allocated on a CUDA device, what torch itself has cached included."""
    place = torch.device(device)
    if place.type != "cuda":
        raise ValueError("free memory is measured on CUDA devices; give a budget elsewhere")
    free, _ = torch.cuda.mem_get_info(place)
    cached = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
    return int(free + cached)


def measure(
    models: Sequence[LoadedModel],
    tokens: int,
    *,
    fraction: float,
    limit: int,
    budget: int | None = None,
    key: str = "kv.memory_fraction",
) -> Capacity:
    """Slots of ``tokens`` tokens for all ``models`` of one device alike, at most ``limit``.

    Of the free memory (``budget`` bytes, or measured on the device), ``fraction`` is for K/V; the
    rest is for activations and graphs. Raises InputError when not one request fits.
    """
    free = free_memory(models[0].module.device) if budget is None else budget
    per_token = sum(kv_bytes_per_token(model) for model in models)
    slots = int(free * fraction) // (per_token * tokens) - 1  # one slot is the trash slot
    if slots < 1:
        raise InputError(
            f"{free / 2**30:.2f} GiB free hold no request of {tokens} tokens at {per_token} bytes a token; "
            "allowed: a shorter context, a smaller model or a larger fraction",
            key=key,
        )
    return Capacity(min(slots, limit), tokens, per_token, free)
