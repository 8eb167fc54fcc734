"""What selectors that decide request by request have in common: arms, and the drafts' capacities."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Generic, TypeVar

from spinsim.policies.base import NO_DRAFT, Feedback, PolicyContext, RequestView

P = TypeVar("P")


def arms_of(context: PolicyContext) -> tuple[int, ...]:
    """Draft indices, then NO_DRAFT where it may be chosen. Lists with an entry per draft and one
    more are indexed by an arm directly: NO_DRAFT, -1, is the last."""
    drafts = tuple(range(len(context.drafts)))
    return (*drafts, NO_DRAFT) if context.allow_none or not drafts else drafts


class PerRequest(Generic[P]):
    """Base of selectors whose ``choose`` looks at one request at a time.

    Capacities (ours: b_j is the number of requests that draft j may serve in one micro-batch,
    unlimited by default) are filled in the order of the batch; a request that finds every draft
    full decodes without one, which needs no capacity.
    """

    sees_future = False
    full_information = False

    def __init__(self, params: P, context: PolicyContext) -> None:
        self.params = params
        self.context = context
        self.arms = arms_of(context)
        limits = [capacity for capacity in context.capacities if capacity is not None]
        self.unlimited_rows = min(limits) if limits else sys.maxsize  # no capacity binds up to this many

    def choose(self, view: RequestView, arms: Sequence[int]) -> int:
        """One of ``arms``, which is not empty."""
        raise NotImplementedError

    def assign(self, batch: Sequence[RequestView]) -> list[int]:
        if len(batch) <= self.unlimited_rows:
            choose, arms = self.choose, self.arms
            return [choose(view, arms) for view in batch]
        room = self.room(len(batch))
        chosen = []
        for view in batch:
            free = [arm for arm in self.arms if room[arm] > 0]
            arm = self.choose(view, free) if free else NO_DRAFT
            room[arm] -= 1
            chosen.append(arm)
        return chosen

    def room(self, rows: int) -> list[int]:
        """Free slots by arm for a batch of ``rows``."""
        limits = [rows if b is None else min(b, rows) for b in self.context.capacities]
        return [*limits, rows]

    def observe(self, feedback: Feedback) -> None:
        pass

    def observe_hits(self, request: RequestView, draft: int, hits: bytes) -> None:
        pass

    def forget(self, request: int) -> None:
        pass
