"""The selector that knows the context: its survival, its kinds of text, its choice of a round, its bounds."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.errors import InputError
from spinsim.policies.base import NO_DRAFT, Feedback
from spinsim.policies.beliefs import DraftingTimes
from spinsim.policies.contextual.ahead import LENT, Ahead, Arm
from spinsim.policies.contextual.kinds import Kinds
from spinsim.policies.contextual.request_rows import RequestRows
from spinsim.policies.contextual.round_choice import Offer, RoundCosts, choose
from spinsim.policies.contextual.survival import UNTRIED, Classes, Survival, match_class, recent_class
from spinsim.policies.contextual.trials import won_by_trials
from spinsim.recording import Lookup, Recording, Trace, save_trace
from spinsim.scenario import PoliciesSpec, PolicyChoice
from spinsim.scenario_file import load
from spinsim.studies.selection_on_recordings import PLANNED, overrides
from spinsim.studies.selector_training import train
from spinsim.studies.simulate import simulate
from tests.policies.policy_world import Field, LinearCosts, context, selector, views

ROOT = Path(__file__).parents[2]
COSTS = ROOT / "scenarios" / "specdecode-bench.yaml"
ONE = np.ones((1, 1))
HERE = np.zeros(1, int)  # the only drafter


def classes(match: int, recent: int, rows: int = 1) -> Classes:
    return Classes(np.full(rows, match), np.full(rows, recent))


# --- survival -----------------------------------------------------------------------------------


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


# --- kinds of text --------------------------------------------------------------------------------


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


# --- the choice of a round --------------------------------------------------------------------------


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


# --- in the engine, over a recording ------------------------------------------------------------------


def copies(requests: int, seed: int = 3, tokens: int = 120) -> Trace:
    """Odd requests copy long spans, where the lookup is right and says so; elsewhere the model is better."""
    random = np.random.default_rng(seed)
    model, lookup, matched, offered, domains = [], [], [], [], []
    for request in range(requests):
        copied = (np.arange(tokens) // 30 % 2 == 1) & (request % 2 == 1)
        ends = np.where(copied, 30 - np.arange(tokens) % 30, 0)
        model.append(random.integers(0, 4, tokens).tolist())
        stray = random.random(tokens) < 0.2  # matches that lead nowhere
        lookup.append(ends.tolist())
        matched.append(np.where(copied, 20, np.where(stray, 3, 0)).tolist())
        offered.append(np.where(copied | stray, 20, 0).tolist())
        domains.append("copying" if request % 2 else "other")
    lookups = Lookup.of(matched, offered)
    found = Recording.of_runs(lookup)
    return Trace(
        target="t",
        keys=tuple(str(i) for i in range(requests)),
        prompt_tokens=(20,) * requests,
        drafts={
            "eagle": Recording.of_runs(model),
            "ngram": Recording(found.kind, found.rows, lookups),
        },
        domains=tuple(domains),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("recordings")
    save_trace(copies(24), folder / "judged.npz")
    (folder / "trained.json").write_text(json.dumps(train(copies(16, seed=4))))
    return folder / "judged.npz", folder / "trained.json"


def rate(trace: Path, batch: int, selector: dict, length: dict) -> dict:
    return simulate(load(COSTS, overrides(trace, batch, selector, length)), None)


@pytest.mark.parametrize("batch", [1, 6])
def test_it_takes_most_of_what_knowing_the_winner_gains(files, batch):
    trace, trained = files
    ours = {"name": "contextual", "trained": str(trained), "longest": {"eagle": 3}}
    oracle = {**ours, "name": "contextual_oracle"}
    fixed = max(
        rate(trace, batch, {"name": "fixed", "draft": d}, {"name": "fixed", "tokens": k})[
            "goodput_tokens_per_s"
        ]
        for d, k in (("eagle", 3), ("ngram", 8), ("ngram", 20))
    )
    told, known, all_known = (
        rate(trace, batch, each, PLANNED)["goodput_tokens_per_s"]
        for each in (ours, oracle, {**oracle, "knows_lengths": True})
    )
    assert fixed < told <= 1.01 * known <= 1.02 * all_known
    assert told - fixed > 0.5 * (known - fixed)


def test_it_learns_without_training(files):
    """Untold, it takes both drafters to be good, and is soon above the better one."""
    trace, _ = files
    found = rate(trace, 6, {"name": "contextual", "longest": {"eagle": 3}}, PLANNED)
    fixed = rate(trace, 6, {"name": "fixed", "draft": "eagle"}, {"name": "fixed", "tokens": 3})
    assert found["goodput_tokens_per_s"] > fixed["goodput_tokens_per_s"]
    assert {name for name, each in found["speculation"]["per_draft"].items() if each["share"]} >= {
        "eagle",
        "ngram",
    }


def test_a_fixed_length_is_kept(files):
    trace, trained = files
    ours = {"name": "contextual", "trained": str(trained)}
    found = rate(trace, 6, ours, {"name": "per_draft", "tokens": {"eagle": 2, "ngram": 5}})["speculation"]
    eagle, ngram = (found["per_draft"][name] for name in ("eagle", "ngram"))
    assert eagle["drafted"] == 2 * eagle["rounds"]
    assert 0 < ngram["drafted"] <= 5 * ngram["rounds"]


def test_a_lookup_proposes_no_more_than_it_has_on_offer(files):
    """With nothing on offer a row only decodes; it is nobody's draft then."""
    trace, _ = files
    found = rate(trace, 1, {"name": "fixed", "draft": "ngram"}, {"name": "fixed", "tokens": 20})[
        "speculation"
    ]
    by_draft = found["per_draft"]
    assert by_draft["ngram"]["drafted"] == 20 * by_draft["ngram"]["rounds"]
    assert by_draft["none"]["rounds"] > 0 == by_draft["none"]["drafted"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read"),
        ("{", "is no JSON"),
        ("[]", "holds no drafts"),
        ('{"drafts": {}}', "schema None; 'spinsim-survival/1'"),
        (
            '{"schema": "spinsim-survival/1", "drafts": {}, "matches": [[1]]}',
            "matches of shape (1, 1); kinds and 15",
        ),
    ],
)
def test_a_file_that_is_no_training_is_named(files, tmp_path, content, said):
    path = tmp_path / "trained.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError) as caught:
        rate(files[0], 1, {"name": "contextual", "trained": str(path)}, PLANNED)
    assert "policies.selector.trained" in str(caught.value)
    assert said in str(caught.value)


