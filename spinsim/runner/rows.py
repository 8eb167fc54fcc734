"""What a runner is asked to do, and what it answers.

A call is about *rows*: the requests that take part, each in its slot of the cache. Their columns lie in
parallel, one entry a row, since that is how a pass takes them. Rows are built and read for every operation
of a live run, so they are tuples, which cost a third of what a frozen dataclass costs to make.

``contexts`` count prompt plus committed output, whose last token is in no cache yet. ``requests`` say whose
rows these are: random numbers belong to a request, not to its slot. Greedy calls may leave them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add
from typing import NamedTuple

import torch

from spinsim.packings.ragged import NAME as RAGGED
from spinsim.runner.graphs.buffers import Array

TokenLists = Sequence[Sequence[int]]


class ChunkRows(NamedTuple):
    """Tokens that enter the cache: ``tokens[i]``, at least one, from position ``starts[i]`` on."""

    slots: Sequence[int]
    starts: Sequence[int]
    tokens: TokenLists
    requests: Sequence[int] = ()

    @property
    def news(self) -> list[int]:
        """Tokens of each row."""
        return list(map(len, self.tokens))


class DraftRows(NamedTuple):
    """Contexts that ``lengths[i]`` tokens are to be proposed for.

    ``previous`` and ``last`` are the last two tokens of each. The cache holds at least ``contexts[i] - 2``.
    """

    slots: Sequence[int]
    previous: Sequence[int]
    last: Sequence[int]
    contexts: Sequence[int]
    lengths: Sequence[int]
    requests: Sequence[int] = ()


class Proposal(NamedTuple):
    """``tokens`` int64 ``[R, K]``, K the longest length; columns past a row's length mean nothing.

    ``probabilities`` float32 ``[R, K, V]`` on the draft's device when sampling, else None. ``entropies``
    ``[R, K]``, in nats, of the distributions that the tokens were drawn from (greedy: the softmax of the
    logits), where a runner tells them.
    """

    tokens: Array
    probabilities: torch.Tensor | None = None
    entropies: Array | None = None


class VerifyRows(NamedTuple):
    """Contexts whose last token ``last`` and ``lengths[i]`` proposals are to be judged.

    A row of length 0 only decodes. ``verdict``: how many proposals stand, whatever the pass finds.
    """

    slots: Sequence[int]
    last: Sequence[int]
    contexts: Sequence[int]
    lengths: Sequence[int]
    proposal: Proposal
    requests: Sequence[int] = ()
    verdict: Sequence[int] | None = None

    @property
    def ends(self) -> list[int]:
        """Tokens of each row, its proposals among them."""
        return list(map(add, self.contexts, self.lengths))


class PackedAs(NamedTuple):
    """How attention reads the K/V of a verification's rows: as ``kind`` and ``piece`` of a Packing."""

    kind: str = RAGGED
    piece: int = 0


AS_RAGGED = PackedAs()


class Verified(NamedTuple):
    """``tokens[i]``: the ``accepted[i]`` proposals that stand and one token of the target's own."""

    accepted: list[int]
    tokens: list[list[int]]

    @classmethod
    def of(cls, judged: Sequence[list[int]], verdict: Sequence[int] | None) -> Verified:
        """From rows of (accepted, tokens).

        A ``verdict`` takes the place of what was accepted once everything is read. The tokens then are what
        the pass has in their places: they are a text of the right length, and nobody's output.
        """
        accepted = [row[0] for row in judged] if verdict is None else list(verdict)
        return cls(accepted, [row[1 : count + 2] for row, count in zip(judged, accepted, strict=True)])
