"""Depths that do not change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Le

from spinsim.policies.base import PolicyContext, Tunable
from spinsim.policies.registry import PIPELINES


@PIPELINES.register("fixed")
class FixedDepth:
    """Always ``micro_batches`` of them."""

    native = "constant"

    @dataclass(frozen=True)
    class Params:
        micro_batches: Annotated[int, Ge(1), Le(64), Tunable(1, 8)] = 2

    def __init__(self, params: Params, context: PolicyContext) -> None:
        self._depth = params.micro_batches

    @property
    def max_depth(self) -> int:
        return self._depth

    def depth(self) -> int:
        return self._depth

    def observe(self, now_ns: int, committed: int, active: int) -> None:
        pass


@PIPELINES.register("serial")
class Serial:
    """One micro-batch: the target waits while the drafts work, and the other way round."""

    native = "constant"
    max_depth = 1

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        pass

    def depth(self) -> int:
        return 1

    def observe(self, now_ns: int, committed: int, active: int) -> None:
        pass
