"""The oracle: knows every future acceptance, and plans the fastest way to the end of each request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge

from spinsim.policies.base import PolicyContext, RequestView
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.arms import PerRequest
from spinsim.policies.selectors.oracle_path import Pricing, shortest_path
from spinsim.policies.selectors.round_plan import RoundPlanner


@SELECTORS.register("oracle")
class Oracle(PerRequest["Oracle.Params"]):
    """Sees the future: a bound for other selectors, not a policy to deploy (ours).

    A request alone follows the shortest path over output positions. A state is (position, tokens in every
    draft's cache); an edge is a round with one arm, which costs its catch-up (blocking), proposal,
    transfer, verification and the orchestrator's share. Exact as long as no position has more than
    ``width`` states that do not dominate one another. In a batch the rounds of all requests are one, and
    their paths cannot be told apart: there the oracle takes the assignment with most tokens per predicted
    second of this very round, see :class:`RoundPlanner`.

    Proposals are taken to be as long as the length policy fixes, else ``tokens`` (None: the longest allowed).
    """

    sees_future = True
    needs_blocking = True  # with overlapped switching its plan is not executed as planned

    @dataclass(frozen=True)
    class Params:
        tokens: Annotated[int, Ge(1)] | None = None
        width: Annotated[int, Ge(1)] = 64

    def __init__(self, params: Params, context: PolicyContext) -> None:
        if context.future is None or context.outputs is None:
            raise ValueError("the oracle needs the future: an acceptance field and the output lengths")
        super().__init__(params, context)
        self._future = context.future
        self._outputs = context.outputs
        assumed = min(params.tokens or context.max_length, context.max_length)
        fixed = None if params.tokens else context.lengths
        self._lengths = fixed or (assumed,) * len(context.drafts)
        self._pricing = Pricing(context.predictor, self._lengths, context.context_tokens)
        self._planner = RoundPlanner(context, self._lengths)
        self._plans: dict[int, dict[int, int]] = {}  # arm by position

    def assign(self, batch: Sequence[RequestView]) -> list[int]:
        if len(batch) == 1:
            return [self._follow(batch[0])]
        for view in batch:
            self._plans.pop(view.id, None)  # its caches are no longer what the plan took them to be
        tokens, room = np.array([self._tokens(view) for view in batch]), self.room(len(batch))
        arms = self._planner.best_set(batch, tokens, self.arms, room)
        return self._planner.assign(batch, tokens, arms, room)

    def forget(self, request: int) -> None:
        self._plans.pop(request, None)

    def _follow(self, view: RequestView) -> int:
        """The next step of the plan, made anew where the request is not on it."""
        plan = self._plans.get(view.id)
        if plan is None or view.generated not in plan:
            runs = [self._future.runs(view.id, draft) for draft in range(len(self.context.drafts))]
            plan = self._plans[view.id] = shortest_path(
                runs, self._outputs[view.id], view, self.arms, self._pricing, self.params.width
            )
        return plan[view.generated]

    def _tokens(self, view: RequestView) -> list[int]:
        """What each arm would commit now, NO_DRAFT's last."""
        request, position, runs = view.id, view.generated, self._future.runs
        left = self._outputs[request] - position
        tokens = []
        for draft, length in enumerate(self._lengths):
            hits = runs(request, draft)[position]
            would = 1 + (hits if hits < length else length)
            tokens.append(would if would < left else left)
        tokens.append(1)
        return tokens
