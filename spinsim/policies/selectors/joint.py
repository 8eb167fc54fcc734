"""A selector that reckons with the batch: a draft chosen for one request keeps all of them waiting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge

from spinsim.policies.base import NO_DRAFT, Feedback, PolicyContext, RequestView, Tunable
from spinsim.policies.registry import SELECTORS
from spinsim.policies.reward import PositionsAccepted
from spinsim.policies.selectors.arms import PerRequest
from spinsim.policies.selectors.learner import SharedParams
from spinsim.policies.selectors.round_plan import Array, RoundPlanner
from spinsim.policies.selectors.tries import COST, GAIN, PULLS, Tries

USUAL_LENGTH = 4  # tokens of a proposal, where the length policy fixes none
CERTAIN = 0.999  # the highest acceptance rate that is believed: at 1 a proposal's yield is 0 / 0


@SELECTORS.register("joint")
class Joint(PerRequest["Joint.Params"]):
    """Most expected tokens of the whole batch per predicted second of its round (ours).

    A request's acceptance rate a with a draft is accepted / tried positions, raised by ``beta``
    sqrt(2 ln t / n) / sqrt(requests in the batch); a proposal of k tokens then yields
    (1 - a^(k+1)) / (1 - a) (Leviathan et al. 2023). The first two factors are UCB1's; the last is there since
    all of a batch pay for what one tries, and since its optimism adds up: an uncertain draft is tried by
    many at once, or by nobody where even that could not pay. Drafts of one lane run one after another, so a
    set of them is grown greedily while the round's rate grows (:class:`RoundPlanner`, as the oracle's in a
    batch); within it every request takes the draft that yields it most, its last one counting ``stay``
    more. A set is held for ``hold`` rounds, and a catch-up is reckoned to pay over ``repay`` rounds.
    """

    @dataclass(frozen=True)
    class Params(SharedParams):
        beta: Annotated[float, Ge(0), Tunable(0.02, 2, log=True)] = 0.5
        hold: Annotated[int, Ge(1), Tunable(1, 32, log=True)] = 2
        stay: Annotated[float, Ge(0), Tunable(0, 0.2)] = 0.05
        repay: Annotated[float, Ge(1), Tunable(1, 64, log=True)] = 16.0

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        weight = params.prior_weight if params.share == "prior" else 0.0
        self._tries = Tries(len(context.drafts) + 1, weight)
        self._positions = PositionsAccepted()
        lengths = context.lengths or (min(USUAL_LENGTH, context.max_length),) * len(context.drafts)
        self._lengths = np.array(lengths)
        self._planner = RoundPlanner(context, lengths, params.repay)
        self._set: list[int] = []
        self._left = 0  # rounds that the set is still held

    def assign(self, batch: Sequence[RequestView]) -> list[int]:
        tokens, room = self._tokens(batch), self.room(len(batch))
        if not self._left:
            self._set = self._planner.best_set(batch, tokens, self.arms, room)
            self._left = self.params.hold
        self._left -= 1
        return self._planner.assign(batch, tokens, self._set, room)

    def observe(self, feedback: Feedback) -> None:
        requests = [view.id for view in feedback.requests]
        self._tries.add(requests, feedback.drafts, *self._positions.of(feedback))

    def forget(self, request: int) -> None:
        self._tries.forget(request)

    def _tokens(self, batch: Sequence[RequestView]) -> Array:
        """Expected tokens [request, arm] of a round, optimistically; NO_DRAFT's in the last column."""
        drafts = len(self.context.drafts)
        tried = self._tries.of([view.id for view in batch])[:, :, :drafts]
        rounds = np.maximum(tried[PULLS].sum(1, keepdims=True), 2.0)
        beta = self.params.beta / math.sqrt(len(batch))
        radius = beta * np.sqrt(2 * np.log(rounds) / np.maximum(tried[PULLS], 1e-9))
        rate = tried[GAIN] / np.maximum(tried[COST], 1e-9) + radius
        rate = rate.clip(0.0, CERTAIN)
        tokens = np.ones((len(batch), drafts + 1))
        tokens[:, :drafts] = (1 - rate ** (self._lengths + 1)) / (1 - rate)
        for row, view in enumerate(batch):
            if view.draft != NO_DRAFT:
                tokens[row, view.draft] *= 1 + self.params.stay
        return tokens
