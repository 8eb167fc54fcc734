"""Random streams, arrival processes and length distributions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy import stats

from spinsim.errors import InputError
from spinsim.scenario import Arrivals, Distribution
from spinsim.workload.arrivals import arrival_times
from spinsim.workload.lengths import draw_labels, draw_tokens, draw_values
from spinsim.workload.streams import stream
from tests.workload.workload_scenarios import build, drawn

DISTRIBUTION: TypeAdapter[Distribution] = TypeAdapter(Distribution)
ARRIVALS: TypeAdapter[Arrivals] = TypeAdapter(Arrivals)


def arrivals(count: int = 20_000, seed: int = 3, recorded=None, **process):
    return arrival_times(ARRIVALS.validate_python(process), count, seed, recorded)


def distribution(name: str, **parameters):
    return DISTRIBUTION.validate_python({"distribution": name, **parameters})


def tokens(name: str, count: int = 20_000, **parameters) -> np.ndarray:
    return np.array(draw_tokens(distribution(name, **parameters), count, stream(1, "test"), "key"))


def test_streams_are_the_same_in_another_process():
    draw = "stream(5, 'arrivals').integers(0, 2**62, 3).tolist()"
    code = f"from spinsim.workload.streams import stream; print({draw})"
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "99"}
    )
    assert other.stdout.strip() == str(stream(5, "arrivals").integers(0, 2**62, 3).tolist())


def test_streams_of_other_purposes_and_seeds_are_unrelated():
    draws = np.array(
        [
            stream(seed, name).standard_normal(20_000)
            for seed in (0, 1, 2**32)
            for name in ("arrivals", "domains")
        ]
    )
    correlation = np.corrcoef(draws)
    assert np.abs(correlation[~np.eye(len(draws), dtype=bool)]).max() < 5 / np.sqrt(20_000)


def test_poisson_gaps_are_exponential():
    gaps = np.diff(arrivals(process="poisson", rate_per_s=4.0), prepend=0.0)
    assert stats.kstest(gaps, "expon", args=(0, 0.25)).pvalue > 1e-3


@pytest.mark.parametrize("cv", [0.25, 1.0, 3.0])
def test_gamma_gaps_have_the_asked_mean_and_variation(cv):
    gaps = np.diff(arrivals(200_000, process="gamma", rate_per_s=5.0, cv=cv), prepend=0.0)
    assert gaps.mean() == pytest.approx(0.2, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


def test_gamma_with_cv_one_is_poisson():
    gaps = np.diff(arrivals(process="gamma", rate_per_s=4.0, cv=1.0), prepend=0.0)
    assert stats.kstest(gaps, "expon", args=(0, 0.25)).pvalue > 1e-3


def test_closed_loop_and_at_once_wait_for_nobody():
    assert not arrivals(5, process="closed", concurrency=2).any()
    assert not arrivals(5, process="at_once").any()
    assert build(drawn(arrivals={"process": "closed", "concurrency": 2})).concurrency == 2
    assert build(drawn(arrivals={"process": "at_once"})).concurrency is None


def test_replay_scales_the_rate():
    recorded = np.array([0.0, 1.0, 5.0])
    assert arrivals(3, recorded=recorded, process="replay", rate_scale=4.0).tolist() == [0.0, 0.25, 1.25]


@given(st.integers(1, 50), st.integers(0, 50), st.integers(0, 2**40))
def test_uniform_lengths_stay_in_range(low, width, seed):
    spec = distribution("uniform", min=low, max=low + width)
    drawn_tokens = draw_tokens(spec, 100, stream(seed, "x"), "key")
    assert all(low <= value <= low + width and isinstance(value, int) for value in drawn_tokens)


def test_uniform_lengths_are_all_alike():
    counts = np.bincount(tokens("uniform", min=3, max=7), minlength=8)[3:]
    assert len(counts) == 5
    assert stats.chisquare(counts).pvalue > 1e-3


def test_lognormal_lengths_have_the_asked_median_and_spread():
    logs = np.log(tokens("lognormal", median=500, sigma=0.6))
    assert np.median(logs) == pytest.approx(np.log(500), abs=0.02)
    assert logs.std() == pytest.approx(0.6, rel=0.03)


@given(st.floats(0.01, 1e4), st.floats(0, 400), st.integers(1, 200), st.integers(0, 200))
def test_lognormal_lengths_are_clipped(median, sigma, low, width):
    spec = distribution("lognormal", median=median, sigma=sigma, min=low, max=low + width)
    drawn_tokens = draw_tokens(spec, 50, stream(1, "x"), "key")
    assert all(low <= value <= low + width for value in drawn_tokens)


def test_empirical_lengths_follow_their_weights():
    drawn_tokens = tokens("empirical", values=[5, 10, 20], weights=[1, 0, 3])
    assert set(drawn_tokens.tolist()) == {5, 20}
    assert (drawn_tokens == 20).mean() == pytest.approx(0.75, abs=0.02)
    assert set(tokens("empirical", values=[5, 10, 20]).tolist()) == {5, 10, 20}


def test_lengths_round_to_at_least_one_token():
    assert tokens("fixed", value=0.2).tolist()[:2] == [1, 1]
    assert tokens("fixed", value=6.7).tolist()[:2] == [7, 7]
    assert tokens("lognormal", median=0.01, sigma=0.1, min=0.001).min() == 1


def test_patience_is_real_and_within_range():
    seconds = draw_values(distribution("uniform", min=0.5, max=0.75), 1000, stream(1, "x"), "key")
    assert ((seconds >= 0.5) & (seconds <= 0.75)).all()
    assert len(set(seconds.tolist())) > 900


def test_labels_follow_their_weights():
    labels = draw_labels({"x": 1.0, "y": 4.0}, 20_000, stream(1, "x"), "key")
    assert labels.count("y") / len(labels) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("name", "parameters", "key"),
    [
        ("uniform", {"min": 5, "max": 4}, "key.max"),
        ("uniform", {"min": 4.2, "max": 4.8}, "key.max"),
        ("lognormal", {"median": 5, "sigma": 1, "min": 9, "max": 8}, "key.max"),
        ("empirical", {"values": [1, 2], "weights": [1]}, "key.weights"),
        ("empirical", {"values": [1, 2], "weights": [0, 0]}, "key.weights"),
    ],
)
def test_impossible_distributions_are_refused(name, parameters, key):
    for draw in (draw_tokens, draw_values) if name != "uniform" or parameters["max"] == 4 else (draw_tokens,):
        with pytest.raises(InputError, match=";") as caught:
            draw(distribution(name, **parameters), 3, stream(1, "x"), "key")
        assert caught.value.key == key
