"""EXP3Spec: the adversarial bandit of BanditSpec (arXiv 2505.15141)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.policies.base import Feedback, PolicyContext, RequestView
from spinsim.policies.randomness import Draws
from spinsim.policies.registry import SELECTORS
from spinsim.policies.reward import Reward, RewardName
from spinsim.policies.selectors.arms import PerRequest
from spinsim.policies.selectors.learner import SharedParams
from spinsim.policies.statistics import Share


class _Losses:
    """One request's estimated cumulative losses by arm, rounds played, the last draw and its probability."""

    __slots__ = ("drawn", "losses", "probability", "rounds")

    def __init__(self, losses: list[float], rounds: float) -> None:
        self.losses = losses
        self.rounds = rounds
        self.drawn: int | None = None
        self.probability = 1.0


def exp3_probabilities(losses: Sequence[float], rounds: float) -> list[float]:
    """p_i ~ exp(-eta * loss_i) with eta = sqrt(ln K / (t K)), t counting from 1."""
    arms = len(losses)
    eta = math.sqrt(math.log(arms) / (max(rounds, 1.0) * arms)) if arms > 1 else 0.0
    least = min(losses)
    weights = [math.exp(-eta * (loss - least)) for loss in losses]
    total = sum(weights)
    return [weight / total for weight in weights]


@SELECTORS.register("exp3spec")
class Exp3Spec(PerRequest["Exp3Spec.Params"]):
    """Draws arm i with p_i ~ exp(-eta sum of losses), eta = sqrt(ln K / (t K)); the drawn arm's loss is
    (L + 1 - Y) / (L p_i) with Y tokens committed in the round.

    For other rewards (ours) the loss is 1 - reward / its range, cut to [0, 1], over p_i. With
    ``share: prior`` (ours) a request starts as if each arm had had its mean loss ``prior_weight`` times.
    """

    @dataclass(frozen=True)
    class Params(SharedParams):
        reward: RewardName = "tokens"
        share: Share = "none"

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._reward = Reward(params.reward, context)
        self._draws = Draws(context.seed, "selector.exp3spec")
        self._requests: dict[int, _Losses] = {}
        self._pool = {arm: [0.0, 0.0] for arm in self.arms}  # sum of losses, pulls
        self._weight = params.prior_weight if params.share == "prior" else 0.0

    def choose(self, view: RequestView, arms: Sequence[int]) -> int:
        state = self._requests.get(view.id)
        if state is None:
            state = self._requests[view.id] = _Losses(self._start(), self._weight)
        probabilities = exp3_probabilities([state.losses[arm] for arm in arms], state.rounds + 1)
        drawn = self._draws.choice(view.id, view.rounds, arms, probabilities)
        state.drawn, state.probability = drawn, probabilities[arms.index(drawn)]
        return drawn

    def observe(self, feedback: Feedback) -> None:
        tokens = self._reward.name == "tokens"
        spread = self._reward.spread
        gains, costs = self._reward.of(feedback)
        for view, arm, gain, cost in zip(feedback.requests, feedback.drafts, gains, costs, strict=True):
            state = self._requests.get(view.id)
            if state is None or arm != state.drawn:
                continue  # no draft had room, or another one is used until the drawn one has caught up
            value = (gain - 1.0 if tokens else gain / cost) / spread
            loss = 1.0 - min(1.0, max(0.0, value))
            state.losses[arm] += loss / state.probability
            state.rounds += 1
            self._pool[arm][0] += loss
            self._pool[arm][1] += 1

    def forget(self, request: int) -> None:
        self._requests.pop(request, None)

    def _start(self) -> list[float]:
        """Losses of a new request, indexed by arm."""
        return [
            self._weight * total / pulls if pulls else 0.0
            for total, pulls in (self._pool[arm] for arm in self.arms)
        ]
