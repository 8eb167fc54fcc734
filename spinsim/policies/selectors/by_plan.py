"""What selectors that plan whole rounds have in common: when to plan, and how a plan is carried out."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from spinsim.policies.base import NO_DRAFT, CyclePlan, PolicyContext, RequestView
from spinsim.policies.planning.cycle import CycleTimes
from spinsim.policies.planning.search import Arm, Array, Batch, Plan, Search
from spinsim.policies.planning.trials import Trial
from spinsim.policies.selectors.arms import PerRequest

USUAL_ROUNDS = 128.0  # that a request is taken to last at least, before one has ended
MOVED = 0.1  # a plan that gives no more of the requests another draft is held twice as long as the last one,
STEADIEST = 4  # and at most so many times as long as ``hold`` says
SURE = 0.05  # of the rate: a plan for which everybody reads anew has to promise so much more


class Planning(PerRequest[Any]):
    """What the planner and its oracle have in common: when to plan, and how a plan is carried out."""

    makes_plan = True
    at_once = False  # is every round planned before it? Else plans are made while the target verifies

    def __init__(self, params: Any, context: PolicyContext) -> None:
        super().__init__(params, context)
        self.limits = context.plan or CyclePlan()
        self.times = CycleTimes(context, self.limits.packings)
        self.search = Search(self.times, self.limits, context, self.arms)
        self.plan: Plan | None = None
        self._views: dict[int, RequestView] = {}
        self._choice: dict[int, Arm] = {}
        self._usual = Arm(NO_DRAFT, 0)  # of requests that came after the plan
        self._rounds = 0  # of micro-batches since the plan was begun
        self.steady: float = 1  # times ``hold`` that the plan is to be held
        self._changes = 0  # requests that came or went since then

    def assign(self, batch: Sequence[RequestView]) -> list[int]:
        views = self._views
        for view in batch:
            if view.id not in views:
                views[view.id] = view
                self._changes += 1
        self._rounds += 1
        if self.plan is None or self.at_once:
            for _ in self._begun():
                pass
        known, usual = self._choice, self._usual
        arms = [known.get(view.id, usual) for view in batch]
        if len(batch) > self.unlimited_rows:
            arms = self._within_capacity(arms)
        self.limits.lengths = [arm.length for arm in arms]
        drafts = [arm.draft for arm in arms]
        self._begins(batch, drafts)
        return drafts

    def _begins(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> None:
        """A round is about to begin, with these drafts."""

    def forget(self, request: int) -> None:
        if self._views.pop(request, None) is not None:
            self._changes += 1
        self._choice.pop(request, None)

    def batch(self, views: Sequence[RequestView]) -> Batch:
        """The requests as the search wants them; what they would commit is told by a subclass."""
        raise NotImplementedError

    def _begun(self) -> Iterator[None]:
        """The making of a plan from what is known now."""
        self._rounds = self._changes = 0
        return self._made(list(self._views.values()))

    def _made(self, views: list[RequestView]) -> Iterator[None]:
        """Makes the next plan in steps of like effort, and puts it into force with the last one."""
        batch = self.batch(views)
        yield
        plan = self.plan
        for found in self.search.steps(batch, self.plan):
            plan = found
            yield
        assert plan is not None
        plan = self._worth_it(batch, plan)
        trial = yield from self._trial(plan)
        self._put_in_force(views, batch, plan if trial is None else trial.plan)
        if trial is not None:
            self.plan = plan  # the trial ends with it
            self.steady = trial.rounds / self.params.hold

    def _trial(self, plan: Plan) -> Generator[None, None, Trial | None]:
        """What the requests do in place of the plan, to learn of another draft."""
        yield from ()
        return None

    def _worth_it(self, batch: Batch, plan: Plan) -> Plan:
        """The plan, or the one in force where the gain is within the error of estimates.

        What a draft has to read is lost for certain where a request changes to it. So the more of them have
        to, and the fewer rounds they are to last, the more a plan has to promise: at most ``SURE`` of the
        rate.
        """
        if self.plan is None or self.at_once or plan.arms == self.plan.arms:
            return plan
        drafts = np.array([arm.draft for arm in plan.arms])[plan.of]
        reading = float((batch.missing[batch.requests, drafts] > 0).mean())
        stays = self.search.again(batch, self.plan)
        sure = SURE * reading * USUAL_ROUNDS / max(USUAL_ROUNDS, batch.repay)
        return plan if plan.rate > stays.rate * (1 + sure) else stays

    def _put_in_force(self, views: Sequence[RequestView], batch: Batch, plan: Plan) -> None:
        self.plan = plan
        counts = [0] * len(plan.arms)
        lengths = self._trimmed(batch, plan)
        moved = 0  # requests that have another draft now
        for view, at, length in zip(views, plan.of.tolist(), lengths, strict=True):
            counts[at] += 1
            if view.id in self._views:  # it has not ended meanwhile
                arm = plan.arms[at]
                moved += self._choice.get(view.id, self._usual).draft != arm.draft
                self._choice[view.id] = arm if length < 0 else Arm(arm.draft, length)
        self.steady = min(2 * self.steady, STEADIEST) if moved <= MOVED * len(views) else 1
        self._usual = plan.arms[max(range(len(counts)), key=counts.__getitem__)]
        self.limits.depth = plan.depth
        self.limits.grouped = plan.grouped
        self.limits.packing = plan.packing

    def _trimmed(self, batch: Batch, plan: Plan) -> list[int]:
        """Proposal lengths by request, -1 for the plan's.

        Where rows of different lengths are executed as such, a token that is likely to fail is not worth its
        part of a verification.
        """
        rows = -(-batch.rows // plan.depth)
        longest = max(arm.length for arm in plan.arms)
        if self.times.pads(plan.packing) or longest < 2 or self.limits.fixed_lengths is not None:
            return [-1] * len(plan.of)
        dear = self.times.verify_s(rows, longest, longest, batch.contexts, plan.packing)
        dear -= self.times.verify_s(rows, 1, 1, batch.contexts, plan.packing)
        price = plan.rate * max(dear, 0.0) / (rows * (longest - 1))
        gains = np.diff(batch.worth[:, :, 1 : longest + 1], axis=2) >= price
        drafts, most = np.array(plan.arms)[plan.of].T
        kept = np.cumprod(gains[batch.requests, drafts], 1).sum(1)
        lengths: list[int] = np.minimum(1 + kept, most).tolist()
        return lengths

    def _within_capacity(self, arms: list[Arm]) -> list[Arm]:
        room = self.room(len(arms))
        chosen = []
        for arm in arms:
            if room[arm.draft] <= 0:
                arm = Arm(NO_DRAFT, 0)
            room[arm.draft] -= 1
            chosen.append(arm)
        return chosen

    def missing(self, views: Sequence[RequestView]) -> Array:
        """[request, draft]: context tokens that the draft must read before it can propose; NO_DRAFT none."""
        behind = np.array([[view.context - 1 - held for held in view.cached] + [0] for view in views])
        return np.where(behind > 1, behind, 0)
