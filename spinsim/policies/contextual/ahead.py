"""Choices for the requests' next rounds, made before those begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spinsim.policies.base import Feedback, RequestView

LENT = 8  # requests that begin with the choice of the one before them, until one chooses anew


class Arm(NamedTuple):
    """A drafter, or NO_DRAFT, and the tokens that it proposes."""

    draft: int
    length: int


class Ahead:
    """The next choice of each request, another one for where its proposal in flight is refused at once, and
    the choice that requests begin with (ours)."""

    def __init__(self) -> None:
        self._next: dict[int, Arm] = {}
        self._if_refused: dict[int, Arm] = {}
        self._first: Arm | None = None
        self._lent = 0

    def lacking(self, batch: Sequence[RequestView]) -> list[RequestView]:
        """The requests for which nothing has been chosen."""
        return [view for view in batch if view.id not in self._next]

    def known(self, batch: Sequence[RequestView]) -> list[Arm]:
        """What has been chosen for the others."""
        return [self._next[view.id] for view in batch if view.id in self._next]

    def put(self, arms: Mapping[int, Arm], if_refused: Mapping[int, Arm] | None = None) -> None:
        """Choices by request."""
        self._next.update(arms)
        self._if_refused.update(if_refused or {})

    def take(self, batch: Sequence[RequestView]) -> list[Arm]:
        """The requests' choices, each of which counts for one round."""
        for view in batch:
            self._if_refused.pop(view.id, None)
        return [self._next.pop(view.id) for view in batch]

    def learn_first(self, arm: Arm) -> None:
        """What a request begins with."""
        self._first, self._lent = arm, 0

    def lend_first(self, views: Sequence[RequestView]) -> bool:
        """Let requests that begin have what another one began with; False where one has to choose anew."""
        if self._first is None or self._lent >= LENT or any(view.rounds for view in views):
            return False
        self._lent += len(views)
        self.put({view.id: self._first for view in views})
        return True

    def see(self, feedback: Feedback) -> None:
        """Proposals were judged: a choice for one that was refused at once comes into force."""
        if self._if_refused:
            for view, length, accepted in zip(
                feedback.requests, feedback.lengths, feedback.accepted, strict=True
            ):
                if view.id in self._if_refused and length and not accepted:
                    self._next[view.id] = self._if_refused[view.id]

    def forget(self, request: int) -> None:
        """The request has ended."""
        self._next.pop(request, None)
        self._if_refused.pop(request, None)
