"""The selector that knows the context, alone: its bounds, and what it decides while the target verifies."""

from __future__ import annotations

import pytest

from spinsim.errors import InputError
from spinsim.policies.base import NO_DRAFT, Feedback
from spinsim.policies.contextual.ahead import LENT, Ahead, Arm
from spinsim.policies.contextual.request_rows import RequestRows
from spinsim.scenario import PoliciesSpec, PolicyChoice
from tests.policies.policy_world import Field, LinearCosts, context, selector, views


def test_it_sees_no_future_and_forgets_requests():
    policy = selector("contextual", context(2, future=Field(lambda *_: 0.5), outputs=[50] * 4))
    batch = views(4, drafts=2)
    drafts = policy.assign(batch)
    assert policy.context.future is None
    assert set(drafts) <= {0, 1}
    lengths = [4] * 4
    policy.observe(Feedback(batch, drafts, lengths, [2] * 4, [3] * 4, [0.0] * 4, 0.02))
    for view in batch:
        policy.forget(view.id)
    assert not policy._recent
    assert not policy.kinds._evidence


def test_a_capacity_that_is_full_leaves_rows_to_decode():
    policy = selector("contextual", context(1, LinearCosts(step_s=(1e-4,)), capacities=(2,)))
    assert policy.assign(views(5, drafts=1)) == [0, 0, NO_DRAFT, NO_DRAFT, NO_DRAFT]


@pytest.mark.parametrize("kind", ["pipeline", "composition"])
def test_it_plans_lengths_and_nothing_else(kind):
    spec = PoliciesSpec(selector=PolicyChoice(name="contextual"), **{kind: PolicyChoice(name="planned")})
    from spinsim.policies.build import validate_policies

    with pytest.raises(InputError, match="follows a plan that contextual does not make"):
        validate_policies(spec, ("a",), 8)


def test_a_request_on_trial_has_a_choice_for_each_outcome():
    ahead, (a, b) = Ahead(), views(2, drafts=2)
    ahead.put({a.id: Arm(0, 4), b.id: Arm(0, 4)}, {a.id: Arm(1, 4), b.id: Arm(1, 4)})
    ahead.see(Feedback([a, b], [0, 0], [4, 4], [0, 1], [1, 2], [0.0] * 2, 0.02))
    assert ahead.take([a, b]) == [Arm(1, 4), Arm(0, 4)]
    assert ahead.lacking([a, b]) == [a, b]  # each choice counts once


def test_requests_begin_with_what_another_one_began_with():
    ahead, (a, b, late) = Ahead(), views(3, drafts=2)
    assert not ahead.lend_first([a])
    ahead.learn_first(Arm(1, 3))
    assert ahead.lend_first([a, b])
    assert ahead.take([a, b]) == [Arm(1, 3)] * 2
    late.rounds = 5  # not one that begins
    assert not ahead.lend_first([late])
    for _ in range(LENT):
        ahead.lend_first([a])
    assert not ahead.lend_first([a])


def told(batch, drafts: list[int], accepted: list[int]) -> Feedback:
    return Feedback(batch, drafts, [4] * len(batch), accepted, [n + 1 for n in accepted], [0.0] * 4, 0.02)


def test_what_was_thought_is_taken_and_thought_sees_all_but_the_round_in_flight():
    """Rounds without lookups: the choice of the next is there when it begins, and draft 1 is left once it
    failed before the round in flight."""
    policy, batch = selector("contextual", context(2, LinearCosts(step_s=(1e-4, 1e-4)))), views(4, drafts=2)
    for _ in range(12):
        drafts = policy.assign(batch)
        thought = policy.thought()
        assert thought is not None
        thought()
        policy.observe(told(batch, drafts, [0 if draft else 4 for draft in drafts]))
    policy._decide = None  # nothing is left to decide
    assert policy.assign(batch) == [0] * 4
    assert policy.thought() is not None


def test_the_oracle_decides_when_its_round_begins():
    policy = selector("contextual_oracle", context(2, future=Field(lambda *_: 0.5), outputs=[50] * 4))
    policy.assign(views(4, drafts=2))
    assert policy.thought() is None


def test_more_requests_than_rows_at_first():
    """Rows are added, and what was written before stays."""
    rows = RequestRows(2, -1.0)
    rows.values[rows.of([7]), 1] = 0.5
    assert len(rows.of(range(100))) == 100
    assert rows.values[rows.of([7])].tolist() == [[-1.0, 0.5]]
    assert rows.forget(7).tolist() == [-1.0, 0.5]
    assert rows.values[rows.of([101])].tolist() == [[-1.0, -1.0]]
    policy, batch = selector("contextual", context(2)), views(40, drafts=2)
    assert len(policy.assign(batch)) == 40
