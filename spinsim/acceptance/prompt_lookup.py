"""Prompt lookup: what followed the last tokens of a context where they stood before is proposed.

The longest suffix of the context that also occurs earlier decides, and of its occurrences the earliest or the
latest. Source: prompt lookup decoding (Saxena 2023), as vLLM's n-gram drafter has it. Nothing but token ids
decides, so that a recording which keeps them says exactly what such a drafter would have done.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

SIZE = array("i").itemsize
LONGEST_MATCH = 64  # a longer match is told as this: nothing more follows from it


class PromptLookup:
    """Suffix sizes ``max_size`` down to ``min_size``, proposals of at most ``longest`` tokens.

    The context is searched anew for every proposal: memory is fast enough, and nothing has to be kept.
    """

    def __init__(self, max_size: int, min_size: int, longest: int, *, latest: bool) -> None:
        self._sizes = range(max_size, min_size - 1, -1)
        self._longest = longest
        self._find = _latest if latest else _earliest
        self.matched = 0

    def propose(self, request: int, context: array[int], most: int) -> list[int]:
        """See :class:`spinsim.acceptance.known_text.Lookup`."""
        data, find = context.tobytes(), self._find
        end = len(data) - SIZE  # a match is followed by a token of the context
        for size in self._sizes[max(0, self._sizes.start - len(context) + 1) :]:  # of those that fit
            at = find(data, data[-size * SIZE :], end)
            if at >= 0:
                first = at // SIZE + size
                self.matched = _extended(context, first, size)
                return context[first : first + min(most, self._longest)].tolist()
        self.matched = 0
        return []

    def ended(self, request: int, output: Sequence[int]) -> None:
        """Nothing is kept."""


def _extended(context: array[int], first: int, size: int) -> int:
    """How long the match is that ends before ``first``, at most ``LONGEST_MATCH`` tokens."""
    end = len(context)
    while size < min(LONGEST_MATCH, first) and context[first - size - 1] == context[end - size - 1]:
        size += 1
    return size


def _earliest(data: bytes, wanted: bytes, end: int) -> int:
    """Where ``wanted`` first stands at a token's edge before ``end``; -1 for nowhere."""
    at = data.find(wanted, 0, end)
    while at >= 0 and at % SIZE:
        at = data.find(wanted, at + 1, end)
    return at


def _latest(data: bytes, wanted: bytes, end: int) -> int:
    at = data.rfind(wanted, 0, end)
    while at >= 0 and at % SIZE:
        at = data.rfind(wanted, 0, at + len(wanted) - 1)
    return at
