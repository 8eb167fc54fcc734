"""A trial: a few requests use a draft for a while, so that all may profit from what is learned of it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from spinsim.policies.planning.information import expected_gain
from spinsim.policies.planning.search import LEAST_GAIN, Arm, Batch, Plan, Search
from spinsim.policies.planning.survival import Survival

Array = np.ndarray[Any, Any]

SHARES = (8, 4, 2)  # one in so many of the requests tries the draft,
LENGTHS = (1, 2, 4)  # with proposals of so many tokens,
ROUNDS = (2, 4, 8)  # for so many rounds
ENDLESS = 1e9  # tries


class Trial(NamedTuple):
    """``plan``: with the requests that try a draft; ``rounds``: for which it is held."""

    plan: Plan
    rounds: int


def best_trial(
    search: Search, survival: Survival, batch: Batch, plan: Plan, rounds: float
) -> Generator[None, None, Trial | None]:
    """The trial that is worth the most beyond its price, or None, in steps of like effort (ours).

    All requests share a draft's rate, and one of which little is known may still be the best. The price of a
    trial is what the cycle grows by, reading included, at the rate of the ``plan``; what may be learned is of
    use for ``rounds``. The requests that have the least to read try it.
    """
    lessons = Lessons(search, survival, batch, plan)
    best, most = None, 0.0
    for draft in search.drafts:
        if draft in lessons.used or not lessons.gain(draft, ENDLESS):
            continue
        order = np.argsort(batch.missing[:, draft], kind="stable")
        for held in ROUNDS:
            paid = replace(batch, repay=float(held))
            before = search.with_choice(paid, plan.depth, plan.arms, plan.of, plan.packing)
            for share in SHARES:
                few = max(1, len(order) // share)
                choice = plan.of.copy()
                choice[order[:few]] = len(plan.arms)
                for length in lessons.lengths(draft):
                    gain = rounds * lessons.gain(draft, held * few * lessons.reached(draft, length))
                    if gain > most:
                        arms = (*plan.arms, Arm(draft, length))
                        tried = search.with_choice(paid, plan.depth, arms, choice, plan.packing)
                        price = held * _tokens(paid, tried) * (before.rate / tried.rate - 1)
                        if gain - price > most:
                            best, most = Trial(tried, held), gain - price
                yield
    return best


class Lessons:
    """What trying a draft is expected to teach, by the knowledge gradient of its rate.

    A draft that everybody uses, at its best length and depth, is held against the plan by tokens less what
    its time is worth at the plan's rate: of the plan itself nothing is left then.
    """

    def __init__(self, search: Search, survival: Survival, batch: Batch, plan: Plan) -> None:
        tokens = batch.worth[:, :-1].mean(0)
        spent = plan.rate / batch.rows * search.least_s(batch, plan.packing)[:-1]
        net = (tokens - spent)[:, 1:]
        self._net = net.max(1)
        self._lengths = 1 + net.argmax(1)
        surviving = np.diff(tokens, axis=1)
        self._rate = np.maximum(surviving[:, 0], 1e-6)
        position = np.arange(1, tokens.shape[1])
        counts = surviving * position * (position <= self._lengths[:, None])
        self._deviation = survival.deviations() * counts.sum(1) / self._rate  # of tokens
        self._evidence = survival.tried()
        self._rows = batch.rows
        self._least = LEAST_GAIN * _tokens(batch, plan)
        self.used = {arm.draft for arm in plan.arms}

    def gain(self, draft: int, tries: float) -> float:
        """Tokens a round of everybody after so many positions tried; 0 where it is next to nothing."""
        learned = self._deviation[draft] * np.sqrt(tries / (tries + self._evidence[draft]))
        gain = self._rows * float(expected_gain(max(0.0, -self._net[draft]), learned))
        return gain if gain > self._least else 0.0

    def lengths(self, draft: int) -> list[int]:
        """Proposals to try, none longer than the best."""
        return list(dict.fromkeys(min(length, int(self._lengths[draft])) for length in LENGTHS))

    def reached(self, draft: int, length: int) -> float:
        """Positions that a proposal is expected to try."""
        return float((self._rate[draft] ** np.arange(length)).sum())


def _tokens(batch: Batch, plan: Plan) -> float:
    """That a cycle of the plan is expected to commit."""
    columns = np.array(batch.columns(plan.arms))
    found = batch.flat[batch.requests, columns[plan.of]].sum() * batch.rows / len(plan.of)
    return float(found)
