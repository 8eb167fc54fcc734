"""Constant acceptance a and length k: (1 - a^(k+1)) / (1 - a) tokens a round."""

from __future__ import annotations

import numpy as np
import pytest

from tests.closed_forms.closed_scenarios import expected_tokens, run, scenario

OUTPUT = 2001  # the first token comes from prefill


@pytest.mark.parametrize("a", [0.0, 0.3, 0.6, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("k", [1, 3, 5, 8])
def test_tokens_per_round(a: float, k: int) -> None:
    """30 requests of 2,001 tokens: the standard error of the mean is 0.5 % at worst (a = 0.95, k = 8: 9,000
    rounds of 7.4 tokens with a standard deviation of 2.6), so 1 % is three of them or more."""
    simulated = run(
        scenario(
            {"process": "at_once"},
            requests=30,
            output=OUTPUT,
            acceptance=(a,),
            draft_step_s=(0.001,),
            policies={"length": {"name": "fixed", "tokens": k}},
            batch=30,
        )
    )
    rounds = simulated.records.rounds
    committed, accepted = np.asarray(rounds.committed), np.asarray(rounds.accepted)
    assert committed.sum() == 30 * (OUTPUT - 1)
    # The last round of a request is cut at the end of its output; the others are whole.
    ends = np.asarray(rounds.position) + committed == OUTPUT
    assert committed[~ends].mean() == pytest.approx(expected_tokens(a, k), rel=0.01)
    assert (accepted[~ends] + 1 == committed[~ends]).all()
    # Cut rounds and all: off by less than a round in 2,000 / (k + 1).
    assert committed.mean() == pytest.approx(expected_tokens(a, k), rel=0.01)


def test_histogram_of_accepted_is_the_truncated_geometric_law() -> None:
    """P(j accepted) = a^j (1 - a) for j < k, a^k for j = k; chi-square below its 99.9 % point."""
    a, k = 0.7, 4
    simulated = run(
        scenario(
            {"process": "at_once"},
            requests=20,
            output=OUTPUT,
            acceptance=(a,),
            draft_step_s=(0.001,),
            policies={"length": {"name": "fixed", "tokens": k}},
            batch=20,
        )
    )
    rounds = simulated.records.rounds
    committed = np.asarray(rounds.committed)
    whole = np.asarray(rounds.position) + committed < OUTPUT - k
    seen = np.bincount(np.asarray(rounds.accepted)[whole], minlength=k + 1)
    law = np.array([a**j * (1 - a) for j in range(k)] + [a**k])
    expected = law * seen.sum()
    assert ((seen - expected) ** 2 / expected).sum() < 18.5  # 4 degrees of freedom
