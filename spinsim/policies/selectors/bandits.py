"""Stochastic bandits of the literature: an index per arm, and the highest wins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from spinsim.policies.base import PolicyContext, RequestView, Tunable
from spinsim.policies.randomness import Draws
from spinsim.policies.registry import SELECTORS
from spinsim.policies.reward import PositionsAccepted, RewardName
from spinsim.policies.selectors.learner import Learner, LearnerParams, SharedParams
from spinsim.policies.statistics import ArmStats, Share


@SELECTORS.register("greedy")
class Greedy(Learner[LearnerParams]):
    """Each arm once, then the highest mean (textbook; the SPIN paper compares with it)."""

    Params = LearnerParams

    def index(self, view: RequestView, stats: ArmStats, arm: int, mean: float) -> float:
        return mean if self.statistics.pulls(stats, arm) > 0 else math.inf


@SELECTORS.register("epsilon_greedy")
class EpsilonGreedy(Greedy):
    """With probability ``epsilon`` a uniform arm, else the highest mean (Sutton & Barto, 2.2)."""

    @dataclass(frozen=True)
    class Params(LearnerParams):
        epsilon: Annotated[float, Ge(0), Le(1), Tunable(0.005, 0.5, log=True)] = 0.1

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._epsilon = params.epsilon
        self._draws = Draws(context.seed, "selector.epsilon_greedy")

    def choose(self, view: RequestView, arms: Sequence[int]) -> int:
        u = self._draws.uniform(view.id, view.rounds)
        if u < self._epsilon:
            return arms[int(u / self._epsilon * len(arms))]
        return super().choose(view, arms)


@SELECTORS.register("ucb1")
class Ucb1(Learner["Ucb1.Params"]):
    """mean_i + beta R sqrt(2 ln t / n_i), R the reward's range (Auer et al. 2002; beta = 1 there)."""

    @dataclass(frozen=True)
    class Params(LearnerParams):
        beta: Annotated[float, Ge(0), Tunable(0.01, 1, log=True)] = 0.1

    def index(self, view: RequestView, stats: ArmStats, arm: int, mean: float) -> float:
        return mean + ucb_radius(self, stats, arm, self.params.beta)


def ucb_radius(learner: Learner[Any], stats: ArmStats, arm: int, beta: float) -> float:
    """beta R sqrt(2 ln t / n); infinite before the first pull."""
    pulls = learner.statistics.pulls(stats, arm)
    if pulls <= 0:
        return math.inf
    rounds = max(learner.statistics.rounds(stats), 1.0)
    return beta * learner.reward.spread * math.sqrt(2.0 * math.log(rounds) / pulls)


@SELECTORS.register("ucbspec")
class UcbSpec(Learner["UcbSpec.Params"]):
    """UCBSpec (BanditSpec, arXiv 2505.15141).

    argmax mean_i + (R/2) sqrt((1 + n_i) / n_i^2 (1 + 2 ln(K t^2 sqrt(1 + n_i) / delta))), with R the
    reward's range: L for ``tokens``, as published; for other rewards the scaling is ours. ``scale``
    multiplies the radius (1 as published).
    """

    @dataclass(frozen=True)
    class Params(LearnerParams):
        reward: RewardName = "tokens"
        share: Share = "none"
        delta: Annotated[float, Gt(0), Lt(1), Tunable(0.001, 0.9, log=True)] = 0.1
        scale: Annotated[float, Ge(0), Tunable(0.01, 1, log=True)] = 1.0

    def index(self, view: RequestView, stats: ArmStats, arm: int, mean: float) -> float:
        pulls = self.statistics.pulls(stats, arm)
        if pulls <= 0:
            return math.inf
        rounds = max(self.statistics.rounds(stats), 1.0)
        radius = ucbspec_radius(self.reward.spread, len(self.arms), rounds, pulls, self.params.delta)
        return mean + self.params.scale * radius


def ucbspec_radius(spread: float, arms: int, rounds: float, pulls: float, delta: float) -> float:
    """(R/2) sqrt((1 + n)/n^2 (1 + 2 ln(K t^2 sqrt(1 + n)/delta)))."""
    bonus = 1.0 + 2.0 * math.log(arms * rounds * rounds * math.sqrt(1.0 + pulls) / delta)
    return spread / 2.0 * math.sqrt((1.0 + pulls) / (pulls * pulls) * bonus)


@SELECTORS.register("thompson")
class Thompson(Learner["Thompson.Params"]):
    """Gaussian Thompson sampling: theta_i ~ Normal(mean_i, (scale R)^2 / (n_i + 1)), the highest wins
    (Agrawal & Goyal 2013, scale = 1 with rewards in [0, 1]; R and ``scale`` are ours)."""

    @dataclass(frozen=True)
    class Params(LearnerParams):
        scale: Annotated[float, Ge(0), Tunable(0.01, 1, log=True)] = 0.1

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._draws = Draws(context.seed, "selector.thompson")

    def index(self, view: RequestView, stats: ArmStats, arm: int, mean: float) -> float:
        sd = self.params.scale * self.reward.spread / math.sqrt(self.statistics.pulls(stats, arm) + 1.0)
        normal = self._draws.normal(view.id, view.rounds * (len(self.context.drafts) + 1) + arm + 1)
        return mean + sd * normal


@SELECTORS.register("metasd_ucb")
class MetaSdUcb(Learner["MetaSdUcb.Params"]):
    """MetaSD-UCB: mean_i + beta sqrt(2 ln t / n_i) on the reward 1 - TV(p, q).

    A server sees 1 - TV only through acceptances. Ours: accepted positions / tried positions, which has
    that mean when positions are independent (a proposal behind a rejected one is not tried).
    """

    needs_draft = True

    @dataclass(frozen=True)
    class Params(SharedParams):
        beta: Annotated[float, Ge(0), Tunable(0.01, 1, log=True)] = 0.1

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__(params, context, PositionsAccepted())

    def index(self, view: RequestView, stats: ArmStats, arm: int, mean: float) -> float:
        return mean + ucb_radius(self, stats, arm, self.params.beta)
