"""How many requests fit: whole slots, or pages, from the memory that is free once the models are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from spinsim.errors import InputError
from spinsim.runner.kv import Layout, round_up
from spinsim.runner.loaded_model import LoadedModel
from spinsim.scenario import LimitsSpec


@dataclass(frozen=True, slots=True)
class Capacity:
    """The ``most`` that fits: each of the models measured can be laid out like this."""

    most: Layout
    context_tokens: int

    def layout(self, tokens: int | None, key: str = "") -> Layout:
        """The cache of a model that is given ``tokens`` KV tokens (None: all), as far as they fit.

        Raises InputError where they hold no request.
        """
        most = self.most
        if tokens is None:
            return most
        if most.page_tokens is None or most.pages is None:
            least, found = self.context_tokens, replace(most, slots=tokens // self.context_tokens)
            fits, found = found.slots >= 1, replace(found, slots=min(most.slots, found.slots))
        else:
            least = round_up(self.context_tokens, most.page_tokens)
            fits, found = tokens >= least, replace(most, pages=min(most.pages, tokens // most.page_tokens))
        if not fits:
            raise InputError(f"{tokens} KV tokens hold no request; allowed: at least {least}", key=key)
        return found


def slot_tokens(context_tokens: int, max_length: int) -> int:
    """Tokens a slot must hold: the longest context and a proposal beyond it, in whole pages."""
    return round_up(context_tokens + max_length + 1)


def kv_bytes_per_token(model: LoadedModel, dtype: torch.dtype | None = None) -> int:
    """Bytes that one token takes on each of the model's devices: K and V, and what a head has kept of it."""
    size = torch.empty((), dtype=dtype or model.module.dtype).element_size()
    return (2 * model.layers * model.held_kv_heads * model.head_dim + model.state_width) * size


def free_memory(device: torch.device | str) -> int:
    """Bytes that could still be allocated on a CUDA device, what torch itself has cached included.

    Raises ValueError for any other device.
    """
    place = torch.device(device)
    if place.type != "cuda":
        raise ValueError("free memory is measured on CUDA devices; give a budget elsewhere")
    free, _ = torch.cuda.mem_get_info(place)
    cached = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)
    return int(free + cached)


def measure(
    models: Sequence[LoadedModel],
    limits: LimitsSpec,
    *,
    page_tokens: int | None,
    fraction: float,
    budget: int | None = None,
    key: str = "kv.memory_fraction",
) -> Capacity:
    """The largest caches for all ``models`` of one device alike, for at most ``limits.batch`` requests.

    Whole slots, or pages of ``page_tokens``. Of the free memory (``budget`` bytes, or measured on the
    device), ``fraction`` is for K/V; the rest is for activations and graphs. Raises InputError when not one
    request fits.
    """
    free = free_memory(models[0].module.device) if budget is None else budget
    per_token = sum(kv_bytes_per_token(model) for model in models)
    tokens = int(free * fraction) // per_token
    if page_tokens is None:
        longest = slot_tokens(limits.context_tokens, limits.max_length)
        slots = tokens // longest - 1  # one slot is the trash slot
        most = Layout(min(slots, limits.batch), longest)
        fits = slots >= 1
    else:
        longest = limits.context_tokens
        width = -(-longest // page_tokens)
        pages = tokens // page_tokens - 1  # one page is the trash page
        most = Layout(limits.batch, longest, page_tokens, min(pages, limits.batch * width))
        fits = pages >= width
    if not fits:
        raise InputError(
            f"{free / 2**30:.2f} GiB free hold no request of {longest} tokens at {per_token} bytes a token; "
            "allowed: a shorter context, a smaller model or a larger fraction",
            key=key,
        )
    return Capacity(most, limits.context_tokens)
