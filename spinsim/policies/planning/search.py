"""The search for the plan of most value per second of its steady cycle."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from spinsim.policies.base import NO_DRAFT, CyclePlan, PolicyContext
from spinsim.policies.planning.cycle import Contexts, CycleTimes

Array = np.ndarray[Any, Any]


USUAL_LENGTH = 4  # of a further draft's proposals where the plan has none yet
NEAR = 0.9  # a depth whose best single arm is below this share of the best is not pursued, nor deeper ones
LEAST_GAIN = 0.002  # of the value: a further arm that would add less, were it free, is not tried


class Arm(NamedTuple):
    """A draft and the length of its proposals; ``NO_DRAFT`` and 0 for a request that only decodes."""

    draft: int
    length: int


class Plan(NamedTuple):
    """What to do until the next plan. ``rate``: value (tokens) per second of the cycle.

    ``of``: index into ``arms``, by request. ``packing`` of verifications; "" where there is no choice.
    """

    rate: float
    depth: int
    grouped: bool
    arms: tuple[Arm, ...]
    of: Array
    packing: str = ""


class Cycle(NamedTuple):
    """Seconds until every request has had a round, and whether micro-batches are of one draft each."""

    seconds: float
    grouped: bool


@dataclass(frozen=True)
class Batch:
    """The requests that a plan is for: all that decode.

    ``worth[i, d, k]``: what request i is expected to commit with a proposal of k tokens by draft d, and what
    trying is worth, in tokens; k = 0 decodes. ``missing[i, d]``: context tokens that draft d would have to
    read first. The last entry of both is NO_DRAFT's. ``rows``: how many requests there are, which may be more
    than those known by name. ``repay``: rounds over which reading has to pay.
    """

    worth: Array
    missing: Array
    contexts: Contexts
    rows: int
    repay: float

    @cached_property
    def flat(self) -> Array:
        """``worth`` as [request, column], a column for each draft and length."""
        return np.ascontiguousarray(self.worth.reshape(len(self.worth), -1))

    @cached_property
    def ranked(self) -> Array:
        """``flat``, a little less where the draft would have to read first: of equals, the draft at hand."""
        found: Array = self.flat - np.repeat(1e-9 * self.behind, self.worth.shape[2], 1)
        return found

    @cached_property
    def behind(self) -> Array:
        """[request, draft]: 1.0 where the draft would have to read first."""
        found: Array = (self.missing > 0).astype(float)
        return found

    @cached_property
    def is_late(self) -> bool:
        """Would anybody have to read first?"""
        return bool(self.behind.any())

    @cached_property
    def requests(self) -> Array:
        """0, 1, 2 ...: a row of ``worth`` each."""
        return np.arange(len(self.worth))

    def columns(self, arms: Sequence[Arm]) -> list[int]:
        """Where the arms are in ``flat``."""
        drafts, lengths = self.worth.shape[1:]
        return [draft % drafts * lengths + length for draft, length in arms]


class Search:
    """Greedy growth of a set of arms, for each depth (ours).

    For every depth the best single arm is found among all drafts, and lengths as long as they pay. To the
    best of these sets, arms of other drafts are added while the rate grows. Every request takes the arm of
    the set that is worth most to it. Drafts of one lane take turns, so a plan pays for every draft that it
    uses, and seldom has more than three.
    """

    def __init__(
        self, times: CycleTimes, limits: CyclePlan, context: PolicyContext, arms: Sequence[int]
    ) -> None:
        self._times = times
        self._limits = limits
        self._most = context.max_length
        self._capacities = context.capacities  # of a micro-batch
        self._limited = any(capacity is not None for capacity in context.capacities)
        self.drafts = [draft for draft in arms if draft != NO_DRAFT]
        self._may_decode = NO_DRAFT in arms
        self._allowed = self._alone()

    def best(self, batch: Batch, last: Plan | None = None) -> Plan:
        """The plan of the highest rate; the shallower, and the one with fewer drafts, of equals."""
        return deque(self.steps(batch, last), maxlen=1).pop()

    def steps(self, batch: Batch, last: Plan | None = None) -> Iterator[Plan]:
        """The search in steps of like effort, the best plan so far after each.

        Verifications have the packing of the ``last`` plan until a plan is found; then the fastest for it.
        """
        packing = self._times.packings[0] if last is None else last.packing
        singles: list[Plan] = []
        found: Plan | None = None
        for plan in self._singles(batch, packing):
            singles.append(plan)
            if found is None or plan.rate > found.rate * (1 + 1e-9):
                found = plan
            yield found
        assert found is not None
        starts = [plan for plan in singles if plan.rate > NEAR * found.rate]
        for start in starts:
            for grown in self._grown(batch, start):
                if grown.rate > found.rate * (1 + 1e-9):
                    found = grown
                yield found
        yield self._packed(batch, found)

    def again(self, batch: Batch, plan: Plan) -> Plan:
        """The arms of an earlier plan, among which each request takes anew what is worth most to it."""
        return self._with(batch, plan.depth, plan.arms, plan.packing)

    def prices(self, batch: Batch, plan: Plan) -> list[float]:
        """By draft, the tokens that each of its requests costs the batch by the time that the draft adds to
        the cycle of the plan's first arm, if an even share of the requests uses it. Nothing for that arm's.
        """
        times, context, depth = self._times, batch.contexts.mean, plan.depth
        first = plan.arms[0]
        rows = -(-batch.rows // depth)
        share = max(1, rows // (len(self.drafts) + 1))
        usual = first.length or USUAL_LENGTH
        verify_s = times.verify_s(rows, usual, usual, batch.contexts, plan.packing)
        alone = {first.draft: times.draft_s(first.draft, rows, usual, context)} if first.length else {}
        before = times.cycle_s(depth, rows, verify_s, alone)
        found = [0.0] * (batch.worth.shape[1] - 1)
        for draft in self.drafts:
            if draft != first.draft:
                arm = self.arm(draft, usual)
                by_draft = {**alone, draft: times.draft_s(draft, share, arm.length, context)}
                added_s = times.cycle_s(depth, rows, verify_s, by_draft) - before
                found[draft] = max(0.0, added_s) * plan.rate / (depth * share)
        return found

    def _alone(self) -> Array:
        """[draft, length]: which arms everybody may have; the last draft is none."""
        fixed = self._limits.fixed_lengths
        found = np.zeros((len(self._capacities) + 1, self._most + 1), bool)
        for draft in self.drafts:
            found[draft, 1:] = fixed is None
            if fixed is not None:
                found[draft, fixed[draft]] = True
        found[-1, 0] = self._may_decode or not self.drafts
        return found

    def _depths(self, rows: int) -> range:
        if self._limits.pipeline is not None:
            given = self._limits.pipeline.depth()
            return range(given, given + 1)
        return range(1, max(1, min(self._limits.most_depth, rows)) + 1)

    def alike_s(self, batch: Batch, depth: int, packing: str) -> Array:
        """Seconds of the cycle in which everybody has the same arm, [draft, length], reading included."""
        late, behind = batch.missing.sum(0).tolist(), batch.behind.sum(0).tolist()
        drafts = range(len(self._capacities))
        late_s = [self._late_s(batch, at, int(behind[at]), int(late[at]), depth) for at in drafts]
        rows = -(-batch.rows // depth)
        return self._times.alike_s(depth, rows, np.array([*late_s, 0.0]), batch.contexts, packing)

    def least_s(self, batch: Batch, packing: str) -> Array:
        """The same at the depth that is the fastest for each."""
        found: Array = np.minimum.reduce(
            [self.alike_s(batch, depth, packing) for depth in self._depths(batch.rows)]
        )
        return found

    def _singles(self, batch: Batch, packing: str) -> Iterator[Plan]:
        """The best plan of one arm for each depth, until a depth is much worse than the best."""
        worth = batch.worth.sum(0) * (batch.rows / len(batch.worth))
        everybody = np.zeros(len(batch.worth), int)
        best = 0.0
        for depth in self._depths(batch.rows):
            seconds = self.alike_s(batch, depth, packing)
            rates = np.where(self._allowed, worth / np.maximum(seconds, 1e-12), -1.0)
            draft, length = divmod(int(rates.argmax()), rates.shape[1])
            arm = Arm(NO_DRAFT, 0) if draft == len(rates) - 1 else Arm(draft, length)
            plan = Plan(float(rates[draft, length]), depth, False, (arm,), everybody, packing)
            if self._limited and arm.draft != NO_DRAFT:  # who finds no room decodes
                plan = self._with(batch, depth, (arm, Arm(NO_DRAFT, 0)), packing)
            best = max(best, plan.rate)
            yield plan
            if plan.rate < NEAR * best:
                break

    def _grown(self, batch: Batch, plan: Plan) -> Iterator[Plan]:
        """The plan with further arms while each adds to the rate, and with lengths that fit together."""
        known: dict[tuple[Arm, ...], Plan] = {}

        def best_of(plan: Plan, sets: Iterable[tuple[Arm, ...]]) -> Plan:
            best = plan
            for arms in sets:
                tried = known.get(arms)
                if tried is None:
                    tried = known[arms] = self._with(batch, plan.depth, arms, plan.packing)
                if tried.rate > best.rate * (1 + 1e-9):
                    best = tried
            return best

        while True:
            best = best_of(plan, [(*plan.arms, arm) for arm in self._further(batch, plan)])
            yield best
            if best is plan and len(plan.arms) > 1:
                best = best_of(plan, self._changed(plan.arms))
                yield best
            if best is plan:
                return
            plan = best

    def _packed(self, batch: Batch, plan: Plan) -> Plan:
        """The plan in the packing that is the fastest for it; the first of equals."""
        names = self._times.packings
        if len(names) == 1:
            return plan
        cycles = {name: self._cycle(batch, plan.depth, plan.arms, plan.of, name) for name in names}
        name = min(names, key=lambda name: cycles[name].seconds)
        faster = cycles[plan.packing].seconds / max(cycles[name].seconds, 1e-12)
        return plan._replace(rate=plan.rate * faster, grouped=cycles[name].grouped, packing=name)

    def _further(self, batch: Batch, plan: Plan) -> list[Arm]:
        """Arms of further drafts that are worth a try.

        A draft is tried with proposals like the others', and with the shortest. Those that would win the
        batch next to nothing, even if they took no time, are left out.
        """
        used = {arm.draft for arm in plan.arms}
        usual = plan.arms[0].length or USUAL_LENGTH
        arms = [
            arm
            for draft in self.drafts
            if draft not in used
            for arm in dict.fromkeys((self.arm(draft, usual), self.arm(draft, 1)))
        ]
        if self._limited:
            decode = [Arm(NO_DRAFT, 0)] if self._may_decode and NO_DRAFT not in used else []
            return [*arms, *decode]
        if not arms:
            return []
        now = batch.ranked.take(batch.columns(plan.arms), 1).max(1)
        then = batch.ranked.take(batch.columns(arms), 1)
        gains = np.maximum(then - now[:, None], 0.0).sum(0).tolist()
        least = LEAST_GAIN * float(now.sum())
        best = sorted(zip(gains, arms, strict=True), reverse=True)[:4]
        return [arm for gain, arm in best if gain > least]

    def _changed(self, arms: Sequence[Arm]) -> Iterator[tuple[Arm, ...]]:
        """The sets that differ by a token of one arm, or lack it."""
        for at, (draft, length) in enumerate(arms):
            rest = (*arms[:at], *arms[at + 1 :])
            if rest and not self._limited:
                yield rest
            if draft != NO_DRAFT and self._limits.fixed_lengths is None:
                for other in (length - 1, length + 1):
                    if 1 <= other <= self._most:
                        yield (*arms[:at], Arm(draft, other), *arms[at + 1 :])

    def arm(self, draft: int, length: int) -> Arm:
        """The draft with proposals of so many tokens, or of those that the length policy fixes."""
        fixed = self._limits.fixed_lengths
        return Arm(draft, min(length, self._most) if fixed is None else fixed[draft])

    def _with(self, batch: Batch, depth: int, arms: tuple[Arm, ...], packing: str) -> Plan:
        """The plan of a set of arms at a depth: each request takes what is worth most to it."""
        worth = batch.ranked.take(batch.columns(arms), 1)
        choice = self._choose(worth, arms, depth, batch.rows) if self._limited else worth.argmax(1)
        return self.with_choice(batch, depth, arms, choice, packing)

    def _choose(self, worth: Array, arms: Sequence[Arm], depth: int, rows: int) -> Array:
        """The best arm for each request, or the next one that has room, in the order of the requests;
        ``worth`` [request, arm]."""
        share = depth * len(worth) / rows
        limits = [None if draft == NO_DRAFT else self._capacities[draft] for draft, _ in arms]
        room = [len(worth) if limit is None else limit * share for limit in limits]
        choice = []
        for order in np.argsort(-worth, axis=1, kind="stable").tolist():
            at = next(at for at in order if room[at] >= 1)
            room[at] -= 1
            choice.append(at)
        return np.array(choice)

    def with_choice(self, batch: Batch, depth: int, arms: Sequence[Arm], choice: Array, packing: str) -> Plan:
        """The rate of a set of arms and a choice among them."""
        columns = np.array(batch.columns(arms))
        value = float(batch.flat[batch.requests, columns[choice]].sum())
        cycle = self._cycle(batch, depth, arms, choice, packing)
        rate = value * batch.rows / len(choice) / max(cycle.seconds, 1e-12)
        return Plan(rate, depth, cycle.grouped, tuple(arms), choice, packing)

    def _cycle(self, batch: Batch, depth: int, arms: Sequence[Arm], choice: Array, packing: str) -> Cycle:
        """Seconds of the cycle with micro-batches mixed or grouped, whichever is faster."""
        times, contexts = self._times, batch.contexts
        known = len(choice)
        share = batch.rows / known
        rows = -(-batch.rows // depth)
        counts = np.bincount(choice, minlength=len(arms)).tolist()
        behind, missing = self._reading(batch, arms, choice)
        tokens, longest, late_s = 0, 0, 0.0
        by_draft: dict[int, float] = {}
        groups: dict[int, tuple[int, float]] = {}
        for index, (draft, length) in enumerate(arms):
            count = counts[index]
            if not count or draft == NO_DRAFT:
                continue
            tokens += count * length
            longest = max(longest, length)
            if behind[index]:
                late_s += self._late_s(batch, draft, int(behind[index]), int(missing[index]), depth)
            all_rows = max(1, round(count * share))
            by_draft[draft] = times.draft_s(draft, -(-all_rows // depth), length, contexts.mean)
            if depth > 1:
                alone = times.draft_s(draft, min(rows, all_rows), length, contexts.mean)
                groups[draft] = -(-all_rows // rows), alone
        verify_s = times.verify_s(rows, tokens / known, longest, contexts, packing)
        seconds = times.cycle_s(depth, rows, verify_s, by_draft, late_s)
        if len(groups) > 1 and sum(count for count, _ in groups.values()) <= depth:
            apart = times.grouped_s(depth, rows, verify_s, groups) + late_s
            if apart < seconds:
                return Cycle(apart, True)
        return Cycle(seconds, False)

    def _reading(self, batch: Batch, arms: Sequence[Arm], choice: Array) -> tuple[list[float], list[float]]:
        """By arm, the requests that would have to be read first, and their tokens."""
        if not batch.is_late:
            return [0.0] * len(arms), [0.0] * len(arms)
        drafts = np.array([arm.draft for arm in arms])
        missing = batch.missing[batch.requests, drafts[choice]]
        return (
            np.bincount(choice, missing > 0, len(arms)).tolist(),
            np.bincount(choice, missing, len(arms)).tolist(),
        )

    def _late_s(self, batch: Batch, draft: int, rows: int, tokens: int, depth: int) -> float:
        """What catching up adds to each round of a micro-batch, over the rounds that it is to pay."""
        if not rows:
            return 0.0
        each = -(-rows // depth)
        return self._times.catch_up_s(draft, each, -(-tokens // depth)) / batch.repay
