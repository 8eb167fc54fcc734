"""What it is worth to try a draft: the knowledge gradient, in tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spinsim.policies.planning.survival import CERTAIN

Array = np.ndarray[Any, Any]

_QUANTILES = np.array([-1.534, -0.887, -0.489, -0.157, 0.157, 0.489, 0.887, 1.534])  # eight alike, normal
_Z = np.linspace(-6.0, 0.0, 241)
_LOSS = np.array([math.exp(-z * z / 2) / math.sqrt(2 * math.pi) + z * math.erfc(-z / 2**0.5) / 2 for z in _Z])


def expected_gain(behind: Array | float, deviation: Array | float) -> Array:
    """E[max(0, X)] for X normal with mean -``behind`` (at least 0) and that deviation, elementwise."""
    deviation = np.maximum(deviation, 1e-12)
    found: Array = deviation * np.interp(-behind / deviation, _Z, _LOSS)
    return found


def information(tokens: Array, deviation: Array, evidence: Array, price: Array, tries: int) -> Array:
    """Tokens a round, from then on, that a request is expected to win by ``tries`` positions with each draft.

    The knowledge gradient (Frazier, Powell and Dayanik 2008, SIAM J. Control Optim. 47): what is learned may
    show another draft to be the best. ``tokens`` [request, draft]: expected now; ``deviation``: of that
    expectation; ``evidence``: positions that stand behind it, the prior's included; ``price`` [draft]: tokens
    that a draft costs by the time that it takes. Learning of the best draft is worth as much as it may show
    it to be worse than the second.
    """
    learned = deviation * np.sqrt(tries / (tries + evidence))
    net = tokens - price
    if net.shape[1] < 2:
        return np.zeros_like(net)
    order = np.sort(net, 1)
    best, second = order[:, -1:], order[:, -2:-1]
    behind = np.where(net >= best, best - second, best - net)
    return expected_gain(behind, learned)


def information_by_rate(
    surviving: Array, deviation: Array, evidence: Array, price: Array, tries: int
) -> Array:
    """The same as :func:`information`, for rates of acceptance that may turn out far from what is expected.

    A proposal's yield is convex in the rate. Where a draft is good for few requests, those few make its
    worth, and the slope at the mean tells little of them. So what ``tries`` positions may show is gone
    through in eight parts of like chance, by the median of each.

    ``surviving`` [request, draft, position]: chance that a proposal is accepted as far as there;
    ``deviation`` [request, draft]: of the rate, which is the first position's chance; ``evidence`` and
    ``price`` as for :func:`information`. What the convexity adds without a change of draft is left out.
    """
    rate = surviving[:, :, :1]
    before = np.concatenate((np.ones_like(rate), surviving[:, :, :-1]), 2)
    hazards = surviving / np.maximum(before, 1e-9)
    learned = deviation * np.sqrt(tries / (tries + evidence))
    shown = np.clip(rate + learned[:, :, None] * _QUANTILES, 0.0, CERTAIN)
    scale = shown / np.maximum(rate, 1e-9)
    chances = np.minimum(hazards[:, :, None] * scale[..., None], CERTAIN)
    net = 1 + np.cumprod(chances, 3).sum(3) - price[:, None]
    mean = net.mean(2)
    if mean.shape[1] < 2:
        return np.zeros_like(mean)
    order = np.sort(mean, 1)
    other = np.where(mean >= order[:, -1:], order[:, -2:-1], order[:, -1:])
    found: Array = np.maximum(net, other[:, :, None]).mean(2) - np.maximum(mean, other)
    return found
