"""The round planner against every choice, and the selector that plans with what it has learned."""

from __future__ import annotations

from itertools import pairwise, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.policies.base import NO_DRAFT, RequestView
from spinsim.policies.selectors.round_plan import RoundPlanner
from spinsim.policies.selectors.tries import Tries
from spinsim.policies.statistics import Statistics
from tests.policies.policy_world import LinearCosts, context, feedback, selector, views

LENGTH = 4
ONE_LANE = (1, 1, 1, 1)


def rate(planned: list[int], tokens: np.ndarray, batch: list[RequestView], costs: LinearCosts) -> float:
    """Tokens per second of a round whose drafts share one lane, priced independently of the planner."""
    seconds = costs.verify_s
    for draft in set(planned) - {NO_DRAFT}:
        seconds += LENGTH * costs.step_s[draft]
        late = [
            v
            for v, d in zip(batch, planned, strict=True)
            if d == draft and v.context - 1 - v.cached[draft] > 1
        ]
        seconds += (
            (costs.catch_up_s + costs.catch_up_token_s * sum(v.context - 1 for v in late)) if late else 0.0
        )
    return float(sum(tokens[row, draft] for row, draft in enumerate(planned))) / seconds


@st.composite
def rounds(draw: st.DrawFn) -> tuple[list[RequestView], np.ndarray, LinearCosts]:
    rows, drafts = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    batch = views(rows, drafts)
    for view in batch:
        view.cached = [draw(st.sampled_from((0, view.context - 1))) for _ in range(drafts)]
    tokens = [[draw(st.integers(1, LENGTH + 1)) for _ in range(drafts)] + [1] for _ in range(rows)]
    steps = tuple(draw(st.integers(1, 20)) * 1e-4 for _ in range(drafts))
    catch_up_s = draw(st.integers(0, 20)) * 1e-4
    return batch, np.array(tokens), LinearCosts(step_s=steps, verify_s=5e-3, catch_up_s=catch_up_s)


@given(rounds())
@settings(deadline=None, max_examples=300)
def test_a_plan_is_no_worse_than_one_draft_and_a_second_is_added_where_it_pays(
    case: tuple[list[RequestView], np.ndarray, LinearCosts],
) -> None:
    batch, tokens, costs = case
    drafts = tokens.shape[1] - 1
    planner = RoundPlanner(context(drafts, costs, draft_lanes=ONE_LANE[:drafts]), (LENGTH,) * drafts)
    room = [len(batch)] * (drafts + 1)
    arms = planner.best_set(batch, tokens, range(drafts), room)
    got = rate(planner.assign(batch, tokens, arms, room), tokens, batch, costs)
    every = {
        chosen: rate(planner.assign(batch, tokens, chosen, room), tokens, batch, costs)
        for size in range(1, drafts + 1)
        for chosen in permutations(range(drafts), size)
    }
    alone = {draft: every[draft,] for draft in range(drafts)}
    assert got >= max(alone.values()) * (1 - 1e-9)
    if drafts == 2:
        first = [draft for draft in alone if alone[draft] >= max(alone.values()) * (1 - 1e-9)]
        assert any(got == pytest.approx(max(alone[one], every[one, 1 - one])) for one in first)


@given(rounds(), st.lists(st.integers(0, 3), min_size=3, max_size=3))
@settings(deadline=None)
def test_capacities_are_kept_and_whoever_finds_none_decodes(
    case: tuple[list[RequestView], np.ndarray, LinearCosts], limits: list[int]
) -> None:
    batch, tokens, costs = case
    drafts = tokens.shape[1] - 1
    planner = RoundPlanner(context(drafts, costs), (LENGTH,) * drafts)
    room = [*limits[:drafts], len(batch)]
    chosen = planner.assign(batch, tokens, list(range(drafts)), room)
    assert all(chosen.count(draft) <= room[draft] for draft in range(drafts))
    assert chosen.count(NO_DRAFT) == max(0, len(batch) - sum(room[:drafts]))


def specialists(count: int) -> np.ndarray:
    """Half of the requests get 4 tokens from draft a and 3 from draft b, the others the other way round."""
    return np.array([[4.0, 3.0, 1.0] if row % 2 else [3.0, 4.0, 1.0] for row in range(count)])


@pytest.mark.parametrize(
    ("step_s", "lanes", "used"),
    [(0.05e-3, (1, 1), 2), (0.5e-3, (1, 1), 1), (0.5e-3, (1, 2), 2)],
    ids=["cheap drafts", "dear drafts of one lane", "dear drafts beside each other"],
)
def test_a_second_draft_is_used_where_its_gain_pays_for_everyones_wait(
    step_s: float, lanes: tuple[int, int], used: int
) -> None:
    # 3.5 tokens in 7 ms with one draft on the lane, 4 in 9 ms with both of them.
    batch, costs = views(8, 2), LinearCosts(step_s=(step_s, step_s), verify_s=5e-3)
    for view in batch:
        view.cached = [view.context - 1] * 2
    planner = RoundPlanner(context(2, costs, draft_lanes=lanes), (LENGTH, LENGTH))
    assert len(planner.best_set(batch, specialists(8), (0, 1), [8, 8, 8])) == used


