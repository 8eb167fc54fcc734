"""Selectors on synthetic bandits, and their formulas against values worked out by hand."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.policies.base import NO_DRAFT, Feedback
from spinsim.policies.build import KINDS
from spinsim.policies.randomness import Draws
from spinsim.policies.selectors.bandits import ucbspec_radius
from spinsim.policies.selectors.exp3 import exp3_probabilities
from spinsim.policies.selectors.hedge import normal_hedge_weights
from spinsim.policies.selectors.matching import match
from spinsim.policies.statistics import Statistics
from tests.policies.policy_world import Field, LinearCosts, context, feedback, play, selector, views

LEARNERS = [
    "greedy",
    "epsilon_greedy",
    "ucb1",
    "ucbspec",
    "exp3spec",
    "hedgespec",
    "metasd_ucb",
    "thompson",
    "spin",
    "joint",
]
COSTS = LinearCosts(step_s=(0.5e-3, 0.5e-3, 0.5e-3, 0.5e-3), verify_s=10e-3, catch_up_s=0.2e-3)
RATES = (0.3, 0.85, 0.5, 0.15)


def stationary(request: int, draft: int, position: int) -> float:
    return RATES[draft]


def drifting(request: int, draft: int, position: int) -> float:
    return 0.85 if draft == (1 if position < 200 else 2) else 0.25


# --- behaviour on bandits ------------------------------------------------------------------------


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_beat_random_and_find_the_best_draft(name: str) -> None:
    field = Field(stationary, tokens=300)
    within = context(4, COSTS)
    rate, played = play(selector(name, within), field, COSTS, 12, 300, 4)
    chance, _ = play(selector("random", within), field, COSTS, 12, 300, 4)
    assert rate > 1.02 * chance
    late = Counter(arm for arms in played for arm in arms[len(arms) // 2 :])
    assert late.most_common(1)[0][0] == 1


@pytest.mark.parametrize("name", ["greedy", "epsilon_greedy", "ucb1", "metasd_ucb", "thompson", "spin"])
def test_learners_that_share_a_prior_approach_the_best_fixed_draft(name: str) -> None:
    field = Field(stationary, tokens=300)
    within = context(4, COSTS)
    rate, _ = play(selector(name, within, share="prior"), field, COSTS, 20, 300, 4)
    best = max(play(selector("fixed", within, draft=d), field, COSTS, 20, 300, 4)[0] for d in "abcd")
    assert rate > 0.85 * best


@pytest.mark.parametrize("name", ["ucb1", "spin", "hedgespec"])
def test_drifting_acceptance_is_followed(name: str) -> None:
    field = Field(drifting, tokens=1200)
    params = {"beta": 0.3} if name == "ucb1" else {"explore": 2.0} if name == "spin" else {}
    if name != "hedgespec":
        params["share"] = "none"
    _, played = play(selector(name, context(4, COSTS), **params), field, COSTS, 4, 1200, 4)
    late = Counter(arm for arms in played for arm in arms[-len(arms) // 4 :])
    assert late.most_common(1)[0][0] == 2


def test_spin_serves_each_request_with_its_own_best_draft() -> None:
    field = Field(lambda request, draft, position: 0.9 if draft == request % 4 else 0.2, tokens=400)
    within = context(4, COSTS)
    rate, played = play(selector("spin", within), field, COSTS, 12, 400, 4)
    for request, arms in enumerate(played):
        assert Counter(arms[len(arms) // 2 :]).most_common(1)[0][0] == request % 4
    best = max(play(selector("fixed", within, draft=d), field, COSTS, 12, 400, 4)[0] for d in "abcd")
    assert rate > 1.3 * best


def test_no_draft_is_chosen_where_drafting_does_not_pay() -> None:
    costs = LinearCosts(step_s=(5e-3, 5e-3), verify_s=10e-3)
    field = Field(lambda request, draft, position: 0.1, tokens=200)
    within = context(2, costs, allow_none=True)
    policy = selector("spin", within, reward="tokens_per_round_second")
    _, played = play(policy, field, costs, 4, 200, 2)
    late = Counter(arm for arms in played for arm in arms[len(arms) // 2 :])
    assert late.most_common(1)[0][0] == NO_DRAFT


@pytest.mark.parametrize("name", KINDS["selector"].names())
@pytest.mark.parametrize("capacity", [None, 2])
def test_same_inputs_same_decisions_within_capacity(name: str, capacity: int | None) -> None:
    def run() -> list[list[int]]:
        field = Field(stationary)
        within = context(4, COSTS, capacities=(capacity,) * 4, future=field, outputs=[200] * 9)
        policy = selector(name, within)
        batch = views(9, 4)
        decisions = []
        for _ in range(25):
            arms = policy.assign(batch)
            decisions.append(arms)
            accepted = [
                0 if arm < 0 else min(4, field.runs(v.id, arm)[v.generated])
                for v, arm in zip(batch, arms, strict=True)
            ]
            for view, arm, hits in zip(batch, arms, accepted, strict=True):
                view.generated += hits + 1
                view.rounds += 1
                view.draft = arm
            policy.observe(feedback(batch, arms, accepted))
            for view in batch if policy.full_information else ():
                for draft in range(4):
                    policy.observe_hits(view, draft, bytes(r > 0 for r in field.runs(view.id, draft)[:3]))
        for view in batch:
            policy.forget(view.id)
        return decisions

    first = run()
    assert first == run()
    for arms in first:
        assert set(arms) <= {NO_DRAFT, 0, 1, 2, 3}
        if capacity is None:
            assert NO_DRAFT not in arms
        else:
            assert all(arms.count(draft) <= capacity for draft in range(4))
            # 9 requests, 8 slots; a plan may find that a further draft is not worth its time
            chooses = name in ("fixed", "oracle") or name.startswith(("planned", "contextual"))
            assert chooses or arms.count(NO_DRAFT) == 1


def test_random_choices_do_not_depend_on_the_batch() -> None:
    within = context(3)
    together = selector("random", within).assign(views(8))
    apart = [selector("random", within).assign([view])[0] for view in reversed(views(8))]
    assert together == apart[::-1]
    assert selector("random", context(3, seed=1)).assign(views(64)) != selector("random", within).assign(
        views(64)
    )


def test_fixed_fills_its_capacity_then_decodes() -> None:
    policy = selector("fixed", context(3, capacities=(None, 2, None)), draft="b")
    assert policy.assign(views(4)) == [1, 1, NO_DRAFT, NO_DRAFT]
    assert selector("fixed", context(3, draft_sizes=(9, 3, 5))).assign(views(2)) == [1, 1]


def test_round_robin_takes_turns() -> None:
    policy = selector("round_robin", context(3))
    (view,) = views(1)
    taken = []
    for _ in range(6):
        taken += policy.assign([view])
        view.rounds += 1
    assert taken == [0, 1, 2, 0, 1, 2]


# --- formulas ---------------------------------------------------------------------------------


def test_ucbspec_radius() -> None:
    # L = 8, K = 5, t = 10, n = 3, delta = 0.1, worked out term by term
    inner = 5 * 100 * 2 / 0.1
    assert ucbspec_radius(8, 5, 10, 3, 0.1) == pytest.approx(4 * math.sqrt(4 / 9 * (1 + 2 * math.log(inner))))


def test_exp3_probabilities() -> None:
    assert exp3_probabilities([0, 0, 0, 0], 1) == pytest.approx([0.25] * 4)
    eta = math.sqrt(math.log(2) / (9 * 2))
    p = 1 / (1 + math.exp(-eta * 3))
    assert exp3_probabilities([1, 4], 9) == pytest.approx([p, 1 - p])
    assert exp3_probabilities([5.0], 3) == [1.0]


def test_exp3_adds_the_importance_weighted_loss() -> None:
    policy = selector("exp3spec", context(2, max_length=4))
    (view,) = views(1, 2)
    (arm,) = policy.assign([view])
    policy.observe(Feedback([view], [arm], [4], [1], [2], [0.01], 0.02))
    state = policy._requests[0]  # type: ignore[attr-defined]
    assert state.losses[arm] == pytest.approx((4 + 1 - 2) / (4 * 0.5))
    assert state.losses[1 - arm] == 0
    # A round with another draft, while the drawn one catches up, was no draw: it has no probability.
    (arm,) = policy.assign([view])
    before = list(state.losses)
    policy.observe(Feedback([view], [1 - arm], [4], [1], [2], [0.01], 0.02))
    assert state.losses == before


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=7))
def test_normal_hedge_weights_solve_their_equation(regrets: list[float]) -> None:
    weights = normal_hedge_weights(regrets)
    assert sum(weights) == pytest.approx(1)
    positive = [max(0.0, r) for r in regrets]
    if max(positive) < 1e-3:
        return
    # The ratio of two weights gives c back; it must satisfy the potential's equation.
    assert all(w == 0 for w, r in zip(weights, positive, strict=True) if r == 0)
    lead = max(range(len(regrets)), key=positive.__getitem__)
    others = [i for i, r in enumerate(positive) if 0.3 * positive[lead] < r < 0.999 * positive[lead]]
    for i in others:
        log_ratio = math.log(weights[lead] / weights[i]) - math.log(positive[lead] / positive[i])
        c = (positive[lead] ** 2 - positive[i] ** 2) / (2 * log_ratio)
        assert sum(math.exp(r * r / (2 * c)) for r in positive) / len(positive) == pytest.approx(
            math.e, rel=1e-4
        )


def test_normal_hedge_of_one_leader() -> None:
    assert normal_hedge_weights([-1, -2, 0]) == pytest.approx([1 / 3] * 3)
    assert normal_hedge_weights([2, -1, -1]) == [1, 0, 0]


def test_hedge_scores_match_runs() -> None:
    policy = selector("hedgespec", context(2, max_length=4))
    (view,) = views(1, 2)
    policy.assign([view])
    policy.observe_hits(view, 0, bytes([1, 1, 0, 1]))  # runs from each position: 2, 1, 0, 1
    policy.observe_hits(view, 1, bytes([0, 1, 1, 0]))  # 0, 2, 1, 0
    scores = policy._requests[0]  # type: ignore[attr-defined]
    assert (scores.runs, scores.positions) == ([4, 3], [4, 4])
    policy.assign([view])  # gains 1/4 and 3/16; half of each expected
    assert scores.regrets == pytest.approx([1 / 32, -1 / 32])


def test_hedge_runs_go_on_across_catch_ups_up_to_the_longest_proposal() -> None:
    policy = selector("hedgespec", context(1, max_length=3))
    (view,) = views(1, 1)
    for hit in (1, 1, 1, 1, 1):
        policy.observe_hits(view, 0, bytes([hit]))
    assert policy._requests[0].runs == [1 + 2 + 3 + 3 + 3]  # type: ignore[attr-defined]


def test_rewards_are_ratios_of_sums() -> None:
    statistics = Statistics((0, 1))
    (view,) = views(1, 2)
    statistics.add([view], [0], [4], [0.01])
    statistics.add([view], [0], [0], [0.03])
    statistics.add([view], [NO_DRAFT], [9], [0.01])  # no arm here: not counted
    assert statistics.means(statistics.of(0)) == pytest.approx([100, 0])
    assert statistics.of(0).pulls == [2, 0]


def test_the_prior_is_worth_so_many_average_pulls() -> None:
    statistics = Statistics((0, 1), "prior", 2.0)
    first, second = views(2, 2)
    for gain in (1, 2, 3, 6):
        statistics.add([first], [0], [gain], [1.0])
    statistics.add([second], [0], [9], [1.0])
    # the pool: 5 pulls, mean 21/5, cut to 2 pulls; own: 1 pull of 9
    stats = statistics.of(second.id)
    assert statistics.means(stats)[0] == pytest.approx((2 * 21 / 5 + 9) / 3)
    assert statistics.pulls(stats, 0) == 3
    statistics.forget(first.id)
    assert statistics.requests.keys() == {second.id}
    assert statistics.pool.pulls == [5, 0]


def test_tried_positions_end_at_the_first_rejection() -> None:
    policy = selector("metasd_ucb", context(2), share="none")
    (view,) = views(1, 2)
    policy.observe(feedback([view], [0], [4]))  # 4 of 4
    policy.observe(feedback([view], [0], [1]))  # 1 of 2
    stats = policy.statistics  # type: ignore[attr-defined]
    assert stats.means(stats.of(0))[0] == pytest.approx(5 / 6)


def test_draws_are_uniform_and_apart() -> None:
    draws, others = Draws(1, "a"), Draws(1, "b")
    sample = [draws.uniform(i, j) for i in range(100) for j in range(100)]
    assert sum(sample) / len(sample) == pytest.approx(0.5, abs=0.01)
    assert len(set(sample)) == len(sample)
    assert draws.uniform(3, 4) != others.uniform(3, 4)
    normals = [draws.normal(i, j) for i in range(100) for j in range(100)]
    assert sum(x * x for x in normals) / len(normals) == pytest.approx(1, abs=0.05)
    counts = Counter(draws.choice(i, 0, (5, 6, 7), (0.2, 0.0, 0.8)) for i in range(5000))
    assert counts[6] == 0
    assert counts[5] / 5000 == pytest.approx(0.2, abs=0.03)


# --- SPIN's joint assignment -----------------------------------------------------------------------


@st.composite
def assignments(draw: st.DrawFn) -> tuple[list[list[float]], list[int], list[int], bool]:
    drafts, rows, none = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.booleans())
    width = drafts + none
    gains = [draw(st.lists(st.floats(0, 1e6), min_size=width, max_size=width)) for _ in range(rows)]
    room = draw(st.lists(st.integers(0, 4), min_size=drafts, max_size=drafts))
    return gains, [*range(drafts), *([NO_DRAFT] if none else [])], room, none


@given(assignments())
@settings(max_examples=150)
def test_matching_equals_brute_force(case: tuple[list[list[float]], list[int], list[int], bool]) -> None:
    gains, arms, room, none = case
    rows = len(gains)
    found = match(gains, arms, [*room, rows])
    assert all(found.count(draft) <= limit for draft, limit in enumerate(room))

    def worth(choice: tuple[int, ...] | list[int]) -> tuple[int, float]:
        overflow = 0 if none else choice.count(NO_DRAFT)
        return -overflow, sum(
            row[arm] for row, arm in zip(gains, choice, strict=True) if none or arm != NO_DRAFT
        )

    feasible = (
        choice
        for choice in product([*range(len(room)), NO_DRAFT], repeat=rows)
        if all(choice.count(draft) <= limit for draft, limit in enumerate(room))
    )
    best = max(map(worth, feasible))
    assert worth(found)[0] == best[0]
    assert worth(found)[1] == pytest.approx(best[1], rel=1e-9, abs=1e-6)


def test_spin_gives_the_contested_slot_to_the_request_that_gains_most() -> None:
    policy = selector("spin", context(2, capacities=(1, None)), explore=0.1)
    batch = views(2, 2)
    for accepted in ([4, 3], [3, 1]):  # draft a: 4 and 3; draft b: 3 and 1
        arm = 0 if accepted == [4, 3] else 1
        policy.observe(feedback(batch, [arm, arm], accepted))
    # greedy would give a to request 0; jointly 3 + 3 beats 4 + 1
    assert policy.assign(batch) == [1, 0]


def test_spin_explores_each_draft_before_it_exploits() -> None:
    policy = selector("spin", context(3), explore=0.5)
    (view,) = views(1)
    arms = []
    for _ in range(12):
        arms += policy.assign([view])
        policy.observe(feedback([view], arms[-1:], [4 if arms[-1] == 2 else 0]))
    assert sorted(arms[:3]) == [0, 1, 2]
    # 0.5 ln(1 + t) exceeds 1 from t = 7 on: everyone is looked at again, and then the best once more
    assert arms[3:6] == [2, 2, 2]
    assert sorted(arms[6:8]) == [0, 1]
    assert arms[8:] == [2] * 4


def test_a_margin_keeps_the_current_draft() -> None:
    batch = views(1, 2)
    for margin, expected in ((0.0, 1), (0.5, 0)):
        policy = selector("spin", context(2), explore=0.1, switch_margin=margin)
        policy.observe(feedback(batch, [0], [3]))
        policy.observe(feedback(batch, [1], [4]))
        batch[0].draft = 0
        assert policy.assign(batch) == [expected]
