"""Real models in virtual time: the engine's decisions depend on no clock, so a run repeats token for token.

Operations last as long as a predictor says; what is drafted, accepted and emitted comes from runners.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import simpy

from spinsim.costs.base import Predictor
from spinsim.engine.world import Lane
from spinsim.live.executor import gather
from spinsim.live.world import Proposed
from spinsim.operations import CatchUp, Completed, Operation, Prefill, Propose, Verify
from spinsim.runner.eager import ModelRunner
from spinsim.runner.rows import ChunkRows, DraftRows, PackedAs, VerifyRows
from spinsim.runner.sampling import Sampling
from spinsim.simulated.world import Acceptance, SimulatedWorld


class Speakers:
    """Executes operations on runners as they are submitted, and keeps what was said.

    ``accepted[request][position]``: proposals that stood in the verification that began there.
    """

    def __init__(
        self,
        target: ModelRunner,
        drafts: Sequence[ModelRunner],
        prompts: Mapping[int, Sequence[int]],
        sampling: Sampling,
    ) -> None:
        self.target, self.drafts, self.prompts, self.sampling = target, drafts, prompts, sampling
        self.outputs: dict[int, list[int]] = {}
        self.accepted: dict[int, dict[int, int]] = defaultdict(dict)
        self._proposed: dict[int, Proposed] = {}

    def _context(self, request: int) -> list[int]:
        return [*self.prompts[request], *self.outputs.get(request, ())]

    def _chunks(self, operation: Prefill | CatchUp) -> ChunkRows:
        rows = zip(operation.requests, operation.starts, operation.tokens, strict=True)
        tokens = [self._context(request)[start : start + count] for request, start, count in rows]
        return ChunkRows(operation.slots, operation.starts, tokens, operation.requests)

    def execute(self, operation: Operation) -> None:
        """Carry it out now: whatever it builds on was submitted before it."""
        if isinstance(operation, Prefill):
            first = self.target.prefill(self._chunks(operation), self.sampling)
            for request, last, token in zip(operation.requests, operation.last, first.tolist(), strict=True):
                if last:
                    self.outputs[request] = [int(token)]
        elif isinstance(operation, CatchUp):
            self.drafts[operation.draft].catch_up(self._chunks(operation), False)
        elif isinstance(operation, Propose):
            tails = [self._context(request)[-2:] for request in operation.requests]
            asked = DraftRows(
                operation.slots,
                [tail[0] for tail in tails],
                [tail[1] for tail in tails],
                operation.contexts,
                operation.lengths,
                operation.requests,
            )
            proposal = self.drafts[operation.draft].propose(asked, self.sampling)
            for row, request in enumerate(operation.requests):
                self._proposed[request] = Proposed(proposal, row)
        else:
            self._verify(operation)

    def _verify(self, operation: Verify) -> None:
        proposed = [self._proposed.pop(request, None) for request in operation.requests]
        judged = VerifyRows(
            operation.slots,
            [self._context(request)[-1] for request in operation.requests],
            operation.contexts,
            operation.lengths,
            gather(proposed, self.target.device),
            operation.requests,
        )
        packed = PackedAs(operation.packing.kind, operation.packing.piece)
        done = self.target.verify(judged, packed, self.sampling)
        for row, request in enumerate(operation.requests):
            self.accepted[request][operation.positions[row]] = done.accepted[row]
            self.outputs[request] += done.tokens[row]


class SpokenField:
    """An acceptance field that knows of a verification once it has been carried out."""

    def __init__(self, speakers: Speakers) -> None:
        self._speakers = speakers

    def runs(self, request: int, draft: int) -> Any:
        """Accepted proposals by position."""
        return self._speakers.accepted[request]

    def forget(self, request: int) -> None:
        """Nothing to free."""


class SpokenWorld(SimulatedWorld):
    """A simulated world in which models speak."""

    def __init__(
        self, lanes: Sequence[Lane], predictor: Predictor, speakers: Speakers, *, drafts: int
    ) -> None:
        field: Any = SpokenField(speakers)
        super().__init__(lanes, predictor, Acceptance(field), remote=(True,) * drafts)
        self.speakers = speakers

    def submit(self, lane: int, operation: Operation) -> simpy.Event:
        """Carry it out, then let it take its time."""
        self.speakers.execute(operation)
        return super().submit(lane, operation)

    def settle(self, lane: int, operation: Operation) -> simpy.Event | Completed:
        """The same."""
        self.speakers.execute(operation)
        return super().settle(lane, operation)
