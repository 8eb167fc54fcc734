"""Lookups over known texts: what they offer at every output position, and how much of it stands."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from spinsim.acceptance.known_text import Reads, Replayed, Text, Texts
from spinsim.drafters.base import Drafter, Lookup

EVERYTHING = 10**9  # tokens asked for: as many as a drafter ever proposes


def replay(lookup: Lookup, text: Text, positions: int, most: int, request: int = 0) -> Replayed:
    """What ``lookup`` does at output positions 0 to ``positions`` - 1; 0 where the text ends before.

    At position p it knows the prompt and p tokens of the output. Nothing is proposed at position 0, which
    prefill yields. That a proposal stands, where token ids are known, depends on no model: also when
    sampling, since of a certain proposal exactly the token that was drawn is accepted.
    """
    whole = text.prompt + text.output
    start, count = len(text.prompt), min(positions, len(text.output))
    runs, offered, matched = [0] * positions, [0] * positions, [0] * positions
    for position in range(1, count):
        end = start + position
        found = lookup.propose(request, whole[:end], most)
        offered[position], matched[position] = len(found), lookup.matched
        runs[position] = _agreeing(found, whole[end : end + len(found)])
    return Replayed(runs, offered, matched)


def _agreeing(proposed: Sequence[int], said: Sequence[int]) -> int:
    count = 0
    for one, other in zip(proposed, said, strict=False):
        if one != other:
            break
        count += 1
    return count


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
