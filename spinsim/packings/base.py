"""What a packing declares, and the registry of packings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from spinsim.errors import InputError
from spinsim.operations import Packing
from spinsim.registry import Registry

if TYPE_CHECKING:
    import torch


class Table(NamedTuple):
    """A kernel's pieces of K/V, int32 tensors. A spare piece has row -1 and no extent.

    Piece p reads positions ``start[p] <= position < end[p]`` of row ``row[p]``, as far as the row has them.
    Those of a row are consecutive: ``first`` ``[R + 1]`` delimits them.
    """

    row: torch.Tensor
    start: torch.Tensor
    end: torch.Tensor
    first: torch.Tensor


class PackingPolicy(Protocol):
    """How the rows of one verification share a tensor."""

    def plan(self, kv_tokens: Sequence[int], query_tokens: Sequence[int]) -> Packing:
        """``kv_tokens[i]`` cached tokens plus this round's queries; ``query_tokens[i]`` new ones."""
        ...


class PackingKind:
    """A packing. Subclasses say by attributes what costs, memory and captured graphs depend on.

    As a policy it is called with its ``Params`` and the policies' context, and plans. A kernel takes its
    pieces from :meth:`table`; a packing without a table reads rows of any length as they are.
    """

    rectangular: ClassVar[bool] = False  # K/V read: rows * piece, to a bucket; else what the rows have
    merged: ClassVar[bool] = False  # a row may have several pieces; merging their results has a cost
    divided: ClassVar[bool] = False  # the plan chooses the length of pieces; profiles measure several
    copied: ClassVar[bool] = False  # memory: attention reads a padded copy of K/V beside the cache
    # Pieces a row for which graphs are captured, buckets of :func:`bucket_pieces`; 0: there is no table.
    captured: ClassVar[tuple[int, ...]] = (1,)

    @dataclass(frozen=True)
    class Params:
        """Nothing to set."""

    def __init__(self, params: Any, context: Any) -> None:
        pass

    def plan(self, kv_tokens: Sequence[int], query_tokens: Sequence[int]) -> Packing:
        """See :class:`PackingPolicy`."""
        return self.shape(kv_tokens, query_tokens)

    @classmethod
    def shape(cls, kv_tokens: Sequence[int], query_tokens: Sequence[int], piece: int = 0) -> Packing:
        """What is executed for rows of these lengths, in pieces of ``piece`` tokens where it is divided."""
        raise NotImplementedError

    @staticmethod
    def length(piece: int, longest: int, slot_tokens: int) -> int:
        """Tokens of a piece in one pass: of a plan's ``piece``, the longest row, and what a slot holds."""
        return max(1, piece)

    @staticmethod
    def pieces(kv_tokens: Sequence[int], length: int) -> int:
        """How many pieces of ``length`` the table has for rows of these lengths; 0: there is no table."""
        return 0

    @staticmethod
    def table(kv_tokens: torch.Tensor, length: torch.Tensor | int, width: int) -> Table | None:
        """The table of ``width`` pieces, at least those that :meth:`pieces` counts, for rows int32 ``[R]``.

        Worked out on the device, without the host: captured graphs run it. One piece a row, in the rows'
        order, unless the packing is ``merged``.
        """
        return None


PACKINGS: Registry[PackingPolicy] = Registry("packing")


def kinds() -> tuple[str, ...]:
    """The names of all packings, in the order of their registration; policies that plan others left out."""
    return tuple(name for name, cls in PACKINGS.items() if _is_kind(cls))


def packing_kind(name: str) -> type[PackingKind]:
    """The packing called ``name``. Raises InputError for what is none."""
    found: type[PackingKind] = PACKINGS.get(name)
    if not _is_kind(found):
        raise InputError(f"{name!r} plans packings and is none itself; packings: {', '.join(kinds())}")
    return found


def executed_by(policy: str, among: Sequence[str] | None = None) -> tuple[str, ...]:
    """The packings that a policy may plan: itself; or, where it plans others, those ``among``, or any."""
    return (policy,) if _is_kind(PACKINGS.get(policy)) else tuple(among or kinds())


def usual_packing(policy: str) -> str:
    """The packing that stands for a policy where one verification has to: its own, or ``ragged``."""
    return policy if policy in kinds() else "ragged"


def reads_copies(policy: str, among: Sequence[str] | None = None) -> bool:
    """May attention read a padded copy of K/V? A policy that plans packings has to name those ``among``."""
    return any(packing_kind(name).copied for name in (policy, *(among or ())) if name in kinds())


def _is_kind(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, PackingKind)
