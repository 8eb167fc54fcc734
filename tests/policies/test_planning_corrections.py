"""Costs corrected by what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spinsim.policies.base import Feedback
from spinsim.policies.planning.corrections import CYCLES, Corrections
from spinsim.policies.selectors.by_plan import USUAL_ROUNDS
from spinsim.policies.selectors.planned import Planned
from tests.policies.policy_world import LinearCosts, context, views


def test_measured_over_predicted_is_learned_and_followed() -> None:
    found = Corrections(2)
    for _ in range(4):
        found.verified(0.012, 0.010)
        found.proposed(1, 0.0015, 0.001)
    assert found.verify == pytest.approx(1.2)
    assert found.draft.tolist() == pytest.approx([1.5, 1.5])  # one that never proposed: as the others
    found.proposed(0, 0.002, 0.001)
    assert found.draft.tolist() == pytest.approx([2.0, 1.5])
    for _ in range(500):
        found.verified(0.009, 0.010)
    assert found.verify == pytest.approx(0.9, rel=1e-3)


def test_a_depth_that_disappoints_is_known_by_its_cycles() -> None:
    found = Corrections(1)
    found.cycled(2, 0.0115, 0.010)
    assert found.pace(2) == 1.0  # one cycle says nothing
    for seconds in (0.0115, 0.0115, 0.050, 0.0114):  # one of them waited for a prompt
        found.cycled(2, seconds, 0.010)
    assert found.pace(2) == pytest.approx(1.15)
    assert found.pace(4) == found.pace(2)
    assert found.pace(1) == 1.0
    for _ in range(CYCLES):
        found.cycled(2, 0.010, 0.010)
    assert found.pace(2) == pytest.approx(1.0)


def test_a_cycle_is_corrected_by_steady_rounds_of_its_own_depth() -> None:
    """A round tells of the depth with which it began; of none where somebody reads, or after a change."""
    given = context(2, LinearCosts(step_s=(1e-3, 1e-3), catch_up_token_s=1e-6), max_length=4)
    planned = Planned(Planned.Params(explore=0), given)
    requests = views(4, 2)

    def round_(depth: int, took_s: float, behind: int = 0) -> None:
        assert planned.plan is not None
        planned.plan = planned.plan._replace(depth=depth)
        for view in requests:
            view.cached = [view.context - 1 - behind] * 2
        drafts = planned.assign(requests)
        assert planned.plan is not None
        planned.plan = planned.plan._replace(depth=3)  # made while the target verified
        planned.observe(Feedback(requests, drafts, [4] * 4, [4] * 4, [5] * 4, [0.004] * 4, took_s, (), 0.01))

    planned.assign(requests)
    for _ in range(20):
        round_(1, 0.0145)
    learned = planned.times.corrections.pace(1)
    assert learned != 1
    for _ in range(20):
        round_(1, 0.0245, behind=50)
    assert planned.times.corrections.pace(1) == learned
    round_(2, 0.0245)
    for _ in range(4):
        round_(1, 0.0245)
    assert planned.times.corrections.pace(1) == learned


def test_requests_that_may_grow_long_are_taken_to_last_long_until_one_has_ended() -> None:
    def left(context_tokens: int | None, ended: bool) -> float:
        given = context(2, LinearCosts(), max_length=4)
        planned = Planned(Planned.Params(), replace(given, context_tokens=context_tokens))
        requests = views(5, 2)
        planned.assign(requests)
        if ended:
            requests[0].rounds = 40
            planned.forget(requests[0].id)
        return float(planned._left(requests[1:]).mean())

    assert left(None, ended=False) == left(2048, ended=False) == USUAL_ROUNDS
    assert left(32_768, ended=False) == pytest.approx(1024, rel=0.05)
    assert left(32_768, ended=True) == 40
