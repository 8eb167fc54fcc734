"""The depth of the plan that the selector made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from spinsim.policies.base import PolicyContext
from spinsim.policies.registry import PIPELINES


@PIPELINES.register("planned")
class PlannedDepth:
    """As the selector ``planned`` decided, at most ``max``."""

    needs_plan = True

    @dataclass(frozen=True)
    class Params:
        max: Annotated[int, Ge(1), Le(64)] = 4

    def __init__(self, params: Params, context: PolicyContext) -> None:
        assert context.plan is not None
        self._plan = context.plan
        self._max = min(params.max, context.batch_limit)

    @property
    def max_depth(self) -> int:
        return self._max

    def depth(self) -> int:
        return min(self._plan.depth, self._max)

    def observe(self, now_ns: int, committed: int, active: int) -> None:
        pass
