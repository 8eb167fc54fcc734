"""Which drafter and how many tokens for each row of one round, for most tokens at the rate that time is
worth.

A round of s seconds that commits n tokens is worth n - rate * s, the rate being what the batch commits per
second on average: the choice that is best for every such round in turn has the highest rate in the long run
(fractional programming, Dinkelbach 1967; a round's own rate as the goal would cut good rounds short).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


class Users(NamedTuple):
    """Who uses each drafter, [set, drafter]: ``rows``, and the longest of their proposals; rows that are
    ``late`` and the tokens that they lack, None where nobody is. ``proposed`` [set]: tokens in all."""

    rows: Array
    longest: Array
    proposed: Array
    late: Array | None = None
    lacking: Array | None = None

    def beside(self, others: Users) -> Users:
        """Together with others' choice, which is one set."""
        return Users(
            self.rows + others.rows,
            np.maximum(self.longest, others.longest),
            self.proposed + others.proposed,
            self.late,
            self.lacking,
        )


class Others(NamedTuple):
    """Rows of a round that have chosen: how many, and what they use, as one set."""

    rows: int
    users: Users

    @classmethod
    def of(cls, chosen: Sequence[tuple[int, int]], drafters: int) -> Others:
        """From the rows' drafts and lengths."""
        rows, longest, proposed = np.zeros((1, drafters), int), np.zeros((1, drafters), int), 0
        for draft, length in chosen:
            if draft != NO_DRAFT:
                rows[0, draft] += 1
                longest[0, draft] = max(longest[0, draft], length)
                proposed += length
        return cls(len(chosen), Users(rows, longest, np.array([proposed])))


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

    def draft_s(self, draft: int, rows: int, length: int, context: int) -> float:
        """One proposal of ``length`` tokens for each of ``rows``."""
        return self._times.draft_s(draft, rows, length, context)

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

    def seconds(self, rows: int, context: int, users: Users) -> Array:
        """[set]: rounds of ``rows`` with these users, by set of drafters."""
        drafting = np.zeros(users.rows.shape)
        for at, draft in zip(*(found.tolist() for found in users.rows.nonzero()), strict=True):
            key = draft, int(users.rows[at, draft]), int(users.longest[at, draft]), context
            drafting[at, draft] = self._times.draft_s(*key)
        if users.late is not None and users.lacking is not None:
            for at, draft in zip(*(found.tolist() for found in users.late.nonzero()), strict=True):
                late, lacking = int(users.late[at, draft]), int(users.lacking[at, draft])
                drafting[at, draft] += self._times.catch_up_s(draft, late, lacking) / self._repay
        verifying = [self.verify_s(rows, proposed, context) for proposed in users.proposed.tolist()]
        if not drafting.size:
            return np.array(verifying)
        return self._drafting.of_sets(drafting) + verifying


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
    others: Others | None = None,
) -> Choice:
    """The choice of one round by coordinate ascent over the drafters' caps, from those in ``begin``: an
    earlier round's, whose offers may have had more caps.

    ``missing`` [row, draft]: context tokens that the draft must read first. ``rate``: tokens per second
    that time is worth; None: the round's own, iterated to its fixed point. A row takes the drafter whose
    proposal is worth most at a token's price, or none. A row may always do without a proposal where
    drafters have none to make. ``held``: the caps stay those in ``begin``, and rows alone choose, where a
    rate is known and a drafter is used at all. ``others``: rows of the same round that have chosen before,
    beside which these choose.
    """
    search = _Search(offers, missing, contexts, costs, none_allowed, others)
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
    """The offers' columns side by side: [row, column], the last for a drafter that is not used."""

    def __init__(
        self,
        offers: Sequence[Offer],
        missing: Array,
        contexts: Sequence[int],
        costs: RoundCosts,
        none_allowed: bool,
        others: Others | None,
    ) -> None:
        rows = len(contexts)
        self._sizes = [len(offer.caps) for offer in offers]
        self._first = np.cumsum([0, *self._sizes])
        self._tokens = np.concatenate([*(offer.tokens for offer in offers), np.zeros((rows, 1))], 1)
        lengths = [*(offer.lengths for offer in offers), np.zeros((rows, 1), int)]
        self._lengths = np.concatenate(lengths, 1)
        self._missing = missing
        self._late = bool(missing.any())
        self._drafters = np.arange(len(offers))
        self._context = sum(contexts) // rows
        self._costs = costs
        self._none_allowed = none_allowed
        self._others = others
        longest = max((offer.caps[-1] for offer in offers), default=1)
        self._token_s = costs.token_s(rows, longest, self._context)

    def best(self, rate: float, caps: tuple[int, ...]) -> Choice:
        """The best choice at this rate, changing one drafter's cap at a time, the one that gains most, until
        nothing gains."""
        while True:
            tried = [caps, *self._changes(caps)]
            picks = self._picked(tried, rate)
            tokens, seconds = picks.tokens, self._seconds(picks)
            worth = tokens - rate * seconds
            if not self._none_allowed and self._sizes:
                worth[[max(each) < 0 for each in tried]] = -np.inf
            best = int(worth.argmax())
            if worth[best] <= worth[0] + 1e-12:
                return self._choice(picks, 0, caps, seconds)
            caps = tried[best]

    def evaluate(self, caps: tuple[int, ...], rate: float) -> Choice:
        """What the rows choose where drafters have these caps."""
        picks = self._picked([caps], rate)
        return self._choice(picks, 0, caps, self._seconds(picks))

    def _changes(self, caps: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        for draft, size in enumerate(self._sizes):
            for cap in range(-1, size):
                if cap != caps[draft]:
                    yield (*caps[:draft], cap, *caps[draft + 1 :])

    def _picked(self, caps: Sequence[tuple[int, ...]], rate: float) -> _Picks:
        """The drafter that is worth most to each row beyond its price, the first of equals, by set."""
        sets = np.array(caps, int).reshape(len(caps), -1)
        columns = np.where(sets >= 0, self._first[:-1] + sets, self._first[-1])
        if not self._sizes:
            columns = np.zeros((len(caps), 1), int)
        price = rate * self._token_s
        net = np.where(self._lengths == 0, -np.inf, self._tokens - price * self._lengths)[:, columns]
        drafts = net.argmax(2)
        most = np.take_along_axis(net, drafts[..., None], 2)[..., 0]
        drafts[~(most > (0.0 if self._none_allowed else -np.inf))] = NO_DRAFT
        column = np.take_along_axis(columns[None], drafts[..., None], 2)[..., 0]
        column[drafts == NO_DRAFT] = self._first[-1]
        own = np.arange(len(net))[:, None]
        return _Picks(drafts, self._lengths[own, column], len(net) + self._tokens[own, column].sum(0))

    def _seconds(self, picks: _Picks) -> Array:
        """[set]: of the round."""
        use = picks.drafts[..., None] == self._drafters  # [row, set, drafter]
        longest = (use * picks.lengths[..., None]).max(0, initial=0)
        users = Users(use.sum(0), longest, picks.lengths.sum(0))
        if self._late:
            behind = use * self._missing[:, None, :]
            users = users._replace(late=(behind > 0).sum(0), lacking=behind.sum(0))
        rows = len(picks.drafts)
        if self._others is not None:
            users = users.beside(self._others.users)
            rows += self._others.rows
        return self._costs.seconds(rows, self._context, users)

    @staticmethod
    def _choice(picks: _Picks, at: int, caps: tuple[int, ...], seconds: Array) -> Choice:
        drafts, lengths = picks.drafts[:, at].tolist(), picks.lengths[:, at].tolist()
        return Choice(drafts, lengths, caps, float(picks.tokens[at]), float(seconds[at]))


class _Picks(NamedTuple):
    """What rows choose under each of several sets of caps: ``drafts`` and ``lengths`` [row, set], and the
    tokens [set] that the round would commit."""

    drafts: Array
    lengths: Array
    tokens: Array
