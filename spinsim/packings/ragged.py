"""No padding at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from spinsim.operations import Packing, named
from spinsim.packings.base import PACKINGS, PackingKind

NAME = "ragged"  # also what everything but a verification runs with


@PACKINGS.register(NAME)
class Ragged(PackingKind):
    """No padding: a kernel that takes rows of any length (FlashInfer, or ``seqused_k``)."""

    native: ClassVar[str] = NAME
    captured: ClassVar[tuple[int, ...]] = (0,)

    @classmethod
    def shape(cls, kv_tokens: Sequence[int], query_tokens: Sequence[int], piece: int = 0) -> Packing:
        """The rows as they are."""
        queries, kv = sum(query_tokens), sum(kv_tokens)
        return named(Packing, (NAME, len(kv_tokens), max(kv_tokens), queries, kv, queries, kv))


def rows_as_they_are(rows: int, longest: int, query_tokens: int, kv_tokens: int) -> Packing:
    """Of so many tokens in all."""
    return Packing(NAME, rows, longest, query_tokens, kv_tokens, query_tokens, kv_tokens)
