"""What it is worth to try a draft: the knowledge gradient, in tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

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
