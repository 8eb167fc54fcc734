"""The slot KV cache: one fixed-length slot a request, and a trash slot for padded rows.

The cache is stateless: lengths travel with every call, so that rolling back rejected tokens is
the caller's length decrement and nothing is copied or cleared.
"""

from __future__ import annotations

import torch

PAGE_TOKENS = 16  # slots are whole pages, so that a paged kernel can read them


def round_up(tokens: int, multiple: int = PAGE_TOKENS) -> int:
    """The smallest multiple of ``multiple`` that is at least ``tokens``."""
    return -(-tokens // multiple) * multiple


class SlotCache:
    """K and V of every layer, each ``[slots + 1, slot_tokens, kv_heads, head_dim]``.

    ``slot_tokens`` is rounded up to whole pages. Slot ``trash`` (the last) takes what padded rows
    write; nobody reads it for a result. Token p of slot s lies at flat index
    ``s * slot_tokens + p``.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        slot_tokens: int,
        kv_heads: int,
        head_dim: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if min(layers, slots, slot_tokens, kv_heads, head_dim) < 1:
            raise ValueError("a KV cache needs at least one layer, slot, token, head and dimension")
        self.slots = slots
        self.trash = slots
        self.slot_tokens = round_up(slot_tokens)
        shape = (layers, slots + 1, self.slot_tokens, kv_heads, head_dim)
        # Zeros, not empty: masked positions meet a probability of 0, and 0 * NaN is NaN.
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)

    @property
    def layers(self) -> int:
        return self.keys.shape[0]

    @property
    def kv_heads(self) -> int:
        return self.keys.shape[3]

    @property
    def head_dim(self) -> int:
        return self.keys.shape[4]

    @property
    def device(self) -> torch.device:
        return self.keys.device

    @property
    def dtype(self) -> torch.dtype:
        return self.keys.dtype

    @property
    def capacity_tokens(self) -> int:
        """Tokens that requests can hold; the trash slot does not count."""
        return self.slots * self.slot_tokens

    @property
    def bytes(self) -> int:
        """Device memory held, trash slot included."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def layer(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V of a layer, flat: ``[(slots + 1) * slot_tokens, kv_heads, head_dim]``."""
        return self.keys[index].flatten(0, 1), self.values[index].flatten(0, 1)

    def write(self, index: int, at: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Stores ``[tokens, kv_heads, head_dim]`` at the flat positions ``at`` (int64)."""
        flat_keys, flat_values = self.layer(index)
        flat_keys.index_copy_(0, at, keys)
        flat_values.index_copy_(0, at, values)
