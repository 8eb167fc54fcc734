"""Which drafter and how many tokens for each row of one round, for most tokens at the rate that time is
worth.

A round of s seconds that commits n tokens is worth n - rate * s, the rate being what the batch commits per
second on average: the choice that is best for every such round in turn has the highest rate in the long run
(fractional programming, Dinkelbach 1967; a round's own rate as the goal would cut good rounds short).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from spinsim.policies.base import NO_DRAFT, PolicyContext
from spinsim.policies.beliefs import DraftingTimes, RoundTimes, ragged

Array = np.ndarray[Any, Any]

GROWS = (
    0.05  # a draft's time that grows by less of a round, from the shortest proposal to the longest, is flat
)
STEPS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # longest proposals of a draft whose time grows with them
MOST_CACHED = 1 << 14
FORGET = 0.99  # of the average rate, per round
TRUSTED_ROUNDS = 8  # of one batch size before its average rate is believed
ITERATIONS = 4  # of the fixed point, where no rate is known yet


class Offer(NamedTuple):
    """What one drafter would do, by the cap on its proposals: column c holds proposals of at most
    ``caps[c]``.

    ``tokens`` [row, cap]: proposals that would be accepted; ``lengths`` [row, cap]: tokens proposed, 0
    where there is nothing to propose.
    """

    caps: tuple[int, ...]
    tokens: Array
    lengths: Array


class Choice(NamedTuple):
    """A draft and a length by row; ``caps``: by drafter the column of its offer, -1 where it is unused."""

    drafts: list[int]
    lengths: list[int]
    caps: tuple[int, ...]
    tokens: float  # that the round would commit
    seconds: float


class RoundCosts:
    """Predicted seconds of a round whose rows differ in draft and length.

    ``repay``: rounds over which a catch-up is reckoned to pay. Verification is taken to be without padding.
    """

    def __init__(self, context: PolicyContext, repay: float) -> None:
        self._context = context
        self._times = RoundTimes(context)
        self._drafting = DraftingTimes(context)
        self._repay = repay
        self._verify: dict[tuple[int, int, int], float] = {}
        host = context.predictor.orchestrate(1).seconds + 2 * context.predictor.hop().seconds
        self._submit_s = host + context.predictor.handle("verify", 1).seconds

    def verify_s(self, rows: int, proposed: int, context: int) -> float:
        """One verification of ``rows`` with ``proposed`` tokens in all; ``context``: their mean."""
        context = self._context.within(-(-context // 64) * 64, -(-proposed // rows))
        key = rows, proposed, context
        seconds = self._verify.get(key)
        if seconds is None:
            if len(self._verify) >= MOST_CACHED:
                self._verify.clear()
            packing = ragged(rows, rows * context + proposed, rows + proposed)
            seconds = self._context.predictor.verify(packing).seconds + self._submit_s
            self._verify[key] = seconds
        return seconds

    def token_s(self, rows: int, longest: int, context: int) -> float:
        """What one more proposed token adds to a verification, from none to ``longest`` a row."""
        more = self.verify_s(rows, rows * longest, context) - self.verify_s(rows, 0, context)
        return max(0.0, more) / (rows * longest)

    def caps(self, draft: int, longest: int, rows: int, context: int) -> tuple[int, ...]:
        """Caps worth telling apart: the longest alone where the draft's time hardly grows with them."""
        least = self._times.draft_s(draft, rows, 1, context)
        grown = self._times.draft_s(draft, rows, longest, context) - least
        if longest == 1 or grown <= GROWS * (least + self.verify_s(rows, 0, context)):
            return (longest,)
        return (*(cap for cap in STEPS if cap < longest), longest)

    def seconds(
        self, rows: int, proposed: int, context: int, users: Sequence[tuple[int, int, int, int, int]]
    ) -> float:
        """A round; ``users``: (draft, its rows, its longest proposal, its late rows, tokens they lack)."""
        by_draft = {}
        for draft, count, longest, late, missing in users:
            by_draft[draft] = self._times.draft_s(draft, count, longest, context)
            if late:
                by_draft[draft] += self._times.catch_up_s(draft, late, missing) / self._repay
        return self._drafting.seconds(by_draft) + self.verify_s(rows, proposed, context)


class AverageRate:
    """Committed tokens per second of rounds, by batch size in powers of two; recent rounds count most."""

    def __init__(self) -> None:
        self._totals: dict[int, list[float]] = {}  # tokens, seconds, rounds

    def of(self, rows: int) -> float | None:
        """The average; None before enough rounds of such a size."""
        found = self._totals.get(rows.bit_length())
        return found[0] / found[1] if found is not None and found[2] >= TRUSTED_ROUNDS else None

    def add(self, rows: int, tokens: int, seconds: float) -> None:
        """One more round."""
        total = self._totals.setdefault(rows.bit_length(), [0.0, 0.0, 0.0])
        total[0] = FORGET * total[0] + tokens
        total[1] = FORGET * total[1] + max(seconds, 1e-9)
        total[2] += 1


