"""The K/V cache of one model: pages of tokens, a slot for each request, and a trash slot for padded rows.

Whole slots are the case of one page a slot: slot s is page s. The cache is stateless but for its page
table: lengths travel with every call, so that rolling back rejected tokens is the caller's length
decrement and nothing is copied or cleared.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import torch

from spinsim.runner.pages import PageTable

SLOT_UNIT = 16  # whole slots are multiples of it, so that a kernel of small pages can read them


def round_up(tokens: int, multiple: int = SLOT_UNIT) -> int:
    """The smallest multiple of ``multiple`` that is at least ``tokens``."""
    return -(-tokens // multiple) * multiple


@dataclass(frozen=True, slots=True)
class Layout:
    """How many tokens a cache holds, and how they lie; see :class:`SlotCache`."""

    slots: int
    slot_tokens: int
    page_tokens: int | None = None
    pages: int | None = None

    def tokens(self, context_tokens: int) -> int:
        """KV tokens as the engine and the simulator count them: pages, or slots of the longest context."""
        if self.page_tokens is None or self.pages is None:
            return self.slots * context_tokens
        return self.pages * self.page_tokens


class SlotCache:
    """K and V of every layer, each ``[pages + 1, page_tokens, kv_heads, head_dim]``.

    Without ``page_tokens`` every slot is a page of ``slot_tokens``, rounded up to :data:`SLOT_UNIT`; with it,
    slots of up to ``slot_tokens`` (rounded up to whole pages) share ``pages`` pages (by default as many as
    they could ever fill). The last page takes what padded rows write, and is all of the slot ``trash``;
    nobody reads it for a result. Token t of page p lies at flat index ``p * page_tokens + t``.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        slot_tokens: int,
        kv_heads: int,
        head_dim: int,
        *,
        page_tokens: int | None = None,
        pages: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.whole_slots = page_tokens is None
        self.page_tokens = page_tokens or round_up(slot_tokens)
        width = -(-slot_tokens // self.page_tokens)
        self.slots = self.trash = slots
        self.slot_tokens = width * self.page_tokens
        self.pages = slots * width if pages is None else pages
        if min(layers, slots, slot_tokens, kv_heads, head_dim, self.pages) < 1:
            raise ValueError("a KV cache needs at least one layer, slot, token, head, dimension and page")
        shape = (layers, self.pages + 1, self.page_tokens, kv_heads, head_dim)
        # Zeros, not empty: masked positions meet a probability of 0, and 0 * NaN is NaN.
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.table = PageTable(slots, width, self.pages, self.page_tokens, self.keys.device)

    @classmethod
    def of(
        cls,
        layout: Layout,
        layers: int,
        kv_heads: int,
        head_dim: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> SlotCache:
        """A cache that is laid out so."""
        slots, slot_tokens, page_tokens, pages = astuple(layout)
        shape = layers, slots, slot_tokens, kv_heads, head_dim
        return cls(*shape, page_tokens=page_tokens, pages=pages, device=device, dtype=dtype)

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
        """Tokens that requests can hold; the trash page does not count."""
        return self.pages * self.page_tokens

    @property
    def trash_token(self) -> int:
        """The flat index of the trash page's first token."""
        return self.pages * self.page_tokens

    @property
    def bytes(self) -> int:
        """Device memory held, trash page included."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def layer(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V of a layer, flat: ``[(pages + 1) * page_tokens, kv_heads, head_dim]``."""
        return self.keys[index].flatten(0, 1), self.values[index].flatten(0, 1)

    def of_slot(self, index: int, slot: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V of a slot's first ``tokens`` tokens: a view where one page holds them, else copies."""
        held = self.table.host[slot, : -(-tokens // self.page_tokens)]
        keys, values = self.keys[index], self.values[index]
        if len(held) == 1:
            return keys[held[0], :tokens], values[held[0], :tokens]
        at = torch.from_numpy(held).to(self.device)
        return keys[at].flatten(0, 1)[:tokens], values[at].flatten(0, 1)[:tokens]

    def write(self, index: int, at: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Stores ``[tokens, kv_heads, head_dim]`` at the flat positions ``at`` (int64)."""
        flat_keys, flat_values = self.layer(index)
        flat_keys.index_copy_(0, at, keys)
        flat_values.index_copy_(0, at, values)
