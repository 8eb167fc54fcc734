"""Which pass is executed for what is asked, and which features a profile point of it has.

The predictors ask for these shapes and the profiler writes its points at them, so that a measured
point answers exactly the question that was measured. Under CUDA graphs the rows of draft steps, the
tokens of verifications, and both of prefill and catch-up are those of the bucket; spare rows read no K/V.
A prefill or catch-up of more tokens than a graph holds is several passes: see :func:`in_passes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add, mul
from typing import TYPE_CHECKING, NamedTuple

from spinsim.buckets import USUAL, Buckets, prompt_passes, prompt_shape
from spinsim.costs.base import Estimate
from spinsim.operations import Packing, named

if TYPE_CHECKING:
    from spinsim.costs.profiled.profile import Point


class PassShape(NamedTuple):
    """An executed pass.

    ``tokens`` in the layers, ``head`` positions with logits, ``queries`` in attention (padded and
    replicated ones included), ``kv_tokens`` read, ``pairs`` of query and KV token multiplied. ``longest``:
    KV tokens of the longest row, 0 where all are alike; of a divided verification those of a whole piece.
    """

    rows: float
    tokens: float
    head: float
    queries: float
    kv_tokens: float
    pairs: float
    longest: float = 0.0


def causal_shape(tokens: Sequence[int], starts: Sequence[int], graphs: bool, *, head: bool) -> PassShape:
    """One pass over ``tokens[i]`` new tokens after ``starts[i]``.

    ``head``: the last position of each row has logits (prefill); else none has (catch-up).
    ``graphs``: those of prefill and catch-up. K/V and pairs are those of the real tokens.
    """
    total = sum(tokens)
    pairs = sum(map(mul, tokens, starts)) + (sum(map(mul, tokens, tokens)) + total) // 2
    rows, executed = prompt_shape(len(tokens), total, graphs)
    longest = max(map(add, starts, tokens), default=0)
    return PassShape(rows, executed, rows if head else 0, executed, sum(starts) + total, pairs, longest)


def in_passes(
    ask: Callable[[Sequence[int], Sequence[int]], Estimate], tokens: Sequence[int], starts: Sequence[int]
) -> Estimate:
    """The passes of a large prefill or catch-up, each as ``ask`` says: their sum, the least certain label."""
    found = [ask(one.tokens, one.starts) for one in prompt_passes(tokens, starts)]
    return Estimate(sum(part.seconds for part in found), max(part.label for part in found))


def step_rows(rows: int, graphs: bool, buckets: Buckets = USUAL) -> int:
    """Executed rows of a draft step."""
    return buckets.rows(rows) if graphs else rows


def step_shape(rows: float, tokens: float, kv_tokens: float) -> PassShape:
    """A draft step of ``tokens`` query tokens, alike many a row; ``rows`` are the executed ones."""
    return named(PassShape, (rows, tokens, rows, tokens, kv_tokens, kv_tokens * tokens / rows, 0.0))


def verify_shape(
    packing: Packing, graphs: bool, buckets: Buckets = USUAL, *, divided: bool = False
) -> PassShape:
    """A verification. Every packed token has logits, and spare tokens of a bucket too.

    ``divided``: K/V are counted as the kernel reads them, without what fills a row's last piece.
    """
    tokens = buckets.tokens(packing.real_query_tokens) if graphs else packing.real_query_tokens
    kv, queries, rows = packing.kv_tokens, packing.query_tokens, packing.rows
    if divided:
        kv = packing.real_kv_tokens
    longest = packing.piece if divided else 0.0
    return named(PassShape, (rows, tokens, tokens, queries, kv, kv * queries / rows, longest))


def features_of(operation: str, shape: PassShape) -> dict[str, float]:
    """The features under which a profile keeps a pass: the inverse of :func:`pass_shape`."""
    features = {"rows": shape.rows, "tokens": shape.tokens, "kv_tokens": shape.kv_tokens}
    if operation == "verify":
        features |= {"query_tokens": shape.queries}
        if shape.longest:
            features |= {"kv_tokens": shape.rows * shape.longest, "read_tokens": shape.kv_tokens}
        return features
    if operation == "draft_step":
        return features
    return features | {"pairs": shape.pairs}


def pass_shape(point: Point) -> PassShape:
    """The executed pass that a point of a model's operation measured."""
    f = point.features
    rows, tokens, kv = f["rows"], f["tokens"], f["kv_tokens"]
    if point.operation == "prefill":
        return PassShape(rows, tokens, rows, tokens, kv, f["pairs"])
    if point.operation == "catch_up":
        return PassShape(rows, tokens, 0, tokens, kv, f["pairs"])
    if point.operation == "draft_step":
        return step_shape(rows, tokens, kv)
    queries, read = f["query_tokens"], f.get("read_tokens")
    if read is not None:
        return PassShape(rows, tokens, tokens, queries, read, read * queries / rows, kv / rows)
    return PassShape(rows, tokens, tokens, queries, kv, kv * queries / rows)
