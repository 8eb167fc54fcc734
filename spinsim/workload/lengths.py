"""Distributions of prompt lengths, output lengths and patience."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spinsim.errors import InputError
from spinsim.scenario import MOST, Distribution, Empirical, Fixed, Uniform


def draw_values(
    distribution: Distribution, count: int, generator: np.random.Generator, key: str
) -> NDArray[np.float64]:
    """``count`` real values. ``key`` is the scenario path that errors name.

    Raises:
        InputError: an empty range, or weights that do not fit their values.
    """
    if isinstance(distribution, Fixed):
        return np.full(count, distribution.value)
    if isinstance(distribution, Empirical):
        return np.asarray(distribution.values)[_choose(distribution, count, generator, key)]
    if distribution.max is not None and distribution.max < distribution.min:
        raise InputError(
            f"max {distribution.max:g} is below min {distribution.min:g}; max >= min", key=f"{key}.max"
        )
    if isinstance(distribution, Uniform):
        return generator.uniform(distribution.min, distribution.max, count)
    logs = math.log(distribution.median) + distribution.sigma * generator.standard_normal(count)
    values = np.exp(np.minimum(logs, 700.0))  # e^709 is where a double ends
    return np.clip(values, distribution.min, MOST if distribution.max is None else distribution.max)


def draw_tokens(
    distribution: Distribution, count: int, generator: np.random.Generator, key: str
) -> list[int]:
    """``count`` integers, at least 1: values rounded to the nearest integer within the range.

    A uniform distribution makes every integer from ``min`` to ``max`` alike.

    Raises:
        InputError: as :func:`draw_values`, and a range that holds no integer.
    """
    if isinstance(distribution, Fixed | Empirical):
        values = draw_values(distribution, count, generator, key)
        return _listed(np.maximum(np.rint(values).astype(np.int64), 1))
    low = max(1, math.ceil(distribution.min))
    high = None if distribution.max is None else math.floor(distribution.max)
    if high is not None and high < low:
        raise InputError(
            f"no whole number of tokens from {distribution.min:g} to {distribution.max:g}; "
            "a range with an integer >= 1, max >= min",
            key=f"{key}.max",
        )
    if isinstance(distribution, Uniform):
        assert high is not None  # a uniform range has both ends
        return _listed(generator.integers(low, high, count, endpoint=True))
    values = draw_values(distribution, count, generator, key)
    return _listed(np.clip(np.rint(values).astype(np.int64), low, high))


def draw_labels(weights: dict[str, float], count: int, generator: np.random.Generator, key: str) -> list[str]:
    """``count`` names drawn with ``weights``."""
    names = list(weights)
    chosen = _choose(
        Empirical(distribution="empirical", values=(1.0,) * len(names), weights=tuple(weights.values())),
        count,
        generator,
        key,
    )
    return [names[i] for i in _listed(chosen)]


def _listed(values: NDArray[np.int64]) -> list[int]:
    listed: list[int] = values.tolist()
    return listed


def _choose(
    distribution: Empirical, count: int, generator: np.random.Generator, key: str
) -> NDArray[np.int64]:
    """Indices into the values, by inversion: one uniform number each."""
    weights = (
        np.ones(len(distribution.values))
        if distribution.weights is None
        else np.asarray(distribution.weights)
    )
    if len(weights) != len(distribution.values):
        raise InputError(
            f"{len(weights)} weights for {len(distribution.values)} values; one weight per value",
            key=f"{key}.weights",
        )
    total = weights.sum()
    if not total > 0:
        raise InputError("the weights sum to 0; at least one above 0", key=f"{key}.weights")
    bounds = np.cumsum(weights) / total
    bounds[int(np.flatnonzero(weights)[-1]) :] = 1.0  # rounding must not reach past the last positive weight
    return np.searchsorted(bounds, generator.random(count), side="right")
