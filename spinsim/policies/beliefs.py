"""A policy's estimate of how long a round takes: the fitted predictor, asked for a uniform batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from spinsim.costs.contention import Demand
from spinsim.operations import Packing
from spinsim.packings.ragged import rows_as_they_are
from spinsim.policies.base import NO_DRAFT, PolicyContext

Array = np.ndarray[Any, Any]

TYPICAL_CONTEXT = 512  # tokens; where a policy needs some context before it has seen any


def ragged(rows: int, kv_tokens: int, query_tokens: int) -> Packing:
    """A verification without padding, as a policy imagines it before the packing is decided."""
    piece = -(-kv_tokens // max(rows, 1))
    return rows_as_they_are(rows, piece, query_tokens, kv_tokens)


_USUAL_ROWS, _USUAL_LENGTH, _USUAL_CONTEXT = 4, 4, 256  # of proposals that crowd each other


class DraftingTimes:
    """How long several drafts take for their parts of one round.

    Drafts of one lane run one after another. Those of one device in lanes of their own slow each other while
    both run: each takes seconds + sum over the others of delay * min(its seconds, theirs), the delay as the
    predictor has it for two usual proposals. (Ours: a short form of what the lanes do, since plans are made
    within every round.)
    """

    def __init__(self, context: PolicyContext) -> None:
        self._context = context
        lanes, devices = context.draft_lanes, context.draft_devices
        self._beside = [
            [j for j in range(len(devices)) if devices[j] == devices[i] and lanes[j] != lanes[i]]
            for i in range(len(devices))
        ]
        self._crowded = any(self._beside)
        self._delays: dict[tuple[int, int], float] = {}
        self._all: tuple[Array, Array] | None = None  # delays [draft, other] and lanes [draft, lane]

    def seconds(self, by_draft: Mapping[int, float]) -> float:
        """Until the last of them is done, given what each takes alone; 0 without any."""
        lane_of = self._context.draft_lanes
        lanes: dict[int, float] = {}
        for draft, seconds in by_draft.items():
            slowed = seconds
            if self._crowded:
                for other in self._beside[draft]:
                    if other in by_draft:
                        slowed += self._delay(draft, other) * min(seconds, by_draft[other])
            lane = lane_of[draft]
            lanes[lane] = lanes.get(lane, 0.0) + slowed
        return max(lanes.values(), default=0.0)

    def of_sets(self, alone_s: Array) -> Array:
        """[set]: :meth:`seconds` of several sets at once; ``alone_s`` [set, draft], 0 for one not in it."""
        if self._all is None:
            drafts = range(len(self._context.draft_lanes))
            slow = [
                [self._delay(d, o) if self._crowded and o in self._beside[d] else 0.0 for o in drafts]
                for d in drafts
            ]
            lane_of = self._context.draft_lanes
            of_lane = [[float(lane_of[d] == lane) for lane in sorted(set(lane_of))] for d in drafts]
            self._all = np.array(slow), np.array(of_lane)
        delays, shared = self._all
        slowed = alone_s
        if self._crowded:
            crowd = np.minimum(alone_s[:, :, None], alone_s[:, None, :])
            slowed = alone_s + (delays * crowd).sum(2)
        found: Array = (slowed[:, :, None] * shared).sum(1).max(1)
        return found

    def _delay(self, draft: int, other: int) -> float:
        known = self._delays.get((draft, other))
        if known is None:
            law = self._context.predictor.contention().law
            known = self._delays[draft, other] = law.delay(self._demand(draft), self._demand(other))
        return known

    def _demand(self, draft: int) -> Demand:
        context = self._context
        rows, length = min(_USUAL_ROWS, context.batch_limit), min(_USUAL_LENGTH, context.max_length)
        longest = _USUAL_CONTEXT if context.context_tokens is None else context.context_tokens - length
        asked = draft, [length] * rows, [max(1, min(_USUAL_CONTEXT, longest))] * rows
        loads = context.predictor.contention().loads
        return Demand(draft, context.predictor.propose(*asked).seconds, *loads.propose(*asked))


class RoundTimes:
    """Predicted seconds of drafting and of verifying, for ``rows`` alike. Answers are kept, contexts
    rounded up to ``grain`` tokens, but not past what the scenario allows."""

    def __init__(self, context: PolicyContext, grain: int = 64) -> None:
        self._predictor = context.predictor
        self._within = context.within
        self._grain = grain
        self._draft: dict[tuple[int, int, int, int], float] = {}
        self._verify: dict[tuple[int, int, int], float] = {}
        self._catch_up: dict[tuple[int, int, int], float] = {}

    def draft_s(self, draft: int, rows: int, length: int, context: int) -> float:
        """One proposal of ``length`` tokens for each of ``rows``; 0 for NO_DRAFT."""
        if draft == NO_DRAFT or length == 0:
            return 0.0
        context = self._within(-(-context // self._grain) * self._grain, length)
        key = (draft, rows, length, context)
        seconds = self._draft.get(key)
        if seconds is None:
            seconds = self._predictor.propose(draft, [length] * rows, [context] * rows).seconds
            seconds += self._predictor.transfer(rows, rows * length).seconds
            self._draft[key] = seconds
        return seconds

    def catch_up_s(self, draft: int, rows: int, tokens: int) -> float:
        """A draft reading ``tokens`` in all, of ``rows`` alike that it has not seen (rounded up to 16)."""
        key = (draft, rows, -(-tokens // 16))
        seconds = self._catch_up.get(key)
        if seconds is None:
            each = [self._within(-(-16 * key[2] // rows), 1)] * rows
            seconds = self._catch_up[key] = self._predictor.catch_up(draft, each, [0] * rows).seconds
        return seconds

    def verify_s(self, rows: int, length: int, context: int) -> float:
        """One verification of ``length`` proposals for each of ``rows``."""
        context = self._within(-(-context // self._grain) * self._grain, length)
        key = (rows, length, context)
        seconds = self._verify.get(key)
        if seconds is None:
            packing = ragged(rows, rows * (context + length), rows * (length + 1))
            seconds = self._verify[key] = self._predictor.verify(packing).seconds
        return seconds

    def round_s(self, draft: int, rows: int, length: int, context: int) -> float:
        """Drafting, then verifying."""
        length = 0 if draft == NO_DRAFT else length
        return self.draft_s(draft, rows, length, context) + self.verify_s(rows, length, context)
