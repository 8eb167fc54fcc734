"""The best round of a batch for one who knows every acceptance of it."""

from __future__ import annotations

from collections.abc import Sequence

from spinsim.policies.base import NO_DRAFT, PolicyContext, RequestView
from spinsim.policies.beliefs import RoundTimes


class RoundPlanner:
    """Most tokens per predicted second of this round (ours; it plans no further).

    Which drafts are used matters more than who uses them, since those of one lane run one after
    another. So the set grows greedily: the best single arm, then whichever arm adds most, until none
    does; within a set every request takes the arm that yields most tokens, then one that needs no catch-up,
    then the first. Draft capacities are filled in the order of the batch.
    """

    def __init__(self, context: PolicyContext, lengths: Sequence[int]) -> None:
        self._context = context
        self._lengths = lengths
        self._times = RoundTimes(context)

    def assign(
        self,
        batch: Sequence[RequestView],
        tokens: Sequence[Sequence[int]],
        arms: Sequence[int],
        room: Sequence[int],
    ) -> list[int]:
        """An arm for each request; ``tokens[i][arm]`` are what request i would commit with it."""
        best_rate, best = -1.0, [NO_DRAFT] * len(batch)
        used: list[int] = []
        while True:
            found: tuple[float, list[int], int] | None = None
            for arm in arms:
                if arm not in used:
                    chosen = _within([*used, arm], batch, tokens, room)
                    rate = self._rate(batch, tokens, chosen)
                    if rate > best_rate and (found is None or rate > found[0]):
                        found = (rate, chosen, arm)
            if found is None:
                return best
            best_rate, best, arm = found
            used.append(arm)

    def _rate(
        self, batch: Sequence[RequestView], tokens: Sequence[Sequence[int]], chosen: Sequence[int]
    ) -> float:
        predictor = self._context.predictor
        lanes: dict[int, float] = {}
        longest = 0
        total = sum(view.context for view in batch)
        for draft in set(chosen) - {NO_DRAFT}:
            views = [view for view, arm in zip(batch, chosen, strict=True) if arm == draft]
            length = self._lengths[draft]
            longest = max(longest, length)
            seconds = self._times.draft_s(
                draft, len(views), length, sum(v.context for v in views) // len(views)
            )
            behind = [view for view in views if _behind(view, draft)]
            if behind:
                missing = [view.context - 1 - view.cached[draft] for view in behind]
                seconds += predictor.catch_up(draft, missing, [view.cached[draft] for view in behind]).seconds
            lane = self._context.draft_lanes[draft]
            lanes[lane] = lanes.get(lane, 0.0) + seconds
        verifying = self._times.verify_s(len(batch), longest, total // len(batch))
        committed = sum(row[arm] for row, arm in zip(tokens, chosen, strict=True))
        return committed / max(max(lanes.values(), default=0.0) + verifying, 1e-12)


def _within(
    arms: Sequence[int],
    batch: Sequence[RequestView],
    tokens: Sequence[Sequence[int]],
    room: Sequence[int],
) -> list[int]:
    """Every request's best of ``arms``, as capacities allow; NO_DRAFT where all are full."""
    left = list(room)
    chosen = []
    for view, row in zip(batch, tokens, strict=True):
        free = [arm for arm in arms if left[arm] > 0]
        arm = max(free, key=lambda a: (row[a], not _behind(view, a)), default=NO_DRAFT)
        left[arm] -= 1
        chosen.append(arm)
    return chosen


def _behind(view: RequestView, arm: int) -> bool:
    """Does the draft need a catch-up before it can propose?"""
    return arm != NO_DRAFT and view.context - 1 - view.cached[arm] > 1
