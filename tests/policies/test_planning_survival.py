"""What a proposal is expected to yield: estimates of acceptance by request, draft and position."""

from __future__ import annotations

import random

import numpy as np
import pytest

from spinsim.policies.base import NO_DRAFT, Feedback
from spinsim.policies.planning.survival import Survival
from tests.policies.policy_world import feedback, views


def observed(rates: list[float], rounds: int, length: int = 4, seed: int = 1) -> Survival:
    """A draft's survival after rounds of requests whose tokens are accepted with those rates."""
    stream = random.Random(seed)
    survival = Survival(1, length)
    batch = views(len(rates), 1)
    for _ in range(rounds):
        accepted = []
        for rate in rates:
            run = 0
            while run < length and stream.random() < rate:
                run += 1
            accepted.append(run)
        survival.observe(feedback(batch, [0] * len(rates), accepted, length=length))
    survival.learn_strength()
    return survival


def test_yields_of_like_requests_are_geometric() -> None:
    tokens, _ = observed([0.6] * 20, 60).yields(range(20))
    wanted = [(1 - 0.6 ** (k + 1)) / 0.4 for k in range(5)]
    assert tokens.shape == (20, 1, 5)
    assert tokens.mean(0)[0] == pytest.approx(wanted, rel=0.05)
    assert np.all(np.diff(tokens, axis=2) >= 0)


def test_a_draft_that_was_unlucky_in_its_first_rounds_is_not_given_up() -> None:
    """One of nine accepted, where 56 % are: once the small draft was never tried again after that."""
    survival = Survival(1, 4)
    for accepted in (0, 0, 1, 0, 0, 0, 0, 0):
        survival.observe(feedback(views(1, 1), [0], [accepted]))
    assert survival.rates()[0] > 0.4


def test_bad_luck_at_the_first_position_counts_once() -> None:
    """The prior tells of the draft's rate. It once told of positions that nobody had reached, so that the
    first one was believed to be worse than the draft."""
    survival = Survival(1, 4)
    for accepted in (0, 0, 1, 0, 0, 0, 1, 0):
        survival.observe(feedback(views(1, 1), [0], [accepted], length=1))
    tokens, _ = survival.yields([9])  # a request of which nothing is known
    rate = survival.rates()[0]
    assert tokens[0, 0, :3] == pytest.approx([1, 1 + rate, 1 + rate + rate**2])


def test_requests_that_differ_are_told_apart_and_those_alike_are_not() -> None:
    mixed, alike = observed([0.2] * 10 + [0.9] * 10, 20), observed([0.55] * 20, 20)
    assert mixed.strength[0] < 8 < 50 < alike.strength[0]
    tokens, _ = mixed.yields(range(20))
    assert tokens[:10, 0, 4].max() < 1.6 < 3.2 < tokens[10:, 0, 4].min()
    spread = alike.yields(range(20))[0][:, 0, 4].std()
    assert spread < 0.15 < tokens[:, 0, 4].std()


def test_the_end_of_an_output_is_no_rejection() -> None:
    survival = Survival(1, 4)
    before = survival.tried()[0]
    (view,) = views(1, 1)
    survival.observe(Feedback([view], [0], [4], [2], [2], [0.01], 0.02))  # two were left, and both stood
    assert survival.tried()[0] == before + 2
    survival.observe(Feedback([view], [0], [4], [2], [3], [0.01], 0.02))  # the third was wrong
    assert survival.tried()[0] == before + 5
    survival.observe(Feedback([view], [NO_DRAFT], [0], [0], [1], [0.0], 0.02))
    assert survival.tried()[0] == before + 5


def test_ended_requests_leave_their_rows_and_more_than_fit_are_kept() -> None:
    survival = observed([0.5] * 40, 2)
    for request in range(40):
        survival.forget(request)
    fresh, _ = survival.yields(range(100, 140))
    assert np.ptp(fresh, axis=0) == pytest.approx(0)


def test_rounds_count_alike_one_by_one_and_all_at_once() -> None:
    """What rounds tried is counted later, and requests come and go meanwhile."""
    stream = random.Random(3)
    at_once, each = Survival(2, 4), Survival(2, 4)
    for turn in range(40):
        batch = views(6, 2)
        for row, view in enumerate(batch):
            view.id = row + 6 * (turn // 5)
        drafts = [stream.choice((0, 1, NO_DRAFT)) for _ in batch]
        seen = feedback(batch, drafts, [0 if draft < 0 else stream.randint(0, 4) for draft in drafts])
        for survival in (at_once, each):
            survival.observe(seen)
            if turn % 5 == 4:
                survival.forget(batch[0].id)
        each.count()
    assert at_once.noted == 40
    assert each.noted == 0
    for survival in (at_once, each):
        survival.learn_strength()
    for found, wanted in zip(at_once.yields(range(48)), each.yields(range(48)), strict=True):
        assert found == pytest.approx(wanted)


def test_what_few_requests_showed_of_a_draft_is_the_less_certain_the_more_requests_differ() -> None:
    """Three requests of sixty positions are not 180 requests of one."""

    def deviation(strength: float) -> float:
        """Of a request that has not tried the draft, for what is not known of the rate they share."""
        survival = observed([0.5] * 3, 60)
        survival.strength[:] = strength
        rate = survival.rates()[0]
        return float(survival.yields([9])[1][0, 0] ** 2 - rate * (1 - rate) / (strength + 1))

    assert deviation(4.0) > 5 * deviation(400.0) > 0


def test_tokens_that_a_draft_read_count_as_proposals_of_it() -> None:
    """Three hits, a miss, a hit: as a whole proposal of 3, one refused at once, and one that goes on."""
    read, proposed = Survival(2, 3), Survival(2, 3)
    read.read(0, 1, bytes((1, 1, 1, 0, 1)))
    for length, accepted in ((3, 3), (3, 0), (1, 1)):
        proposed.observe(feedback(views(1, 2), [1], [accepted], length=length))
    for one, other in zip(read.yields([0]), proposed.yields([0]), strict=True):
        assert one == pytest.approx(other)
