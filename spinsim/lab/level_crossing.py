"""Where a decreasing curve, measured with noise, crosses a level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from spinsim.lab.statistics import Interval, quantile

RESAMPLES = 2000
_SEED = 20250321


@dataclass(frozen=True, slots=True)
class Curve:
    """``values[i][s]``: what the s-th seed gave at ``x[i]``; ``x`` ascends, seeds start alike."""

    x: Sequence[float]
    values: Sequence[Sequence[float]]


def fit(curve: Curve) -> list[float]:
    """The decreasing curve nearest to the means in weighted squares (isotonic regression)."""
    means = np.array([np.mean(values) for values in curve.values])
    weights = np.array([len(values) for values in curve.values], float)
    return [float(level) for level in _decreasing(means, weights)]


def crossing(curve: Curve, level: float, confidence: float = 0.95) -> Interval | None:
    """The x where the fit, drawn with straight lines, falls below ``level``; None where it never holds.

    Where it holds everywhere, the last x. The interval is a percentile bootstrap over seeds: a
    resample weighs the seeds alike at every x, as they are common random numbers. Its distances from the
    estimate are widened as Student's t asks for so few seeds, and cut at the first and the last x. For a
    mean they are then Student's, where the bootstrap alone holds 84 % for 95 with five seeds.
    """
    x = np.asarray(curve.x, float)
    found = _cross(x, np.array(fit(curve)), level)
    if found is None:
        return None
    seeds = max(len(values) for values in curve.values)
    if seeds < 2:
        return Interval(found, None, None, confidence, seeds)
    draws = np.random.default_rng(_SEED).multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES)
    means = np.empty((RESAMPLES, x.size))
    weights = np.empty((RESAMPLES, x.size))
    for i, values in enumerate(curve.values):
        counts = draws[:, : len(values)].astype(float)
        counts[counts.sum(axis=1) == 0] = 1.0  # none of its seeds was drawn: its plain mean
        weights[:, i] = counts.sum(axis=1)
        means[:, i] = counts @ np.asarray(values, float) / weights[:, i]
    resampled = [
        _cross(x, _decreasing(mean, weight), level) for mean, weight in zip(means, weights, strict=True)
    ]
    tail = (1 - confidence) / 2
    ends = np.quantile([x[0] if at is None else at for at in resampled], [tail, 1 - tail])
    # A resample's spread is that of n values over n, and it is normal: by both a small sample's is larger.
    wider = quantile(confidence, seeds) / NormalDist().inv_cdf(1 - tail) * (seeds / (seeds - 1)) ** 0.5
    low, high = np.clip(found + wider * (ends - found), x[0], x[-1])
    return Interval(found, float(low), float(high), confidence, seeds)


def _decreasing(means: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    fitted: NDArray[np.float64] = isotonic_regression(means, weights=weights, increasing=False).x
    return fitted


def _cross(x: NDArray[np.float64], y: NDArray[np.float64], level: float) -> float | None:
    holds = np.flatnonzero(y >= level)
    if not holds.size:
        return None
    last = int(holds[-1])
    if last == x.size - 1:
        return float(x[-1])
    share = (y[last] - level) / (y[last] - y[last + 1])
    return float(x[last] + share * (x[last + 1] - x[last]))
