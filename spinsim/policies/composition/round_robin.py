"""Equal counts, longest waiting first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.policies.base import PolicyContext, RequestView
from spinsim.policies.registry import COMPOSITIONS


def share(active: int, depth: int, ready: int) -> int:
    """Requests of one micro-batch when ``active`` are dealt evenly to ``depth``: ceil, at least 1."""
    return min(ready, max(1, -(-active // depth)))


@COMPOSITIONS.register("round_robin")
class RoundRobin:
    """The ceil(active / depth) that wait longest."""

    native = "round robin"

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        pass

    def select(self, ready: Sequence[RequestView], active: int, depth: int) -> list[int]:
        return list(range(share(active, depth, len(ready))))
