"""SPIN's learning-based selection with a joint assignment of the batch (arXiv 2503.15921, section on
selection; its schedule of exploration and its capacities are not published, ours are marked)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from spinsim.policies.base import NO_DRAFT, Feedback, PolicyContext, RequestView, Tunable
from spinsim.policies.registry import SELECTORS
from spinsim.policies.reward import Reward, RewardName
from spinsim.policies.selectors.arms import PerRequest
from spinsim.policies.selectors.learner import SharedParams
from spinsim.policies.selectors.matching import match
from spinsim.policies.statistics import ArmStats, Share, Statistics


@SELECTORS.register("spin")
class Spin(PerRequest["Spin.Params"]):
    """Exploration and exploitation in turn, per request; the batch is assigned jointly.

    Request i explores while one of its arms has n_ij < explore ln(1 + t_i) pulls of its own in its t_i-th
    round (ours: deterministic sequencing of exploration and exploitation, Vakili et al. 2013). It then takes
    the arm pulled least; ties go to the higher prior mean, then to the scenario's order. The other requests
    exploit: maximise sum g_ij x_ij with sum_j x_ij = 1 and sum_i x_ij <= b_j, exactly, in the slots that the
    exploring ones left. g_ij is the mean reward, by default accepted tokens per second of drafting (the
    paper's). NO_DRAFT has unlimited capacity; where it is no arm it is used only by those who find every
    draft full. ``switch_margin`` (ours): another draft must promise that much more than the last one.
    """

    native = "spin"

    @dataclass(frozen=True)
    class Params(SharedParams):
        reward: RewardName = "tokens_per_draft_second"
        share: Share = "none"
        explore: Annotated[float, Ge(0), Tunable(0.05, 4, log=True)] = 0.5
        switch_margin: Annotated[float, Ge(0), Tunable(0, 0.5)] = 0.0

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        self.statistics = Statistics(self.arms, params.share, params.prior_weight)
        self._reward = Reward(params.reward, context).of
        self.stay = 1.0 + params.switch_margin
        self.wanted = [params.explore * math.log(1.0 + t) for t in range(1, 1025)]

    def assign(self, batch: Sequence[RequestView]) -> list[int]:
        statistics = self.statistics
        known, wanted = statistics.requests, self.wanted
        plain = self.stay <= 1.0 and not statistics.weight  # gains are a request's own means
        chosen = []
        for view in batch:
            stats = known.get(view.id) or statistics.of(view.id)
            least = min(stats.pulls)
            if least < (wanted[stats.rounds] if stats.rounds < 1024 else self._wants(stats)):
                chosen.append(self._least_pulled(stats, self.arms, least))
            else:
                gains = stats.mean if plain else self._gains(view, stats)
                chosen.append(self.arms[gains.index(max(gains))])
        if len(batch) > self.unlimited_rows and self._overfull(chosen):
            return self._assign_limited(batch)
        return chosen  # everyone's first choice: no assignment is better

    def observe(self, feedback: Feedback) -> None:
        self.statistics.add(feedback.requests, feedback.drafts, *self._reward(feedback))

    def forget(self, request: int) -> None:
        self.statistics.forget(request)

    def _overfull(self, chosen: Sequence[int]) -> bool:
        capacities = self.context.capacities
        return any(limit is not None and chosen.count(arm) > limit for arm, limit in enumerate(capacities))

    def _wants(self, stats: ArmStats) -> float:
        """Pulls of every arm that the request should have by now."""
        return self.params.explore * math.log(2.0 + stats.rounds)

    def _least_pulled(self, stats: ArmStats, arms: Sequence[int], least: int) -> int:
        """An arm with ``least`` pulls; with a prior, the one that promises most."""
        pulls = stats.pulls
        tied = [arm for arm in arms if pulls[arm] == least]
        return max(tied, key=self.statistics.means(stats).__getitem__) if self.statistics.weight else tied[0]

    def _gains(self, view: RequestView, stats: ArmStats) -> list[float]:
        """g_ij by arm, the last one's raised by the margin."""
        gains = self.statistics.means(stats)
        if self.stay > 1.0 and view.draft in self.arms and stats.pulls[view.draft]:
            gains = gains.copy()
            gains[view.draft] *= self.stay
        return gains

    def _assign_limited(self, batch: Sequence[RequestView]) -> list[int]:
        room = self.room(len(batch))
        chosen = [NO_DRAFT] * len(batch)
        exploiting = []
        gains = []
        for row, view in enumerate(batch):
            stats = self.statistics.of(view.id)
            free = [arm for arm in self.arms if room[arm] > 0]
            least = min((stats.pulls[arm] for arm in free), default=0)
            if free and least < self._wants(stats):
                arm = self._least_pulled(stats, free, least)
                chosen[row] = arm
                room[arm] -= 1
            else:
                exploiting.append(row)
                gains.append(self._gains(view, stats))
        for row, arm in zip(exploiting, match(gains, self.arms, room), strict=True):
            chosen[row] = arm
        return chosen
