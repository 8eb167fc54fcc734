"""What a learner remembers: gains and costs per request and arm, and pooled over requests as a prior.

Lists have an entry per arm, indexed by the arm itself: NO_DRAFT is -1, the last entry, where it is an arm.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add, truediv
from typing import Literal

from spinsim.policies.base import NO_DRAFT, RequestView

Share = Literal["none", "prior"]

_NOTHING = 1e-30  # a cost too small to change any sum: makes the mean of nothing 0 without a branch


class ArmStats:
    """One request's own observations by arm: ``pulls``, total ``gain`` and ``cost``, their ``mean``."""

    __slots__ = ("cost", "gain", "mean", "pulls", "rounds")

    def __init__(self, arms: int) -> None:
        self.pulls = [0] * arms
        self.gain = [0.0] * arms
        self.cost = [_NOTHING] * arms
        self.mean = [0.0] * arms
        self.rounds = 0

    def add(self, arm: int, gain: float, cost: float) -> None:
        """One more pull."""
        self.rounds += 1
        self.pulls[arm] += 1
        total = self.gain[arm] + gain
        spent = self.cost[arm] + cost
        self.gain[arm] = total
        self.cost[arm] = spent
        self.mean[arm] = total / spent


class Statistics:
    """Statistics of every live request, and the pool of all there ever were.

    An arm's mean is total gain / total cost. With ``share="prior"`` a request starts as if every arm
    had been pulled min(prior_weight, pulls in the pool) times with the pool's average gain and cost
    (ours). A very large weight makes one bandit of all requests.
    """

    def __init__(self, arms: Sequence[int], share: Share = "none", prior_weight: float = 0.0) -> None:
        self.arms = len(arms)
        self.no_draft = NO_DRAFT in arms
        self.weight = prior_weight if share == "prior" else 0.0
        self.requests: dict[int, ArmStats] = {}
        self.pool = ArmStats(self.arms)
        self.prior = ArmStats(self.arms)  # the pool, scaled down to at most ``weight`` pulls an arm
        self.prior_pulls = [0.0] * self.arms

    def of(self, request: int) -> ArmStats:
        """The request's statistics, empty at first."""
        stats = self.requests.get(request)
        if stats is None:
            stats = self.requests[request] = ArmStats(self.arms)
        return stats

    def add(
        self,
        requests: Sequence[RequestView],
        drafts: Sequence[int],
        gains: Sequence[float],
        costs: Sequence[float],
    ) -> None:
        """One pull a row. Rows of NO_DRAFT count only where it is an arm."""
        known, weight = self.requests, self.weight
        for view, arm, gain, cost in zip(requests, drafts, gains, costs, strict=True):
            if arm == NO_DRAFT and not self.no_draft:
                continue  # every draft was full
            stats = known.get(view.id) or self.of(view.id)
            stats.add(arm, gain, cost)
            if weight:
                self._pool(arm, gain, cost)

    def pulls(self, stats: ArmStats, arm: int) -> float:
        """Own pulls, and those that the prior stands for."""
        return stats.pulls[arm] + self.prior_pulls[arm]

    def rounds(self, stats: ArmStats) -> float:
        """Pulls of all arms together."""
        return stats.rounds + sum(self.prior_pulls)

    def means(self, stats: ArmStats) -> list[float]:
        """Gain per cost by arm, 0 where nothing is known. Not to be changed by the caller."""
        if not self.weight:
            return stats.mean
        prior = self.prior
        return list(map(truediv, map(add, stats.gain, prior.gain), map(add, stats.cost, prior.cost)))

    def forget(self, request: int) -> None:
        """The request has ended; the pool keeps what it taught."""
        self.requests.pop(request, None)

    def _pool(self, arm: int, gain: float, cost: float) -> None:
        pool, prior = self.pool, self.prior
        pool.add(arm, gain, cost)
        pooled = pool.pulls[arm]
        pulls = self.weight if self.weight < pooled else pooled
        scale = pulls / pooled
        self.prior_pulls[arm] = pulls
        prior.gain[arm] = scale * pool.gain[arm]
        prior.cost[arm] = scale * pool.cost[arm]
