"""Which drafts a batch should use in a round, given what each request would commit with each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from spinsim.policies.base import NO_DRAFT, PolicyContext, RequestView
from spinsim.policies.beliefs import DraftingTimes, RoundTimes

Array = np.ndarray[Any, Any]


class Plan(NamedTuple):
    """An arm and its tokens for each request; by arm (NO_DRAFT's last) its requests and their catch-up."""

    arms: list[int]
    tokens: list[float]
    rows: list[int]
    late_rows: list[int]
    late_tokens: list[int]


class RoundPlanner:
    """Most tokens per predicted second of a round (ours; it plans no further).

    Which drafts are used matters more than who uses them, since those of one lane run one after
    another, and those of one device slow each other. So the set grows greedily: the best single arm, then
    whichever arm adds most, until none does; within a set every request takes the arm that yields most
    tokens, then one that needs no catch-up, then the first. Draft capacities are filled in the order of the
    batch. ``repay``: the rounds over which a catch-up is reckoned to pay; 1 charges it to this round.
    """

    def __init__(self, context: PolicyContext, lengths: Sequence[int], repay: float = 1.0) -> None:
        self._lengths = lengths
        self._repay = repay
        self._times = RoundTimes(context)
        self._drafting = DraftingTimes(context)

    def best_set(
        self, batch: Sequence[RequestView], tokens: Array, arms: Sequence[int], room: Sequence[int]
    ) -> list[int]:
        """The arms to use; ``tokens[i, arm]`` are what request i would commit, NO_DRAFT's the last column."""
        # Plain loops: a batch has some tens of rows, and a dozen arrays of them would take longer.
        missing, table = _missing(batch), tokens.tolist()
        context = sum(view.context for view in batch) // len(batch)
        width = len(table[0])
        plan = Plan([NO_DRAFT] * len(batch), [-1.0] * len(batch), [0] * width, [0] * width, [0] * width)
        best, used = -1.0, list[int]()
        while True:
            found: tuple[float, int, Plan] | None = None
            for arm in arms:
                if arm not in used:
                    tried = _with(plan, arm, table, missing, room[arm])
                    least = best if found is None else found[0]
                    rate = self._rate(tried, context, least)
                    if rate > least:
                        found = rate, arm, tried
            if found is None:
                return used
            best, arm, plan = found
            used.append(arm)

    def assign(
        self, batch: Sequence[RequestView], tokens: Array, arms: Sequence[int], room: Sequence[int]
    ) -> list[int]:
        """An arm of the set ``arms`` for each request; NO_DRAFT where all are full."""
        if len(arms) == 1 and room[arms[0]] >= len(batch):
            return list(arms) * len(batch)
        # Among equals the one at hand; the offset is below any real difference.
        worth = tokens[:, arms] - 1e-9 * (np.array(_missing(batch))[:, arms] > 0)
        chosen: list[int] = np.asarray(arms)[worth.argmax(1)].tolist()
        if min(room[arm] for arm in arms) >= len(batch):
            return chosen
        left = list(room)
        for row, order in enumerate(np.argsort(-worth, axis=1, kind="stable").tolist()):
            chosen[row] = next((arms[at] for at in order if left[arms[at]] > 0), NO_DRAFT)
            left[chosen[row]] -= 1
        return chosen

    def _rate(self, plan: Plan, context: int, least: float) -> float:
        """Committed tokens per predicted second, or any rate up to ``least`` where it is none above."""
        # A request that found no room decodes: one token.
        tokens = sum(committed if committed > 0 else 1.0 for committed in plan.tokens)
        drafts = [draft for draft in range(len(self._lengths)) if plan.rows[draft]]
        longest = max((self._lengths[draft] for draft in drafts), default=0)
        verify_s = self._times.verify_s(len(plan.arms), longest, context)
        by_draft = {
            draft: self._times.draft_s(draft, plan.rows[draft], self._lengths[draft], context)
            for draft in drafts
        }
        rate = tokens / max(self._drafting.seconds(by_draft) + verify_s, 1e-12)
        late = [draft for draft in drafts if plan.late_rows[draft]]
        # Catch-ups only make it less. To price one that was not met before takes as long as all the rest.
        if rate <= least or not late:
            return rate
        for draft in late:
            catch_up_s = self._times.catch_up_s(draft, plan.late_rows[draft], plan.late_tokens[draft])
            by_draft[draft] += catch_up_s / self._repay
        return tokens / max(self._drafting.seconds(by_draft) + verify_s, 1e-12)


def _with(
    plan: Plan, arm: int, table: Sequence[Sequence[float]], missing: Sequence[Sequence[int]], room: int
) -> Plan:
    """The plan with one more arm, which takes the requests that it serves better."""
    arms, tokens, rows = plan.arms.copy(), plan.tokens.copy(), plan.rows.copy()
    late_rows, late_tokens = plan.late_rows.copy(), plan.late_tokens.copy()
    for i, row in enumerate(table):
        committed, before, behind = row[arm], tokens[i], missing[i]
        if committed < before or (committed == before and not (behind[arms[i]] and not behind[arm])):
            continue
        if not room:
            break
        room -= 1
        if before >= 0:
            old = arms[i]
            rows[old] -= 1
            if behind[old]:
                late_rows[old] -= 1
                late_tokens[old] -= behind[old]
        arms[i], tokens[i] = arm, committed
        rows[arm] += 1
        if behind[arm]:
            late_rows[arm] += 1
            late_tokens[arm] += behind[arm]
    return Plan(arms, tokens, rows, late_rows, late_tokens)


def _missing(batch: Sequence[RequestView]) -> list[list[int]]:
    """[request, arm]: tokens that the draft must read before it can propose; none for NO_DRAFT, the last."""
    found = []
    for view in batch:
        goal = view.prompt_tokens + view.generated - 1
        found.append([goal - held if goal - held > 1 else 0 for held in view.cached] + [0])
    return found
