"""``kind: ngram``: prompt lookup. What followed the last tokens where they stood before is proposed.

The longest suffix of the context, of ``max_size`` down to ``min_size`` tokens, that also occurs earlier
decides. Of its occurrences the earliest or the latest counts. Source: prompt lookup decoding (Saxena 2023),
as vLLM's n-gram drafter has it. With sizes 7 to 3, the earliest match and 20 tokens this reproduces the
n-gram lengths that SpecDecode-Bench recorded (``python -m spinsim.drafters.recorded``).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from spinsim.drafters.host import HostDrafter, LookupCost, LookupKeys
from spinsim.drafters.registry import register
from spinsim.errors import InputError
from spinsim.scenario import Scenario
from spinsim.scenario.base import PositiveInt

SIZE = array("i").itemsize
TOLD = 64  # a longer match is told as this: nothing more follows from it


class NgramKeys(LookupKeys):
    """Suffix sizes, and which of several matches counts."""

    max_size: PositiveInt = 7
    min_size: PositiveInt = 3
    match: Literal["earliest", "latest"] = "earliest"


@register("ngram")
class NgramDrafter(HostDrafter):
    """Prompt lookup over the request's own tokens."""

    Keys = NgramKeys
    # Within live runs of scenarios/ngram-and-models.yaml on an Intel Xeon that other work kept busy: 44 us,
    # and 5.8 us a row at 160 tokens of context. The share of the context is benchmarks/lookups.py's.
    usual_cost = LookupCost(base_s=44e-6, row_s=5.6e-6, token_s=1.5e-9)

    def check(self, scenario: Scenario, base_dir: Path) -> None:
        """Sizes must be in order."""
        if self.keys.min_size > self.keys.max_size:
            raise InputError(
                f"{self.keys.min_size} is above max_size; at most {self.keys.max_size}",
                key=f"{self.key}.min_size",
            )

    def lookup(self) -> NgramLookup:
        """It keeps nothing of a request."""
        keys = self.keys
        return NgramLookup(keys.max_size, keys.min_size, keys.longest, latest=keys.match == "latest")


class NgramLookup:
    """Searches the context anew for every proposal: memory is fast enough, and nothing has to be kept."""

    def __init__(self, max_size: int, min_size: int, longest: int, *, latest: bool) -> None:
        self._sizes = range(max_size, min_size - 1, -1)
        self._longest = longest
        self._find = _latest if latest else _earliest
        self.matched = 0

    def propose(self, request: int, context: array[int], most: int) -> list[int]:
        """See :class:`spinsim.drafters.base.Lookup`."""
        data, find = context.tobytes(), self._find
        end = len(data) - SIZE  # a match is followed by a token of the context
        for size in self._sizes:
            at = find(data, data[-size * SIZE :], end) if size * SIZE <= end else -1
            if at >= 0:
                first = at // SIZE + size
                self.matched = _extended(context, first, size)
                return context[first : first + min(most, self._longest)].tolist()
        self.matched = 0
        return []

    def ended(self, request: int, output: Sequence[int]) -> None:
        """Nothing is kept."""


def _extended(context: array[int], first: int, size: int) -> int:
    """How long the match is that ends before ``first``, at most ``TOLD``: what it says of its worth."""
    end = len(context)
    while size < min(TOLD, first) and context[first - size - 1] == context[end - size - 1]:
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
