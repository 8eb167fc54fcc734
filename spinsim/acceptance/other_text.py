"""Another text of the same prompt: acceptance from the point where an output departs from its recording.

In bf16 and fp16 an argmax may depend on the batch's shape, so that a request's output departs from the
recorded one at some position and goes on with another text, as hard. What comes after is drawn from what the
recording has from there on, in blocks, for all drafts at the same positions: where one errs, the others often
do. Not from what it has before: outputs begin with what is easy (a small draft of the procedural family hits
85 % in an output's first quarter, 74 to 78 % later), and drawing that again would make later text too easy.

The blocks are Kuensch's (Annals of Statistics 17, 1989), their starts on a circle (Politis & Romano 1992), so
that each position is drawn as often as any other, and the request's mean acceptance is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinsim.acceptance.cached import Draw
from spinsim.acceptance.counter import counters, item_key, purpose_key, uniforms
from spinsim.acceptance.runs import runs_of

BLOCK = 8  # positions: most proposals and their verdicts stay whole; ours


class OtherText(NamedTuple):
    """From position ``departure`` on, the recorded positions ``source`` stand for a request's."""

    departure: int
    source: NDArray[np.int64]


def other_texts(
    recorded: Sequence[int], positions: Sequence[int], rate: float, seed: int
) -> Callable[[int], OtherText | None]:
    """By request, where its text departs and what stands for the rest; None where it does not.

    Arguments as those of :func:`other_text`.
    """
    key = purpose_key(seed, "other text")
    blocks = -(-max(positions, default=0) // BLOCK)
    counted = counters(2, max(blocks, 1))  # where it departs; where each block starts

    def drawn(request: int) -> OtherText | None:
        whole, count = recorded[request], positions[request]
        chances = uniforms(item_key(key, request), counted)
        departure = _departure(float(chances[0, 0]), rate)
        if departure >= min(whole, count):
            return None
        return OtherText(departure, _source(chances[1], departure, whole, count))

    return drawn


def other_text(draw: Draw, recorded: Sequence[int], positions: Sequence[int], rate: float, seed: int) -> Draw:
    """``draw`` with a text that departs at each output position with probability ``rate`` (> 0).

    ``recorded[request]``: positions that the recording of every draft has; ``draw`` gives at least so many,
    and at least ``positions[request]``, which is how many are asked for. Depends on (seed, request) and the
    recording alone. Where accepted bits are drawn (recorded probabilities), they are drawn first and
    resampled like recorded ones: another text has other probabilities, and its drafts err together as much.
    """
    departs = other_texts(recorded, positions, rate, seed)

    def drawn(request: int) -> list[list[int]]:
        runs, other = draw(request), departs(request)
        return runs if other is None else _departed(runs, other.departure, other.source)

    return drawn


def _departure(chance: float, rate: float) -> int:
    """The geometric distribution's quantile: how many positions precede the first that is another's."""
    return math.floor(min(math.log1p(-chance) / math.log1p(-rate), 2.0**53)) if rate < 1 else 0


def _source(chances: NDArray[np.float64], departure: int, whole: int, count: int) -> NDArray[np.int64]:
    """The recorded positions, from the departure on, that stand for those up to ``count``."""
    left = whole - departure
    starts = (chances * left).astype(np.int64)
    blocks = departure + (starts[:, None] + np.arange(BLOCK)) % left
    return blocks.ravel()[: count - departure]


def _departed(runs: list[list[int]], departure: int, source: NDArray[np.int64]) -> list[list[int]]:
    recorded = np.asarray(runs, np.int64)
    before, hits = recorded[:, :departure], recorded > 0
    made = runs_of(np.concatenate([hits[:, :departure], hits[:, source]], axis=1))
    # Runs that end before are the recording's own (which may be cut); others go on into what is there now.
    ends = np.arange(departure) + before < departure
    made[:, :departure] = np.where(ends, before, made[:, :departure])
    return made.tolist()  # type: ignore[no-any-return]


__all__ = ["BLOCK", "OtherText", "other_text", "other_texts"]
