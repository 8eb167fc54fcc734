"""A law whose level is what was measured, where passes of every bucket of new tokens were.

Matrix products come in tiles: a prefill of 192 tokens takes 7 % longer than what a law says that fits 128 and
512 (7B on an H100). A law has no such stairs, and interpolation alone knows too little of contexts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression

from spinsim.buckets import prompt_token_buckets
from spinsim.costs.profiled.executed import PassShape
from spinsim.costs.profiled.laws import Array, Fitter, PassFit


def walked(points: Sequence[PassShape]) -> bool:
    """Was every bucket of new tokens measured, of a prefill or catch-up, up to the largest?"""
    tokens = {int(point.tokens) for point in points}
    return len(tokens) > 1 and tokens >= set(prompt_token_buckets(max(tokens)))


class OnStairs:
    """By executed tokens the level that was measured, linear between. What K/V and rows add is ``law``'s.

    ``steps`` are the passes of least K/V, ``left`` what the law leaves of them in seconds. Nondecreasing as
    the law is: levels are ordered among each other.
    """

    def __init__(self, law: PassFit, steps: Sequence[PassShape], left: Array) -> None:
        self.name = f"{law.name} on stairs"
        self._law, self._tokens = law, np.array([step.tokens for step in steps])
        levels = left + [law.predict(_bare(step)) for step in steps]
        self._levels = np.maximum(np.asarray(isotonic_regression(levels).x), 1e-9)

    def predict(self, shape: PassShape) -> float:
        """Seconds of a pass."""
        level = float(np.interp(shape.tokens, self._tokens, self._levels))
        return level + self._law.predict(shape) - self._law.predict(_bare(shape))


def _bare(shape: PassShape) -> PassShape:
    """As many tokens of one row, without K/V."""
    return PassShape(1, shape.tokens, min(shape.head, 1), shape.tokens, 0, 0)


def on_stairs(fitter: Fitter) -> Fitter:
    """Fits the law of ``fitter``, and then the levels."""

    def fit(points: Sequence[PassShape], seconds: Array) -> PassFit:
        law = fitter(points, seconds)
        least: dict[float, int] = {}  # by tokens, the point of least K/V
        for index, point in enumerate(points):
            known = least.get(point.tokens)
            if known is None or point.kv_tokens < points[known].kv_tokens:
                least[point.tokens] = index
        at = [least[tokens] for tokens in sorted(least)]
        steps = [points[i] for i in at]
        left = np.array([seconds[i] - law.predict(points[i]) for i in at])
        return OnStairs(law, steps, left)

    return fit
