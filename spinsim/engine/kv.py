"""KV memory of one model: which blocks stand behind which slot. The one owner of blocks, in both worlds."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.engine.settings import EngineSettings


class FreeNumbers:
    """A stack of the numbers below ``count``: what was given back last is taken first, then 0, 1, 2, ...

    Numbers that nobody took yet are counted, not stored: a small draft on a large GPU has millions of blocks.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._untouched = 0  # the lowest number that nobody took yet
        self._returned = array("i")

    def __len__(self) -> int:
        return len(self._returned) + self._count - self._untouched

    def take(self, count: int) -> array[int]:
        """The next ``count`` numbers, at most as many as there are."""
        again = min(count, len(self._returned))
        taken = self._returned[len(self._returned) - again :]
        del self._returned[len(self._returned) - again :]
        taken.reverse()
        fresh = count - again
        if fresh:
            taken.extend(range(self._untouched, self._untouched + fresh))
            self._untouched += fresh
        return taken

    def take_one(self) -> int:
        """The next number; -1 when there is none."""
        if self._returned:
            return self._returned.pop()
        if self._untouched == self._count:
            return -1
        self._untouched += 1
        return self._untouched - 1

    def give_back(self, numbers: array[int]) -> None:
        """The last of ``numbers`` is the next to be taken."""
        self._returned.extend(numbers)


class KvPool:
    """Slots of a KV cache, made of blocks of tokens: numbers below ``blocks``, each in one slot or free.

    ``reserve="full"``: a slot is one block of ``slot_tokens``, the one of its own number, so growing never
    fails. ``reserve="grow"``: at most ``slots`` slots take blocks of ``block_tokens`` as their contexts grow,
    and :meth:`grow` fails when none is left. A live cache lays block b at page b.
    """

    keeps = True  # K/V, with which a draft catches up before it proposes

    def __init__(
        self, capacity_tokens: int, slot_tokens: int, *, reserve: str, block_tokens: int, slots: int
    ) -> None:
        self.full = reserve == "full"
        self.block_tokens = slot_tokens if self.full else block_tokens
        self.slot_tokens = slot_tokens
        self.blocks = capacity_tokens // self.block_tokens
        self.slots = self.blocks if self.full else min(slots, self.blocks)
        self._free_blocks = FreeNumbers(self.blocks)
        self._free_slots = FreeNumbers(self.slots)
        self._held: dict[int, array[int]] = {}  # slot -> its blocks, in the order of their tokens
        self.room: dict[int, int] = {}  # slot -> tokens that its blocks hold; for others to read
        self._changes = 0
        # slot -> a number that is another one whenever the blocks behind a held slot are; for others to read
        self.changed: dict[int, int] = {}

    @property
    def free_blocks(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free_blocks)

    @property
    def used_tokens(self) -> int:
        """Tokens that the blocks which somebody holds have room for."""
        return (self.blocks - len(self._free_blocks)) * self.block_tokens

    @property
    def used_slots(self) -> int:
        """Slots that somebody holds."""
        return len(self._held)

    def acquire(self, tokens: int) -> int:
        """A slot with room for ``tokens``; -1 when memory or slots are short."""
        count = 1 if self.full else -(-tokens // self.block_tokens)
        if count > len(self._free_blocks) or not len(self._free_slots):
            return -1
        slot = self._free_slots.take(1)[0]
        # Slots and blocks leave and enter their stacks in pairs when full: a slot has its own number's block.
        self._held[slot] = self._free_blocks.take(count)
        self._note(slot, count)
        return slot

    def grow(self, slot: int, tokens: int) -> bool:
        """Make room for ``tokens`` in a held slot; False, and nothing changed, when memory is short."""
        if self.full or tokens <= self.room[slot]:
            return True
        held = self._held[slot]
        more = -(-tokens // self.block_tokens) - len(held)
        if more == 1:  # as nearly always
            block = self._free_blocks.take_one()
            if block < 0:
                return False
            held.append(block)
        elif more > len(self._free_blocks):
            return False
        else:
            held.extend(self._free_blocks.take(more))
        self._note(slot, len(held))
        return True

    def release(self, slot: int) -> None:
        """Give a held slot back."""
        held = self._held.pop(slot)
        del self.room[slot]
        held.reverse()
        self._free_blocks.give_back(held)
        self._free_slots.give_back(array("i", (slot,)))

    def blocks_of(self, slot: int) -> array[int]:
        """The blocks behind a held slot, in the order of their tokens; the caller's own."""
        return self._held[slot][:]

    def _note(self, slot: int, blocks: int) -> None:
        self.room[slot] = blocks * self.block_tokens
        self._changes += 1
        self.changed[slot] = self._changes


class NoPool(KvPool):
    """Of a draft that keeps no K/V: there is room for every request, in a slot that means nothing."""

    keeps = False

    def __init__(self) -> None:
        super().__init__(0, 1, reserve="full", block_tokens=1, slots=0)

    def acquire(self, tokens: int) -> int:
        """Always the same."""
        return 0

    def release(self, slot: int) -> None:
        """Nothing was held."""


@dataclass(frozen=True, slots=True)
class KvPools:
    """The pools of a deployment's models, drafts in the scenario's order."""

    target: KvPool
    drafts: Sequence[KvPool]

    @property
    def every(self) -> tuple[KvPool, ...]:
        """The target's, then the drafts'."""
        return self.target, *self.drafts


def kv_pools(settings: EngineSettings) -> KvPools:
    """Empty pools. A model has as many slots as requests are admitted at once, or whole ones that fit.

    Raises ValueError where the target's holds no request of the whole context, which would wait without end.
    """

    def pool(capacity_tokens: int | None) -> KvPool:
        if capacity_tokens is None:
            return NoPool()
        return KvPool(
            capacity_tokens,
            settings.context_tokens,
            reserve=settings.reserve,
            block_tokens=settings.block_tokens,
            slots=settings.batch_limit,
        )

    target = pool(settings.target_kv_tokens)
    if target.blocks * target.block_tokens < settings.context_tokens:
        raise ValueError(
            f"{target.blocks} blocks of {target.block_tokens} tokens hold no request of "
            f"{settings.context_tokens}"
        )
    return KvPools(target, [pool(tokens) for tokens in settings.draft_kv_tokens])
