"""Micro-batches of equal predicted time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.policies.base import PolicyContext, RequestView
from spinsim.policies.beliefs import ragged
from spinsim.policies.registry import COMPOSITIONS

_KV = 4096  # tokens; where the predictor's slope is taken


@COMPOSITIONS.register("balanced")
class Balanced:
    """Fills a micro-batch up to 1/depth of the active requests' predicted load, largest first (ours).

    A request's load is what it adds to a verification: a + b * context, from the predictor's slopes in rows
    and in KV tokens. The longest waiting request is always in, so that nobody starves; the rest are taken
    first-fit decreasing, the heuristic of bin packing, and at least one row is chosen.
    """

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        queries = 1 + (max(context.lengths) if context.lengths else context.max_length)
        verify = context.predictor.verify
        rows, more = 8, 16
        base = verify(ragged(rows, rows * _KV, rows * queries)).seconds
        by_row = verify(ragged(more, rows * _KV, more * queries)).seconds
        by_kv = verify(ragged(rows, more * _KV, rows * queries)).seconds
        self._row_s = max(0.0, (by_row - base) / (more - rows))
        self._kv_s = max(0.0, (by_kv - base) / ((more - rows) * _KV))
        if self._row_s == 0.0 and self._kv_s == 0.0:  # costs without a slope: balance memory
            self._kv_s = 1.0

    def load(self, request: RequestView) -> float:
        """Seconds that the request adds to a verification."""
        return self._row_s + self._kv_s * (request.prompt_tokens + request.generated)

    def select(self, ready: Sequence[RequestView], active: int, depth: int) -> list[int]:
        if depth == 1 or len(ready) <= 1:
            return list(range(len(ready)))
        loads = [self.load(view) for view in ready]
        # The load of requests in flight is taken to be like that of those at hand.
        room = sum(loads) / len(loads) * max(active, len(ready)) / depth - loads[0]
        chosen = [0]
        for i in sorted(range(1, len(ready)), key=lambda i: (-loads[i], i)):
            if loads[i] <= room:
                chosen.append(i)
                room -= loads[i]
        chosen.sort()
        return chosen
