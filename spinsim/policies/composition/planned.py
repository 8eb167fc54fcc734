"""Micro-batches of the plan that the selector made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.policies.base import PolicyContext, RequestView
from spinsim.policies.composition.balanced import Balanced
from spinsim.policies.composition.grouped import Grouped
from spinsim.policies.registry import COMPOSITIONS


@COMPOSITIONS.register("planned")
class PlannedComposition:
    """Equal K/V in every micro-batch, or requests of one draft together where the plan says so (ours)."""

    needs_plan = True

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        assert context.plan is not None
        self._plan = context.plan
        self._balanced = Balanced(Balanced.Params(), context)
        self._grouped = Grouped(Grouped.Params(), context)

    def select(self, ready: Sequence[RequestView], active: int, depth: int) -> list[int]:
        chosen = self._grouped if self._plan.grouped and depth > 1 else self._balanced
        return chosen.select(ready, active, depth)
