"""Every row as long as the longest: the SPIN paper's baseline (arXiv 2503.15921)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from spinsim.operations import Packing
from spinsim.packings.base import PACKINGS, PackingKind, Table

if TYPE_CHECKING:
    import torch


@PACKINGS.register("padded")
class Padded(PackingKind):
    """Every row as long as the longest (the SPIN paper's baseline, arXiv 2503.15921).

    n rows of max l KV tokens, n max q query tokens.
    """

    native: ClassVar[str] = "padded"
    rectangular: ClassVar[bool] = True
    copied: ClassVar[bool] = True

    @classmethod
    def shape(cls, kv_tokens: Sequence[int], query_tokens: Sequence[int], piece: int = 0) -> Packing:
        """``piece`` is not asked for: it is the longest row."""
        rows = len(kv_tokens)
        piece = max(kv_tokens)
        queries = rows * max(query_tokens)
        return Packing("padded", rows, piece, queries, rows * piece, sum(query_tokens), sum(kv_tokens))

    @staticmethod
    def length(piece: int, longest: int, slot_tokens: int) -> int:
        """The longest row, or what the plan padded to, if that is more."""
        return min(max(piece, longest), slot_tokens)

    @staticmethod
    def pieces(kv_tokens: Sequence[int], length: int) -> int:
        """One a row."""
        return len(kv_tokens)

    @staticmethod
    def table(kv_tokens: torch.Tensor, length: torch.Tensor | int, width: int) -> Table:
        """A piece for every row, of ``length`` tokens where it has any."""
        from spinsim.packings.tables import one_each

        return one_each(kv_tokens, length)
