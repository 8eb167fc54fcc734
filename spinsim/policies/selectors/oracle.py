"""The oracle: knows every future acceptance, and plans the fastest way to the end of each request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from spinsim.policies.base import NO_DRAFT, PolicyContext, RequestView
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.arms import PerRequest
from spinsim.policies.selectors.oracle_path import Pricing, shortest_path


@SELECTORS.register("oracle")
class Oracle(PerRequest["Oracle.Params"]):
    """Shortest path over output positions (ours): an upper bound for selectors, not a policy to deploy.

    A state is (position, tokens in every draft's cache); an edge is a round with one arm, which
    costs its catch-up (blocking), proposal, transfer, verification and the orchestrator's share. For a
    request alone the path is exact as long as no position has more than ``width`` states that do not dominate
    one another. In a batch every request is planned by itself, at 1/n of what a round of n like
    it would cost, n being the batch's size up to a power of two, with ``batch_width`` states: exact for
    costs that are shared evenly, else an approximation. A request that finds its planned draft
    full takes the arm with most tokens per second in this round.

    Proposals are taken to be as long as the length policy fixes, else ``tokens`` (None: the longest allowed).
    """

    sees_future = True

    @dataclass(frozen=True)
    class Params:
        tokens: Annotated[int, Ge(1)] | None = None
        width: Annotated[int, Ge(1)] = 64
        batch_width: Annotated[int, Ge(1)] = 4

    def __init__(self, params: Params, context: PolicyContext) -> None:
        if context.future is None or context.outputs is None:
            raise ValueError("the oracle needs the future: an acceptance field and the output lengths")
        super().__init__(params, context)
        self._future = context.future
        self._outputs = context.outputs
        assumed = min(params.tokens or context.max_length, context.max_length)
        fixed = None if params.tokens else context.lengths
        self._lengths = fixed or (assumed,) * len(context.drafts)
        self._prices: dict[int, Pricing] = {}
        self._rows = 1
        self._plans: dict[int, tuple[int, dict[int, int]]] = {}  # rows planned for, arm by position

    def assign(self, batch: Sequence[RequestView]) -> list[int]:
        self._rows = 1 << (len(batch) - 1).bit_length()
        return super().assign(batch)

    def choose(self, view: RequestView, arms: Sequence[int]) -> int:
        rows, plan = self._plans.get(view.id, (0, {}))
        arm = plan.get(view.generated)
        if arm is None or rows != self._rows:
            plan = self._plan(view)
            self._plans[view.id] = (self._rows, plan)
            arm = plan.get(view.generated, arms[0])
        return arm if arm in arms else max(arms, key=lambda other: self._rate(view, other))

    def forget(self, request: int) -> None:
        self._plans.pop(request, None)

    def _pricing(self) -> Pricing:
        prices = self._prices.get(self._rows)
        if prices is None:
            prices = self._prices[self._rows] = Pricing(self.context.predictor, self._rows, self._lengths)
        return prices

    def _plan(self, view: RequestView) -> dict[int, int]:
        runs = [self._future.runs(view.id, draft) for draft in range(len(self.context.drafts))]
        width = self.params.width if self._rows == 1 else self.params.batch_width
        cached = tuple(view.cached)
        return shortest_path(
            runs, self._outputs[view.id], view.generated, view.prompt_tokens, cached, self.arms,
            self._pricing(), width,
        )  # fmt: skip

    def _rate(self, view: RequestView, arm: int) -> float:
        """Tokens per second of this round alone."""
        cached = 0 if arm == NO_DRAFT else view.cached[arm]
        seconds = self._pricing().round_s(arm, view.context, cached)
        run = 0 if arm == NO_DRAFT else self._future.runs(view.id, arm)[view.generated]
        tokens = 1 if arm == NO_DRAFT else 1 + min(run, self._lengths[arm])
        return tokens / max(seconds, 1e-12)