def choose(
    offers: Sequence[Offer],
    missing: Array,
    contexts: Sequence[int],
    costs: RoundCosts,
    rate: float | None,
    *,
    none_allowed: bool,
    begin: Sequence[int] | None = None,
    held: bool = False,
) -> Choice:
    """The choice of one round by coordinate ascent over the drafters' caps, from those in ``begin``: an
    earlier round's, whose offers may have had more caps.

    ``missing`` [row, draft]: context tokens that the draft must read first. ``rate``: tokens per second
    that time is worth; None: the round's own, iterated to its fixed point. A row takes the drafter whose
    proposal is worth most at a token's price, or none. A row may always do without a proposal where
    drafters have none to make. ``held``: the caps stay those in ``begin``, and rows alone choose, where a
    rate is known and a drafter is used at all.
    """
    search = _Search(offers, missing, contexts, costs, none_allowed)
    if begin is None or len(begin) != len(offers):
        begin = (-1,) * len(offers)
    caps = tuple(min(cap, len(offer.caps) - 1) for cap, offer in zip(begin, offers, strict=True))
    if rate is not None and held and any(cap >= 0 for cap in caps):
        return search.evaluate(caps, rate)
    if rate is not None:
        return search.best(rate, caps)
    rate = len(contexts) / search.evaluate((-1,) * len(offers), 0.0).seconds
    for _ in range(ITERATIONS):
        choice = search.best(rate, caps)
        caps, rate = choice.caps, choice.tokens / choice.seconds
    return choice


class _Search:
    def __init__(
        self,
        offers: Sequence[Offer],
        missing: Array,
        contexts: Sequence[int],
        costs: RoundCosts,
        none_allowed: bool,
    ) -> None:
        self._offers = offers
        self._missing: list[list[int]] = missing.tolist()
        self._columns: dict[tuple[int, int, float], tuple[list[float], list[float], list[int]]] = {}
        self._rows = len(contexts)
        self._context = sum(contexts) // len(contexts)
        self._costs = costs
        self._none_allowed = none_allowed
        self._known: dict[tuple[tuple[int, ...], float], Choice] = {}
        longest = max((offer.caps[-1] for offer in offers), default=1)
        self._token_s = costs.token_s(self._rows, longest, self._context)

    def best(self, rate: float, caps: tuple[int, ...]) -> Choice:
        """The best choice at this rate, changing one drafter's cap at a time until nothing gains."""
        found = self._worth(caps, rate)
        if not self._none_allowed and not any(cap >= 0 for cap in caps) and self._offers:
            found = max(
                (self._worth(self._changed(caps, d, 0), rate) for d in range(len(self._offers))),
                key=lambda one: one[0],
            )
        while True:
            better = found
            for draft, offer in enumerate(self._offers):
                for cap in range(-1, len(offer.caps)):
                    now = better[1].caps
                    if cap == now[draft]:
                        continue
                    tried = self._worth(self._changed(now, draft, cap), rate)
                    if tried[0] > better[0] + 1e-12:
                        better = tried
            if better is found:
                return found[1]
            found = better

    @staticmethod
    def _changed(caps: tuple[int, ...], draft: int, cap: int) -> tuple[int, ...]:
        return (*caps[:draft], cap, *caps[draft + 1 :])

    def _worth(self, caps: tuple[int, ...], rate: float) -> tuple[float, Choice]:
        choice = self._known.get((caps, rate))
        if choice is None:
            choice = self._known[caps, rate] = self.evaluate(caps, rate)
        if not self._none_allowed and self._offers and max(caps) < 0:
            return -np.inf, choice
        return choice.tokens - rate * choice.seconds, choice

    def evaluate(self, caps: tuple[int, ...], rate: float) -> Choice:
        """What the rows choose where drafters have these caps."""
        used = [draft for draft, cap in enumerate(caps) if cap >= 0]
        rows = self._rows
        if not used:
            seconds = self._costs.seconds(rows, 0, self._context, ())
            return Choice([NO_DRAFT] * rows, [0] * rows, caps, float(rows), seconds)
        # Plain lists: for the rows of a batch they take a fifth of what arrays do.
        columns = [self._column(draft, caps[draft], rate * self._token_s) for draft in used]
        least = 0.0 if self._none_allowed else -math.inf
        drafts, lengths, gain = [NO_DRAFT] * rows, [0] * rows, 0.0
        users = [[draft, 0, 0, 0, 0] for draft in used]
        for row in range(rows):
            most, picked = least, -1
            for number, (net, _, _) in enumerate(columns):
                if net[row] > most:
                    most, picked = net[row], number
            if picked < 0:
                continue
            _, tokens, proposed = columns[picked]
            user, behind = users[picked], self._missing[row][used[picked]]
            drafts[row], lengths[row] = used[picked], proposed[row]
            gain += tokens[row]
            user[1] += 1
            user[2] = max(user[2], proposed[row])
            user[3] += behind > 0
            user[4] += behind
        active = [
            (draft, count, longest, late, lacks) for draft, count, longest, late, lacks in users if count
        ]
        seconds = self._costs.seconds(rows, sum(lengths), self._context, active)
        return Choice(drafts, lengths, caps, rows + gain, seconds)

    def _column(self, draft: int, cap: int, price: float) -> tuple[list[float], list[float], list[int]]:
        """By row: what a proposal is worth beyond its price, its tokens, its length."""
        found = self._columns.get((draft, cap, price))
        if found is None:
            offer = self._offers[draft]
            tokens, lengths = offer.tokens[:, cap], offer.lengths[:, cap]
            net = np.where(lengths == 0, -np.inf, tokens - price * lengths)
            found = net.tolist(), tokens.tolist(), lengths.tolist()
            self._columns[draft, cap, price] = found
        return found
