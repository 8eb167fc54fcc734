"""Modelled acceptance: closed forms, statistics, and independence of everything but its arguments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from spinsim.acceptance.ar1 import Ar1
from spinsim.acceptance.cached import BLOCK
from spinsim.acceptance.counter import bits53, counters, item_key, mix, normals, purpose_key, uniforms
from spinsim.acceptance.runs import runs_of
from spinsim.acceptance.synthetic import logistic_block, logistic_runs
from spinsim.errors import InputError
from tests.acceptance.acceptance_scenarios import bits, field, tokens_per_round

HALF = {"model": "constant", "probability": 0.5}
FLAT = {"model": "logistic", "strength": {"a": 0.0, "b": 0.0}, "difficulty_sd": 0.0}


# --- the generator ----------------------------------------------------------------------------


def test_counter_generator_is_splitmix64():
    """The published first outputs for the seed 0."""
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    assert [mix(0x9E3779B97F4A7C15 * i) for i in (1, 2, 3, 4)] == expected
    assert bits53(0, counters(1, 4))[0].tolist() == [value >> 11 for value in expected]


def test_uniforms_and_normals_have_their_distributions():
    key = item_key(purpose_key(3, "x"), 5)
    assert stats.kstest(uniforms(key, counters(4, 20_000)).ravel(), "uniform").pvalue > 1e-3
    assert stats.kstest(normals(key, counters(2, 50_000)), "norm").pvalue > 1e-3


def test_keys_differ_by_seed_purpose_and_item():
    keys = {
        item_key(purpose_key(seed, name), item)
        for seed in (0, 1, 2**64)
        for name in ("acceptance", "drift")
        for item in range(1000)
    }
    assert len(keys) == 6000


# --- runs -------------------------------------------------------------------------------------


@given(arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 40))))
def test_runs_follow_their_recursion(accepted):
    expected = np.zeros(accepted.shape, int)
    for row, hits in zip(expected, accepted, strict=True):
        run = 0
        for p in reversed(range(len(hits))):
            run = run + 1 if hits[p] else 0
            row[p] = run
    assert runs_of(accepted).tolist() == expected.tolist()


# --- constant ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "length"), [(0.3, 2), (0.6, 4), (0.8, 5), (0.95, 8)])
def test_tokens_per_round_match_the_closed_form(a, length):
    outputs = [5000] * 60
    accepted = field({"model": "constant", "probability": {"a": a, "b": 0.1}}, outputs)
    walks = [tokens_per_round(accepted.runs(r, 0), n, length) for r, n in enumerate(outputs)]
    tokens, rounds = np.sum(walks, axis=0)
    assert tokens / rounds == pytest.approx((1 - a ** (length + 1)) / (1 - a), rel=0.01)


def test_certainties():
    accepted = field({"model": "constant", "probability": {"a": 0.0, "b": 1.0}}, [50])
    assert not any(accepted.runs(0, 0))
    assert all(run >= 8 for run in accepted.runs(0, 1)[:51])  # 8: limits.max_length


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=8),
    st.integers(0, 2**63 - 1),  # the seeds that a scenario may have
    st.permutations(range(16)),
    st.sampled_from([HALF, FLAT | {"drift_sd": 0.7, "difficulty_sd": 1.0}]),
)
def test_fields_do_not_depend_on_the_order_of_calls(outputs, seed, order, acceptance):
    one, two = (field(acceptance, outputs, seed=seed) for _ in range(2))
    cells = [(r, d) for r in range(len(outputs)) for d in (0, 1)]
    expected = {cell: list(one.runs(*cell)) for cell in cells}
    for i in order:
        request, draft = cells[i % len(cells)]
        assert list(two.runs(request, draft)) == expected[request, draft]
        assert len(two.runs(request, draft)) >= outputs[request] + 1
        two.forget(request if i % 3 else request + 1)
    assert one.source == "synthetic"


@pytest.mark.parametrize("acceptance", [HALF, FLAT | {"drift_sd": 0.7, "drift_tokens": 5.0}])
def test_fields_depend_on_nothing_but_seed_request_draft_and_position(acceptance):
    """Other outputs, more drafts behind, or a longer limit change no acceptance within the limit."""
    base = field(acceptance, [100, 100])
    longer = field(acceptance, [100, 3000], limits={"max_length": 30})
    wider = acceptance | ({"strength": {"a": 0.0, "b": 0.0, "c": 1.0}} if "strength" in acceptance else {})
    more = field(wider, [100, 100], drafts=("a", "b", "c"))
    for draft in (0, 1):
        expected = [min(run, 8) for run in base.runs(1, draft)[:101]]
        assert [min(run, 8) for run in longer.runs(1, draft)[:101]] == expected
        assert [min(run, 8) for run in more.runs(1, draft)[:101]] == expected


def test_seeds_requests_and_drafts_are_unrelated():
    count = 20_000
    rows = [
        bits(field(HALF, [count] * 3, seed=seed).runs(request, draft), count)
        for seed in (0, 1, 2)
        for request in (0, 1, 2)
        for draft in (0, 1)
    ]
    shifted = [np.roll(row, -1) for row in rows]
    correlation = np.corrcoef([*rows, *shifted])
    assert np.abs(correlation[~np.eye(len(correlation), dtype=bool)]).max() < 5 / np.sqrt(count)


def test_runs_are_plain_lists_of_ints():
    for acceptance in (HALF, FLAT):
        runs = field(acceptance, [20]).runs(0, 0)
        assert type(runs) is list
        assert all(type(run) is int for run in runs)


# --- logistic ---------------------------------------------------------------------------------


def shares(acceptance, requests=400, output=500, **more):
    """Share of positions accepted by request and draft."""
    accepted = field(acceptance, [output] * requests, **more)
    return np.array([[bits(accepted.runs(r, d), output).mean() for d in (0, 1)] for r in range(requests)])


def test_logistic_probability_is_the_sigmoid_of_strength_less_difficulty():
    share = shares(FLAT | {"strength": {"a": 1.0, "b": -0.5}, "difficulty_mean": 0.3}).mean(axis=0)
    assert share == pytest.approx([1 / (1 + np.exp(-0.7)), 1 / (1 + np.exp(0.8))], abs=0.005)


def test_domains_add_affinity_and_difficulty():
    domains = {"code": {"affinity": {"b": 2.0}, "difficulty": 0.5}, "prose": {}}
    share = shares(FLAT | {"domains": domains}, domain="code").mean(axis=0)
    assert share == pytest.approx([1 / (1 + np.exp(0.5)), 1 / (1 + np.exp(-1.5))], abs=0.005)
    assert shares(FLAT | {"domains": domains}, domain="prose").mean() == pytest.approx(0.5, abs=0.005)


def test_difficulty_varies_by_request_with_the_asked_spread():
    share = shares(FLAT | {"difficulty_sd": 0.8, "difficulty_mean": 0.2}, requests=1500, output=2000)
    difficulty = -np.log(share / (1 - share))
    assert difficulty.mean() == pytest.approx(0.2, abs=0.05)
    assert difficulty.std() == pytest.approx(0.8, rel=0.06)
    assert np.corrcoef(difficulty.T)[0, 1] > 0.98  # the request's own, alike for both drafts


def test_drift_has_the_asked_deviation_and_correlation():
    """Two drafts share the drift: their bits' covariance at a lag is that of the sigmoid of an AR(1)."""
    sd, tokens, count = 1.5, 20.0, 4000
    accepted = field(FLAT | {"drift_sd": sd, "drift_tokens": tokens}, [count] * 150)
    pairs = [
        (bits(accepted.runs(r, 0), count) - 0.5, bits(accepted.runs(r, 1), count) - 0.5) for r in range(150)
    ]
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    for lag in (0, 10, 40):
        rho = np.exp(-lag / tokens)
        other = rho * nodes[:, None] + np.sqrt(1 - rho**2) * nodes[None, :]
        inner = (weights[None, :] / (1 + np.exp(sd * other))).sum(axis=1)
        expected = (weights * inner / (1 + np.exp(sd * nodes))).sum() - 0.25
        measured = np.mean([(x[: count - lag] * y[lag:]).mean() for x, y in pairs])
        assert measured == pytest.approx(expected, abs=0.004)


