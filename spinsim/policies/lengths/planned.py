"""Lengths of the plan that the selector made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.policies.base import Feedback, PolicyContext, RequestView
from spinsim.policies.registry import LENGTHS


@LENGTHS.register("planned")
class PlannedLength:
    """As the selector decided with the drafts, where it decides lengths (``planned``, ``contextual``)."""

    sees_future = False
    needs_plan = True

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        assert context.plan is not None
        self._plan = context.plan

    def lengths(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> list[int]:
        # A draft that was not settled on (overlapped switching) proposes as many tokens.
        return [
            max(1, length) if draft >= 0 else 0
            for length, draft in zip(self._plan.lengths, drafts, strict=True)
        ]

    def observe(self, feedback: Feedback) -> None:
        pass

    def forget(self, request: int) -> None:
        pass
