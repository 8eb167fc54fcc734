"""Trials: a few requests use a draft for a while, where what all may learn of it is worth the price."""

from __future__ import annotations

import numpy as np
import pytest

from spinsim.policies.base import CyclePlan, Feedback
from spinsim.policies.planning.cycle import CycleTimes, contexts_of
from spinsim.policies.planning.search import Arm, Batch, Plan, Search
from spinsim.policies.planning.survival import Survival
from spinsim.policies.planning.trials import Trial, best_trial, standing
from spinsim.policies.selectors.planned import Planned
from tests.policies.policy_world import LinearCosts, context, feedback, selector, views

ROWS = 16
ACCEPTED = [0] * 7 + [1] * 4 + [2] * 2 + [3] + [4] * 2  # of proposals of 4 where 55 % of tokens are


def world(*, tried: int = 0, step_s: float = 2e-3, behind: int = 0) -> tuple[Search, Survival, Batch, Plan]:
    """Everybody uses the first of two drafts, of which 55 % is accepted. The second takes ``step_s`` a
    token, was tried in so many rounds of one request, and would have to read ``behind`` tokens of each."""
    costs = LinearCosts(step_s=(1e-3, step_s), verify_query_s=2e-5, catch_up_token_s=1e-5)
    given = context(2, costs, max_length=4)
    times = CycleTimes(given, {})
    search = Search(times, CyclePlan(most_depth=1), given, (0, 1))
    survival = Survival(2, 4)
    requests = views(ROWS, 2)
    for _ in range(30):
        survival.observe(feedback(requests, [0] * ROWS, ACCEPTED))
    for turn in range(tried):
        survival.observe(feedback(requests[:1], [1], [ACCEPTED[turn % ROWS]]))
    tokens, _ = survival.yields(range(ROWS))
    worth = np.ones((ROWS, 3, 5))
    worth[:, :-1] = tokens
    missing = np.zeros((ROWS, 3), int)
    missing[:, 1] = behind
    batch = Batch(worth, missing, contexts_of([300] * ROWS), ROWS, 64.0)
    alone = Search(times, CyclePlan(most_depth=1), given, (0,))
    return search, survival, batch, alone.best(batch)


def found(search: Search, survival: Survival, batch: Batch, plan: Plan, rounds: float) -> Trial | None:
    steps = best_trial(search, survival, batch, plan, rounds)
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            trial: Trial | None = ended.value
            return trial


def test_a_few_requests_try_a_draft_of_which_little_is_known() -> None:
    search, survival, batch, plan = world()
    trial = found(search, survival, batch, plan, 500)
    assert trial is not None
    assert trial.plan.arms[:-1] == plan.arms
    assert trial.plan.arms[-1].draft == 1
    few = np.flatnonzero(trial.plan.of == len(plan.arms))
    assert 1 <= len(few) <= ROWS // 2
    assert trial.plan.of[np.setdiff1d(np.arange(ROWS), few)] == pytest.approx(0)


def test_nothing_is_tried_for_a_short_while_or_twice_or_at_any_price() -> None:
    assert found(*world(step_s=4e-3), 2) is None
    assert found(*world(tried=300), 500) is None  # known to be accepted as often, and slower
    assert found(*world(step_s=1.0), 500) is None
    assert found(*world(behind=100_000), 500) is None


def test_those_that_have_the_least_to_read_try_it() -> None:
    search, survival, batch, plan = world()
    batch.missing[:, 1] = np.where(np.arange(ROWS) % 2, 10, 400)
    trial = found(search, survival, batch, plan, 500)
    assert trial is not None
    assert set(np.flatnonzero(trial.plan.of)) <= set(range(1, ROWS, 2))


def test_the_plan_itself_is_nothing_ahead_and_more_tries_teach_more() -> None:
    search, survival, batch, plan = world()
    known = standing(search, survival, batch, plan)
    assert known.ahead[0] == pytest.approx(0, abs=1e-9)
    gains = [known.gain(1, tries) for tries in (1, 10, 100, 1e9)]
    assert 0 < gains[0] < gains[1] < gains[2] < gains[3]
    rate = known.rate[1]
    assert known.reached(1, 3) == pytest.approx(1 + rate + rate**2)


def test_a_trial_ends_with_the_plan_that_it_interrupts() -> None:
    """The next plan is held against the plan before the trial, and comes after the trial's rounds."""
    given = context(2, LinearCosts(step_s=(1e-3, 3e-3), verify_query_s=2e-5), max_length=4)
    planned = selector("planned", given, hold=8)
    assert isinstance(planned, Planned)
    requests = views(ROWS, 2)
    trials = 0
    for turn in range(300):
        drafts = planned.assign(requests)
        assert planned.plan is not None
        alone = {arm.draft for arm in planned.plan.arms} == {0}
        if alone and 1 in drafts:
            trials += 1
            assert drafts.count(1) <= ROWS // 2
            assert planned.steady <= 1
        accepted = [*ACCEPTED[turn % ROWS :], *ACCEPTED[: turn % ROWS]]
        lengths, committed = [4] * ROWS, [one + 1 for one in accepted]
        planned.observe(Feedback(requests, drafts, lengths, accepted, committed, [0.004], 0.02))
        for view in requests:
            view.rounds += 1
        thought = planned.thought()
        if thought is not None:
            thought()
    assert 0 < trials < 30
    assert planned.plan is not None
    assert planned.plan.arms == (Arm(0, planned.plan.arms[0].length),)
