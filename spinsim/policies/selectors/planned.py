"""The selector that plans the whole round: it decides for the length, the depth and the composition too."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge

from spinsim.policies.base import Feedback, PolicyContext, RequestView, Tunable
from spinsim.policies.planning.beginnings import Beginnings
from spinsim.policies.planning.cycle import contexts_of
from spinsim.policies.planning.information import information, information_by_rate
from spinsim.policies.planning.search import USUAL_LENGTH, Array, Batch, Plan
from spinsim.policies.planning.survival import Survival
from spinsim.policies.planning.trials import Trial, best_trial, standing
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.by_plan import USUAL_ROUNDS, Planning

ROOM_TOKENS = 32.0  # a request is taken to last a round for so many tokens that it may still grow by
OFTEN = 4  # the first plans each learn anew how much requests differ, later ones once in so many
MEASURED = 5  # costs are corrected by one round in so many: odd, so that every micro-batch has its turn
COUNTED = 4  # rounds that are counted at a time
PACE = 5  # steps of making a plan that the host takes at a time
CHANGED = 0.25  # a share of the requests that came or went since the plan was made calls for another


@SELECTORS.register("planned")
class Planned(Planning):
    """Drafts, lengths, depth and composition for most expected tokens per second of the steady cycle (ours).

    Give ``planned`` to the length, the pipeline and the composition as well, and they follow the plan; each
    that is given something else limits it. Yields are estimated for each request, draft and length
    (:class:`~spinsim.policies.planning.survival.Survival`); the cycle is the largest of what the target's
    lane, the drafts' lanes and the orchestrator do in it, and of one micro-batch's way through all of them
    (:class:`~spinsim.policies.planning.cycle.CycleTimes`). Trying a draft is worth what it may teach about
    the request, over the rounds that requests last
    (:func:`~spinsim.policies.planning.information.information_by_rate`), times ``explore``. What all requests
    share of a draft is worth knowing, too: a few of them try a draft that the plan does not use, where that
    is worth its price (:func:`~spinsim.policies.planning.trials.best_trial`). With ``explore`` 0 nothing is
    tried for what it may teach. A plan is held for ``hold`` rounds of every micro-batch, unless a quarter of
    the requests changed; twice to four times as long while plans move few requests. A catch-up is reckoned to
    pay over the rounds that requests are expected to last, and over ``repay`` at least; a plan for which
    requests have to be read anew must promise more than one for which none has, the more the fewer rounds are
    to come.

    A draft that takes over a request first reads what it has not seen of it. With ``reads``, it is asked of
    so many of the last output tokens among these whether it would have proposed them, which counts as if it
    had. Nobody has to wait for a trial of it then, and the answers cost a pass of their own.

    Predicted times are corrected by measured ones
    (:class:`~spinsim.policies.planning.corrections.Corrections`), as feedback tells them in both worlds. All
    plans but the first are made while the target verifies.
    """

    @dataclass(frozen=True)
    class Params:
        hold: Annotated[int, Ge(1), Tunable(2, 64, log=True)] = 8
        repay: Annotated[float, Ge(1), Tunable(1, 64, log=True)] = 16.0
        explore: Annotated[float, Ge(0), Tunable(0.05, 2, log=True)] = 0.3
        reads: Annotated[int, Ge(0)] = 0

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._making: Iterator[None] | None = None  # the next plan, in the making
        self.survival = Survival(len(context.drafts), context.max_length)
        self.reads_catch_ups = params.reads
        self._observed = 0  # rounds
        self._beginnings = Beginnings()
        self._ended_rounds = 0.0
        self._made_plans = 0
        self._ended = 0

    def observe(self, feedback: Feedback) -> None:
        self.survival.observe(feedback)
        self._observed += 1
        began = self._beginnings.of(feedback)
        if began is not None and self._observed % MEASURED == 0:
            self.times.learn(feedback, *began)

    def observe_hits(self, request: RequestView, draft: int, hits: bytes) -> None:
        self.survival.read(request.id, draft, hits)

    def _begins(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> None:
        assert self.plan is not None
        self._beginnings.begins(self.plan, batch, drafts)

    def forget(self, request: int) -> None:
        view = self._views.get(request)
        if view is not None:
            self._ended += 1
            self._ended_rounds += view.rounds
        super().forget(request)
        self.survival.forget(request)

    def batch(self, views: Sequence[RequestView]) -> Batch:
        if self._made_plans < OFTEN or self._made_plans % OFTEN == 0:
            self.survival.learn_strength()
        self._made_plans += 1
        tokens, deviation = self.survival.yields([view.id for view in views])
        contexts = contexts_of([view.context for view in views])
        worth = np.ones((len(views), tokens.shape[1] + 1, tokens.shape[2]))
        worth[:, :-1] = tokens
        left = self._left(views)
        repay = max(self.params.repay, float(left.mean()))
        batch = self._expected = Batch(worth, self.missing(views), contexts, len(views), repay)
        if self.plan is not None and self.params.explore and tokens.shape[1] > 1:
            worth = worth.copy()
            worth[:, :-1] += self._information(left, batch, deviation)
            return replace(batch, worth=worth)
        return batch

    def _trial(self, plan: Plan) -> Generator[None, None, Trial | None]:
        if self.plan is None or not self.params.explore or len(self.context.drafts) < 2:
            return None
        rounds = max(self._usual_rounds(), self._observed / plan.depth)  # as many again as there were
        return (yield from best_trial(self.search, self.survival, self._expected, plan, rounds))

    def thought(self) -> Callable[[], None] | None:
        """Some steps of the next plan, where one is due or in the making: a thought for each verification.
        In between, what rounds tried is counted."""
        if self._making is None:
            if not self._is_due():
                return self.survival.count if self.survival.noted >= COUNTED else None
            self._making = self._begun()
        return self._go_on

    def _go_on(self) -> None:
        assert self._making is not None
        for steps, _ in enumerate(self._making, start=1):
            if steps == PACE:
                return
        self._making = None

    def _is_due(self) -> bool:
        assert self.plan is not None
        if self._rounds >= self.params.hold * self.steady * self.plan.depth:
            return True
        return self._changes > CHANGED * len(self._views) + 1

    def _left(self, views: Sequence[RequestView]) -> Array:
        """Rounds that each request is expected to last: the mean of those that ended, less what it has had.

        Of one that has lasted long it is only known that it lasts: as long again while none has ended, and a
        quarter of the mean later.
        """
        seen = np.array([view.rounds for view in views])
        if not self._ended:
            left: Array = np.maximum(self._usual_rounds() - seen, seen)
        else:
            rounds = self._ended_rounds / self._ended
            left = np.maximum(rounds - seen, rounds / 4)
        return left

    def _usual_rounds(self) -> float:
        """That a request is taken to last: by how long it may become, while none has ended."""
        allowed, views = self.context.context_tokens, self._views.values()
        if self._ended or allowed is None or not views:
            return USUAL_ROUNDS
        room = allowed - sum(view.context for view in views) / len(views)
        return max(USUAL_ROUNDS, room / ROOM_TOKENS)

    def _information(self, left: Array, batch: Batch, deviation: Array) -> Array:
        """[request, draft, length]: what a round with the draft teaches, in tokens; nothing at length 0.

        ``left``: rounds that each request is expected to last.
        """
        plan = self.plan
        assert plan is not None
        tokens, most = batch.worth[:, :-1], batch.worth.shape[2] - 1
        usual = min(max((arm.length for arm in plan.arms), default=0) or USUAL_LENGTH, most)
        surviving = np.diff(tokens[:, :, : usual + 1], axis=2)
        rate = np.maximum(surviving[:, :, 0], 1e-6)
        price = np.array(self.search.prices(batch, plan))
        evidence = np.maximum(rate * (1 - rate) / np.maximum(deviation**2, 1e-9) - 1, 1.0)
        tries = self.params.hold * min(usual, 1 / max(1e-6, 1 - float(rate.mean())))
        won = information_by_rate(surviving, deviation, evidence, price, max(1, round(tries)))
        periods = (left - self.params.hold).clip(0.0) / self.params.hold
        of_use = periods if self._ended else np.minimum(periods, self._usual_rounds() / self.params.hold)
        value = periods[:, None] * won + of_use.mean() * self._of_everybody(batch, plan, tries)
        found = np.zeros_like(tokens)
        found[:, :, 1:] = (self.params.explore * value)[:, :, None]
        return found

    def _of_everybody(self, batch: Batch, plan: Plan, tries: float) -> Array:
        """[draft]: what a round in which everybody uses the draft teaches of it, in tokens a request.

        All requests share a draft's rate: a draft that was unlucky in its first rounds may still be the best.
        It is held against the others by tokens less what its time is worth at the plan's rate, at its best
        length and depth.
        """
        found = standing(self.search, self.survival, batch, plan)
        price = np.zeros(len(found.ahead))
        tried = max(1, round(tries * batch.rows))
        ahead, deviation, evidence = found.ahead[None], found.deviation[None], found.tried[None]
        won: Array = information(ahead, deviation, evidence, price, tried)[0]
        return won


@SELECTORS.register("planned_oracle")
class PlannedOracle(Planning):
    """The planner, told every future acceptance: a bound for plans, not a policy to deploy (ours).

    It plans before every round from what each request would commit in that very round, and proposes to no
    request more than will be accepted. It looks one round ahead, so a catch-up has to pay in that round
    (``repay`` 1): an oracle that hoped for more would change drafts every round, and lose by it.
    """

    sees_future = True
    at_once = True

    @dataclass(frozen=True)
    class Params:
        repay: Annotated[float, Ge(1)] = 1.0

    def __init__(self, params: Params, context: PolicyContext) -> None:
        if context.future is None or context.outputs is None:
            raise ValueError("the oracle needs the future: an acceptance field and the output lengths")
        super().__init__(params, context)
        self._future = context.future
        self._outputs = context.outputs

    def batch(self, views: Sequence[RequestView]) -> Batch:
        most = self.context.max_length
        worth = np.ones((len(views), len(self.context.drafts) + 1, most + 1))
        steps = np.arange(most + 1)
        for row, view in enumerate(views):
            left = self._outputs[view.id] - view.generated
            for draft in range(len(self.context.drafts)):
                run = self._future.runs(view.id, draft)[view.generated]
                worth[row, draft] = np.minimum(left, 1 + np.minimum(steps, run))
        contexts = contexts_of([view.context for view in views])
        return Batch(worth, self.missing(views), contexts, len(views), self.params.repay)
