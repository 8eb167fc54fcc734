"""Requests of one draft together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spinsim.policies.base import NO_DRAFT, PolicyContext, RequestView
from spinsim.policies.beliefs import TYPICAL_CONTEXT
from spinsim.policies.composition.round_robin import share
from spinsim.policies.registry import COMPOSITIONS


@COMPOSITIONS.register("grouped")
class Grouped:
    """The request that waits longest, and others that last used its draft: a fast draft then waits for
    no slow one (ours). At most ceil(active / depth), and nobody starves.

    ``fill: nearest`` tops up with requests of the drafts nearest in predicted step time, longest waiting
    first; ``none`` keeps groups pure, which makes small micro-batches where drafts are many.
    Requests that have used no draft yet go with any group.
    """

    @dataclass(frozen=True)
    class Params:
        fill: Literal["nearest", "none"] = "nearest"

    def __init__(self, params: Params, context: PolicyContext) -> None:
        self._fill = params.fill == "nearest"
        propose, tokens = context.predictor.propose, context.within(TYPICAL_CONTEXT, 1)
        # By draft, and NO_DRAFT last: who does not draft is the fastest.
        self._step_s = [
            *(propose(draft, [1], [tokens]).seconds for draft in range(len(context.drafts))),
            0.0,
        ]

    def select(self, ready: Sequence[RequestView], active: int, depth: int) -> list[int]:
        if not ready:
            return []
        size = share(active, depth, len(ready))
        group = next((view.draft for view in ready if view.rounds), NO_DRAFT)
        if ready[0].rounds:
            group = ready[0].draft
        chosen = [i for i, view in enumerate(ready) if view.draft == group or not view.rounds][:size]
        if self._fill and len(chosen) < size:
            pace = self._step_s
            others = [i for i, view in enumerate(ready) if view.draft != group and view.rounds]
            others.sort(key=lambda i: abs(pace[ready[i].draft] - pace[group]))
            chosen.extend(others[: size - len(chosen)])
            chosen.sort()
        return chosen
