"""What the contextual selector knows: survival by class of context, and kinds of text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.policies.contextual.kinds import Kinds
from spinsim.policies.contextual.survival import UNTRIED, Classes, Survival, match_class, recent_class

ONE = np.ones((1, 1))
HERE = np.zeros(1, int)  # the only drafter


def classes(match: int, recent: int, rows: int = 1) -> Classes:
    return Classes(np.full(rows, match), np.full(rows, recent))


@settings(max_examples=20, deadline=None)
@given(rate=st.floats(0.1, 0.9), seed=st.integers(0, 99))
def test_survival_is_calibrated_in_its_class_and_prior_elsewhere(rate, seed):
    """After many proposals accepted at one rate, the first j tokens survive with rate ** j."""
    survival, here = Survival(4, strength=8.0), classes(5, 2)
    untold = survival.probabilities(HERE, here, ONE)[0]
    accepted = np.minimum(np.random.default_rng(seed).geometric(1 - rate, 4000) - 1, 4).tolist()
    rows = len(accepted)
    survival.observe(HERE.repeat(rows), classes(5, 2, rows), accepted, [4] * rows, np.ones((rows, 1)))
    told = survival.probabilities(HERE, here, ONE)[0]
    assert told == pytest.approx(rate ** np.arange(1, 5), abs=0.05)
    assert (np.diff(told) < 0).all()
    # Another class knows of it through what all requests share, and not more than that.
    other = survival.probabilities(HERE, classes(0, 0), ONE)[0]
    assert other == pytest.approx(told, abs=0.05)
    assert untold == pytest.approx(0.7 ** np.arange(1, 5))


def test_counts_follow_the_traffic():
    survival, here = Survival(1, memory=100), classes(1, 1, 100)
    for accepted in (1, 1, 1, 0, 0, 0, 0, 0, 0):
        survival.observe(HERE.repeat(100), here, [accepted] * 100, [1] * 100, np.ones((100, 1)))
    assert survival.probabilities(HERE, classes(1, 1), ONE)[0, 0] < 0.1


def test_a_proposal_judged_in_part_says_nothing_of_the_rest():
    survival = Survival(3)
    survival.observe(
        HERE, classes(1, 1), [2], [2], ONE
    )  # both judged tokens stood; a third was never compared
    state = survival.state()
    assert np.array(state["reached"])[0, 1, 1].tolist() == [1, 1, 0]
    assert np.array(state["accepted"])[0, 1, 1].tolist() == [1, 1, 0]


def test_classes_of_contexts():
    assert [match_class(n) for n in (-1, 0, 1, 7, 8, 9, 10, 64, 500)] == [0, 0, 1, 7, 8, 8, 9, 14, 14]
    assert [recent_class(x) for x in (UNTRIED, 0.0, 0.5, 1.0)] == [0, 1, 4, 7]


def test_a_request_is_told_by_what_was_seen_of_it_and_of_others():
    kinds = Kinds([0.5, 0.5])
    assert kinds.of([1]) == pytest.approx(np.array([[0.5, 0.5]]))
    for request in range(40):
        kinds.of([request])
        kinds.observe([request], np.array([[0.0, -30.0]]))
        kinds.forget(request)
    assert kinds.of([99])[0, 0] > 0.9  # the traffic is of the first kind
    kinds.observe([99], np.array([[-60.0, 0.0]]))
    assert kinds.of([99])[0, 1] > 0.99  # and this request is not
    assert kinds.of([99, 100]).sum(1) == pytest.approx([1, 1])
