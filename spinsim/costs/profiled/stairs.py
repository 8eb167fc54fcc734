"""A law whose level is what was measured, where passes of every bucket of new tokens were.

Matrix products come in tiles: a prefill of 192 tokens takes 7 % longer than what a law says that fits 128 and
512 (7B on an H100). A law has no such stairs, and interpolation alone knows too little of contexts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spinsim.buckets import prompt_token_buckets
from spinsim.costs.profiled.executed import PassShape
from spinsim.costs.profiled.laws import Array, Fitter, PassFit


def on_stairs_name(law: str) -> str:
    """Of a law's fit on stairs."""
    return f"{law} on stairs"


def walked(points: Sequence[PassShape]) -> bool:
    """Was every bucket of new tokens measured, of a prefill or catch-up, up to the largest?"""
    tokens = {int(point.tokens) for point in points}
    return len(tokens) > 1 and tokens >= set(prompt_token_buckets(max(tokens)))


class OnStairs:
    """By executed ``tokens`` the measured ``levels``, linear between; K/V and rows add what ``law`` says."""

    def __init__(self, law: PassFit, tokens: Sequence[float], levels: Sequence[float]) -> None:
        self.name = on_stairs_name(law.name)
        self._law, self._tokens, self._levels = law, np.asarray(tokens), np.asarray(levels)

    def plain(self) -> dict[str, Any]:
        """The law's name and what it says of itself, and the stairs."""
        stairs = {"tokens": self._tokens.tolist(), "levels": self._levels.tolist()}
        return {"name": self._law.name, "law": self._law.plain(), **stairs}

    def predict(self, shape: PassShape) -> float:
        """Seconds of a pass."""
        level = float(np.interp(shape.tokens, self._tokens, self._levels))
        return level + self._law.predict(shape) - self._law.predict(_bare(shape))


def _bare(shape: PassShape) -> PassShape:
    """As many tokens of one row, without K/V."""
    return PassShape(1, shape.tokens, min(shape.head, 1), shape.tokens, 0, 0)


def on_stairs(fitter: Fitter) -> Fitter:
    """Fits the law of ``fitter``; then the levels, by the pass of least K/V of each number of tokens."""

    def fit(points: Sequence[PassShape], seconds: Array) -> PassFit:
        from scipy.optimize import isotonic_regression  # takes 0.3 s to load

        law = fitter(points, seconds)
        least: dict[float, int] = {}  # by tokens, the point of least K/V
        for index, point in enumerate(points):
            known = least.get(point.tokens)
            if known is None or point.kv_tokens < points[known].kv_tokens:
                least[point.tokens] = index
        at = [least[tokens] for tokens in sorted(least)]
        left = [seconds[i] - law.predict(points[i]) + law.predict(_bare(points[i])) for i in at]
        levels = np.maximum(isotonic_regression(left).x, 1e-9)  # nondecreasing, as the law is
        return OnStairs(law, sorted(least), levels.tolist())

    return fit
