"""What a learner maximises: tokens per round, or tokens per second of one kind or another.

A reward is a pair (gain, cost) and an arm's mean is sum of gains / sum of costs: by the
renewal-reward theorem that ratio, not the mean of ratios, is the long-run rate (ours; the papers
leave it open).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from spinsim.policies.base import Feedback, PolicyContext
from spinsim.policies.beliefs import TYPICAL_CONTEXT, ragged

RewardName = Literal["tokens", "tokens_per_draft_second", "tokens_per_round_second"]

_SHORTEST_S = 1e-9  # a cost model may say zero


class Gain(Protocol):
    """What a bandit maximises."""

    @property
    def spread(self) -> float:
        """Width of the range of gain / cost, to scale confidence radii."""
        ...

    def of(self, feedback: Feedback) -> tuple[Sequence[float], Sequence[float]]:
        """Gains and costs (> 0) by row."""
        ...


class PositionsAccepted:
    """Accepted positions / tried positions; the one after the first rejection is not tried."""

    spread = 1.0

    def of(self, feedback: Feedback) -> tuple[Sequence[float], Sequence[float]]:
        rows = zip(feedback.accepted, feedback.lengths, strict=True)
        return feedback.accepted, [max(1, min(accepted + 1, length)) for accepted, length in rows]


class Reward:
    """One named reward.

    tokens                   committed per round (UCBSpec and EXP3Spec as published)
    tokens_per_draft_second  accepted proposals per second of drafting (SPIN, arXiv 2503.15921)
    tokens_per_round_second  committed per second from assignment to commit; defined without a draft

    ``tokens_per_draft_second`` is undefined where drafting takes no time, as a lookup's in published
    cost fits. Such a proposal is charged one nanosecond (ours), so that a drafter which is free and was ever
    right has a higher mean than any that takes time: SPIN's learner then stays with it, however rarely it is
    right. A lookup of some microseconds wins likewise. Where such drafters are mixed with models, choose
    ``tokens_per_round_second``, which also bears the verification.
    """

    def __init__(self, name: RewardName, context: PolicyContext) -> None:
        self.name = name
        self._spread = _spread(name, context)

    def of(self, feedback: Feedback) -> tuple[Sequence[float], Sequence[float]]:
        """Gains and costs (> 0) by row."""
        if self.name == "tokens_per_draft_second":
            costs = feedback.draft_s
            return feedback.accepted, costs if min(costs) > 0 else [max(s, _SHORTEST_S) for s in costs]
        cost = 1.0 if self.name == "tokens" else max(feedback.round_s, _SHORTEST_S)
        return feedback.committed, [cost] * len(feedback.committed)

    @property
    def spread(self) -> float:
        """L for tokens; else the highest rate that the predictor allows any arm alone (L per proposal, or
        L + 1 per round)."""
        return self._spread


def _spread(name: RewardName, context: PolicyContext) -> float:
    """Rates at a typical context: only the scale of confidence radii depends on it."""
    longest = context.max_length
    if name == "tokens":
        return float(longest)
    tokens = context.within(TYPICAL_CONTEXT, longest)
    rates = []
    for draft in range(len(context.drafts)):
        seconds = context.predictor.propose(draft, [longest], [tokens]).seconds
        gain = longest
        if name == "tokens_per_round_second":
            seconds += _verify_s(context, longest + 1)
            gain += 1
        rates.append(gain / max(seconds, _SHORTEST_S))
    if context.allow_none and name == "tokens_per_round_second":
        rates.append(1 / max(_verify_s(context, 1), _SHORTEST_S))
    return max(rates, default=1.0)


def _verify_s(context: PolicyContext, queries: int) -> float:
    return context.predictor.verify(ragged(1, context.within(TYPICAL_CONTEXT), queries)).seconds
