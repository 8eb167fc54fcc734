"""What lookups find where acceptance is modelled: matches that go with what a field accepts.

Ours, and a model: independently at every position, something is found or nothing, and what is found has a
matched length. Both go with whether the first proposed token is right. The law is that of 180,837 positions
of gsm8k and instructcoder (``python -m spinsim.studies.match_statistics``), with an n-gram lookup of 3 to 7
tokens. Matches along a text are independent here, and on recordings they are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from spinsim.acceptance.counter import counters, item_key, purpose_key, uniforms
from spinsim.acceptance.entropies import Runs
from spinsim.acceptance.lookups import NOT_LOOKED_UP, Rows

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
RIGHT = (3, 4, 6, 9, 11, 16, 21, 29, 42, 64, 64, 64)  # tokens matched, of 92,845 positions
WRONG = (3, 3, 3, 4, 4, 5, 6, 7, 10, 18, 29, 64)  # of 14,650
NOTHING = 0.834  # of the 87,992 positions where no proposed token is right


class Found(NamedTuple):
    """By output position: tokens matched, tokens on offer."""

    matched: list[int]
    offered: list[int]


class ModelledLookups:
    """Implements :class:`spinsim.engine.world.Lookups` over modelled acceptance.

    ``longest``: tokens on offer where something is found, by draft that looks its proposals up; of ``drafts``
    in all. A pure function of (seed, request, draft, position) and ``field``.
    """

    def __init__(
        self, field: Runs, longest: Mapping[int, int], drafts: int, positions: Sequence[int], seed: int
    ) -> None:
        self._field, self._longest, self._drafts, self._positions = field, longest, drafts, positions
        self._key = purpose_key(seed, "matches")
        self._counted = counters(2 * drafts, max(positions, default=0))
        self._known: dict[int, dict[int, Found]] = {}

    def at(self, request: int, position: int) -> Rows:
        """Tokens matched and on offer, by draft, after ``position`` output tokens."""
        matched, offered = [NOT_LOOKED_UP] * self._drafts, [NOT_LOOKED_UP] * self._drafts
        for draft, found in self._of(request).items():
            matched[draft], offered[draft] = found.matched[position], found.offered[position]
        return matched, offered

    def agreed(self, request: int, position: int, committed: int) -> list[int]:
        """By draft: how many of the ``committed`` tokens from ``position`` on it had on offer, in a row."""
        said = [NOT_LOOKED_UP] * self._drafts
        for draft, found in self._of(request).items():
            run = self._field.runs(request, draft)[position]
            said[draft] = min(run, found.offered[position], committed)
        return said

    def offers(self, request: int) -> list[Sequence[int] | None]:
        """By draft: tokens on offer at every position; None where as many as it is asked for."""
        known = self._of(request)
        return [known[draft].offered if draft in known else None for draft in range(self._drafts)]

    def forget(self, request: int) -> None:
        """Release what is kept of a request."""
        self._known.pop(request, None)

    def _of(self, request: int) -> dict[int, Found]:
        known = self._known.get(request)
        if known is None:
            known = self._known[request] = {draft: self._drawn(request, draft) for draft in self._longest}
        return known

    def _drawn(self, request: int, draft: int) -> Found:
        count = self._positions[request]
        drawn = uniforms(item_key(self._key, request), self._counted[2 * draft : 2 * draft + 2, :count])
        right = np.asarray(self._field.runs(request, draft)[:count]) > 0
        length = np.where(right, np.interp(drawn[0], LEVELS, RIGHT), np.interp(drawn[0], LEVELS, WRONG))
        finds = right | (drawn[1] >= NOTHING)
        matched = np.where(finds, length.astype(int), 0)
        return Found(matched.tolist(), np.where(finds, self._longest[draft], 0).tolist())
