"""Published linear fits: seconds = base + a * tokens + b * KV tokens, for each model."""

from __future__ import annotations

from collections.abc import Sequence

from spinsim.costs.base import INTERPOLATED, Estimate, UniformHost
from spinsim.costs.contention import Contention, Factors, InTurn
from spinsim.operations import Packing
from spinsim.scenario import LinearPass


class LinearPredictor(UniformHost):
    """Answers from fits that others made of their own measurements; nothing checks their range.

    A draft's pass is a whole proposal, its tokens those of all rows. ``drafts`` are in the scenario's order.
    """

    native = "asked"

    def __init__(
        self,
        target: LinearPass,
        drafts: Sequence[LinearPass],
        *,
        prefill: LinearPass,
        catch_up: LinearPass,
        step_s: float,
    ) -> None:
        self._target, self._drafts = target, tuple(drafts)
        self._prefill, self._catch_up = prefill, catch_up
        self._step_s = step_s

    def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """One pass over new prompt tokens."""
        return _pass(self._prefill, sum(tokens), sum(tokens) + sum(starts))

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        """One pass of a draft over tokens it has not seen."""
        return _pass(self._catch_up, sum(tokens), sum(tokens) + sum(starts))

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        """A whole proposal in one call."""
        fit = self._drafts[draft]
        found = _pass(fit, sum(lengths), sum(contexts))
        if not fit.pass_s:
            return found
        return Estimate(found.seconds + fit.pass_s * max(lengths, default=0), INTERPOLATED)

    def verify(self, packing: Packing) -> Estimate:
        """One pass of the target, and what every step costs besides."""
        if not packing.rows:
            return Estimate(0.0, INTERPOLATED)
        found = _pass(self._target, packing.real_query_tokens, packing.real_kv_tokens)
        return Estimate(found.seconds + self._step_s, INTERPOLATED)

    def transfer(self, rows: int, tokens: int) -> Estimate:
        """In the passes already."""
        return Estimate(0.0, INTERPOLATED)

    def orchestrate(self, rows: int) -> Estimate:
        """In ``step_s`` already."""
        return Estimate(0.0, INTERPOLATED)

    def hop(self) -> Estimate:
        """In ``step_s`` already."""
        return Estimate(0.0, INTERPOLATED)

    def slowdown(self, draft: int, target_lane: bool) -> float:
        """The fits know nothing of two lanes: none."""
        return 1.0

    def contention(self) -> Contention:
        """Target and drafts do not notice each other; nothing says what drafts gain side by side: nothing."""
        return Contention(Factors(self.slowdown, InTurn()))


def _pass(fit: LinearPass, tokens: int, kv_tokens: int) -> Estimate:
    if not tokens:
        return Estimate(0.0, INTERPOLATED)
    return Estimate(fit.base_s + fit.token_s * tokens + fit.kv_token_s * kv_tokens, INTERPOLATED)
