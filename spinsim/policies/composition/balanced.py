"""Micro-batches of equal predicted time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.policies.base import PolicyContext, RequestView
from spinsim.policies.composition.round_robin import share
from spinsim.policies.registry import COMPOSITIONS


@COMPOSITIONS.register("balanced")
class Balanced:
    """ceil(active / depth) requests whose K/V adds up to their share (ours).

    Counts are equal, so the predicted times of two verifications differ by the K/V they read:
    contexts are balanced. The longest waiting request is always in, so that
    nobody starves; each further one is the request nearest to what the others must have on average.
    """

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        pass

    def select(self, ready: Sequence[RequestView], active: int, depth: int) -> list[int]:
        size = share(active, depth, len(ready))
        if size >= len(ready):
            return list(range(len(ready)))
        contexts = [view.prompt_tokens + view.generated for view in ready]
        chosen = [0]
        # Requests in flight are taken to be like those at hand.
        missing = size * sum(contexts) / len(contexts) - contexts[0]
        others = sorted((tokens, i) for i, tokens in enumerate(contexts) if i > 0)
        for left in range(size - 1, 0, -1):
            at = bisect_left(others, (missing / left, 0))
            if at == len(others) or (
                at > 0 and missing / left - others[at - 1][0] <= others[at][0] - missing / left
            ):
                at -= 1
            tokens, i = others.pop(at)
            chosen.append(i)
            missing -= tokens
        chosen.sort()
        return chosen
