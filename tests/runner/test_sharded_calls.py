"""Calls reach the other ranks as they were made, and a rank that is stuck is noticed."""

from __future__ import annotations

import copy
import multiprocessing
import threading
import weakref
from typing import Any

import numpy as np
import pytest

from spinsim.runner.rows import ChunkRows, DraftRows, PackedAs, Proposal, VerifyRows
from spinsim.runner.sampling import Sampling
from spinsim.runner.sharded import calls
from spinsim.runner.sharded.calls import Call, decode, encode, perform
from spinsim.runner.sharded.ring import Behind, Ring


class Noted:
    """A runner that notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **keys: self.asked.append((name, *args, *keys.values()))


def told(call: Call) -> tuple[Any, ...]:
    """What a runner is asked at the other end."""
    noted: Any = Noted()
    perform(noted, decode(encode(call))[0])
    return noted.asked[0]  # type: ignore[no-any-return]


def test_every_call_arrives_as_it_was_made() -> None:
    sampling = Sampling(0.7, 0.95, 2**40 + 1)
    chunks = ChunkRows([0, 2], [0, 5], [[7, 8, 9], [1]], [5, 6])
    assert told(calls.prefill(chunks, sampling)) == ("prefill", chunks, sampling)
    nothing = ChunkRows([1], [4], [[]], [])
    assert told(calls.catch_up(nothing, True)) == ("catch_up", nothing, True)
    drafting = DraftRows([3, 1], [9, 8], [7, 7], [20, 30], [4, 0], [5, 6])
    assert told(calls.propose(drafting, sampling)) == ("propose", drafting, sampling)
    assert told(calls.hold([4, 0], [[1, 2], []])) == ("hold", [4, 0], [[1, 2], []])
    assert told(calls.capture("draft", ("ragged", "padded"), True)) == (
        "capture", "draft", ["ragged", "padded"], True,
    )  # fmt: skip
    tokens = np.array([[1, 2, 3, 4], [0, 0, 0, 0]])
    judged = VerifyRows([3, 1], [9, 8], [20, 30], [4, 0], Proposal(tokens), [5, 6])
    name, heard, *how = told(calls.verify(judged, PackedAs("decomposed", 64), sampling))
    assert (name, how) == ("verify", [PackedAs("decomposed", 64), sampling])
    assert heard[:4] == judged[:4]
    assert heard.proposal.tokens.tolist() == tokens.tolist()
    for name in ("apart", "share", "fill", "settle"):
        assert told(Call(name)) == (name,)


def test_messages_pass_in_order_to_every_reader_in_as_many_records_as_they_take() -> None:
    ring = Ring(multiprocessing.get_context("spawn"), 2, records=3, words=8, patience_s=20)
    messages = [np.arange(length) + length for length in (0, 1, 7, 8, 60, 3)]
    read: list[list[list[int]]] = [[], []]

    def take(reader: int, own: Ring) -> None:
        read[reader] = [own.read(reader).tolist() for _ in messages]

    # A process has its own copy of where it is; so have these threads.
    threads = [threading.Thread(target=take, args=(reader, copy.copy(ring))) for reader in range(2)]
    for thread in threads:
        thread.start()
    for message in messages:
        ring.write(message)
    for thread in threads:
        thread.join()
    assert read == [[message.tolist() for message in messages]] * 2


def test_a_reader_that_takes_nothing_is_noticed() -> None:
    ring = Ring(multiprocessing.get_context("spawn"), 1, records=2, words=8, patience_s=0.01)
    ring.write(np.arange(3))
    with pytest.raises(Behind, match="no call"):
        ring.write(np.arange(30))


def test_a_closed_ring_gives_its_semaphores_back() -> None:
    """Or a process that ends without destructors leaves them to the system."""
    ring = Ring(multiprocessing.get_context("spawn"), 2, patience_s=1)
    held = [weakref.ref(each) for each in (*ring._filled, *ring._free)]
    ring.close()
    assert all(each() is None for each in held)
