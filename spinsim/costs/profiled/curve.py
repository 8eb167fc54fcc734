"""A measured time over one feature."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from spinsim.costs.base import INTERPOLATED, MEASURED, Estimate
from spinsim.costs.profiled.fits import CODE, SOLVERS
from spinsim.user_cache import code_digest, kept


class Curve:
    """Seconds over one feature: isotonic, linear between points, the smallest point's below them."""

    def __init__(self, at: Sequence[float], seconds: Sequence[float]) -> None:
        groups: dict[float, list[float]] = {}
        for x, y in zip(at, seconds, strict=True):
            groups.setdefault(x, []).append(y)
        self._at = sorted(groups)
        self._seconds = _nondecreasing([float(np.median(groups[x])) for x in self._at])

    def estimate(self, x: float) -> Estimate | None:
        """None beyond the last point."""
        index = bisect_left(self._at, x)
        if index == len(self._at):
            return None
        if self._at[index] == x:
            return Estimate(self._seconds[index], MEASURED)
        if index == 0:
            return Estimate(self._seconds[0], INTERPOLATED)
        low, high = self._at[index - 1], self._at[index]
        below, above = self._seconds[index - 1], self._seconds[index]
        return Estimate(below + (above - below) * (x - low) / (high - low), INTERPOLATED)


def _nondecreasing(values: list[float]) -> list[float]:
    """Isotonic regression."""

    def calculate() -> dict[str, list[float]]:
        from scipy.optimize import isotonic_regression  # takes 0.3 s to load

        return {"values": [float(value) for value in isotonic_regression(values).x]}

    found: list[float] = kept("curves", values, code_digest(CODE, SOLVERS), calculate)["values"]
    return found
