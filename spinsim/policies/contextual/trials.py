"""What it is worth to see a drafter's proposal judged: the request's kind of text may show."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SURE = 1e-12  # no likelihood is smaller


def won_by_trials(by_kind: Array, lengths: Array, price: Array, weights: Array, temper: float) -> Array:
    """[row, drafter]: tokens a round, from then on, that a request wins by one proposal of the drafter.

    The knowledge gradient (Frazier, Powell and Dayanik 2008, SIAM J. Control Optim. 47) over kinds of text:
    a proposal has 0 to all of its tokens accepted, each outcome moves the kinds' probabilities, and the
    drafter that is then the best is used. ``by_kind`` [row, drafter, kind, j]: the first j + 1 tokens are
    all accepted. ``lengths`` [row, drafter] of proposals. ``price`` [drafter]: tokens that a drafter costs
    by the time that it takes. ``weights`` [row, kind]: probabilities. ``temper``: the power to which a
    likelihood is raised as evidence.
    """
    proposed = np.arange(by_kind.shape[3]) < lengths[:, :, None, None]
    survival = by_kind * proposed
    worth = survival.sum(3) - price[:, None]  # [row, drafter, kind]
    edges = np.ones((*survival.shape[:3], 1))
    reached = np.concatenate((edges, survival, 0 * edges), 3)
    likely = np.maximum(reached[..., :-1] - reached[..., 1:], SURE)  # of each number of accepted tokens
    share = weights[:, None, :, None]
    predicted = (share * likely).sum(2)  # [row, drafter, outcome]
    after = share * (likely if temper == 1 else likely**temper)
    after /= after.sum(2, keepdims=True)
    told = np.zeros((*predicted.shape, worth.shape[1]))  # [row, drafter tried, outcome, drafter used then]
    for kind in range(weights.shape[1]):
        told += after[:, :, kind, :, None] * worth[:, None, None, :, kind]
    untold = (worth * weights[:, None, :]).sum(2).max(1)
    found: Array = (told.max(3) * predicted).sum(2) - untold[:, None]
    return np.maximum(found, 0.0)