@settings(deadline=None)
@given(st.integers(0, 60), st.floats(0.03, 500), st.integers(0, 999))
def test_ar1_follows_its_recursion(count, tokens, seed):
    noise = np.random.default_rng(seed).standard_normal(count)
    rho = np.exp(-1 / tokens)
    expected = []
    for i, e in enumerate(noise):
        expected.append(rho * expected[-1] + np.sqrt(1 - rho**2) * e if i else e)
    assert Ar1(tokens, count + seed)(noise) == pytest.approx(np.array(expected), abs=1e-9)


def test_ar1_is_stationary_with_the_asked_correlation():
    rows = np.array(
        [Ar1(30.0, 300)(normals(item_key(purpose_key(1, "drift"), r), counters(2, 300))) for r in range(4000)]
    )
    assert rows.std(axis=0) == pytest.approx(np.ones(300), abs=0.06)
    for lag in (1, 30, 90):
        assert (rows[:, :-lag] * rows[:, lag:]).mean() == pytest.approx(np.exp(-lag / 30), abs=0.03)


def test_extreme_logits_are_certainties():
    share = shares(FLAT | {"strength": {"a": 900.0, "b": -900.0}}, requests=2)
    assert share.tolist() == [[1, 0], [1, 0]]


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("acceptance", "key"),
    [
        ({"model": "constant", "probability": {"a": 0.5}}, "acceptance.probability"),
        ({"model": "constant", "probability": {"a": 0.5, "b": 0.5, "z": 0.5}}, "acceptance.probability.z"),
        (FLAT | {"strength": {"b": 0.0}}, "acceptance.strength"),
        (FLAT | {"strength": {"a": 0.0, "b": 0.0, "z": 0.0}}, "acceptance.strength.z"),
        (FLAT | {"domains": {"": {"affinity": {"z": 1.0}}}}, "acceptance.domains..affinity.z"),
        (FLAT | {"domains": {"code": {}}}, "acceptance.domains"),
    ],
)
def test_drafts_and_domains_must_match(acceptance, key):
    with pytest.raises(InputError, match=";") as caught:
        field(acceptance, [5])
    assert caught.value.key == key


def test_outputs_beyond_the_context_cost_no_memory():
    accepted = field(HALF, [10**12, 50], limits={"context_tokens": 100})
    assert len(accepted.runs(0, 0)) == 100 + 1 + 8
    assert len(accepted.runs(1, 0)) == 50 + 1 + 8


def test_no_drafts_no_runs():
    field(HALF, [5], drafts=())
    field(FLAT | {"strength": {}}, [5], drafts=())


@given(st.integers(0, 200), st.integers(0, 2), st.booleans())
@settings(max_examples=30, deadline=None)
def test_runs_drawn_by_the_block_are_those_of_one_request(request: int, draft: int, alike: bool):
    rng = np.random.default_rng(7)
    positions = rng.integers(0, 90, 201).tolist()
    strengths, difficulties = rng.normal(size=(1 if alike else 201, 3)), rng.normal(size=201)
    one = logistic_runs(strengths, difficulties, 0.0, 100.0, positions, 5)(request)[draft]
    runs, ends = logistic_block(strengths, difficulties, positions, 5, BLOCK)(request // BLOCK, draft)
    end = ends[request % BLOCK]
    assert runs[end - positions[request] : end].tolist() == one
