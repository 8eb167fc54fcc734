"""The bucketing rule: which shape is executed when a shape is asked for.

A CUDA graph is captured for fixed shapes, so a live run rounds every shape up to one it has
captured, and latency is a staircase. The live runner, the profiler and the predictors all call
these functions and no other rule, so that they speak of the same stairs.

Buckets are powers of two up to a unit, then multiples of the unit, never more than a fixed number
an octave: padding stays below a quarter of the executed rows (an eighth of the tokens) above the
first few units, and a model needs tens of graphs rather than hundreds. The spacing is ours.

Matrix products of some sizes take longer than those of a larger one (8B shape in bf16 on an H200: 13.2 ms
with 448 tokens, 9.9 with 480). A profile notes which buckets measured so, and they are not executed where
costs come from it: :class:`Buckets`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ROW_UNIT, TOKEN_UNIT, KV_UNIT = 8, 8, 64
# New tokens (of a row; of a captured pass in all) from which a kernel pays that cuts no row's K/V; ours.
LONG_QUERY = 32
PROMPT_UNIT = 16  # new tokens
PROMPT_TOKENS = 2048  # of one captured prefill or catch-up pass; more run as several (ours)


def _round_up(n: int, unit: int, octave_bits: int) -> int:
    """``n`` up to a multiple of ``unit``, with at most ``2**octave_bits`` multiples an octave."""
    step = max(unit, 1 << max(0, (n - 1).bit_length() - 1 - octave_bits))
    return -(-n // step) * step


def bucket_rows(n: int) -> int:
    """Executed rows of a draft step or of a padded verification: 1, 2, 4, 8, 16, 24 ... 64, 80 ..."""
    if n <= ROW_UNIT:
        return 1 << (n - 1).bit_length() if n > 0 else 0
    return _round_up(n, ROW_UNIT, 2)


def bucket_tokens(n: int) -> int:
    """Executed query tokens of one packed pass: 1, 2, 4, 8, 16, 24 ... 128, 144 ... 256, 288 ..."""
    if n <= TOKEN_UNIT:
        return 1 << (n - 1).bit_length() if n > 0 else 0
    return _round_up(n, TOKEN_UNIT, 3)


def bucket_kv(n: int) -> int:
    """Executed KV length of a rectangular attention: 64, 128 ... 512, 640 ... 1024, 1280 ..."""
    return _round_up(n, KV_UNIT, 2) if n > 0 else 0


def bucket_kv_each(tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """:func:`bucket_kv` of each, none below 1."""
    bits = np.frexp(tokens - 1)[1].astype(np.int64)  # bit lengths, exact below 2**53
    steps = np.maximum(KV_UNIT, 1 << np.maximum(0, bits - 3))
    found: NDArray[np.int64] = -(-tokens // steps) * steps
    return found


def bucket_pieces(n: int) -> int:
    """Executed pieces of a row's K/V, in the mean over a pass's rows: powers of two.

    A spare piece is a program that ends at once. A graph recorded within a run, for a number that was not met
    before, takes as long as some five passes.
    """
    return 1 << (n - 1).bit_length() if n > 0 else 0


def bucket_prompt_tokens(n: int) -> int:
    """Executed new tokens of a prefill or catch-up, up to ``PROMPT_TOKENS``: 16, 32, 48, 64, 96, 128, 192 ...

    Two an octave, since there are rows to bucket besides; the larger half of a bucket is used.
    """
    return _round_up(n, PROMPT_UNIT, 1) if n > 0 else 0


def bucket_prompt_rows(n: int) -> int:
    """Executed rows of a prefill or catch-up: powers of two. A spare row costs next to nothing."""
    return 1 << (n - 1).bit_length() if n > 0 else 0


def _buckets(rule: Callable[[int], int], limit: int) -> tuple[int, ...]:
    found: list[int] = []
    n = 1
    while n <= limit:
        found.append(rule(n))
        n = found[-1] + 1
    return tuple(found)


def row_buckets(limit: int) -> tuple[int, ...]:
    """Every value of :func:`bucket_rows` over 1 .. ``limit``, ascending: what a graph is captured for."""
    return _buckets(bucket_rows, limit)


def token_buckets(limit: int) -> tuple[int, ...]:
    """Every value of :func:`bucket_tokens` over 1 .. ``limit``, ascending."""
    return _buckets(bucket_tokens, limit)


def prompt_row_buckets(limit: int) -> tuple[int, ...]:
    """Every value of :func:`bucket_prompt_rows` over 1 .. ``limit``, ascending."""
    return _buckets(bucket_prompt_rows, limit)


def prompt_token_buckets(limit: int) -> tuple[int, ...]:
    """Every value of :func:`bucket_prompt_tokens` over 1 .. ``limit``, ascending."""
    return _buckets(bucket_prompt_tokens, limit)


class Buckets(NamedTuple):
    """What one model executes: the buckets of the rule above, but for those that are passed over."""

    without_rows: frozenset[int] = frozenset()  # of draft steps
    without_tokens: frozenset[int] = frozenset()  # of verifications

    def rows(self, n: int) -> int:
        """As :func:`bucket_rows`."""
        return _passing_over(bucket_rows, n, self.without_rows)

    def tokens(self, n: int) -> int:
        """As :func:`bucket_tokens`."""
        return _passing_over(bucket_tokens, n, self.without_tokens)

    def row_buckets(self, limit: int) -> tuple[int, ...]:
        """As :func:`row_buckets`."""
        return _buckets(self.rows, limit)

    def token_buckets(self, limit: int) -> tuple[int, ...]:
        """As :func:`token_buckets`."""
        return _buckets(self.tokens, limit)


USUAL = Buckets()


def _passing_over(rule: Callable[[int], int], n: int, without: frozenset[int]) -> int:
    found = rule(n)
    while found in without:
        found = rule(found + 1)
    return found


def dear_buckets(seconds: Mapping[int, float], margin: float) -> frozenset[int]:
    """The sizes that take at least ``margin`` (a share) longer than some larger one that was measured too.

    The largest is never among them.
    """
    dear, least = set(), float("inf")
    for size in sorted(seconds, reverse=True):
        if seconds[size] > least * (1 + margin):
            dear.add(size)
        least = min(least, seconds[size])
    return frozenset(dear)


def prompt_shape(rows: int, tokens: int, graphs: bool) -> tuple[int, int]:
    """Executed (rows, new tokens in all) of one pass of a prefill or catch-up."""
    return (bucket_prompt_rows(rows), bucket_prompt_tokens(tokens)) if graphs else (rows, tokens)


class PromptPass(NamedTuple):
    """One pass of a prefill or catch-up: ``tokens[i]`` new ones after ``starts[i]``, of row ``rows[i]``."""

    rows: Sequence[int]
    starts: Sequence[int]
    tokens: Sequence[int]


def prompt_passes(
    tokens: Sequence[int], starts: Sequence[int], limit: int = PROMPT_TOKENS
) -> list[PromptPass]:
    """The passes of a prefill or catch-up whose graphs hold ``limit`` new tokens: all full but the last.

    Tokens keep the rows' order. A row that does not fit any more goes on in the next pass: its first
    part is in the cache then, and attention is causal, so that nothing changes for it. (Passes of equal
    size would waste more: buckets are wide where passes are large.)
    """
    total = sum(tokens)
    if total <= limit:
        return [PromptPass(range(len(tokens)), starts, tokens)] if total else []
    passes: list[PromptPass] = []
    rows, begins, counts = list[int](), list[int](), list[int]()
    room = 0
    for row, (new, start) in enumerate(zip(tokens, starts, strict=True)):
        while new > 0:
            if not room:
                rows, begins, counts = [], [], []
                passes.append(PromptPass(rows, begins, counts))
                room = limit
            piece = new if new < room else room
            rows.append(row)
            begins.append(start)
            counts.append(piece)
            new, start, room = new - piece, start + piece, room - piece
    return passes


def active_rows(lengths: Sequence[int]) -> list[int]:
    """Rows still proposing at each step: entry s counts the ``lengths`` greater than s."""
    counts = [0] * (max(lengths, default=0) + 1)
    for length in lengths:
        counts[length] += 1
    rows = len(lengths) - counts[0]
    active = []
    for ending in counts[1:]:
        active.append(rows)
        rows -= ending
    return active


def draft_step_shapes(lengths: Sequence[int], buckets: Buckets = USUAL) -> tuple[int, ...]:
    """Executed rows of each step of a proposal; step 0 takes up to two tokens a row, later ones one."""
    return tuple(map(buckets.rows, active_rows(lengths)))
