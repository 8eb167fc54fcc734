"""What the contextual selector weighs: the choice of a round, and the worth of a trial."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.policies.base import NO_DRAFT
from spinsim.policies.beliefs import DraftingTimes
from spinsim.policies.contextual.round_choice import Offer, RoundCosts, choose
from spinsim.policies.contextual.trials import won_by_trials
from tests.policies.policy_world import LinearCosts, context


def costs_of(**changes: float) -> RoundCosts:
    return RoundCosts(
        context(2, LinearCosts(**{"step_s": (2e-3, 0.0), "verify_query_s": 2e-4, **changes})), 1.0
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), rate=st.floats(10, 2000), none_allowed=st.booleans())
def test_no_change_of_one_drafter_betters_a_choice(data, rate, none_allowed):
    rows = data.draw(st.integers(1, 5))
    offers = []
    for caps in ((2,), (1, 4)):
        lengths = np.array([[data.draw(st.integers(0, cap)) for cap in caps] for _ in range(rows)])
        share = np.array([[data.draw(st.floats(0, 1)) for _ in caps] for _ in range(rows)])
        offers.append(Offer(caps, share * lengths, lengths))
    missing, contexts, costs = np.zeros((rows, 2), int), [64] * rows, costs_of()
    best = choose(offers, missing, contexts, costs, rate, none_allowed=none_allowed)
    worth = best.tokens - rate * best.seconds
    for row, (draft, length) in enumerate(zip(best.drafts, best.lengths, strict=True)):
        if draft != NO_DRAFT:
            assert length == offers[draft].lengths[row, best.caps[draft]]
        elif not none_allowed:
            # It only decodes where the drafters in use have nothing to propose to it.
            used = [(offer, cap) for offer, cap in zip(offers, best.caps, strict=True) if cap >= 0]
            assert all(offer.lengths[row, cap] == 0 for offer, cap in used)
    for draft, offer in enumerate(offers):
        for cap in range(-1, len(offer.caps)):
            begin = [*best.caps[:draft], cap, *best.caps[draft + 1 :]]
            other = choose(offers, missing, contexts, costs, rate, none_allowed=none_allowed, begin=begin)
            assert other.tokens - rate * other.seconds <= worth + abs(worth) * 1e-9 or other.caps != best.caps


def test_caps_of_an_earlier_round_may_be_beyond_an_offer():
    offers = [Offer((1,), np.array([[0.9]]), np.array([[1]]))]
    costs, missing = costs_of(), np.zeros((1, 1), int)
    choices = [choose(offers, missing, [64], costs, 10.0, none_allowed=True, begin=b) for b in ([0], [3])]
    assert choices[0] == choices[1]


def test_a_dear_drafter_is_used_by_enough_rows_or_by_none():
    """Drafting takes 2 ms for any number of rows: at 1,000 tokens/s, 0.9 tokens of one do not pay it."""
    costs = costs_of(verify_query_s=0.0)

    def chosen(rows: int) -> list[int]:
        offers = [
            Offer((1,), np.full((rows, 1), 0.9), np.ones((rows, 1), int)),
            Offer((1,), np.full((rows, 1), 0.1), np.ones((rows, 1), int)),
        ]
        missing = np.zeros((rows, 2), int)
        return choose(offers, missing, [64] * rows, costs, 1000.0, none_allowed=True).drafts

    assert chosen(1) == [1]  # the free one
    assert chosen(4) == [0] * 4


def test_without_a_rate_the_rounds_own_is_found():
    """One row, tokens 1 + 0.9 in 10 + 2 ms against 1 in 10: the fixed point is the better rate."""
    offers = [Offer((1,), np.array([[0.9]]), np.array([[1]]))]
    costs = RoundCosts(context(1, LinearCosts(step_s=(2e-3,))), 1.0)
    choice = choose(offers, np.zeros((1, 1), int), [64], costs, None, none_allowed=True)
    assert choice.drafts == [0]
    assert choice.tokens / choice.seconds == pytest.approx(1.9 / 12e-3)


def test_a_trial_is_worth_what_it_tells_of_the_kind():
    """Two kinds, equally likely, each with a draft that is always right there and never elsewhere. One
    token tells which: 0.5 tokens a round are expected before, 1 after."""
    by_kind = np.array([[[[1.0], [0.0]], [[0.0], [1.0]]]])  # [row, drafter, kind, j]
    lengths, free = np.ones((1, 2), int), np.zeros(2)
    won = won_by_trials(by_kind, lengths, free, np.array([[0.5, 0.5]]), 1.0)
    assert won == pytest.approx(np.array([[0.5, 0.5]]))
    assert won_by_trials(by_kind, lengths, free, np.array([[1.0, 0.0]]), 1.0) == pytest.approx(0, abs=1e-9)
    dear = won_by_trials(by_kind, lengths, np.array([0.0, 5.0]), np.array([[0.5, 0.5]]), 1.0)
    assert dear == pytest.approx(0, abs=1e-9)  # whatever it tells, the first is used


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), temper=st.floats(0.1, 1))
def test_a_trial_never_costs_knowledge(seed, temper):
    random = np.random.default_rng(seed)
    by_kind = np.cumprod(random.random((3, 2, 4, 5)), 3)
    weights = random.dirichlet(np.ones(4), 3)
    won = won_by_trials(by_kind, random.integers(1, 6, (3, 2)), random.random(2), weights, temper)
    assert (won >= 0).all()
    assert (won <= 5).all()  # no more than a proposal has tokens


def test_sets_of_drafts_take_what_each_takes_alone():
    """Drafts of one device in lanes of their own crowd each other, whoever asks."""
    within = context(3, draft_devices=("gpu0",) * 3, draft_lanes=(1, 2, 2))
    times, random = DraftingTimes(within), np.random.default_rng(1)
    alone = random.random((8, 3)) * (random.random((8, 3)) < 0.6)
    one_by_one = [times.seconds({d: s for d, s in enumerate(row) if s}) for row in alone.tolist()]
    assert times.of_sets(alone) == pytest.approx(np.array(one_by_one))
