"""The selector that plans the whole round: it decides for the length, the depth and the composition too."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Ge

from spinsim.policies.base import NO_DRAFT, CyclePlan, Feedback, PolicyContext, RequestView, Tunable
from spinsim.policies.planning.cycle import CycleTimes, contexts_of
from spinsim.policies.planning.information import information, information_by_rate
from spinsim.policies.planning.search import USUAL_LENGTH, Arm, Array, Batch, Plan, Search
from spinsim.policies.planning.survival import Survival
from spinsim.policies.planning.trials import Trial, best_trial, standing
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.arms import PerRequest

USUAL_ROUNDS = 128.0  # that a request is taken to last before one has ended
OFTEN = 4  # the first plans each learn anew how much requests differ, later ones once in so many
MOVED = 0.1  # a plan that gives no more of the requests another draft is held twice as long as the last one,
STEADIEST = 4  # and at most so many times as long as ``hold`` says
SURE = 0.05  # of the rate: a plan for which everybody reads anew has to promise so much more
MEASURED = 5  # costs are corrected by one round in so many: odd, so that every micro-batch has its turn
PACE = 5  # steps of making a plan that the host takes at a time
CHANGED = 0.25  # a share of the requests that came or went since the plan was made calls for another


class Began(NamedTuple):
    """How a round began: by which plan, and whether it tells how long a cycle of the plan is (it does not
    where somebody catches up, or while micro-batches still are as another depth left them)."""

    packing: str
    depth: int
    is_steady: bool


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

    Predicted times are corrected by measured ones
    (:class:`~spinsim.policies.planning.corrections.Corrections`), as feedback tells them in both worlds. All
    plans but the first are made while the target verifies.
    """

    @dataclass(frozen=True)
    class Params:
        hold: Annotated[int, Ge(1), Tunable(2, 64, log=True)] = 8
        repay: Annotated[float, Ge(1), Tunable(1, 64, log=True)] = 16.0
        explore: Annotated[float, Ge(0), Tunable(0.05, 2, log=True)] = 0.3

    def __init__(self, params: Params, context: PolicyContext) -> None:
        super().__init__(params, context)
        self._making: Iterator[None] | None = None  # the next plan, in the making
        self.survival = Survival(len(context.drafts), context.max_length)
        self._observed = 0  # rounds
        self._began: dict[int, Began] = {}  # rounds under way, by their first request
        self._depth = 0  # of the last round that began
        self._unsettled = 0  # rounds to come in which a change of depth is still felt
        self._ended_rounds = 0.0
        self._made_plans = 0
        self._ended = 0

    def observe(self, feedback: Feedback) -> None:
        self.survival.observe(feedback)
        self._observed += 1
        began = self._began.pop(feedback.requests[0].id, None)
        if began is not None and self._observed % MEASURED == 0:
            self.times.learn(feedback, *began)

    def _begins(self, batch: Sequence[RequestView], drafts: Sequence[int]) -> None:
        assert self.plan is not None
        depth = self.plan.depth
        if depth != self._depth:
            self._unsettled = 2 * max(depth, self._depth)
            self._depth = depth
        self._unsettled = max(0, self._unsettled - 1)
        reads = any(
            draft != NO_DRAFT and view.context - view.cached[draft] > 2
            for view, draft in zip(batch, drafts, strict=True)
        )
        self._began[batch[0].id] = Began(self.plan.packing, depth, not reads and not self._unsettled)

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
        rounds = max(USUAL_ROUNDS, self._observed / plan.depth)  # as many again as there were
        return (yield from best_trial(self.search, self.survival, self._expected, plan, rounds))

    def thought(self) -> Callable[[], None] | None:
        """Some steps of the next plan, where one is due or in the making: a thought for each verification."""
        if self._making is None:
            if not self._is_due():
                return None
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

        Of one that has lasted long it is only known that it lasts: as long again while none has ended, since
        nothing else tells the scale, and a quarter of the mean later.
        """
        seen = np.array([view.rounds for view in views])
        if not self._ended:
            left: Array = np.maximum(USUAL_ROUNDS - seen, seen)
        else:
            rounds = self._ended_rounds / self._ended
            left = np.maximum(rounds - seen, rounds / 4)
        return left

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
        of_use = periods if self._ended else np.minimum(periods, USUAL_ROUNDS / self.params.hold)
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