# --- the policy alone -------------------------------------------------------------------------------


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


def test_training_counts_every_position_once():
    trace = copies(4, tokens=40)
    state = train(trace, longest=6)
    assert state["kinds"] == ["copying", "other"]
    reached = {name: np.array(each["reached"])[..., 0].sum((1, 2)) for name, each in state["drafts"].items()}
    assert reached["eagle"].tolist() == [2 * 39, 2 * 39]  # all but prefill's
    lookup = trace.drafts["ngram"].lookup
    assert lookup is not None
    offered = [int((lookup.offered.row(row)[1:] > 0).sum()) for row in range(4)]
    assert reached["ngram"].tolist() == [offered[1] + offered[3], offered[0] + offered[2]]
    for each in state["drafts"].values():
        assert (np.array(each["accepted"]) <= np.array(each["reached"])).all()
    assert np.array(state["matches"]).sum() == 4 * 39


# --- decided while the target verifies ----------------------------------------------------------------


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


# --- what a trial is worth ------------------------------------------------------------------------------


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


# --- vLLM's adaptive verification -------------------------------------------------------------------


def admitted(costs: LinearCosts, matched: list[int], offered: list[int], most: int = 3) -> list[int]:
    from spinsim.policies.build import build_policies

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
    from spinsim.policies.build import build_policies

    spec = PoliciesSpec(length=PolicyChoice(name="adaptive_verification", tokens=3))
    policy = build_policies(spec, context(1, LinearCosts(step_s=(0.0,), verify_query_s=0.1))).length
    batch = views(1, drafts=1)
    for _ in range(299):
        assert policy.lengths(batch, [0]) == [3]
        policy.observe(Feedback(batch, [0], [3], [0], [1], [0.0], 0.01))
    policy.observe(Feedback(batch, [0], [3], [0], [1], [0.0], 0.01))
    assert policy.lengths(batch, [0]) == [1]  # it has drafted, and nothing is accepted
