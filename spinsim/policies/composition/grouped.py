"""Requests of one draft together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.policies.base import PolicyContext, RequestView
from spinsim.policies.composition.round_robin import share
from spinsim.policies.registry import COMPOSITIONS


@COMPOSITIONS.register("grouped")
class Grouped:
    """The request that waits longest, and those that last used the same draft: a fast draft then waits for
    no slow one (ours). At most ceil(active / depth); ``fill`` tops up with the longest waiting of
    the others. Nobody starves, since the longest waiting request is always in.
    """

    @dataclass(frozen=True)
    class Params:
        fill: bool = False

    def __init__(self, params: Params, context: PolicyContext) -> None:
        self._fill = params.fill

    def select(self, ready: Sequence[RequestView], active: int, depth: int) -> list[int]:
        if not ready:
            return []
        size = share(active, depth, len(ready))
        draft = ready[0].draft
        chosen = [i for i, view in enumerate(ready) if view.draft == draft][:size]
        if self._fill and len(chosen) < size:
            others = (i for i, view in enumerate(ready) if view.draft != draft)
            chosen.extend(i for i, _ in zip(others, range(size - len(chosen)), strict=False))
            chosen.sort()
        return chosen
