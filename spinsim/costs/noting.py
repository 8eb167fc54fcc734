"""A predictor that notes what stands behind its answers, by kind of operation."""

from __future__ import annotations

from collections.abc import Sequence

from spinsim.costs.base import Estimate, Predictor
from spinsim.operations import Packing
from spinsim.scenario import NoisyPart


class Noting:
    """Implements :class:`spinsim.costs.base.Predictor` as ``inner`` does. ``seconds`` by kind and label."""

    def __init__(self, inner: Predictor) -> None:
        self._inner = inner
        self.seconds: dict[tuple[NoisyPart, int], float] = {}
        self.transfer = inner.transfer
        self.orchestrate = inner.orchestrate
        self.handle = inner.handle
        self.hop = inner.hop
        self.slowdown = inner.slowdown
        self.contention = inner.contention
        if (planning_s := getattr(inner, "planning_s", None)) is not None:
            self.planning_s = planning_s
        self.wake_s: float = getattr(inner, "wake_s", 0.0)

    def shares(self, label: int) -> dict[NoisyPart, float]:
        """Of each kind's seconds those with a label."""
        totals: dict[NoisyPart, float] = {}
        for (kind, _), seconds in self.seconds.items():
            totals[kind] = totals.get(kind, 0.0) + seconds
        return {kind: self.seconds.get((kind, label), 0.0) / total for kind, total in totals.items() if total}

    def _note(self, kind: NoisyPart, found: Estimate) -> Estimate:
        key = kind, found.label
        self.seconds[key] = self.seconds.get(key, 0.0) + found.seconds
        return found

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """See the protocol; likewise below."""
        return self._note("prefill", self._inner.prefill(tokens, starts))

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        return self._note("catch_up", self._inner.catch_up(draft, tokens, starts))

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        return self._note("propose", self._inner.propose(draft, lengths, contexts))

    def verify(self, packing: Packing) -> Estimate:
        return self._note("verify", self._inner.verify(packing))
