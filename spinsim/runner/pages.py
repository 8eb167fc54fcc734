"""The page table: where in a K/V cache the tokens of a slot lie; on the host and, alike, on the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

Blocks = Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int32]]


class PageTable:
    """Int32 ``[slots + 1, width]``: entry i of a slot is the page of its i-th ``page_tokens`` tokens.

    The owner of the pages says with :meth:`hold` which ones a slot has, before a pass reads or writes them;
    at first they are :meth:`apart`. ``room`` is how many tokens each slot has pages for. Entries beyond that
    name some page or other: padded attention reads and masks what lies there, as it would in a whole slot.
    The last slot is the trash slot; all of it is the page after the last.
    """

    def __init__(self, slots: int, width: int, pages: int, page_tokens: int, device: torch.device) -> None:
        self.width, self.pages, self.page_tokens = width, pages, page_tokens
        cuda = device.type == "cuda"
        self._pinned = torch.empty(slots + 1, width, dtype=torch.int32, pin_memory=cuda)
        self.host = self._pinned.numpy()
        self.host[slots] = pages
        self.room: list[int] = [width * page_tokens] * (slots + 1)
        self.device = self._pinned.to(device) if cuda else self._pinned
        self.apart()

    def apart(self) -> int:
        """As at first: slots on pages of their own, in order; returns how many of them are whole."""
        self.share()
        slots = len(self.room) - 1
        for slot in range(slots):
            self.room[slot] = min(self.width, max(0, self.pages - slot * self.width)) * self.page_tokens
        return min(slots, self.pages // self.width)

    def share(self) -> None:
        """Every slot whole, on pages of others where there are too few: for measuring times alone."""
        slots = len(self.room) - 1
        self.host[:slots] = np.arange(slots * self.width).reshape(slots, self.width) % self.pages
        self.room[:slots] = [self.width * self.page_tokens] * slots
        self._send()

    def hold(self, slots: Sequence[int], blocks: Sequence[Blocks]) -> None:
        """``slots[i]`` has the pages ``blocks[i]``, in this order; on the device from the next launch on.

        No pass may be running. Raises ValueError for more pages than a slot has, or one that is not there.
        """
        for slot, held in zip(slots, blocks, strict=True):
            count = len(held)
            row = np.asarray(held, np.int32)
            if count > self.width or (count and not (row.min() >= 0 and row.max() < self.pages)):
                raise ValueError(
                    f"slot {slot} cannot hold {count} pages up to {row.max(initial=0)}: "
                    f"{self.width} of {self.pages} pages a slot"
                )
            self.host[slot, :count] = row
            self.room[slot] = count * self.page_tokens
        self._send()

    def flat(self, slots: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Flat cache positions (int64) of positions of slots; beyond a slot's end that of its last token."""
        size = self.page_tokens
        within = positions.clamp_max(self.width * size - 1)
        return self.device[slots, within // size].long() * size + within % size

    def _send(self) -> None:
        if self.device is not self._pinned:
            self.device.copy_(self._pinned, non_blocking=True)
