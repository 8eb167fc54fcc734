"""Bounds for the selector ``contextual``: the same choice of a round, told what would be accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinsim.policies.base import NOT_LOOKED_UP, PolicyContext, RequestView
from spinsim.policies.contextual.round_choice import Offer
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.contextual import Contextual

Array = np.ndarray[Any, Any]


@SELECTORS.register("contextual_oracle")
class ContextualOracle(Contextual):
    """Knows which drafter wins: a bound for ``contextual``, not a policy to deploy (ours).

    It chooses as ``contextual`` does, and with that one's blind lengths, but from the tokens that every
    drafter's proposal will have accepted. With ``knows_lengths`` it also proposes to no row more than will
    be accepted. It looks one round ahead, at the average rate of its own rounds.
    """

    sees_future = True
    at_once = True

    @dataclass(frozen=True)
    class Params(Contextual.Params):
        knows_lengths: bool = False

    def __init__(self, params: ContextualOracle.Params, context: PolicyContext) -> None:
        if context.future is None or context.outputs is None:
            raise ValueError("the oracle needs the future: an acceptance field and the output lengths")
        super().__init__(params, context)
        self._future = context.future
        self._outputs = context.outputs
        self._knows_lengths = params.knows_lengths

    def offers(
        self, batch: Sequence[RequestView], contexts: Sequence[int], rate: float | None
    ) -> list[Offer]:
        """What every drafter will have accepted, at the lengths of the blind rule or at the best ones."""
        told = []
        for draft, offer in enumerate(super().offers(batch, contexts, rate)):
            runs = np.array([self._run(view, draft) for view in batch])[:, None]
            lengths = offer.lengths
            if self._knows_lengths and self.fixed is None:
                offered = [view.offered[draft] if view.offered else NOT_LOOKED_UP for view in batch]
                limits = np.array([n if n != NOT_LOOKED_UP else self.longest[draft] for n in offered])
                lengths = np.minimum(np.maximum(runs, 1), np.array(offer.caps)[None, :])
                lengths = np.minimum(lengths, limits[:, None])
            told.append(Offer(offer.caps, np.minimum(runs, lengths).astype(float), lengths))
        return told

    def _run(self, view: RequestView, draft: int) -> int:
        """Proposals in a row that will be accepted and committed."""
        left = self._outputs[view.id] - view.generated
        return min(left - 1, self._future.runs(view.id, draft)[view.generated])
