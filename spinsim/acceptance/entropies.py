"""How sure drafts are of what they propose: entropies that go with what a field accepts.

A recording of ``spinsim trace`` has the entropy of every draft at every output position. It is that of a
proposed token as long as all tokens before it stand, the first refused one included. Behind a refused token a
draft goes on with a text of its own, which nobody recorded.

Where nothing was recorded, an entropy is drawn, independently at every position, from one of three
distributions (ours, and a model). They are those of accepted tokens, of refused ones, and of tokens behind a
refused one in the same proposal. The quantiles are those of the five drafts of the procedural family together
(``python -m spinsim.family.entropies``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from spinsim.acceptance.counter import counters, item_key, purpose_key, uniforms
from spinsim.operations import Propose

LEVELS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
# In nats; of 8,443 accepted tokens, 2,215 refused ones and 12,382 behind those.
ACCEPTED = (0.0, 0.0, 0.0, 0.0, 0.0, 0.001, 0.002, 0.005, 0.018, 0.145, 0.692, 1.692, 5.174)
REFUSED = (0.0, 0.103, 0.49, 0.958, 1.486, 1.853, 2.18, 2.281, 2.492, 2.69, 3.48, 4.111, 7.146)
BEHIND = (0.0, 0.0, 0.0, 0.0, 0.006, 0.149, 0.617, 1.093, 1.792, 2.246, 2.576, 3.34, 6.843)


class Runs(Protocol):
    """The part of an acceptance field that entropies go with."""

    def runs(self, request: int, draft: int) -> Sequence[int]: ...


class Known(NamedTuple):
    """By output position: entropies of a token before which all stand, and of one behind a refused one."""

    standing: list[float]
    behind: list[float]


Recorded = Callable[
    [int, int], "NDArray[np.float64] | None"
]  # by request and draft: nats, by output position


class Entropies:
    """Of every draft at every position; a pure function of (seed, request, draft, position) and ``field``.

    ``recorded(request, draft)``: entropies of standing tokens, where they are known. Those beyond its end,
    and those of other drafts, are drawn.
    """

    def __init__(
        self,
        field: Runs,
        drafts: int,
        positions: Sequence[int],
        seed: int,
        recorded: Recorded = lambda request, draft: None,
    ) -> None:
        self._field, self._positions, self._recorded = field, positions, recorded
        self._key = purpose_key(seed, "entropy")
        # Two numbers a position: it may stand behind a refused token or not.
        self._counted = counters(2 * drafts, max(positions, default=0))
        self._known: dict[tuple[int, int], Known] = {}

    def proposal(self, request: int, draft: int, position: int, length: int) -> list[float]:
        """Entropies in nats of a proposal of ``length`` tokens after ``position`` output tokens."""
        known = self._known.get((request, draft))
        if known is None:
            known = self._known[request, draft] = self._drawn(request, draft)
        end, edge = position + length, position + self._field.runs(request, draft)[position] + 1
        return known.standing[position : min(edge, end)] + known.behind[min(edge, end) : end]

    def forget(self, request: int) -> None:
        """Release what is kept of a request."""
        for key in [key for key in self._known if key[0] == request]:
            del self._known[key]

    def _drawn(self, request: int, draft: int) -> Known:
        count = self._positions[request]
        drawn = uniforms(item_key(self._key, request), self._counted[2 * draft : 2 * draft + 2, :count])
        stands = np.asarray(self._field.runs(request, draft)[:count]) > 0
        standing = np.where(
            stands, np.interp(drawn[0], LEVELS, ACCEPTED), np.interp(drawn[0], LEVELS, REFUSED)
        )
        known = self._recorded(request, draft)
        if known is not None:
            standing[: len(known)] = known[:count]
        return Known(standing.tolist(), np.interp(drawn[1], LEVELS, BEHIND).tolist())


class Stops:
    """Where proposals end by their entropy; ``prompts`` are the prompt lengths of a workload's requests."""

    def __init__(self, entropies: Entropies, prompts: Sequence[int]) -> None:
        self._entropies, self._prompts = entropies, prompts

    def lengths(self, operation: Propose) -> list[int]:
        """How much of each row's proposal is left below its ceiling."""
        draft, known = operation.draft, self._entropies
        rows = zip(
            operation.requests,
            operation.contexts,
            operation.lengths,
            operation.ceilings or (),
            strict=True,
        )
        return [
            below(known.proposal(request, draft, context - self._prompts[request], length), length, ceiling)
            for request, context, length, ceiling in rows
        ]


def below(entropies: Sequence[float], length: int, ceiling: float) -> int:
    """Tokens of a proposal before the first, but its first, of more entropy than ``ceiling``."""
    for count in range(1, length):
        if entropies[count] > ceiling:
            return count
    return length
