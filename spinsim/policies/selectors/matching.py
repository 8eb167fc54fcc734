"""Exact maximum-weight assignment of requests to drafts with capacities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spinsim.policies.base import NO_DRAFT


def match(gains: Sequence[Sequence[float]], arms: Sequence[int], room: Sequence[int]) -> list[int]:
    """The arm of each request: maximise sum g_ij x_ij, one arm a request, at most room[j] for draft j.

    ``gains[i]`` has an entry per arm; ``room`` one per draft and, last, one of NO_DRAFT, which takes any
    number. Where NO_DRAFT is not among ``arms`` it is the overflow: as few requests as the
    capacities force. Equal gains go to the earlier of ``arms``.

    Solved by argmax where no capacity binds (then exact), else as an assignment with draft j
    replicated into min(b_j, requests) slots (scipy's modified Jonker-Volgenant, O(n^3)).
    """
    best = [arms[row.index(max(row))] for row in gains]
    used = [0] * len(room)
    for arm in best:
        used[arm] += 1
    if all(u <= r for u, r in zip(used[:-1], room[:-1], strict=True)):
        return best
    # A third of a second to load: only where a capacity binds.
    from scipy.optimize import linear_sum_assignment

    rows = len(gains)
    slots = [arm for arm in arms if arm != NO_DRAFT for _ in range(min(room[arm], rows))]
    drafts = len(slots)
    slots += [NO_DRAFT] * rows
    weights = np.array(gains, dtype=np.float64)[:, slots]
    if NO_DRAFT not in arms:
        # Less than any exchange among drafts could win back, so that nobody overflows without need.
        span = float(np.ptp(weights)) + 1.0
        weights[:, drafts:] = float(weights.min()) - rows * span
    _, columns = linear_sum_assignment(weights, maximize=True)
    return [slots[column] for column in columns]
