"""Intervals, verdicts, crossings: closed forms, coverage, and what they must not say."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.lab.level_crossing import Curve, crossing, fit
from spinsim.lab.statistics import (
    FEWEST,
    mean_difference,
    mean_interval,
    relative_difference,
    verdict,
)


def test_a_verdict_needs_an_interval_without_zero_and_enough_pairs() -> None:
    base = [10.0, 11.0, 9.0, 10.5, 9.5, 10.2]
    better = [b + 1 + 0.01 * i for i, b in enumerate(base)]
    assert verdict(mean_difference(base, better), lower=False) == "better"
    assert verdict(mean_difference(base, better), lower=True) == "worse"
    assert verdict(mean_difference(better, base), lower=True) == "better"
    few = mean_difference(base[: FEWEST - 1], better[: FEWEST - 1])
    assert verdict(few, lower=False) == "undecided"
    noisy = [b + d for b, d in zip(base, [3, -3, 2, -2, 1, -1.2], strict=True)]
    assert verdict(mean_difference(base, noisy), lower=False) == "undecided"
    assert verdict(mean_difference(base, base), lower=False) == "the same"


def test_pairs_make_small_differences_visible() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(100, 20, 10)
    other = base * 1.02 + rng.normal(0, 0.1, 10)
    paired = relative_difference(base.tolist(), other.tolist())
    assert paired.low is not None
    assert paired.high is not None
    assert 0.015 < paired.low < paired.estimate < paired.high < 0.025
    assert paired.estimate == pytest.approx(other.mean() / base.mean() - 1)
    alone = mean_interval(other.tolist())
    assert alone.low is not None
    assert alone.low < base.mean()  # unpaired, nothing could be said


def test_intervals_cover_the_truth_about_as_often_as_they_claim() -> None:
    rng = np.random.default_rng(7)
    trials = 120
    covered = sum(
        found.low <= 0 <= found.high
        for found in (mean_interval(rng.normal(0, 1, 20).tolist()) for _ in range(trials))
        if found.low is not None and found.high is not None
    )
    assert 0.86 <= covered / trials <= 0.99


def test_where_nothing_varied_there_is_no_interval() -> None:
    assert mean_interval([3.0]).low is None
    assert mean_interval([3.0, 3.0, 3.0]).low is None
    assert relative_difference([2.0] * 6, [3.0] * 6).low is None
    assert verdict(mean_difference([2.0] * 6, [3.0] * 6), lower=False) == "undecided"
    assert verdict(mean_difference([2.0] * 6, [2.0] * 6), lower=False) == "the same"
    assert math.isnan(relative_difference([0.0, 0.0], [0.0, 0.0]).estimate)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12))
@settings(max_examples=30, deadline=None)
def test_an_interval_holds_its_estimate_and_stays_among_the_values(values: list[float]) -> None:
    found = mean_interval(values)
    if found.low is not None and found.high is not None:
        slack = 1e-9 * max(1.0, max(map(abs, values)))
        assert min(values) - slack <= found.low <= found.high <= max(values) + slack


def test_a_line_crosses_where_arithmetic_says() -> None:
    x = [1.0, 2.0, 3.0, 4.0]
    curve = Curve(x, [[1.0, 1.0], [0.95, 0.95], [0.75, 0.75], [0.2, 0.2]])
    found = crossing(curve, 0.9)
    assert found is not None
    assert found.estimate == pytest.approx(2.25)
    assert (found.low, found.high) == (found.estimate, found.estimate)
    assert crossing(Curve(x, [[0.5, 0.5]] * 4), 0.9) is None
    assert crossing(Curve(x, [[1.0, 1.0]] * 4), 0.9).estimate == 4.0  # type: ignore[union-attr]


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=2, max_size=6))
@settings(max_examples=50, deadline=None)
def test_the_fit_never_rises_and_keeps_the_weighted_mean(values: list[list[float]]) -> None:
    curve = Curve([float(i) for i in range(len(values))], values)
    levels = fit(curve)
    assert all(b <= a + 1e-12 for a, b in pairwise(levels))
    weights = [len(v) for v in values]
    total = sum(sum(v) for v in values)
    assert sum(w * y for w, y in zip(weights, levels, strict=True)) == pytest.approx(total, abs=1e-9)


def test_noise_widens_the_interval_of_a_crossing() -> None:
    rng = np.random.default_rng(3)
    x = np.linspace(1, 10, 10)
    truth = 1 / (1 + np.exp(x - 6))
    shared = rng.normal(0, 0.03, 8)  # common random numbers: a seed is good or bad at every rate
    noisy = Curve(x.tolist(), [np.clip(level + shared, 0, 1).tolist() for level in truth])
    found = crossing(noisy, 0.5)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.estimate < found.high
    assert found.low < 6 < found.high
