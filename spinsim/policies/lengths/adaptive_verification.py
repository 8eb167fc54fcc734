"""vLLM's adaptive verification: one budget over all (request, position) slots of a round."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from spinsim.policies.base import NOT_LOOKED_UP, Feedback, PolicyContext, RequestView, Tunable
from spinsim.policies.beliefs import ragged
from spinsim.policies.registry import LENGTHS

Array = np.ndarray[Any, Any]

# Lower ends of the classes of a match's length: 1 to 6 tokens each, then 7 to 10, 11 to 20 and more.
MATCHES = (1, 2, 3, 4, 5, 6, 7, 11, 21)
FIRST_LOG_ODDS = 1.5  # of acceptance at every position, before anything was fitted
MOST_LOG_ODDS = 10.0  # ours: where a position is always (or never) accepted, a Newton step knows no bounds
REFIT_STEPS = 100
WARM_UP_REFITS = 3  # until then a model's proposals are verified whole
LEAST_OBSERVATIONS = 50  # of a position, for its refit
HALF_LIFE_STEPS = 1024  # after so many, a lookup's counts are halved


@LENGTHS.register("adaptive_verification")
class AdaptiveVerification:
    """Slots of highest survival first, as many as give most tokens per second of the round (vLLM).

    Every drafter proposes ``tokens`` (None: limits.max_length). A slot's score is its survival, the product
    of the request's acceptance by position up to there; the budget is the number of best slots n with the
    highest (requests + sum of their scores) / (drafting + verification of so many tokens). Costs are those
    of contexts of ``context_tokens``, whatever the real ones are: vLLM profiles them once, at the start.
    Acceptance of a lookup is (accepted + 1) / (reached + 2) by length of its match and position. vLLM
    predicts a model's from the margin of its logits by a logistic fit, refitted every 100 steps; a
    recording has no logits, so that here the fit is left with its constant by position, with which vLLM's
    starts, too. vLLM sizes the budget from the scores of a step earlier and drafts before it verifies less;
    here a shorter proposal is drafted shorter, which can only help it.

    Source: vllm/v1/worker/gpu/spec_decode/adaptive_verification.py at commit
    057929c3632766486896597cf27e1425fd838e63, acceptance_estimator.py at
    165b36638705d0ba564933c57fbb9f1e053661c9 and suffix/speculator.py at
    05084858eed1661e7448068f26a0474a7c226af1; the confidence-scheduled verification of DSpark, arXiv
    2607.05147.
    """

    sees_future = False
    reads_lookups = True

    @dataclass(frozen=True)
    class Params:
        tokens: Annotated[int, Ge(1), Tunable(1, 16)] | None = None
        context_tokens: Annotated[int, Ge(1)] = 8192

    def __init__(self, params: AdaptiveVerification.Params, context: PolicyContext) -> None:
        self._context = context
        self._most = min(params.tokens or context.max_length, context.max_length)
        self._held = context.within(params.context_tokens, self._most)
        drafts = len(context.drafts)
        self._models = [_FittedModel(self._most) for _ in range(drafts)]
        self._lookups = [_CountedLookup(self._most) for _ in range(drafts)]
        self._costs: dict[tuple[int, ...], Array] = {}
        self._matches: dict[int, int] = {}  # of each request's last proposal

    def lengths(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> list[int]:
        rows, most = len(batch), self._most
        chances = np.zeros((rows, most))
        limits = np.zeros(rows, int)
        whole = np.zeros(rows, bool)
        for row, (view, draft) in enumerate(zip(batch, drafts, strict=True)):
            if draft < 0:
                continue
            offered = view.offered[draft] if view.offered else NOT_LOOKED_UP
            if offered == NOT_LOOKED_UP:
                model = self._models[draft]
                chances[row], limits[row], whole[row] = model.chances, most, model.learns
            else:
                match = self._matches[view.id] = bisect_right(MATCHES, view.matched[draft]) - 1
                chances[row] = self._lookups[draft].chances(match)
                limits[row] = min(offered, most)
        scores = np.cumprod(chances, 1)
        slot = np.arange(most) < limits[:, None]
        ranked = np.sort(scores[slot])[::-1]
        expected = rows + np.concatenate(([0.0], np.cumsum(ranked)))
        budget = int((expected / self._seconds(drafts, len(ranked))).argmax())
        if budget == len(ranked):
            admitted = limits
        else:
            order = np.argsort(-np.where(slot, scores, -1.0), axis=None, kind="stable")[:budget]
            admitted = np.bincount(order // most, minlength=rows)
        lengths: list[int] = np.where(whole, limits, admitted).tolist()
        # A model has drafted all the same, and has a token verified; of a lookup nothing need be.
        least = [
            1 if draft >= 0 and (not view.offered or view.offered[draft] == NOT_LOOKED_UP) else 0
            for view, draft in zip(batch, drafts, strict=True)
        ]
        return [max(pair) for pair in zip(lengths, least, strict=True)]

    def observe(self, feedback: Feedback) -> None:
        for model in self._models:
            model.step()
        for lookup in self._lookups:
            lookup.step()
        rows = zip(feedback.requests, feedback.drafts, feedback.lengths, feedback.accepted, strict=True)
        for view, draft, length, accepted in rows:
            if draft < 0 or length <= 0:
                continue
            if view.offered and view.offered[draft] != NOT_LOOKED_UP:
                self._lookups[draft].add(self._matches[view.id], accepted, length)
            else:
                self._models[draft].add(accepted, length)

    def forget(self, request: int) -> None:
        self._matches.pop(request, None)

    def _seconds(self, drafts: Sequence[int], most: int) -> Array:
        """Drafting, and verifying 0 .. ``most`` proposed tokens, at the context of the profile."""
        rows = len(drafts)
        used = sorted({draft for draft in drafts if draft >= 0})
        key = (rows, *(drafts.count(draft) for draft in used), *used)
        seconds = self._costs.get(key)
        if seconds is None:
            ask, held = self._context.predictor, self._held
            drafting = 0.0
            for draft in used:
                count = drafts.count(draft)
                drafting += ask.propose(draft, [self._most] * count, [held] * count).seconds
            curve = [
                ask.verify(ragged(rows, rows * held + tokens, rows + tokens)).seconds
                for tokens in range(rows * self._most + 1)
            ]
            seconds = self._costs[key] = drafting + np.maximum.accumulate(curve)
        return np.maximum(seconds[: most + 1], 1e-9)


class _FittedModel:
    """Acceptance by position of a drafter that is a model: the constants of vLLM's logistic fits."""

    def __init__(self, most: int) -> None:
        self.log_odds = np.full(most, FIRST_LOG_ODDS)
        self._steps = self._refits = 0
        self._reached, self._accepted = np.zeros(most), np.zeros(most)

    @property
    def chances(self) -> Array:
        """Probability of acceptance by position, where those before were accepted."""
        chances: Array = 1 / (1 + np.exp(-self.log_odds))
        return chances

    @property
    def learns(self) -> bool:
        """Are proposals still verified whole, so that what is learnt is not cut by what was learnt?"""
        return self._refits < WARM_UP_REFITS

    def add(self, accepted: int, length: int) -> None:
        """One proposal's verdict."""
        self._reached[: min(accepted + 1, length)] += 1
        self._accepted[:accepted] += 1

    def step(self) -> None:
        """One Newton step of every position that was seen enough, every so many rounds."""
        self._steps += 1
        if self._steps % REFIT_STEPS:
            return
        chances, enough = self.chances, self._reached >= LEAST_OBSERVATIONS
        curvature = np.maximum(self._reached * chances * (1 - chances), 1e-3)
        newton = (self._accepted - self._reached * chances) / curvature
        fitted = np.where(enough, self.log_odds + newton, self.log_odds)
        self.log_odds = fitted.clip(-MOST_LOG_ODDS, MOST_LOG_ODDS)
        self._reached[:] = self._accepted[:] = 0.0
        self._refits += 1


class _CountedLookup:
    """Acceptance of a lookup by the length of its match and position."""

    def __init__(self, most: int) -> None:
        self._reached, self._accepted = (np.zeros((len(MATCHES) + 1, most)) for _ in range(2))
        self._steps = 0

    def chances(self, match: int) -> Array:
        """Probability of acceptance by position, for a match of this class."""
        chances: Array = (self._accepted[match] + 1) / (self._reached[match] + 2)
        return chances

    def add(self, match: int, accepted: int, length: int) -> None:
        """One proposal's verdict."""
        self._reached[match, : min(accepted + 1, length)] += 1
        self._accepted[match, :accepted] += 1

    def step(self) -> None:
        """One more round; counts fade."""
        self._steps += 1
        if self._steps % HALF_LIFE_STEPS == 0:
            self._reached *= 0.5
            self._accepted *= 0.5
