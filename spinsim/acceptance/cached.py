"""The one implementation of an acceptance field: a pure function of the request, and a cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spinsim.acceptance.entropies import Entropies, Runs
from spinsim.acceptance.lookups import KnownLookups

BLOCK = 64  # requests that are drawn together
BLOCKS = 32  # kept at once, for those of their requests that are still to come

Draw = Callable[[int], list[list[int]]]
Block = tuple[NDArray[np.int64], NDArray[np.int64]]  # runs one after the other, and where each request's end
DrawBlock = Callable[[int, int], Block]
Offers = Callable[[int], Sequence[Sequence[int] | None]]


class CachedField:
    """``draw(request)`` gives the runs of every draft, plain lists that index fast; kept until ``forget``.

    ``draw`` must be pure: a request forgotten and asked for again has the same runs. ``offers(request)`` says
    of each draft how many tokens it has to propose at each position, None where as many as it is asked for.
    ``draw_block(block, draft)``, where there is one, gives the same runs of one draft alone, for the
    ``BLOCK`` requests of a block: numpy takes nearly as long for one of them.
    ``entropies``: how sure drafts are, made for this field; None where nobody knows.
    """

    def __init__(
        self,
        source: str,
        draw: Draw,
        joined: str = "",
        lookups: KnownLookups | None = None,
        offers: Offers | None = None,
        entropies: Callable[[Runs], Entropies] | None = None,
        draw_block: DrawBlock | None = None,
    ) -> None:
        self.source = source
        self.entropies = None if entropies is None else entropies(self)
        self.lookups = lookups  # where it is known what lookup drafters find
        self.joined = joined  # how recordings were assigned to requests; empty where there are none
        self._draw, self.offers = draw, offers
        self._known: dict[int, dict[int, list[int]]] = {}  # by request and draft
        self._draw_block = draw_block
        self._blocks: dict[tuple[int, int], list[list[int]]] = {}  # the last drawn; by block and draft

    def runs(self, request: int, draft: int) -> Sequence[int]:
        """See :class:`spinsim.acceptance.field.AcceptanceField`."""
        known = self._known.get(request)
        if known is None:
            known = self._known[request] = {} if self._draw_block else dict(enumerate(self._draw(request)))
        runs = known.get(draft)
        if runs is None:
            assert self._draw_block is not None
            runs = known[draft] = self._block(request // BLOCK, draft)[request % BLOCK]
        return runs

    def one_by_one(self) -> CachedField:
        """The same field, for who asks for every draft of few requests far apart: no block is drawn for one.

        It knows nothing of entropies and lookups.
        """
        return CachedField(self.source, self._draw, self.joined, offers=self.offers)

    def _block(self, number: int, draft: int) -> list[list[int]]:
        block = self._blocks.get((number, draft))
        if block is None:
            assert self._draw_block is not None
            if len(self._blocks) == BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            drawn, ends = self._draw_block(number, draft)
            runs, bounds = drawn.tolist(), [0, *ends.tolist()]
            block = self._blocks[number, draft] = [runs[start:end] for start, end in pairwise(bounds)]
        return block

    def block(self, number: int, draft: int) -> Block | None:
        """The runs of ``BLOCK`` requests in one array; None where they are drawn one by one. Not kept."""
        return None if self._draw_block is None else self._draw_block(number, draft)

    def offered(self, request: int, draft: int) -> Sequence[int] | None:
        """Tokens that a draft has to propose at each position; None: as many as it is asked for."""
        return None if self.offers is None else self.offers(request)[draft]

    def forget(self, request: int) -> None:
        """Release a request's runs; unknown requests are ignored."""
        self._known.pop(request, None)
        if self.entropies is not None:
            self.entropies.forget(request)
        if self.lookups is not None:
            self.lookups.forget(request)
