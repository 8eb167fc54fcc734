"""A suffix automaton of token ids that grows at its end.

Source: Blumer et al., Theoretical Computer Science 40 (1985).
"""

from __future__ import annotations

from collections.abc import Iterable


class SuffixAutomaton:
    """All factors of the tokens read so far, in time and memory linear in them.

    A state stands for the factors that end at the same places. ``length`` is its longest factor, ``link`` the
    state of that factor's longest suffix that ends elsewhere too, and ``end`` how many tokens were read when
    its factors first ended.
    """

    __slots__ = ("edges", "end", "last", "length", "link", "tokens")

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.edges: list[dict[int, int]] = [{}]
        self.link = [-1]
        self.length = [0]
        self.end = [0]
        self.last = 0

    def extend(self, tokens: Iterable[int]) -> None:
        """Read more tokens."""
        for token in tokens:
            self._read(token)

    def _read(self, token: int) -> None:
        edges, link, length = self.edges, self.link, self.length
        self.tokens.append(token)
        new = self._state({}, len(self.tokens), len(self.tokens))
        state = self.last
        while state >= 0 and token not in edges[state]:
            edges[state][token] = new
            state = link[state]
        if state < 0:
            link[new] = 0
        else:
            after = edges[state][token]
            if length[state] + 1 == length[after]:
                link[new] = after
            else:
                link[new] = self._split(after, state, token)
        self.last = new

    def _split(self, after: int, state: int, token: int) -> int:
        """The shorter factors of ``after`` now end at one more place: they get a state of their own."""
        edges, link = self.edges, self.link
        copy = self._state(dict(edges[after]), self.length[state] + 1, self.end[after])
        link[copy] = link[after]
        link[after] = copy
        while state >= 0 and edges[state].get(token) == after:
            edges[state][token] = copy
            state = link[state]
        return copy

    def _state(self, edges: dict[int, int], length: int, end: int) -> int:
        self.edges.append(edges)
        self.link.append(-1)
        self.length.append(length)
        self.end.append(end)
        return len(self.link) - 1

    def repeated(self) -> tuple[int, int]:
        """The longest suffix that was read before: its length, and the tokens read when it first ended."""
        state = self.link[self.last]
        return (self.length[state], self.end[state]) if state > 0 else (0, 0)

    def step(self, state: int, matched: int, token: int) -> tuple[int, int]:
        """From the longest suffix of some other text that is a factor here to that one's with one more token.

        ``(state, matched)`` of the empty text is (0, 0). A state that was split since is put right.
        """
        edges, link, length = self.edges, self.link, self.length
        while state and matched <= length[link[state]]:
            state = link[state]
        while state and token not in edges[state]:
            state = link[state]
            matched = length[state]
        after = edges[state].get(token)
        return (0, 0) if after is None else (after, matched + 1)
