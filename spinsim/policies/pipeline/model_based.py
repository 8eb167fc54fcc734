"""The depth that the cost model recommends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from spinsim.policies.base import PolicyContext, Tunable
from spinsim.policies.beliefs import TYPICAL_CONTEXT, DraftingTimes, RoundTimes
from spinsim.policies.registry import PIPELINES


@PIPELINES.register("model_based")
class ModelBased:
    """Balances drafting against verifying in prediction (ours).

    With n active requests in m micro-batches of b = ceil(n / m), everyone has had a round after

        cycle(m) = max(m V(b), max over lanes m D_lane(b), D_round(b) + V(b))

    V verifies b rows; the drafts share the rows evenly; a lane drafts for its own one after another, lanes of
    one device slow each other, and D_round is the slowest lane. The smallest cycle wins, the shallower of
    equals. The first two terms grow with m (smaller batches use the GPU worse), the third shrinks. Proposals
    are taken to be as long as the length policy fixes, else ``tokens``; contexts are ``context_tokens``,
    or as long as the scenario allows.
    """

    @dataclass(frozen=True)
    class Params:
        max: Annotated[int, Ge(1), Le(64), Tunable(2, 12)] = 8
        tokens: Annotated[int, Ge(1)] = 4
        context_tokens: Annotated[int, Ge(1)] = TYPICAL_CONTEXT

    def __init__(self, params: Params, context: PolicyContext) -> None:
        self._params = params
        self._context = context
        self._max = min(params.max, context.batch_limit)
        self._times = RoundTimes(context)
        self._drafting = DraftingTimes(context)
        self._depths: dict[int, int] = {}
        self._depth = 1

    @property
    def max_depth(self) -> int:
        return self._max

    def depth(self) -> int:
        return self._depth

    def observe(self, now_ns: int, committed: int, active: int) -> None:
        depth = self._depths.get(active)
        if depth is None:
            choices = range(1, max(1, min(self._max, active)) + 1)
            depth = self._depths[active] = min(choices, key=lambda m: self.cycle_s(max(active, 1), m))
        self._depth = depth

    def cycle_s(self, active: int, depth: int) -> float:
        """Predicted seconds in which every active request has one round."""
        rows = -(-active // depth)
        tokens, drafts = self._params.context_tokens, len(self._context.drafts)
        lengths = self._context.lengths or (min(self._params.tokens, self._context.max_length),) * drafts
        by_draft: dict[int, float] = {}
        for draft in range(drafts):
            share = rows // drafts + (draft < rows % drafts)
            if share:
                by_draft[draft] = self._times.draft_s(draft, share, lengths[draft], tokens)
        drafting = self._drafting.seconds(by_draft)
        verifying = self._times.verify_s(rows, max(lengths, default=0), tokens)
        return max(depth * verifying, depth * drafting, drafting + verifying)
