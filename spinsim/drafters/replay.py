"""Drafters that look proposals up, as parts of an acceptance field, and scored token by token."""

from __future__ import annotations

from array import array

from spinsim.acceptance.known_text import EVERYTHING, Lookup, Reads, Replayed, Texts, replay
from spinsim.drafters.base import Drafter


def guesses(lookup: Lookup, request: int, context: array[int], start: int) -> list[int]:
    """The token that would have been proposed before each of ``context[start:]``; -1 for none."""
    said = []
    for end in range(start, len(context)):
        found = lookup.propose(request, context[:end], 1)
        said.append(found[0] if found else -1)
    return said


def reader(drafter: Drafter, batch: int) -> Reads:
    """The drafter's part of an acceptance field.

    Which requests have ended when another begins depends on scheduling, which a fixed field must not. Of
    those before it at most ``batch`` - 1 are still served, so that as many others have ended: the first ones
    by number, our assumption.
    """

    def read(texts: Texts, request: int, positions: int) -> Replayed:
        lookup = drafter.lookup()
        assert lookup is not None
        ended = max(0, request - batch + 1) if drafter.earlier else 0
        if ended:  # a full memory begins anew with the next
            kept = (ended - 1) % drafter.earlier + 1
            for number in range(ended - kept, ended):
                lookup.ended(number, texts.output(number))
        return replay(lookup, texts[request], positions, EVERYTHING, request)

    return read
