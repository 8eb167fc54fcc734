"""Blocks of K/V: each is held once or free, whatever happens; none is lost in a long soak."""

from __future__ import annotations

import random
from array import array
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spinsim.engine.kv import FreeNumbers, KvPool
from spinsim.engine.processes import start
from spinsim.engine.records import COMPLETED
from tests.engine.harness import Deployment, build, policies, requests

SPAN = 64


class Pool(RuleBasedStateMachine):
    """Any order of acquiring, growing and releasing."""

    @initialize(
        reserve=st.sampled_from(["full", "grow"]),
        block=st.sampled_from([1, 7, 16, 64]),
        capacity=st.integers(0, 400),
        slots=st.integers(1, 6),
    )
    def create(self, reserve: str, block: int, capacity: int, slots: int) -> None:
        self.pool = KvPool(capacity, SPAN, reserve=reserve, block_tokens=block, slots=slots)
        self.tokens: dict[int, int] = {}
        self.seen: dict[tuple[int, int], list[int]] = {}  # (slot, change) -> blocks

    def needed(self, tokens: int) -> int:
        return 1 if self.pool.full else -(-tokens // self.pool.block_tokens)

    @rule(tokens=st.integers(0, SPAN))
    def acquire(self, tokens: int) -> None:
        fits = self.needed(tokens) <= self.pool.free_blocks and len(self.tokens) < self.pool.slots
        slot = self.pool.acquire(tokens)
        assert (slot >= 0) == fits
        if fits:
            assert slot not in self.tokens
            assert 0 <= slot < self.pool.slots
            self.tokens[slot] = tokens

    @precondition(lambda self: self.tokens)
    @rule(data=st.data(), tokens=st.integers(0, SPAN))
    def grow(self, data: st.DataObject, tokens: int) -> None:
        slot = data.draw(st.sampled_from(sorted(self.tokens)))
        before = self.pool.blocks_of(slot)
        fits = self.needed(tokens) - len(before) <= self.pool.free_blocks
        assert self.pool.grow(slot, tokens) == fits
        # What is there stays where it is: K/V are never moved.
        assert self.pool.blocks_of(slot)[: len(before)] == before
        if fits:
            self.tokens[slot] = max(tokens, self.tokens[slot])
        else:
            assert self.pool.blocks_of(slot) == before

    @precondition(lambda self: self.tokens)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.tokens)))
        self.pool.release(slot)
        del self.tokens[slot]

    @invariant()
    def every_block_is_held_once_or_free(self) -> None:
        if not hasattr(self, "pool"):
            return
        held = [block for slot in self.tokens for block in self.pool.blocks_of(slot)]
        assert len(set(held)) == len(held)
        assert all(0 <= block < self.pool.blocks for block in held)
        assert len(held) + self.pool.free_blocks == self.pool.blocks
        assert self.pool.used_slots == len(self.tokens) == len(self.pool.room)

    @invariant()
    def blocks_that_change_are_noted(self) -> None:
        for slot in getattr(self, "tokens", {}):
            blocks = list(self.pool.blocks_of(slot))
            assert self.seen.setdefault((slot, self.pool.changed[slot]), blocks) == blocks

    @invariant()
    def a_slot_has_room_for_its_tokens(self) -> None:
        for slot, tokens in getattr(self, "tokens", {}).items():
            held = len(self.pool.blocks_of(slot))
            assert held >= self.needed(tokens)
            assert self.pool.room[slot] == held * self.pool.block_tokens
            if self.pool.full:
                assert list(self.pool.blocks_of(slot)) == [slot]


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_five_hundred_long_requests_with_little_memory_lose_nothing() -> None:
    """Preempted, evicted, some with little patience: all end, and every block is free again."""
    source = random.Random(5)
    lengths = [(source.randrange(200, 2400), source.randrange(100, 1600)) for _ in range(500)]
    deployment = Deployment(
        requests(lengths),
        concurrency=24,
        batch_limit=24,
        context_tokens=4096,
        prefill_chunk_tokens=1024,
        reserve="grow",
        target_kv_tokens=24_000,
        draft_kv_tokens=20_000,
        acceptance=(0.5, 0.8),
        policies=policies(
            selector="random",
            length={"name": "fixed", "tokens": 4},
            pipeline={"name": "fixed", "micro_batches": 2},
        ),
    )
    done = build(deployment)
    start(done.engine)
    done.world.env.run(until=done.engine.done)
    done.world.env.run()
    found = done.records.requests.values()
    assert Counter(record.status for record in found) == {COMPLETED: 500}
    assert sum(record.preemptions for record in found) > 100
    assert [record.output_tokens for record in done.records.by_arrival()] == [n for _, n in lengths]
    for pool in done.engine.state.pools.every:
        assert (pool.free_blocks, pool.used_slots) == (pool.blocks, 0)


@pytest.mark.parametrize("reserve", ["full", "grow"])
def test_drafts_never_hold_more_slots_than_there_are(reserve: str) -> None:
    """Preempted requests keep what drafts hold of them, until somebody who runs needs the slot."""
    deployment = Deployment(
        requests([(100, 100)] * 12),
        batch_limit=4,
        reserve=reserve,
        target_kv_tokens=640,
        draft_kv_tokens=100_000,
        policies=policies(selector="random"),
    )
    done = build(deployment)
    engine = done.engine
    start(engine)
    most = 0
    while not engine.done.triggered:
        done.world.env.step()
        most = max(most, *(pool.used_slots for pool in engine.state.pools.drafts))
    assert 0 < most <= engine.state.pools.drafts[0].slots
    assert all(record.status == COMPLETED for record in done.records.requests.values())


@given(moves=st.lists(st.integers(-12, 12), max_size=40))
def test_free_numbers_are_a_stack(moves: list[int]) -> None:
    """Beside one that stores every number: what was given back last is taken first, then 0, 1, 2, ..."""
    free, stored = FreeNumbers(60), list(range(59, -1, -1))
    held: list[int] = []
    for move in moves:
        if move >= 0:
            count = min(move, len(free))
            taken = list(free.take(count))
            assert taken == [stored.pop() for _ in range(count)]
            held += taken
        else:
            back, held = held[move:], held[:move]
            free.give_back(array("i", back))
            stored += back
        assert len(free) == len(stored)


def test_blocks_that_nobody_took_cost_nothing() -> None:
    pool = KvPool(10**12, 4, reserve="full", block_tokens=4, slots=1)
    assert (pool.acquire(4), pool.acquire(4), pool.free_blocks) == (0, 1, 10**12 // 4 - 2)
