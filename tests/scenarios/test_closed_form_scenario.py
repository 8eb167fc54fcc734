"""The shipped closed-form.yaml gives the goodput that its comment derives."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from spinsim.results.summary import summarise
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario

SCENARIO = Path(__file__).parents[2] / "scenarios" / "closed-form.yaml"

A, K, N = 0.8, 4, 2001
HOP, HOST = 0.00005, 0.0002
SUBMIT = 2 * HOP + HOST
ROUND_S = K * 0.002 + 0.0001 + 0.010 + 2 * SUBMIT
BEGIN_S = SUBMIT + 0.020 + max(0.005, HOST)
LAW = {j + 1: A**j * (1 - A) for j in range(K)} | {K + 1: A**K}


def rounds_expected(tokens: int) -> float:
    """r(m) = 1 + sum_j P(X = j) r(m - j), by the recursion itself."""
    r = [0.0] * (tokens + K + 2)  # r[m + K + 1], so that m - j stays an index
    for m in range(1, tokens + 1):
        r[m + K + 1] = 1.0 + sum(p * r[m - j + K + 1] for j, p in LAW.items())
    return r[tokens + K + 1]


def test_the_figures_of_the_comment() -> None:
    mean = sum(j * p for j, p in LAW.items())
    assert mean == pytest.approx((1 - A ** (K + 1)) / (1 - A)) == pytest.approx(3.3616)
    overshoot = sum(j * (j - 1) * p for j, p in LAW.items()) / (2 * mean)
    rounds = rounds_expected(N - 1)
    assert rounds == pytest.approx((N - 1 + overshoot) / mean, abs=1e-9)
    service_s = BEGIN_S + rounds * ROUND_S
    said = SCENARIO.read_text()
    for figure in (
        f"= {1e3 * ROUND_S:.1f} ms",
        f"= {rounds:.3f}",
        f"= {service_s:.4f} s",
        f"= {N / service_s:.3f} tokens/s",
    ):
        assert figure in said, figure


def test_the_simulation_gives_it() -> None:
    """Four standard errors of the rounds' number (0.20 % each), and to the clock's nanosecond given it."""
    loaded = load(SCENARIO)
    records = simulate_scenario(loaded.scenario, loaded.base_dir).records
    summary = summarise(records, loaded.scenario, mode="simulated", acceptance_source="synthetic")
    measured = list(records.by_arrival())[:-1]
    rounds = np.array([record.rounds for record in measured])
    exact_s = float(np.sum(BEGIN_S + rounds * ROUND_S))
    assert summary["duration_s"] == pytest.approx(exact_s, abs=1e-9 * 3 * rounds.sum())
    # The window is closed: it holds the first token of no further request, and every commit of these.
    assert summary["tokens"]["committed"] == N * len(measured)

    mean = sum(j * p for j, p in LAW.items())
    variance = sum(j * j * p for j, p in LAW.items()) - mean**2
    sd_rounds = math.sqrt((N - 1) * variance / mean**3)
    expected = N / (BEGIN_S + rounds_expected(N - 1) * ROUND_S)
    error = sd_rounds / math.sqrt(len(measured)) / rounds_expected(N - 1)
    assert error == pytest.approx(0.0020, abs=0.0001)
    assert summary["goodput_tokens_per_s"] == pytest.approx(expected, rel=4 * error)