def test_a_catch_up_is_spread_over_the_rounds_that_it_serves() -> None:
    costs = LinearCosts(step_s=(1e-3, 0.5e-3), verify_s=5e-3, catch_up_s=20e-3)
    batch = views(4, 2)
    for view in batch:
        view.cached = [view.context - 1, 0]
    tokens = np.full((4, 3), 3.0)
    for repay, best in ((1.0, 0), (64.0, 1)):
        planner = RoundPlanner(context(2, costs), (LENGTH, LENGTH), repay)
        assert planner.best_set(batch, tokens, (0, 1), [4, 4, 4]) == [best]


def test_an_unknown_draft_is_tried_by_many_at_once_or_by_nobody() -> None:
    costs = LinearCosts(step_s=(0.2e-3, 0.2e-3, 8e-3), verify_s=5e-3)
    policy = selector("joint", context(3, costs, draft_lanes=ONE_LANE[:3], lengths=(LENGTH,) * 3), hold=1)
    batch = views(16, 3)
    for view in batch:
        view.cached = [view.context - 1] * 3
    for round_ in range(30):
        chosen = policy.assign(batch)
        assert 2 not in chosen  # not even if all it proposes were accepted
        if round_ < 2:
            assert len(set(chosen)) == 1
        policy.observe(feedback(batch, chosen, [2 if draft else 1 for draft in chosen]))
        for view, draft in zip(batch, chosen, strict=True):
            view.draft, view.rounds = draft, view.rounds + 1
    assert chosen == [1] * 16  # better for everybody


def test_requests_find_their_own_draft_where_that_pays_for_all() -> None:
    costs = LinearCosts(step_s=(0.1e-3, 0.1e-3), verify_s=5e-3)
    policy = selector("joint", context(2, costs, draft_lanes=(1, 1), lengths=(LENGTH, LENGTH)), beta=0.3)
    batch = views(16, 2)
    for view in batch:
        view.cached = [view.context - 1] * 2
    for _ in range(60):
        chosen = policy.assign(batch)
        hits = [4 if draft == view.id % 2 else 0 for view, draft in zip(batch, chosen, strict=True)]
        policy.observe(feedback(batch, chosen, hits))
        for view, draft in zip(batch, chosen, strict=True):
            view.draft, view.rounds = draft, view.rounds + 1
    assert chosen == [view.id % 2 for view in batch]


def test_a_set_is_held_as_long_as_asked() -> None:
    within = context(2, LinearCosts(step_s=(0.2e-3, 0.2e-3), verify_s=5e-3), draft_lanes=(1, 1))
    batch = views(4, 2)
    changes = []
    for hold in (1, 8):
        policy = selector("joint", within, hold=hold, stay=0)
        seen = []
        for _ in range(16):
            chosen = policy.assign(batch)
            seen.append(tuple(sorted(set(chosen))))
            policy.observe(feedback(batch, chosen, [0] * 4))
        changes.append(sum(a != b for a, b in pairwise(seen)))
        held = [seen[i : i + hold] for i in range(0, 16, hold)]
        assert all(later <= set(block[0]) for block in held for later in map(set, block))
    assert changes[0] > changes[1]


def test_expected_tokens_are_those_of_independent_positions() -> None:
    policy = selector("joint", context(1, lengths=(LENGTH,)), beta=0, share="none", stay=0)
    batch = views(1, 1)
    policy.observe(feedback(batch, [0], [3]))  # three of four tried
    a = 0.75
    by_hand = sum(
        (1 + sum(np.cumprod(hits))) * np.prod([a if hit else 1 - a for hit in hits])
        for hits in product((0, 1), repeat=LENGTH)
    )
    assert policy._tokens(batch)[0].tolist() == pytest.approx([by_hand, 1.0])


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 40), st.integers(-1, 1), st.integers(0, 4)), max_size=12),
        max_size=8,
    ),
    st.floats(0, 10),
)
@settings(deadline=None)
def test_tries_in_arrays_are_those_of_the_other_learners(
    rounds: list[list[tuple[int, int, int]]], weight: float
) -> None:
    """Requests come and go; more of them than the first table holds."""
    arrays, lists = Tries(3, weight), Statistics((0, 1, NO_DRAFT), "prior", weight)
    for played in rounds:
        once = list({request: (request, arm, gain) for request, arm, gain in played}.values())
        if once:
            requests, arms, gains = (list(column) for column in zip(*once, strict=True))
            costs = [5.0] * len(once)
            arrays.add(requests, arms, gains, costs)
            lists.add([RequestView(r, 1, 0, 2) for r in requests], arms, gains, costs)
        for request in [request for request, _, gain in once if gain == 4]:
            arrays.forget(request)
            lists.forget(request)
    everyone = list(range(41))
    gain, cost, pulls = arrays.of(everyone)
    for request in everyone:
        stats = lists.of(request)
        assert gain[request] == pytest.approx(
            [stats.gain[a] + lists.prior.gain[a] for a in range(3)], abs=1e-9
        )
        assert cost[request] == pytest.approx(
            [stats.cost[a] + lists.prior.cost[a] for a in range(3)], abs=1e-9
        )
        assert pulls[request] == pytest.approx([lists.pulls(stats, a) for a in range(3)], abs=1e-9)
