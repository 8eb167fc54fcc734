"""Intervals, verdicts, crossings: closed forms, coverage, and what they must not say."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp

from spinsim.lab import level_crossing, statistics
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


@pytest.mark.parametrize("pairs", [FEWEST, 10])
def test_intervals_cover_the_truth_as_often_as_they_claim(
    pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of few pairs as well. A bootstrap alone holds it in 83 and 91 of 100 cases, where it claims 95."""
    monkeypatch.setattr(statistics, "RESAMPLES", 499)
    rng = np.random.default_rng(7)
    trials, missed = 300, 0
    for _ in range(trials):
        base = 100 * np.exp(rng.normal(0, 0.05, pairs))
        found = relative_difference(base.tolist(), (base * (1 + rng.normal(0, 0.02, pairs))).tolist())
        missed += found.excludes_zero
    assert missed / trials <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / trials)


def test_where_nothing_varied_there_is_no_interval() -> None:
    assert mean_interval([3.0]).low is None
    assert mean_interval([3.0, 3.0, 3.0]).low is None
    assert relative_difference([2.0] * 6, [3.0] * 6).low is None
    assert verdict(mean_difference([2.0] * 6, [3.0] * 6), lower=False) == "undecided"
    assert verdict(mean_difference([2.0] * 6, [2.0] * 6), lower=False) == "the same"
    assert math.isnan(relative_difference([0.0, 0.0], [0.0, 0.0]).estimate)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12))
@settings(max_examples=30, deadline=None)
def test_an_interval_holds_its_estimate_and_that_of_student(values: list[float]) -> None:
    found = mean_interval(values)
    if found.low is not None and found.high is not None:
        slack = 1e-9 * max(1.0, max(map(abs, values)))
        usual = ttest_1samp(values, 0.0).confidence_interval()
        assert found.low - slack <= usual.low <= found.estimate <= usual.high <= found.high + slack


def test_a_ratio_of_means_has_the_interval_of_its_linear_part() -> None:
    """With a steady baseline the ratio's interval is the mean's, scaled."""
    base, other = [50.0] * 8, [51.0, 52.0, 50.5, 53.0, 51.5, 52.5, 50.0, 54.0]
    ratio, mean = relative_difference(base, other), mean_interval(other)
    assert (ratio.low, ratio.high) == pytest.approx([bound / 50 - 1 for bound in (mean.low, mean.high)])


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


def test_the_interval_of_a_crossing_covers_it_as_often_as_it_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five seeds. The bootstrap over them alone holds it in 85 of 100 cases, where it claims 95."""
    monkeypatch.setattr(level_crossing, "RESAMPLES", 200)
    rng = np.random.default_rng(11)
    x, trials, held = np.linspace(1, 10, 10), 150, 0
    for _ in range(trials):
        shared = rng.normal(0, 0.05, 5)
        curve = Curve(x.tolist(), [(1 / (1 + np.exp(at - 6)) + shared).tolist() for at in x])
        found = crossing(curve, 0.5)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 6 <= found.high
    assert held / trials >= 0.95 - 2.6 * math.sqrt(0.05 * 0.95 / trials)


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
