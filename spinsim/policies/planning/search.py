"""The search for the plan of most value per second of its steady cycle."""

from __future__ import annotations

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


class Arm(NamedTuple):
    """A draft and the length of its proposals; ``NO_DRAFT`` and 0 for a request that only decodes."""

    draft: int
    length: int


class Plan(NamedTuple):
    """What to do until the next plan. ``rate``: value (tokens) per second of the cycle."""

    rate: float
    depth: int
    grouped: bool
    arms: tuple[Arm, ...]
    of: tuple[int, ...]  # index into ``arms``, by request


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
    than those known by name.
    """

    worth: Array
    missing: Array
    contexts: Contexts
    rows: int

    @cached_property
    def behind(self) -> Array:
        """[request, draft]: 1.0 where the draft would have to read first."""
        found: Array = (self.missing > 0).astype(float)
        return found


class Search:
    """Greedy growth of a set of arms, for each depth (ours).

    For every depth the best single arm is found among all drafts, and lengths as long as they pay. To the
    best of these sets, arms of other drafts are added while the rate grows. Every request takes the arm of
    the set that is worth most to it, less what its proposal costs a verification. Drafts of one lane take
    turns, so a plan pays for every draft that it uses, and seldom has more than three.
    """

    def __init__(
        self, times: CycleTimes, limits: CyclePlan, context: PolicyContext, arms: Sequence[int], repay: float
    ) -> None:
        self._times = times
        self._limits = limits
        self._most = context.max_length
        self._capacities = context.capacities  # of a micro-batch
        self._limited = any(capacity is not None for capacity in context.capacities)
        self._drafts = [draft for draft in arms if draft != NO_DRAFT]
        self._may_decode = NO_DRAFT in arms
        self._repay = repay

    def best(self, batch: Batch) -> Plan:
        """The plan of the highest rate; the shallower, and the one with fewer drafts, of equals."""
        singles = self._singles(batch)
        found = max(singles, key=lambda plan: plan.rate)
        for plan in singles:
            if plan.rate > NEAR * found.rate:
                grown = self._grown(batch, plan)
                if grown.rate > found.rate * (1 + 1e-9):
                    found = grown
        return found

    def price(self, batch: Batch, plan: Plan, draft: int) -> float:
        """Tokens that each request of ``draft`` costs the batch by the time that it adds to the cycle, if an
        even share of the requests uses it beside the plan's drafts. Nothing where the plan uses it anyway."""
        if any(arm.draft == draft for arm in plan.arms):
            return 0.0
        arm = self._arm(draft, plan.arms[0].length or USUAL_LENGTH)
        share = max(1, len(batch.worth) // (len(self._drafts) + 1))
        choice = np.array(plan.of)
        before = self._cycle(batch, plan.depth, plan.arms, choice)
        choice[:share] = len(plan.arms)
        after = self._cycle(batch, plan.depth, (*plan.arms, arm), choice)
        return max(0.0, after.seconds - before.seconds) * plan.rate * len(batch.worth) / (batch.rows * share)

    def _depths(self, rows: int) -> range:
        if self._limits.pipeline is not None:
            given = self._limits.pipeline.depth()
            return range(given, given + 1)
        return range(1, max(1, min(self._limits.most_depth, rows)) + 1)

    def _lengths(self, draft: int) -> Sequence[int]:
        fixed = self._limits.fixed_lengths
        return range(1, self._most + 1) if fixed is None else (fixed[draft],)

    def _singles(self, batch: Batch) -> list[Plan]:
        """The best plan of one arm for each depth."""
        totals = batch.worth.sum(0).tolist()
        known = len(batch.worth)
        late = [int(tokens) for tokens in batch.missing.sum(0)]
        behind = [int(rows) for rows in (batch.missing > 0).sum(0)]
        share = batch.rows / known
        found = []
        for depth in self._depths(batch.rows):
            rows = -(-batch.rows // depth)
            best, arm = -1.0, Arm(NO_DRAFT, 0)
            if self._may_decode or not self._drafts:
                seconds = self._times.verify_s(rows, 0, batch.contexts)
                best = batch.rows / max(self._times.cycle_s(depth, rows, seconds, {}), 1e-12)
            for draft in self._drafts:
                catch_up = self._late_s(draft, behind[draft], late[draft], depth)
                before = 0.0
                for length in self._lengths(draft):
                    verify = self._times.verify_s(rows, length, batch.contexts)
                    alone = self._times.draft_s(draft, rows, length, batch.contexts.mean)
                    seconds = self._times.cycle_s(depth, rows, verify, {draft: alone}, catch_up)
                    rate = totals[draft][length] * share / max(seconds, 1e-12)
                    if rate > best * (1 + 1e-9):
                        best, arm = rate, Arm(draft, length)
                    if rate < before:  # each further token is worth less, and costs as much
                        break
                    before = rate
            plan = Plan(best, depth, False, (arm,), (0,) * known)
            if self._limited and arm.draft != NO_DRAFT:  # who finds no room decodes
                plan = self._with(batch, plan._replace(rate=0.0), (arm, Arm(NO_DRAFT, 0)))
            found.append(plan)
            if plan.rate < NEAR * max(plan.rate for plan in found):
                break
        return found

    def _grown(self, batch: Batch, plan: Plan) -> Plan:
        """The plan with further arms while each adds to the rate, and with lengths that fit together."""
        while True:
            used = {arm.draft for arm in plan.arms}
            usual = plan.arms[0].length or USUAL_LENGTH
            more = [arm for draft in self._drafts if draft not in used for arm in self._further(draft, usual)]
            if self._may_decode and NO_DRAFT not in used:
                more.append(Arm(NO_DRAFT, 0))
            best = self._best_of(batch, plan, [(*plan.arms, arm) for arm in more])
            if best is not plan or len(plan.arms) > 1:
                best = self._best_of(batch, best, self._changed(best.arms))
            if best is plan:
                return plan
            plan = best

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

    def _best_of(self, batch: Batch, plan: Plan, sets: Iterable[tuple[Arm, ...]]) -> Plan:
        """The plan, or that of the set of arms which is best, where that is better."""
        best = plan
        for arms in sets:
            tried = self._with(batch, plan, arms)
            if tried.rate > best.rate * (1 + 1e-9):
                best = tried
        return best

    def _arm(self, draft: int, length: int) -> Arm:
        fixed = self._limits.fixed_lengths
        return Arm(draft, min(length, self._most) if fixed is None else fixed[draft])

    def _further(self, draft: int, usual: int) -> set[Arm]:
        """A further draft is tried with proposals like the others', and with the shortest."""
        return {self._arm(draft, usual), self._arm(draft, 1)}

    def _with(self, batch: Batch, plan: Plan, arms: tuple[Arm, ...]) -> Plan:
        """The plan of a set of arms at the depth of another plan: each request takes what is worth most."""
        # Among equals the draft at hand; the offset is below any real difference.
        worth = np.array([batch.worth[:, arm.draft, arm.length] for arm in arms])
        worth -= 1e-9 * np.array([batch.behind[:, arm.draft] for arm in arms])
        return self._plan(batch, plan.depth, arms, self._choose(worth, arms, plan.depth, batch.rows))

    def _choose(self, worth: Array, arms: Sequence[Arm], depth: int, rows: int) -> Array:
        """The best arm for each request, or the next one that has room, in the order of the requests;
        ``worth`` [arm, request]."""
        if not self._limited:
            best: Array = worth.argmax(0)
            return best
        share = depth * worth.shape[1] / rows
        limits = [None if draft == NO_DRAFT else self._capacities[draft] for draft, _ in arms]
        room = [worth.shape[1] if limit is None else limit * share for limit in limits]
        choice = []
        for order in np.argsort(-worth.T, axis=1, kind="stable").tolist():
            at = next(at for at in order if room[at] >= 1)
            room[at] -= 1
            choice.append(at)
        return np.array(choice)

    def _plan(self, batch: Batch, depth: int, arms: Sequence[Arm], choice: Array) -> Plan:
        """The rate of a set of arms and a choice among them."""
        value = 0.0
        for index, (draft, length) in enumerate(arms):
            value += float((choice == index) @ batch.worth[:, draft, length])
        cycle = self._cycle(batch, depth, arms, choice)
        rate = value * batch.rows / len(choice) / max(cycle.seconds, 1e-12)
        return Plan(rate, depth, cycle.grouped, tuple(arms), tuple(choice.tolist()))

    def _cycle(self, batch: Batch, depth: int, arms: Sequence[Arm], choice: Array) -> Cycle:
        """Seconds of the cycle with micro-batches mixed or grouped, whichever is faster."""
        times, contexts = self._times, batch.contexts
        known = len(batch.worth)
        share = batch.rows / known
        rows = -(-batch.rows // depth)
        counts = np.bincount(choice, minlength=len(arms)).tolist()
        tokens, longest, late_s = 0, 0, 0.0
        by_draft: dict[int, float] = {}
        groups: dict[int, tuple[int, float]] = {}
        for index, (draft, length) in enumerate(arms):
            count = counts[index]
            if not count or draft == NO_DRAFT:
                continue
            tokens += count * length
            longest = max(longest, length)
            mine = choice == index
            rows_behind = int(mine @ batch.behind[:, draft])
            if rows_behind:
                late_s += self._late_s(draft, rows_behind, int(mine @ batch.missing[:, draft]), depth)
            all_rows = max(1, round(count * share))
            by_draft[draft] = times.draft_s(draft, -(-all_rows // depth), length, contexts.mean)
            alone = times.draft_s(draft, min(rows, all_rows), length, contexts.mean)
            groups[draft] = -(-all_rows // rows), alone
        verify_s = times.verify_s(rows, longest if times.pads else tokens / known, contexts)
        seconds = times.cycle_s(depth, rows, verify_s, by_draft, late_s)
        if depth > 1 and len(groups) > 1 and sum(count for count, _ in groups.values()) <= depth:
            apart = times.grouped_s(depth, rows, verify_s, groups) + late_s
            if apart < seconds:
                return Cycle(apart, True)
        return Cycle(seconds, False)

    def _late_s(self, draft: int, rows: int, tokens: int, depth: int) -> float:
        """What catching up adds to each round of a micro-batch, over the rounds that it is to pay."""
        if not rows:
            return 0.0
        each = -(-rows // depth)
        return self._times.catch_up_s(draft, each, -(-tokens // depth)) / self._repay
