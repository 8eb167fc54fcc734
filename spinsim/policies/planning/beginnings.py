"""Which rounds tell how long a cycle of a plan is: those that nothing but the plan made long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from spinsim.policies.base import NO_DRAFT, Feedback, RequestView
from spinsim.policies.planning.search import Plan


class Began(NamedTuple):
    """How a round began: by which plan, and whether it tells how long a cycle of the plan is."""

    packing: str
    depth: int
    is_steady: bool


class Beginnings:
    """How the rounds under way began. When one ends, the next plan may already be in force.

    A round is not steady where a draft reads what it has missed of a request. Nor is it while micro-batches
    still are as another depth left them: for as many rounds as two cycles of the deeper plan have.
    """

    def __init__(self) -> None:
        self._under_way: dict[int, Began] = {}  # by a round's first request
        self._depth = 0  # of the last round that began
        self._unsettled = 0  # rounds to come in which a change of depth is still felt

    def begins(self, plan: Plan, batch: Sequence[RequestView], drafts: Sequence[int]) -> None:
        """A round of these requests, each with its draft."""
        if plan.depth != self._depth:
            self._unsettled = 2 * max(plan.depth, self._depth)
            self._depth = plan.depth
        self._unsettled = max(0, self._unsettled - 1)
        reads = any(
            draft != NO_DRAFT and view.context - view.cached[draft] > 2  # a first step takes in two tokens
            for view, draft in zip(batch, drafts, strict=True)
        )
        began = Began(plan.packing, plan.depth, not reads and not self._unsettled)
        self._under_way[batch[0].id] = began

    def of(self, feedback: Feedback) -> Began | None:
        """How the round that ended had begun; None where that is not known."""
        return self._under_way.pop(feedback.requests[0].id, None)
