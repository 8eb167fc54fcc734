"""Lengths, packings, compositions and admission."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.buckets import bucket_kv
from spinsim.policies.base import PolicyContext, RequestView
from spinsim.policies.build import Policies, build_policies
from spinsim.policies.packing.decomposed import Decomposed, candidates, decompose
from spinsim.scenario import PoliciesSpec, PolicyChoice
from tests.policies.policy_world import LinearCosts, context, feedback, views

LENGTHS = st.lists(st.integers(1, 5000), min_size=1, max_size=12)


def built(kind: str, name: str, within: PolicyContext | None = None, **params: object) -> Policies:
    return build_policies(PoliciesSpec(**{kind: PolicyChoice(name=name, **params)}), within or context())


# --- lengths ----------------------------------------------------------------------------------


def test_static_lengths() -> None:
    batch = views(3)
    assert built("length", "fixed", tokens=3).length.lengths(batch, [0, -1, 2]) == [3, 0, 3]
    policy = built("length", "per_draft", tokens={"a": 2, "c": 7}, default=4).length
    assert policy.lengths(batch, [0, 1, 2]) == [2, 4, 7]


def test_the_heuristic_steps_as_in_transformers() -> None:
    policy = built("length", "heuristic", start=2).length
    (view,) = batch = views(1)
    seen = []
    for accepted in (2, 4, 5, 8, 3, 0, 0, 0, 0, 0, 0, 0, 0):
        (length,) = policy.lengths(batch, [0])
        seen.append(length)
        policy.observe(feedback(batch, [0], [min(accepted, length)], length=length))
    # +2 on a whole proposal (limit 8), -1 otherwise, never below 1
    assert seen == [2, 4, 6, 5, 7, 6, 5, 4, 3, 2, 1, 1, 1]
    policy.forget(view.id)
    assert policy.lengths(batch, [0]) == [2]
    assert policy.lengths(batch, [-1]) == [0]


@given(st.floats(0.05, 0.95), st.floats(0.1e-3, 5e-3), st.floats(1e-3, 40e-3), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_goodput_takes_the_best_length(rate: float, step_s: float, verify_s: float, rows: int) -> None:
    costs = LinearCosts(step_s=(step_s,), verify_s=verify_s, verify_query_s=50e-6)
    policy = built("length", "goodput", context(1, costs), initial=rate).length

    def goodput(k: int) -> float:
        expected = (1 - rate ** (k + 1)) / (1 - rate)
        return rows * expected / (k * step_s + verify_s + 50e-6 * rows * (k + 1))

    (chosen,) = set(policy.lengths(views(rows, 1), [0] * rows))
    assert goodput(chosen) == pytest.approx(max(goodput(k) for k in range(1, 9)), rel=1e-9)


def test_goodput_learns_the_acceptance_of_each_draft() -> None:
    costs = LinearCosts(step_s=(0.5e-3, 0.5e-3), verify_s=10e-3)
    policy = built("length", "goodput", context(2, costs), smoothing=0.1).length
    batch = views(2, 2)
    for _ in range(200):
        policy.observe(feedback(batch, [0, 1], [4, 0]))
    assert policy.acceptance(0) == pytest.approx(1, abs=1e-6)  # type: ignore[attr-defined]
    assert policy.acceptance(1) == pytest.approx(0, abs=1e-6)  # type: ignore[attr-defined]
    assert policy.lengths(batch[:1], [0]) == [8]
    assert policy.lengths(batch[:1], [1]) == [1]
    assert policy.lengths(batch, [-1, -1]) == [0, 0]
    assert policy.lengths(batch, [0, -1]) == [8, 0]


def test_goodput_does_not_count_positions_behind_a_rejection() -> None:
    policy = built("length", "goodput", context(1), smoothing=0.2).length
    for _ in range(200):
        policy.observe(feedback(views(1, 1), [0], [2]))  # 2 accepted, the third rejected, the fourth untried
    assert policy.acceptance(0) == pytest.approx(2 / 3)  # type: ignore[attr-defined]


def test_goodput_waits_for_drafts_that_share_a_lane() -> None:
    costs = LinearCosts(step_s=(2e-3, 2e-3), verify_s=10e-3)
    apart = built("length", "goodput", context(2, costs, draft_lanes=(1, 2))).length
    together = built("length", "goodput", context(2, costs, draft_lanes=(1, 1))).length
    batch = views(2, 2)
    assert together.lengths(batch, [0, 1])[0] < apart.lengths(batch, [0, 1])[0]


# --- packings ---------------------------------------------------------------------------------


@given(LENGTHS, st.integers(1, 9))
def test_padded_and_ragged(kv: list[int], most: int) -> None:
    queries = [1 + i % most for i in range(len(kv))]
    padded = built("packing", "padded").packing.plan(kv, queries)
    ragged = built("packing", "ragged").packing.plan(kv, queries)
    assert padded == (
        "padded", len(kv), max(kv), len(kv) * max(queries), len(kv) * max(kv), sum(queries), sum(kv),
    )  # fmt: skip
    assert ragged == ("ragged", len(kv), max(kv), sum(queries), sum(kv), sum(queries), sum(kv))


@given(LENGTHS, st.integers(1, 9), st.integers(1, 3000))
def test_pieces_cover_every_request(kv: list[int], queries: int, piece: int) -> None:
    packing = decompose(kv, [queries] * len(kv), piece)
    pieces = [math.ceil(tokens / piece) for tokens in kv]
    assert packing.rows == sum(pieces) >= len(kv)
    assert packing.query_tokens == queries * packing.rows  # a copy per piece
    assert packing.kv_tokens == packing.rows * piece >= sum(kv)
    assert all((n - 1) * piece < tokens <= n * piece for n, tokens in zip(pieces, kv, strict=True))


@given(LENGTHS, st.floats(0, 1e-5), st.floats(0, 1e-4))
@settings(max_examples=60, deadline=None)
def test_the_search_is_the_best_of_every_aligned_piece(kv: list[int], kv_s: float, query_s: float) -> None:
    costs = LinearCosts(verify_s=1e-3, verify_kv_s=kv_s, verify_query_s=query_s)
    policy = built("packing", "decomposed", context(costs=costs), min_piece=16).packing
    assert isinstance(policy, Decomposed)
    found = policy.search(kv, [5] * len(kv))

    def seconds(piece: int) -> float:
        return costs.verify(decompose(kv, [5] * len(kv), piece)).seconds

    everything = range(16, max(kv) + 16, 16)
    assert costs.verify(found).seconds == pytest.approx(min(map(seconds, everything)), rel=1e-9)
    assert found.piece in candidates(kv, 16, 16)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=6), st.integers(1, 70), st.integers(1, 400))
@settings(max_examples=60, deadline=None)
def test_candidates_are_every_equal_part_and_the_bucket_above(
    kv: list[int], align: int, shortest: int
) -> None:
    longest = math.ceil(max(kv) / align) * align
    parts = {math.ceil(tokens / (p * align)) * align for tokens in kv for p in range(1, tokens + 1)}
    exact = {piece for piece in parts if piece >= shortest}
    expected = exact | {min(bucket_kv(piece), longest) for piece in exact}
    assert candidates(kv, align, shortest) == sorted(expected or {max(shortest, longest)})


@given(LENGTHS)
@settings(max_examples=60, deadline=None)
def test_decomposed_plans_are_exact_and_hardly_worse_than_their_search(kv: list[int]) -> None:
    costs = LinearCosts(verify_s=1e-3, verify_kv_s=1e-6, verify_query_s=1e-6)
    policy = built("packing", "decomposed", context(costs=costs)).packing
    assert isinstance(policy, Decomposed)
    packing = policy.plan(kv, [5] * len(kv))
    assert policy.searched
    assert packing == policy.plan(kv[::-1], [5] * len(kv))  # the order of rows does not matter
    assert not policy.searched
    assert packing == decompose(kv, [5] * len(kv), packing.piece)
    assert costs.verify(packing).seconds <= 1.2 * costs.verify(policy.search(kv, [5] * len(kv))).seconds


def test_decomposition_splits_one_long_request_among_short_ones() -> None:
    costs = LinearCosts(verify_kv_s=1e-6, verify_query_s=1e-6)
    policy = built("packing", "decomposed", context(costs=costs)).packing
    packing = policy.plan([128, 128, 128, 2048], [5] * 4)
    assert packing.kv_tokens < 0.4 * 4 * 2048
    assert packing.rows > 4
    equal = policy.plan([512] * 4, [5] * 4)
    assert (equal.rows, equal.kv_tokens) == (4, 4 * equal.piece)


# --- compositions ------------------------------------------------------------------------------


@st.composite
def waiting(draw: st.DrawFn) -> tuple[list[RequestView], int, int]:
    ready = views(draw(st.integers(1, 12)))
    for view in ready:
        view.prompt_tokens = draw(st.integers(1, 4000))
        view.draft = draw(st.integers(-1, 2))
        view.rounds = draw(st.integers(0, 2))
    return ready, len(ready) + draw(st.integers(0, 8)), draw(st.integers(1, 6))


@pytest.mark.parametrize("name", ["round_robin", "balanced", "grouped"])
@given(case=waiting())
def test_the_longest_waiting_is_always_in(name: str, case: tuple[list[RequestView], int, int]) -> None:
    ready, active, depth = case
    chosen = built("composition", name).composition.select(ready, active, depth)
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))
    assert chosen[-1] < len(ready)
    assert built("composition", name).composition.select([], active, depth) == []


@given(waiting())
def test_round_robin_deals_evenly(case: tuple[list[RequestView], int, int]) -> None:
    ready, active, depth = case
    chosen = built("composition", "round_robin").composition.select(ready, active, depth)
    assert chosen == list(range(min(len(ready), math.ceil(active / depth))))


@given(waiting())
def test_groups_share_a_draft(case: tuple[list[RequestView], int, int]) -> None:
    ready, active, depth = case
    chosen = built("composition", "grouped", fill="none").composition.select(ready, active, depth)
    assert len({ready[i].draft for i in chosen if ready[i].rounds}) <= 1
    if ready[0].rounds:
        assert {ready[i].draft for i in chosen if ready[i].rounds} == {ready[0].draft}
    filled = built("composition", "grouped").composition.select(ready, active, depth)
    assert set(chosen) <= set(filled)
    assert len(filled) == min(len(ready), math.ceil(active / depth))


def test_balanced_evens_out_the_load() -> None:
    policy = built("composition", "balanced").composition
    ready = views(8)
    for view, prompt in zip(ready, (3000, 3000, 3000, 100, 100, 100, 100, 3000), strict=True):
        view.prompt_tokens = prompt
    half = sum(view.context for view in ready) / 2
    chosen = policy.select(ready, 8, 2)
    assert len(chosen) == 4
    assert sum(ready[i].context for i in chosen) == pytest.approx(half, rel=0.01)


@given(waiting())
def test_balanced_has_equal_counts_and_ends_on_the_nearest_request(
    case: tuple[list[RequestView], int, int],
) -> None:
    ready, active, depth = case
    chosen = built("composition", "balanced").composition.select(ready, active, depth)
    assert len(chosen) == min(len(ready), math.ceil(active / depth))
    if len(chosen) < 2:
        return
    # Whichever was taken last was the nearest of those left: some row cannot be swapped for a better one.
    target = len(chosen) * sum(v.context for v in ready) / len(ready)
    total = sum(ready[i].context for i in chosen)
    rest = [i for i in range(len(ready)) if i not in chosen]
    best_swap = [
        min((abs(total - ready[i].context + ready[j].context - target) for j in rest), default=math.inf)
        for i in chosen[1:]
    ]
    assert abs(total - target) <= max(best_swap) + 1e-9


def test_groups_are_filled_with_drafts_of_like_speed() -> None:
    costs = LinearCosts(step_s=(1e-3, 5e-3, 1.2e-3))
    ready = views(5)
    for view, draft in zip(ready, (0, 1, 2, 0, 2), strict=True):
        view.draft, view.rounds = draft, 1
    policy = built("composition", "grouped", context(costs=costs)).composition
    assert policy.select(ready, 8, 2) == [0, 2, 3, 4]
    assert policy.select(ready, 6, 2) == [0, 2, 3]


# --- admission ------------------------------------------------------------------------------


def test_admission_orders() -> None:
    early_long, late_short = RequestView(0, 900, 5, 1), RequestView(1, 10, 7, 1)
    twin = RequestView(2, 10, 7, 1)
    waiting = [twin, late_short, early_long]
    assert sorted(waiting, key=built("admission", "fcfs").admission.key) == [early_long, late_short, twin]
    by_prompt = built("admission", "shortest_prompt").admission.key
    assert sorted(waiting, key=by_prompt) == [late_short, twin, early_long]
