"""Which drafts a batch should use in a round, given what each request would commit with each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spinsim.policies.base import NO_DRAFT, PolicyContext, RequestView
from spinsim.policies.beliefs import RoundTimes

Array = np.ndarray[Any, Any]


class RoundPlanner:
    """Most tokens per predicted second of a round (ours; it plans no further).

    Which drafts are used matters more than who uses them, since those of one lane run one after
    another. So the set grows greedily: the best single arm, then whichever arm adds most, until none
    does; within a set every request takes the arm that yields most tokens, then one that needs no catch-up,
    then the first. Draft capacities are filled in the order of the batch. ``repay``: the rounds over which a
    catch-up is reckoned to pay; 1 charges it to this round.
    """

    def __init__(self, context: PolicyContext, lengths: Sequence[int], repay: float = 1.0) -> None:
        self._context = context
        self._lengths = lengths
        self._repay = repay
        self._times = RoundTimes(context)

    def best_set(
        self, batch: Sequence[RequestView], tokens: Array, arms: Sequence[int], room: Sequence[int]
    ) -> list[int]:
        """The arms to use; ``tokens[i, arm]`` are what request i would commit, NO_DRAFT's the last column."""
        contexts = np.array([view.context for view in batch])
        behind = _behind(batch, contexts)
        best, used = -1.0, list[int]()
        while True:
            found: tuple[float, int] | None = None
            for arm in arms:
                if arm in used:
                    continue
                chosen = _within([*used, arm], tokens, behind, room)
                rate = self._rate(batch, contexts, behind, tokens, chosen)
                if rate > best and (found is None or rate > found[0]):
                    found = rate, arm
            if found is None:
                return used
            best = found[0]
            used.append(found[1])

    def assign(
        self, batch: Sequence[RequestView], tokens: Array, arms: Sequence[int], room: Sequence[int]
    ) -> list[int]:
        """An arm of the set ``arms`` for each request; NO_DRAFT where all are full."""
        contexts = np.array([view.context for view in batch])
        chosen: list[int] = _within(arms, tokens, _behind(batch, contexts), room).tolist()
        return chosen

    def _rate(
        self, batch: Sequence[RequestView], contexts: Array, behind: Array, tokens: Array, chosen: Array
    ) -> float:
        lanes: dict[int, float] = {}
        longest = 0
        for draft in sorted(set(chosen.tolist()) - {NO_DRAFT}):
            rows = np.flatnonzero(chosen == draft)
            length = self._lengths[draft]
            longest = max(longest, length)
            seconds = self._times.draft_s(draft, len(rows), length, int(contexts[rows].mean()))
            late = rows[behind[rows, draft]].tolist()
            if late:
                seconds += self._catch_up_s(draft, [batch[row] for row in late]) / self._repay
            lane = self._context.draft_lanes[draft]
            lanes[lane] = lanes.get(lane, 0.0) + seconds
        verifying = self._times.verify_s(len(batch), longest, int(contexts.mean()))
        committed = tokens[np.arange(len(batch)), chosen].sum()
        return float(committed) / max(max(lanes.values(), default=0.0) + verifying, 1e-12)

    def _catch_up_s(self, draft: int, views: Sequence[RequestView]) -> float:
        cached = [view.cached[draft] for view in views]
        missing = [view.context - 1 - held for view, held in zip(views, cached, strict=True)]
        return self._context.predictor.catch_up(draft, missing, cached).seconds


def _behind(batch: Sequence[RequestView], contexts: Array) -> Array:
    """[request, arm]: must the draft catch up before it can propose? NO_DRAFT never."""
    cached = np.array([view.cached for view in batch]).reshape(len(batch), -1)
    behind = np.zeros((len(batch), cached.shape[1] + 1), bool)
    behind[:, :-1] = contexts[:, None] - 2 > cached
    return behind


def _within(arms: Sequence[int], tokens: Array, behind: Array, room: Sequence[int]) -> Array:
    """Every request's best of ``arms``, as capacities allow; NO_DRAFT where all are full."""
    # Among equals the one at hand; the offset is below any real difference.
    worth = tokens[:, arms] - 1e-9 * behind[:, arms]
    chosen: Array = np.asarray(arms)[worth.argmax(1)]
    if min(room[arm] for arm in arms) >= len(tokens):
        return chosen
    left = list(room)
    for row, order in enumerate(np.argsort(-worth, axis=1, kind="stable").tolist()):
        chosen[row] = next((arms[at] for at in order if left[arms[at]] > 0), NO_DRAFT)
        left[chosen[row]] -= 1
    return chosen
