"""The bucketing rule: a covering, ordered, idempotent staircase with bounded padding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.buckets import (
    PROMPT_TOKENS,
    USUAL,
    Buckets,
    active_rows,
    bucket_kv,
    bucket_kv_each,
    bucket_prompt_rows,
    bucket_prompt_tokens,
    bucket_rows,
    bucket_tokens,
    dear_buckets,
    draft_step_shapes,
    prompt_passes,
    prompt_row_buckets,
    prompt_shape,
    prompt_token_buckets,
    row_buckets,
    token_buckets,
)

RULES = [
    (bucket_rows, row_buckets),
    (bucket_tokens, token_buckets),
    (bucket_prompt_rows, prompt_row_buckets),
    (bucket_prompt_tokens, prompt_token_buckets),
]
SOME_LEFT_OUT = Buckets(frozenset({1, 16, 24, 40}), frozenset({64, 448, 480}))
RULES += [
    (SOME_LEFT_OUT.rows, SOME_LEFT_OUT.row_buckets),
    (SOME_LEFT_OUT.tokens, SOME_LEFT_OUT.token_buckets),
    (USUAL.rows, row_buckets),
    (USUAL.tokens, token_buckets),
]
Rule = Callable[[int], int]
Listing = Callable[[int], tuple[int, ...]]


@pytest.mark.parametrize(("rule", "listing"), RULES)
@given(n=st.integers(1, 200_000), m=st.integers(1, 200_000))
def test_a_staircase(rule: Rule, listing: Listing, n: int, m: int) -> None:
    assert rule(n) >= n
    assert rule(rule(n)) == rule(n)
    if n <= m:
        assert rule(n) <= rule(m)


@pytest.mark.parametrize(("rule", "listing"), RULES)
def test_the_list_is_every_value_of_the_rule(rule: Rule, listing: Listing) -> None:
    assert listing(1000) == tuple(sorted({rule(n) for n in range(1, 1001)}))
    assert rule(0) == 0
    assert listing(0) == ()


@given(n=st.integers(33, 200_000))
def test_padding_is_bounded(n: int) -> None:
    assert bucket_rows(n) <= 1.25 * n
    assert bucket_kv(bucket_kv(n)) == bucket_kv(n) >= n
    if n > 64:
        assert bucket_tokens(n) <= 1.125 * n
        assert bucket_prompt_tokens(n) <= 1.5 * n
    if n > 256:
        assert bucket_kv(n) <= 1.25 * n


def test_graphs_to_capture_are_tens() -> None:
    assert row_buckets(64) == (1, 2, 4, 8, 16, 24, 32, 40, 48, 56, 64)
    assert len(token_buckets(1024)) <= 50
    assert len({bucket_kv(tokens) for tokens in range(1, 8193)}) <= 30
    assert len(prompt_row_buckets(32)) * len(prompt_token_buckets(PROMPT_TOKENS)) <= 90


def test_executed_prompts() -> None:
    assert prompt_shape(3, PROMPT_TOKENS - 1, True) == (4, PROMPT_TOKENS)
    assert prompt_shape(3, 17, False) == (3, 17)


def test_a_large_prompt_is_full_passes_and_a_rest() -> None:
    assert prompt_passes([PROMPT_TOKENS, 0], [7, 8]) == [(range(2), [7, 8], [PROMPT_TOKENS, 0])]
    assert prompt_passes([5, 20, 4], [100, 0, 3], 10) == [
        ([0, 1], [100, 0], [5, 5]),
        ([1], [5], [10]),
        ([1, 2], [15, 3], [5, 4]),
    ]
    assert prompt_passes([], []) == prompt_passes([0, 0], [4, 5]) == []


@given(
    pieces=st.lists(st.tuples(st.integers(0, 90), st.integers(0, 500)), max_size=12),
    limit=st.integers(1, 100),
)
def test_passes_hold_every_token_once_in_order(pieces: list[tuple[int, int]], limit: int) -> None:
    tokens, starts = [new for new, _ in pieces], [start for _, start in pieces]
    passes = prompt_passes(tokens, starts, limit)
    executed = [
        (row, start + i) for one in passes for row, start, new in zip(*one, strict=True) for i in range(new)
    ]
    wanted = [(row, start + i) for row, (new, start) in enumerate(pieces) for i in range(new)]
    assert executed == wanted
    sizes = [sum(one.tokens) for one in passes]
    assert all(size == limit for size in sizes[:-1])
    assert all(0 < size <= limit for size in sizes)
    for one in passes:
        assert len(set(one.rows)) == len(one.rows)
        if len(passes) > 1:  # alone it is the call as it came, rows without tokens included
            assert min(one.tokens) > 0


@given(lengths=st.lists(st.integers(0, 8), max_size=40))
def test_steps_of_a_proposal(lengths: list[int]) -> None:
    expected = [sum(1 for length in lengths if length > step) for step in range(max(lengths, default=0))]
    assert active_rows(lengths) == expected
    assert draft_step_shapes(lengths) == tuple(bucket_rows(rows) for rows in expected)
    assert sum(expected) == sum(lengths)


def test_what_is_passed_over_runs_in_the_next_larger_bucket() -> None:
    assert [SOME_LEFT_OUT.tokens(n) for n in (56, 57, 416, 417, 449, 512)] == [56, 72, 416, 512, 512, 512]
    assert [SOME_LEFT_OUT.rows(n) for n in (1, 9, 33, 41)] == [2, 32, 48, 48]
    assert draft_step_shapes([2, 1, 1], SOME_LEFT_OUT) == (4, 2)


def test_a_bucket_is_dear_where_a_larger_one_takes_clearly_less() -> None:
    """Products of the 8B shape on an H200, in ms: 448 tokens take longer than 480 and than 512."""
    seconds = {384: 8.70, 416: 9.4, 448: 13.2, 480: 9.86, 512: 9.9}
    assert dear_buckets(seconds, 0.02) == {448}
    assert dear_buckets(seconds | {512: 9.0}, 0.02) == {416, 448, 480}  # 416 at 9.4 as well, against 9.0
    assert dear_buckets({8: 1.01, 16: 1.0}, 0.02) == frozenset()
    assert dear_buckets({}, 0.02) == frozenset()


def test_buckets_of_an_array_are_those_of_each() -> None:
    tokens = np.arange(1, 20_000)
    assert bucket_kv_each(tokens).tolist() == [bucket_kv(n) for n in range(1, 20_000)]
