"""SPIN's request decomposition (arXiv 2503.15921): long requests are split into pieces."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol

import numpy as np
from annotated_types import Ge

from spinsim.buckets import bucket_kv_each
from spinsim.operations import Packing
from spinsim.packings.base import PACKINGS, PackingKind, Table

if TYPE_CHECKING:
    import torch

_MOST_CACHED = 65536
SHORTER = (7, 8)  # of the piece that was priced last: what is priced at the latest (ours)


class Cost(Protocol):
    """What a plan asks of a cost model's answer."""

    @property
    def seconds(self) -> float: ...


class Costs(Protocol):
    """What a plan asks of a cost model."""

    def verify(self, packing: Packing) -> Cost: ...


class Context(Protocol):
    """What a plan asks of the policies' context."""

    @property
    def predictor(self) -> Costs: ...
    def within(self, context: int, length: int = 0) -> int: ...


def decompose(kv_tokens: Sequence[int], query_tokens: Sequence[int], piece: int) -> Packing:
    """Pieces of ``piece`` KV tokens: W = sum_i ceil(l_i / L) rows, each with a copy of its request's
    queries, all as wide as the widest (our reading: K/V cost ~ W L, query cost ~ W q)."""
    rows = sum(-(-tokens // piece) for tokens in kv_tokens)
    return _of_rows(rows, piece, max(query_tokens), sum(query_tokens), sum(kv_tokens))


def _of_rows(rows: int, piece: int, widest: int, query_tokens: int, kv_tokens: int) -> Packing:
    return Packing("decomposed", rows, piece, rows * widest, rows * piece, query_tokens, kv_tokens)


def candidates(kv_tokens: Sequence[int], align: int, shortest: int) -> list[int]:
    """Piece lengths worth trying: every l_i in 1, 2, 3 ... equal parts, rounded up to ``align``, and the
    buckets above them, since a bucket is what is executed; none longer than the longest request needs.
    Ascending, each once.

    For a given W the shortest piece is best, and that is some l_i / p rounded up: nothing between is missed.
    """
    longest = -(-max(kv_tokens) // align) * align
    # Arrays, since the engine waits for a plan: ceil(l / (p align)) = ceil(ceil(l / align) / p).
    units = np.unique(-(-np.asarray(kv_tokens) // align))
    most, least = int(units[-1]), -(-shortest // align)
    parts = (most - 1) // (least - 1) if least > 1 else most  # more of them are shorter than the shortest
    pieces = -(-units[:, None] // np.arange(1, max(parts, 1) + 1)) * align
    exact = np.unique(pieces[pieces >= shortest])
    if not exact.size:
        return [max(shortest, longest)]
    found: list[int] = np.union1d(exact, np.minimum(bucket_kv_each(exact), longest)).tolist()
    return found


@PACKINGS.register("decomposed")
class Decomposed(PackingKind):
    """Searches (width W, piece length L) for the least predicted verification time; ties go to less memory
    (W L), then to fewer rows.

    L is kept for batches whose sorted lengths agree to an eighth of an octave (ours); W is always exact.
    ``searched``: did the last plan have no L that was kept? Only such a plan takes the host's time.
    """

    native: ClassVar[str] = "decomposed"
    rectangular: ClassVar[bool] = True
    merged: ClassVar[bool] = True
    divided: ClassVar[bool] = True
    captured: ClassVar[tuple[int, ...]] = (1, 2, 4, 8, 16)

    @dataclass(frozen=True)
    class Params:
        align: Annotated[int, Ge(1)] = 16  # pieces are multiples of this many tokens
        min_piece: Annotated[int, Ge(1)] = 64  # shorter pieces only when every request is shorter

    def __init__(self, params: Params, context: Context) -> None:
        self.align = params.align
        self.shortest = params.min_piece
        self._predictor = context.predictor
        self._within = context.within
        self._pieces: dict[tuple[int, ...], int] = {}
        self.searched = True

    def plan(self, kv_tokens: Sequence[int], query_tokens: Sequence[int]) -> Packing:
        queries = max(query_tokens)
        levels = sorted([_level(tokens) for tokens in kv_tokens])
        key = (queries, *levels)
        piece = self._pieces.get(key)
        self.searched = piece is None
        if piece is None:
            piece = self.search(
                [self._within(_top(level)) for level in levels], [queries] * len(levels)
            ).piece
            if len(self._pieces) >= _MOST_CACHED:
                self._pieces.clear()
            self._pieces[key] = piece
        return decompose(kv_tokens, query_tokens, piece)

    def search(self, kv_tokens: Sequence[int], query_tokens: Sequence[int]) -> Packing:
        """The best of all candidates, without the cache."""
        best: tuple[float, int, int] | None = None
        chosen: Packing | None = None
        least = least_executed = sys.maxsize
        # From long pieces to short ones rows only grow: a plan that reads no less than earlier ones,
        # bucketed or not, is better only where passes wait for a piece, and that much shorter ones tell.
        pieces = candidates(kv_tokens, self.align, self.shortest)[::-1]
        # Rows of every candidate at once: a long context has hundreds, and the engine waits for the plan.
        lengths = np.asarray(pieces)
        counts = (-(-np.asarray(kv_tokens)[:, None] // lengths)).sum(0)
        buckets = bucket_kv_each(lengths)
        widest, queries, cached = max(query_tokens), sum(query_tokens), sum(kv_tokens)
        last = pieces[0]
        tried = zip(pieces, counts.tolist(), (counts * buckets).tolist(), strict=True)
        for piece, rows, executed in tried:
            read = rows * piece
            if read >= least and executed >= least_executed and piece * SHORTER[1] > last * SHORTER[0]:
                continue
            if read < least:
                least = read
            if executed < least_executed:
                least_executed = executed
            last = piece
            packing = _of_rows(rows, piece, widest, queries, cached)
            rank = (self._predictor.verify(packing).seconds, packing.kv_tokens, packing.rows)
            if best is None or rank < best:
                best, chosen = rank, packing
        assert chosen is not None
        return chosen

    @classmethod
    def shape(cls, kv_tokens: Sequence[int], query_tokens: Sequence[int], piece: int = 0) -> Packing:
        """In pieces of ``piece`` tokens; see :func:`decompose`."""
        return decompose(kv_tokens, query_tokens, piece)

    @staticmethod
    def pieces(kv_tokens: Sequence[int], length: int) -> int:
        """As many as the rows need; a row without K/V needs none."""
        return sum(-(-tokens // length) for tokens in kv_tokens)

    @staticmethod
    def table(kv_tokens: torch.Tensor, length: torch.Tensor | int, width: int) -> Table:
        """Pieces of ``length`` tokens, the last one of a row padded."""
        from spinsim.packings.tables import of_length

        return of_length(kv_tokens, length, width)


def _level(tokens: int) -> int:
    """Eighths of an octave: the exponent of ``tokens`` and its three bits below the leading one."""
    if tokens < 16:
        return tokens
    shift = tokens.bit_length() - 4
    return shift * 8 + (tokens >> shift)


def _top(level: int) -> int:
    """The largest number of tokens of a level."""
    if level < 16:
        return level
    shift = level // 8 - 1
    return ((level - shift * 8 + 1) << shift) - 1
