"""Drafters that look proposals up in token ids: gathered on the engine's thread, executed on their lane's."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from spinsim.drafters.base import Lookup
from spinsim.drafters.replay import guesses
from spinsim.operations import CatchUp, Propose

Found = list[list[int]]


class Lookups:
    """The lookups of a run by draft. ``make[draft]()`` gives a new one."""

    def __init__(self, make: Mapping[int, Callable[[], Lookup]]) -> None:
        self.make = make
        self._proposing = {draft: new() for draft, new in make.items()}
        # Tokens are scored after they were proposed for: who scores reads a request's context by itself.
        self._scoring = {draft: new() for draft, new in make.items()}
        # What ended is told on the lane's thread, before the next operation.
        self._ended: dict[int, deque[tuple[int, Sequence[int]]]] = {draft: deque() for draft in make}

    def __contains__(self, draft: int) -> bool:
        return draft in self._proposing

    def ended(self, request: int, output: Sequence[int]) -> None:
        """The request has ended. Called on the engine's thread."""
        for waiting in self._ended.values():
            waiting.append((request, output))

    def propose(self, operation: Propose, contexts: Sequence[array[int]]) -> Found:
        """What is found for each row; called on the lane's thread."""
        draft = operation.draft
        self._settle(draft)
        lookup = self._proposing[draft]
        rows = zip(operation.requests, contexts, operation.lengths, strict=True)
        return [lookup.propose(request, context, most) for request, context, most in rows]

    def score(self, operation: CatchUp, contexts: Sequence[array[int]]) -> list[bytes]:
        """Would the draft have proposed each output token that is new to it? Called on the lane's thread."""
        draft = operation.draft
        self._settle(draft)
        lookup = self._scoring[draft]
        hits = []
        for request, prompt, start, context in zip(
            operation.requests, operation.prompts, operation.starts, contexts, strict=True
        ):
            first = max(start, prompt)
            said = guesses(lookup, request, context, first)
            hits.append(bytes(one == other for one, other in zip(said, context[first:], strict=True)))
        return hits

    def _settle(self, draft: int) -> None:
        waiting = self._ended[draft]
        while waiting:
            request, output = waiting.popleft()
            self._proposing[draft].ended(request, output)
            self._scoring[draft].ended(request, output)


NO_LOOKUPS = Lookups({})
