"""Operations on runners: one per model, called from the threads of their lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from spinsim.live.world import Proposed
from spinsim.operations import CatchUp, Prefill, Propose, Verify
from spinsim.runner.base import Runner
from spinsim.runner.eager import Part, combine
from spinsim.runner.graphs.buffers import wait
from spinsim.runner.head import HeadRunner
from spinsim.runner.rows import ChunkRows, DraftRows, PackedAs, Proposal, VerifyRows
from spinsim.runner.sampling import Sampling


class LaneDevice(NamedTuple):
    """Where a lane's operations run; ``stream`` is None on a CPU."""

    device: torch.device
    stream: torch.cuda.Stream | None


class TorchExecutor:
    """Implements :class:`spinsim.live.world.Executor` with one runner for each model.

    Every method returns when its work is done on the device, so that the lane's time stamp is the
    operation's end. ``drafts[d]`` is None for a draft that looks its proposals up.
    """

    def __init__(
        self,
        target: Runner,
        drafts: Sequence[Runner | None],
        lanes: Sequence[LaneDevice],
        sampling: Sampling,
        vocabulary: int,
    ) -> None:
        self._target = target
        self._drafts = drafts
        self._lanes = lanes
        self._sampling = sampling
        self._vocabulary = vocabulary
        self._target_slots: dict[int, int] = {}  # by request; read and written in the target's lane alone

    def set_up(self, lane: int) -> None:
        """Choose the lane's device and stream for the calling thread."""
        place = self._lanes[lane]
        if place.stream is not None:
            torch.cuda.set_device(place.device)
            torch.cuda.set_stream(place.stream)

    def prefill(self, operation: Prefill, tokens: Sequence[Sequence[int]]) -> list[int]:
        """See :class:`spinsim.live.world.Executor`."""
        self._target_slots.update(zip(operation.requests, operation.slots, strict=True))
        rows = ChunkRows(operation.slots, operation.starts, tokens, operation.requests)
        following = self._target.prefill(rows, self._sampling)
        return [int(token) for token in following.tolist()]

    def catch_up(
        self, operation: CatchUp, starts: Sequence[int], tokens: Sequence[Sequence[int]], predict: bool
    ) -> list[list[int]]:
        """See :class:`spinsim.live.world.Executor`."""
        found = self._ready(operation).catch_up(ChunkRows(operation.slots, starts, tokens), predict)
        if not predict:
            return []
        predicted = [int(token) for token in found.tolist()]
        split: list[list[int]] = []
        first = 0
        for row in tokens:
            split.append(predicted[first : first + len(row)])
            first += len(row)
        return split

    def propose(
        self, operation: Propose, positions: Sequence[int], tails: Sequence[tuple[int, int]]
    ) -> Proposal:
        """See :class:`spinsim.live.world.Executor`."""
        _, requests, slots, contexts, lengths, _ = operation
        previous, last = zip(*tails, strict=True)
        rows = DraftRows(slots, previous, last, contexts, lengths, requests)
        return self._ready(operation).propose(rows, self._sampling)

    def offer(self, found: Sequence[Sequence[int]]) -> Proposal:
        """See :class:`spinsim.live.world.Executor`. When sampling, each token has all of its probability."""
        tokens = np.zeros((len(found), max(map(len, found), default=0)), np.int64)
        for row, each in enumerate(found):
            tokens[row, : len(each)] = each
        if self._sampling.greedy:
            return Proposal(tokens)
        device = self._target.device
        spread = torch.zeros(*tokens.shape, self._vocabulary, device=device)
        spread.scatter_(2, torch.from_numpy(tokens).to(device)[:, :, None], 1.0)
        wait(device)  # a verification reads it on another stream
        return Proposal(tokens, spread)

    def _ready(self, operation: Propose | CatchUp) -> Runner:
        """The draft's runner. A head is told where the target keeps what it drafts from."""
        runner = self._drafts[operation.draft]
        assert runner is not None, "a draft that is looked up has no runner"
        if isinstance(runner, HeadRunner):
            slots = [self._target_slots[request] for request in operation.requests]
            runner.follow(operation.slots, slots)
        return runner

    def verify(
        self,
        operation: Verify,
        last: Sequence[int],
        proposed: Sequence[Proposed | None],
        verdict: Sequence[int] | None = None,
    ) -> tuple[list[int], list[list[int]]]:
        """See :class:`spinsim.live.world.Executor`."""
        rows = VerifyRows(
            operation.slots,
            last,
            operation.contexts,
            operation.lengths,
            gather(proposed, self._target.device),
            operation.requests,
            verdict,
        )
        packed = PackedAs(operation.packing.kind, operation.packing.piece)
        verified = self._target.verify(rows, packed, self._sampling)
        return verified.accepted, verified.tokens


def gather(proposed: Sequence[Proposed | None], device: torch.device) -> Proposal:
    """The rows of several drafts' proposals in the order of the verification, for its device."""
    parts: dict[int, tuple[list[int], list[int], Proposal]] = {}
    for row, item in enumerate(proposed):
        if item is not None:
            here, there, _ = parts.setdefault(id(item.proposals), ([], [], item.proposals))
            here.append(row)
            there.append(item.row)
    return combine([Part(*part) for part in parts.values()], len(proposed), device)
