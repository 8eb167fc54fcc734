"""Base of the bandits: a reward, statistics, and an index per arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from annotated_types import Ge

from spinsim.policies.base import Feedback, PolicyContext, RequestView, Tunable
from spinsim.policies.reward import Gain, Reward, RewardName
from spinsim.policies.selectors.arms import PerRequest
from spinsim.policies.statistics import ArmStats, Share, Statistics


@dataclass(frozen=True)
class SharedParams:
    """``share: prior`` starts a request from what earlier ones taught, worth ``prior_weight`` rounds an arm:
    over the 50 rounds of one request alone a bandit has little time to learn."""

    share: Share = "prior"
    prior_weight: Annotated[float, Ge(0), Tunable(0.5, 64, log=True)] = 4.0


@dataclass(frozen=True)
class LearnerParams(SharedParams):
    """And what is maximised: see :mod:`spinsim.policies.reward`."""

    reward: RewardName = "tokens_per_round_second"


P = TypeVar("P", bound=SharedParams)


class Learner(PerRequest[P]):
    """Chooses the arm of the highest ``index``; ties go to the first draft of the scenario."""

    def __init__(self, params: P, context: PolicyContext, reward: Gain | None = None) -> None:
        super().__init__(params, context)
        if reward is None:
            reward = Reward(getattr(params, "reward", "tokens_per_round_second"), context)
        self.reward = reward
        self.statistics = Statistics(self.arms, params.share, params.prior_weight)

    def index(self, view: RequestView, stats: ArmStats, arm: int, mean: float) -> float:
        """The score of one arm for one request, whose mean gain is ``mean``."""
        raise NotImplementedError

    def choose(self, view: RequestView, arms: Sequence[int]) -> int:
        stats = self.statistics.of(view.id)
        means = self.statistics.means(stats)
        best, score = arms[0], float("-inf")
        for arm in arms:
            index = self.index(view, stats, arm, means[arm])
            if index > score:
                best, score = arm, index
        return best

    def observe(self, feedback: Feedback) -> None:
        self.statistics.add(feedback.requests, feedback.drafts, *self.reward.of(feedback))

    def forget(self, request: int) -> None:
        self.statistics.forget(request)
