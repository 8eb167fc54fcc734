"""Intervals within a run: they cover what they say, for correlated samples too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from spinsim.engine.records import Records
from spinsim.results.batch_means import LEAST, SLICES, percentile_bound, ratio_bound
from spinsim.results.summary import summarise
from spinsim.scenario import Scenario

Floats = NDArray[np.float64]
RUNS, N = 250, 2560
NORMAL_90 = 1.2815515655446004


def autoregressive(rng: np.random.Generator, rho: float, n: int) -> Floats:
    """Standard normal values, each correlated by ``rho`` with the one before."""
    noise = rng.normal(size=n)
    out = np.empty(n)
    out[0] = noise[0]
    for i in range(1, n):
        out[i] = rho * out[i - 1] + (1 - rho * rho) ** 0.5 * noise[i]
    return out


def sliced(values: Floats) -> tuple[Floats, Floats]:
    sums = values.reshape(SLICES, -1).sum(axis=1)
    return sums, np.full(SLICES, values.size / SLICES)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_nine_in_ten_hold_the_truth(rho: float) -> None:
    rng = np.random.default_rng(1)
    mean = ninth = 0
    for _ in range(RUNS):
        values = 10 + autoregressive(rng, rho, N)
        bound = ratio_bound(*sliced(values))
        assert bound is not None
        assert bound.low is not None
        assert bound.high is not None
        mean += bound.low <= 10 <= bound.high
        found = percentile_bound(values, 90)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        ninth += found.low <= 10 + NORMAL_90 <= found.high
    assert 0.84 <= mean / RUNS <= 0.96
    assert 0.84 <= ninth / RUNS <= 0.97


def test_correlation_widens() -> None:
    rng = np.random.default_rng(2)
    alone, together = (
        np.mean([np.subtract(*ratio_bound(*sliced(autoregressive(rng, rho, N)))[1::-1]) for _ in range(40)])
        for rho in (0.0, 0.8)
    )
    assert together / alone == pytest.approx(3, rel=0.2)  # sqrt((1 + rho) / (1 - rho))


def test_a_trend_is_flagged_and_noise_is_not() -> None:
    rng = np.random.default_rng(3)
    noise, length = rng.normal(size=SLICES), np.ones(SLICES)
    still, rising = ratio_bound(noise + 50, length), ratio_bound(noise + np.arange(SLICES), length)
    assert still is not None
    assert not still.correlated
    assert rising is not None
    assert rising.correlated
    assert rising.batches == 8


def test_what_never_varies_has_no_width_and_nothing_has_no_interval() -> None:
    bound = ratio_bound(np.full(SLICES, 3.0), np.full(SLICES, 2.0))
    assert bound is not None
    assert (bound.low, bound.high) == (1.5, 1.5)
    assert ratio_bound(np.zeros(SLICES), np.zeros(SLICES)) is None
    assert percentile_bound(np.arange(LEAST - 1.0), 50) is None


@given(arrays(np.float64, st.integers(LEAST, 300), elements=st.floats(0, 1e3)), st.sampled_from((50, 99)))
def test_a_percentile_lies_within_its_interval(values: Floats, p: int) -> None:
    bound = percentile_bound(values, p)
    assert bound is not None
    at = np.percentile(values, p)
    assert bound.low is None or bound.low <= at
    assert bound.high is None or bound.high >= at


def test_few_requests_do_not_bound_a_99th_percentile_from_above() -> None:
    values = np.random.default_rng(4).normal(size=100)
    bound = percentile_bound(values, 99)
    assert bound is not None
    assert bound.low is not None
    assert bound.high is None
    wider = percentile_bound(np.random.default_rng(4).normal(size=10_000), 99)
    assert wider is not None
    assert wider.high is not None


def test_a_summary_has_them_and_says_what_they_leave_out(records: Records, scenario: Scenario) -> None:
    summary = summarise(records, scenario, mode="live", acceptance_source="models")
    told = summary["within_run"]
    assert {"goodput_tokens_per_s", "speculation.acceptance_length", "latency.tpot_s.p50"} <= set(
        told["metrics"]
    )
    assert "errors of predicted costs" in told["note"]
    goodput = told["metrics"]["goodput_tokens_per_s"]
    assert goodput["low"] < summary["goodput_tokens_per_s"] < goodput["high"]
    length = told["metrics"]["speculation.acceptance_length"]
    assert length["low"] < summary["speculation"]["acceptance_length"] < length["high"]


def test_a_run_that_was_never_steady_has_none(
    make_records: Callable[..., Records], make_scenario: Callable[..., Scenario]
) -> None:
    records = make_records(5, requests=20)
    records.last_arrival_ns = 0  # all at once: it fills up and drains
    scenario = make_scenario(metrics={"warmup_s": 0.0})
    told = summarise(records, scenario, mode="live", acceptance_source="models")["within_run"]
    assert told["metrics"] == {}
    assert "nowhere steady" in told["note"]
