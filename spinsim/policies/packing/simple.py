"""The two packings that leave nothing to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spinsim.operations import Packing
from spinsim.policies.base import PolicyContext
from spinsim.policies.registry import PACKINGS


@PACKINGS.register("padded")
class Padded:
    """Every row as long as the longest (the SPIN paper's baseline, arXiv 2503.15921).

    n rows of max l KV tokens, n max q query tokens.
    """

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        pass

    def plan(self, kv_tokens: Sequence[int], query_tokens: Sequence[int]) -> Packing:
        rows = len(kv_tokens)
        piece = max(kv_tokens)
        queries = rows * max(query_tokens)
        return Packing("padded", rows, piece, queries, rows * piece, sum(query_tokens), sum(kv_tokens))


@PACKINGS.register("ragged")
class Ragged:
    """No padding: a kernel that takes rows of any length (FlashInfer, or ``seqused_k``)."""

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params: Params, context: PolicyContext) -> None:
        pass

    def plan(self, kv_tokens: Sequence[int], query_tokens: Sequence[int]) -> Packing:
        queries = sum(query_tokens)
        kv = sum(kv_tokens)
        return Packing("ragged", len(kv_tokens), max(kv_tokens), queries, kv, queries, kv)
