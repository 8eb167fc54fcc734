"""``kind: suffix``: what followed the longest suffix that occurred before, of any length, is proposed.

A suffix automaton of each request finds it in constant time a token, after SAM decoding (Hu et al.,
arXiv 2411.10666). With ``earlier``, a second automaton holds outputs of requests that ended before, and
decides where its match is longer. SuffixDecoding (Oliaro et al., arXiv 2411.04975) has trees with
frequencies. Here the first occurrence decides.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from spinsim.drafters.automaton import SuffixAutomaton
from spinsim.drafters.host import HostDrafter, LookupCost, LookupKeys
from spinsim.drafters.registry import register
from spinsim.scenario.base import NaturalInt, PositiveInt

EDGE = -1  # between outputs: no token, so that nothing matches across


class SuffixKeys(LookupKeys):
    """``earlier``: outputs to learn from; when so many are in, the memory begins anew."""

    min_size: PositiveInt = 3
    earlier: NaturalInt = 0


@register("suffix")
class SuffixDrafter(HostDrafter):
    """A suffix automaton over the request and, optionally, earlier outputs."""

    Keys = SuffixKeys
    # Within the same runs as the n-gram's: 69 us and 6.4 us a row, reading of prompts included.
    usual_cost = LookupCost(base_s=69e-6, row_s=6.4e-6)

    @property
    def earlier(self) -> int:
        """See :class:`spinsim.drafters.base.Drafter`."""
        return int(self.keys.earlier)

    def lookup(self) -> SuffixLookup:
        """An automaton a request, and one of what ended."""
        return SuffixLookup(self.keys.min_size, self.keys.longest, self.keys.earlier)


class _Reader:
    """One request: its own automaton, and where it stands in that of earlier outputs."""

    __slots__ = ("generation", "matched", "own", "state")

    def __init__(self) -> None:
        self.own = SuffixAutomaton()
        self.state = self.matched = 0
        self.generation = 0


class SuffixLookup:
    """Reads what is new of a context, then proposes."""

    def __init__(self, min_size: int, longest: int, earlier: int) -> None:
        self._min_size, self._longest, self._earlier = min_size, longest, earlier
        self.matched = 0
        self._readers: dict[int, _Reader] = {}
        self._memory = SuffixAutomaton()
        self._learned = 0  # outputs in the memory
        self._generation = 0  # how often it began anew

    def propose(self, request: int, context: array[int], most: int) -> list[int]:
        """See :class:`spinsim.drafters.base.Lookup`."""
        reader = self._readers.get(request)
        if reader is None:
            reader = self._readers[request] = _Reader()
        self._read(reader, context)
        size, end = reader.own.repeated()
        tokens: Sequence[int] = reader.own.tokens
        if reader.matched > size:
            size, end, tokens = reader.matched, self._memory.end[reader.state], self._memory.tokens
        self.matched = size if size >= self._min_size else 0
        if not self.matched:
            return []
        found = list(tokens[end : end + min(most, self._longest)])
        return found[: found.index(EDGE)] if EDGE in found else found

    def ended(self, request: int, output: Sequence[int]) -> None:
        """Forget the request; learn its output where earlier ones count."""
        self._readers.pop(request, None)
        if not self._earlier:
            return
        if self._learned == self._earlier:
            self._memory, self._learned = SuffixAutomaton(), 0
            self._generation += 1
        self._memory.extend([*output, EDGE])
        self._learned += 1

    def _read(self, reader: _Reader, context: array[int]) -> None:
        read = len(reader.own.tokens)
        new = context[read:]
        reader.own.extend(new)
        if not self._earlier:
            return
        if reader.generation != self._generation:  # where it stood is gone: read again
            reader.generation, reader.state, reader.matched = self._generation, 0, 0
            new = context
        for token in new:
            reader.state, reader.matched = self._memory.step(reader.state, reader.matched, token)
