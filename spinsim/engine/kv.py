"""KV memory of one model: who holds which slot, and how many tokens each may keep."""

from __future__ import annotations


class KvPool:
    """Slots of a KV cache, counted in blocks of tokens.

    ``reserve="full"``: every slot is ``slot_tokens`` long from the start, so growing never fails.
    ``reserve="grow"``: a slot takes blocks of ``block_tokens`` as its context grows, and
    :meth:`grow` fails when none is left. Blocks held and blocks free always add up to ``blocks``.
    Raises ValueError for a capacity that no slot fits in: a request could wait for it without end.
    """

    def __init__(self, capacity_tokens: int, slot_tokens: int, *, reserve: str, block_tokens: int) -> None:
        self.full = reserve == "full"
        self.block_tokens = slot_tokens if self.full else block_tokens
        self.slot_tokens = slot_tokens
        self.blocks = capacity_tokens // self.block_tokens
        if self.blocks * self.block_tokens < slot_tokens:
            raise ValueError(
                f"{self.blocks} blocks of {self.block_tokens} tokens hold no slot of {slot_tokens}"
            )
        self.free_blocks = self.blocks
        self._held: dict[int, int] = {}  # slot -> blocks
        self._free_slots: list[int] = []
        self._slots = 0

    @property
    def used_slots(self) -> int:
        """Slots that somebody holds."""
        return len(self._held)

    @property
    def held_blocks(self) -> int:
        """Blocks behind all held slots."""
        return sum(self._held.values())

    def acquire(self, tokens: int) -> int:
        """A slot with room for ``tokens``; -1 when memory is short."""
        blocks = 1 if self.full else -(-tokens // self.block_tokens)
        if blocks > self.free_blocks:
            return -1
        if self._free_slots:
            slot = self._free_slots.pop()
        else:
            slot = self._slots
            self._slots += 1
        self.free_blocks -= blocks
        self._held[slot] = blocks
        return slot

    def grow(self, slot: int, tokens: int) -> bool:
        """Make room for ``tokens`` in a held slot; False, and nothing changed, when memory is short."""
        if self.full:
            return True
        more = -(-tokens // self.block_tokens) - self._held[slot]
        if more <= 0:
            return True
        if more > self.free_blocks:
            return False
        self.free_blocks -= more
        self._held[slot] += more
        return True

    def release(self, slot: int) -> None:
        """Give a held slot back."""
        self.free_blocks += self._held.pop(slot)
        self._free_slots.append(slot)
