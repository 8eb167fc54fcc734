"""HedgeSpec: full information and NormalHedge ("Not-a-Bandit", ICLR 2026)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spinsim.policies.base import NO_DRAFT, PolicyContext, RequestView
from spinsim.policies.beliefs import RoundTimes
from spinsim.policies.randomness import Draws
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.arms import PerRequest


def normal_hedge_weights(regrets: Sequence[float]) -> list[float]:
    """w_i ~ [R_i]+ / c exp([R_i]+^2 / (2c)), where c > 0 makes the mean of exp([R_i]+^2 / (2c)) equal e
    (Chaudhuri, Freund & Hsu 2009). Uniform while no regret is positive."""
    squares = [max(0.0, regret) ** 2 for regret in regrets]
    largest = max(squares)
    if largest <= 0.0:
        return [1.0 / len(regrets)] * len(regrets)
    # exp(s/2c) summed over the arms equals e K: between one arm alone at the top, and all of them.
    target = math.e * len(squares)
    low, high = largest / (2.0 * math.log(target)), largest / 2.0
    for _ in range(60):
        c = 0.5 * (low + high)
        if sum(math.exp(square / (2.0 * c)) for square in squares) > target:
            low = c
        else:
            high = c
        if high - low <= 1e-9 * high:
            break
    c = 0.5 * (low + high)
    weights = [math.sqrt(square) * math.exp((square - largest) / (2.0 * c)) for square in squares]
    total = sum(weights)
    return [weight / total for weight in weights]


class _Scores:
    """One request: regrets by arm, the last weights, and by draft the runs of hits not yet scored."""

    __slots__ = ("positions", "regrets", "runs", "streaks", "weights")

    def __init__(self, drafts: int, arms: int) -> None:
        self.regrets = [0.0] * arms
        self.weights = [1.0 / arms] * arms
        self.streaks = [0] * drafts
        self.runs = [0] * drafts
        self.positions = [0] * drafts


@SELECTORS.register("hedgespec")
class HedgeSpec(PerRequest["HedgeSpec.Params"]):
    """Every draft is scored on the committed tokens; NormalHedge's weights are drawn from.

    A draft's score is its mean match run: from each committed position, how many tokens in a row it would
    have proposed rightly, at most L. One pass suffices: a hit extends every run that reaches it, so it
    adds the length of the current streak. A step is taken when every draft has been scored anew. The gain
    is run / L (``tokens``, as published), or (1 + run) / predicted seconds of the round, over the largest
    such rate (``tokens_per_round_second``, ours).
    """

    full_information = True

    @dataclass(frozen=True)
    class Params:
        reward: Literal["tokens", "tokens_per_round_second"] = "tokens"

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._draws = Draws(context.seed, "selector.hedgespec")
        self._requests: dict[int, _Scores] = {}
        self._times = RoundTimes(context, grain=256)
        self._drafts = len(context.drafts)
        self._rows = 1

    def assign(self, batch: Sequence[RequestView]) -> list[int]:
        self._rows = len(batch)
        return super().assign(batch)

    def choose(self, view: RequestView, arms: Sequence[int]) -> int:
        scores = self._of(view.id)
        if all(scores.positions):
            self._step(scores, view)
        return self._draws.choice(view.id, view.rounds, arms, [scores.weights[arm] for arm in arms])

    def observe_hits(self, request: RequestView, draft: int, hits: bytes) -> None:
        scores = self._of(request.id)
        streak, longest, total = scores.streaks[draft], self.context.max_length, 0
        for hit in hits:
            streak = min(streak + 1, longest) if hit else 0
            total += streak
        scores.streaks[draft] = streak
        scores.runs[draft] += total
        scores.positions[draft] += len(hits)

    def forget(self, request: int) -> None:
        self._requests.pop(request, None)

    def _of(self, request: int) -> _Scores:
        scores = self._requests.get(request)
        if scores is None:
            scores = self._requests[request] = _Scores(self._drafts, len(self.arms))
        return scores

    def _step(self, scores: _Scores, view: RequestView) -> None:
        """R_i += g_i - sum_j w_j g_j, then new weights."""
        runs = [run / n for run, n in zip(scores.runs, scores.positions, strict=True)]
        gains = self._gains(runs, view)
        expected = sum(w * g for w, g in zip(scores.weights, gains, strict=True))
        scores.regrets = [r + g - expected for r, g in zip(scores.regrets, gains, strict=True)]
        scores.weights = normal_hedge_weights(scores.regrets)
        scores.runs = [0] * self._drafts
        scores.positions = [0] * self._drafts

    def _gains(self, runs: Sequence[float], view: RequestView) -> list[float]:
        """In [0, 1], by arm."""
        longest = self.context.max_length
        if self.params.reward == "tokens":
            return [run / longest for run in runs]
        lengths = self.context.lengths or (longest,) * self._drafts
        rates, bounds = [], []
        for arm in self.arms:
            length = 0 if arm == NO_DRAFT else lengths[arm]
            seconds = max(self._times.round_s(arm, self._rows, length, view.context), 1e-9)
            run = 0.0 if arm == NO_DRAFT else min(runs[arm], length)
            rates.append((1.0 + run) / seconds)
            bounds.append((1.0 + length) / seconds)
        return [rate / max(bounds) for rate in rates]
