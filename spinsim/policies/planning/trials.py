"""A trial: a few requests use a draft for a while, so that all may profit from what is learned of it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from spinsim.policies.planning.information import Array, expected_gain
from spinsim.policies.planning.search import LEAST_GAIN, Batch, Plan, Search
from spinsim.policies.planning.survival import Survival

SHARES = (8, 4, 2)  # one in so many of the requests tries the draft,
LENGTHS = (1, 2, 4)  # with proposals of so many tokens,
ROUNDS = (2, 4, 8)  # for so many rounds
ENDLESS = 1e9  # positions tried


class Trial(NamedTuple):
    """``plan``: with the requests that try a draft; ``rounds``: for which it is held."""

    plan: Plan
    rounds: int


class Standing(NamedTuple):
    """Drafts as everybody's, each at its best length and depth, held against a plan; all by draft.

    ``ahead``: tokens of a request's round less what the cycle's time is worth at the plan's rate, which
    leaves nothing of the plan itself. ``deviation``: of that, by what is not known of the draft's rate.
    ``tried``: positions that stand behind the rate. ``rate``: chance of a first token. ``length``: the best.
    """

    ahead: Array
    deviation: Array
    tried: Array
    rate: Array
    length: Array

    def gain(self, draft: int, tries: float) -> float:
        """Tokens that a request's rounds are expected to gain by so many positions tried (the knowledge
        gradient)."""
        learned = self.deviation[draft] * np.sqrt(tries / (tries + self.tried[draft]))
        return float(expected_gain(max(0.0, -self.ahead[draft]), learned))

    def reached(self, draft: int, length: int) -> float:
        """Positions that a proposal is expected to try."""
        return float((self.rate[draft] ** np.arange(length)).sum())


def standing(search: Search, survival: Survival, batch: Batch, plan: Plan) -> Standing:
    """How drafts stand against a plan."""
    tokens = batch.worth[:, :-1].mean(0)
    spent = plan.rate / batch.rows * search.least_s(batch, plan.packing)[:-1]
    ahead = (tokens - spent)[:, 1:]
    length = 1 + ahead.argmax(1)
    surviving = np.diff(tokens, axis=1)
    rate = np.maximum(surviving[:, 0], 1e-6)
    position = np.arange(1, tokens.shape[1])
    counts = surviving * position * (position <= length[:, None])  # d tokens / d rate, times the rate
    deviation = survival.deviations() * counts.sum(1) / rate
    return Standing(ahead.max(1), deviation, survival.tried(), rate, length)


def best_trial(
    search: Search, survival: Survival, batch: Batch, plan: Plan, rounds: float
) -> Generator[None, None, Trial | None]:
    """The trial that is worth the most beyond its price, or None, in steps of like effort (ours).

    All requests share a draft's rate, and one of which little is known may still be the best. The price of a
    trial is what the cycle grows by, reading included, at the rate of the ``plan``; what may be learned is of
    use for ``rounds``. The requests that have the least to read try it.
    """
    found = standing(search, survival, batch, plan)
    least = LEAST_GAIN * _tokens(batch, plan) / batch.rows
    used = {arm.draft for arm in plan.arms}
    best, most = None, 0.0
    for draft in search.drafts:
        if draft in used or found.gain(draft, ENDLESS) < least:
            continue
        arms = dict.fromkeys(search.arm(draft, min(length, int(found.length[draft]))) for length in LENGTHS)
        order = np.argsort(batch.missing[:, draft], kind="stable")
        for held in ROUNDS:
            paid = replace(batch, repay=float(held))
            before = search.with_choice(paid, plan.depth, plan.arms, plan.of, plan.packing)
            for share in SHARES:
                few = max(1, len(order) // share)
                choice = plan.of.copy()
                choice[order[:few]] = len(plan.arms)
                for arm in arms:
                    gain = found.gain(draft, held * few * found.reached(*arm))
                    won = rounds * batch.rows * gain
                    if gain < least or won < most:
                        continue
                    tried = search.with_choice(paid, plan.depth, (*plan.arms, arm), choice, plan.packing)
                    price = held * _tokens(paid, tried) * (before.rate / tried.rate - 1)
                    if won - price > most:
                        best, most = Trial(tried, held), won - price
                yield
    return best


def _tokens(batch: Batch, plan: Plan) -> float:
    """That a cycle of the plan is expected to commit."""
    columns = np.array(batch.columns(plan.arms))
    found = batch.flat[batch.requests, columns[plan.of]].sum() * batch.rows / len(plan.of)
    return float(found)
