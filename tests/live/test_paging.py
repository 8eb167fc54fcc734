"""Page tables follow the engine's blocks, and only what changed is written."""

from __future__ import annotations

import random
from typing import Any

from spinsim.engine.kv import KvPool, KvPools
from spinsim.live.paging import Paging
from spinsim.operations import Propose


class Table:
    """Stands in for a runner: remembers what it was told to hold."""

    def __init__(self) -> None:
        self.held: dict[int, list[int]] = {}
        self.rows = 0

    def hold(self, slots: list[int], blocks: list[Any]) -> None:
        self.rows += len(slots)
        self.held.update(zip(slots, map(list, blocks), strict=True))


def pool() -> KvPool:
    return KvPool(400, 64, reserve="grow", block_tokens=8, slots=6)


def test_every_operation_finds_its_blocks_and_few_rows_are_written() -> None:
    pools, runners = KvPools(pool(), [pool()]), [Table(), Table()]
    paging: Any = Paging(pools, runners[0], [runners[1]])  # type: ignore[arg-type, list-item]
    draft, table = pools.drafts[0], runners[1]
    source, tokens, asked = random.Random(3), dict[int, int](), 0
    for _ in range(400):
        if tokens and source.random() < 0.05:
            slot = source.choice(list(tokens))
            draft.release(slot)
            del tokens[slot]
        if len(tokens) < 6 and (slot := draft.acquire(source.randrange(1, 9))) >= 0:
            tokens[slot] = 8
        for slot in tokens:
            if draft.grow(slot, min(64, tokens[slot] + 1)):
                tokens[slot] = min(64, tokens[slot] + 1)
        slots = sorted(tokens)
        ones = [1] * len(slots)
        asked += len(slots)
        paging.before(Propose(0, slots, slots, ones, ones), lambda: None)()
        assert {slot: table.held[slot] for slot in slots} == {
            slot: list(draft.blocks_of(slot)) for slot in slots
        }
    assert table.rows < asked / 4
    assert not runners[0].rows  # the target's table is another one
