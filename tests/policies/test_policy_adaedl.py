"""AdaEDL: proposals end where a draft is unsure, and the threshold follows what is accepted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinsim.acceptance.entropies import ACCEPTED, LEVELS, Entropies, below
from spinsim.policies.base import Feedback
from spinsim.policies.lengths.adaedl import AdaEDL
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario
from tests.policies.policy_world import Field, context, views

ONE = views(1)[0]


def fed(policy: AdaEDL, accepted: int, length: int) -> None:
    policy.observe(Feedback([ONE], [0], [length], [accepted], [accepted + 1], [0.0], 0.01))


def test_the_threshold_follows_what_is_accepted() -> None:
    """Written out: two refused proposals raise it, a long run of accepted ones lowers it."""
    policy = AdaEDL(AdaEDL.Params(start=0.5), context())
    fed(policy, 0, 4)  # rate 0.45
    assert policy.threshold(0) == pytest.approx(0.9 * 0.5 + 0.1 * 0.51)
    for _ in range(20):
        fed(policy, 4, 4)  # the rate is above 0.9 from the third on
    assert policy.threshold(0) == pytest.approx(0.5 + 0.001 * (1 + 2 - 18), abs=1e-9)
    bound = 1 - math.sqrt(0.2 * policy.ceilings([ONE], [0])[0])
    assert bound == pytest.approx(policy.threshold(0))
    policy.forget(0)
    assert policy.threshold(0) == 0.5


def test_a_lookup_has_no_entropy_and_goes_on() -> None:
    policy = AdaEDL(AdaEDL.Params(tokens=3), context(2, draft_devices=("gpu", "host")))
    assert policy.lengths([ONE] * 3, [0, 1, -1]) == [3, 3, 0]
    assert policy.ceilings([ONE] * 3, [0, 1, -1])[1:] == [math.inf, math.inf]


def test_the_first_token_is_proposed_whatever_its_entropy() -> None:
    assert below([9.0, 0.1, 0.2, 3.0, 0.1], 5, 1.0) == 3
    assert below([9.0, 9.0], 2, 1.0) == 1
    assert below([0.0] * 4, 4, 1.0) == 4


def test_entropies_go_with_what_is_accepted() -> None:
    """Of standing tokens by acceptance, behind a refused one by the third law; the same whenever asked."""
    field = Field(lambda request, draft, position: 0.7, tokens=4000)
    known = Entropies(field, 2, [4000], seed=5)
    runs = field.runs(0, 1)
    first = np.array([known.proposal(0, 1, position, 1)[0] for position in range(4000)])
    stands = np.array(runs[:4000]) > 0
    assert np.quantile(first[stands], 0.9) == pytest.approx(ACCEPTED[LEVELS.index(0.9)], abs=0.1)
    assert np.median(first[~stands]) > 2.0
    position = next(p for p in range(4000) if runs[p] == 2)
    whole = known.proposal(0, 1, position, 6)
    assert whole[:3] == [known.proposal(0, 1, position + step, 1)[0] for step in range(3)]
    behind = np.array([known.proposal(0, 1, p, 2)[1] for p in range(3990) if runs[p] == 0])
    assert 0.4 < np.median(behind) < 0.9
    known.forget(0)
    assert known.proposal(0, 1, position, 6) == whole


def specialists(*overrides: str) -> Any:
    path = Path(__file__).parents[2] / "scenarios" / "specialists.yaml"
    small = ["workload.requests=12", "workload.output_tokens={distribution: fixed, value: 64}"]
    fixed = "policies.selector={name: fixed, draft: small}"
    loaded = load(path, [*small, fixed, "limits.max_length=8", *overrides])
    return simulate_scenario(loaded.scenario, loaded.base_dir).records.rounds


def test_it_verifies_fewer_refused_tokens_than_a_fixed_length() -> None:
    """Nearly all that would have been accepted is still proposed."""
    whole = specialists("policies.length={name: fixed, tokens: 8}")
    cut = specialists("policies.length={name: adaedl}")
    assert sum(cut.accepted) / len(cut.accepted) > 0.7 * sum(whole.accepted) / len(whole.accepted)
    assert sum(cut.accepted) / sum(cut.drafted) > 1.4 * sum(whole.accepted) / sum(whole.drafted)
    assert min(length for length in cut.drafted) == 1
