"""vLLM's adaptive verification: the budget of a round goes where survival is highest."""

from __future__ import annotations

import itertools

from spinsim.policies.base import Feedback
from spinsim.policies.build import build_policies
from spinsim.scenario import PoliciesSpec, PolicyChoice
from tests.policies.policy_world import LinearCosts, context, views


def admitted(costs: LinearCosts, matched: list[int], offered: list[int], most: int = 3) -> list[int]:
    spec = PoliciesSpec(length=PolicyChoice(name="adaptive_verification", tokens=most))
    policy = build_policies(spec, context(1, costs)).length
    batch = views(len(matched), drafts=1)
    for view, found, many in zip(batch, matched, offered, strict=True):
        view.matched, view.offered = [found], [many]
    return policy.lengths(batch, [0] * len(batch))


def test_the_budget_goes_to_the_slots_of_highest_survival():
    """Untold, a lookup's j-th token survives with 2 ** -j; a token costs 1 ms, and a round 10.

    Two rows: 2 tokens in 12 ms, then + 0.5 each for two first tokens (3 in 14), and + 0.25 (3.25 in 15).
    """
    costs = LinearCosts(step_s=(0.0,), verify_query_s=1e-3)
    expected = itertools.accumulate([2, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125])
    best = max(enumerate(expected), key=lambda each: each[1] / (12 + each[0]))[0]
    assert best == 4
    assert admitted(costs, [5, 5], [3, 3]) == [2, 2]
    assert admitted(costs, [5, 5], [3, 0]) == [2, 0]  # nothing on offer
    assert admitted(LinearCosts(step_s=(0.0,), verify_query_s=0.1), [5, 5], [3, 3]) == [0, 0]  # dear tokens


def test_a_model_is_verified_whole_until_its_fit_is_warm():
    spec = PoliciesSpec(length=PolicyChoice(name="adaptive_verification", tokens=3))
    policy = build_policies(spec, context(1, LinearCosts(step_s=(0.0,), verify_query_s=0.1))).length
    batch = views(1, drafts=1)
    for _ in range(299):
        assert policy.lengths(batch, [0]) == [3]
        policy.observe(Feedback(batch, [0], [3], [0], [1], [0.0], 0.01))
    policy.observe(Feedback(batch, [0], [3], [0], [1], [0.0], 0.01))
    assert policy.lengths(batch, [0]) == [1]  # it has drafted, and nothing is accepted
