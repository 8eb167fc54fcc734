"""Rebuilds a drafter's hits at every position from the rounds that it was used in.

Serving engines keep how many proposals a round accepted. For a chain (one proposal after another, each on the
tokens before it) that tells more than the round's own start: with ``a`` of ``k`` accepted at position p, the
drafter was right at p .. p+a-1, and where a < k it was wrong at p+a. Only the position after a proposal
that was accepted whole stays unknown, since the token there is the target's own and the drafter was not
asked. A tree of proposals cannot be rebuilt: its accepted path does not say which tokens a chain would have
proposed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

UNKNOWN = -1


class Rebuilt(NamedTuple):
    """``hits``: by output position 1 (right), 0 (wrong) or :data:`UNKNOWN`."""

    hits: list[int]

    def known(self) -> int:
        """Positions that the rounds say something about."""
        return sum(hit != UNKNOWN for hit in self.hits)


def rebuild(accepted: Iterable[int], proposed: Iterable[int], start: int, positions: int) -> Rebuilt:
    """Hits of a chain; the first round begins at output position ``start``, each commits one token more.

    Raises:
        ValueError: a round that accepted more than was proposed.
    """
    hits = [UNKNOWN] * positions
    at = start
    for number, (right, asked) in enumerate(zip(accepted, proposed, strict=True), start=1):
        if right > asked:
            raise ValueError(f"round {number} accepted {right} of {asked} proposed tokens; at most {asked}")
        mark(hits, at, right, asked)
        at += right + 1
    return Rebuilt(hits)


def mark(hits: list[int], at: int, accepted: int, proposed: int) -> None:
    """Write into ``hits`` what one round at output position ``at`` tells, as far as they go."""
    for position in range(at, min(at + accepted, len(hits))):
        hits[position] = 1
    if accepted < proposed and at + accepted < len(hits):
        hits[at + accepted] = 0


def probabilities(rebuilt: Sequence[Rebuilt]) -> list[list[float]]:
    """Acceptance by request and position: what is known is certain, the rest the request's own rate.

    A request of which nothing is known gets the rate of all. The rate counts hits over known positions.
    """
    everyone = [hit for one in rebuilt for hit in one.hits if hit != UNKNOWN]
    overall = float(np.mean(everyone)) if everyone else 0.0
    rows = []
    for one in rebuilt:
        own = [hit for hit in one.hits if hit != UNKNOWN]
        rate = float(np.mean(own)) if own else overall
        rows.append([rate if hit == UNKNOWN else float(hit) for hit in one.hits])
    return rows


@dataclass(frozen=True, slots=True)
class LengthSchedule:
    """How many tokens were proposed in each round, as far as that follows from the rounds before.

    ``constant``: always ``tokens``. ``stopped``: at most ``tokens``, the drafter stops by itself before;
    where it stopped counts as wrong, since nothing was proposed there. ``heuristic``: transformers'
    assisted generation as it was up to version 4.44, which begins with ``tokens``, adds 2 after a proposal
    accepted whole (not above ``most``) and takes 1 away otherwise (not below 1).
    """

    kind: Literal["constant", "stopped", "heuristic"]
    tokens: int
    most: int

    def proposed(self, accepted: Sequence[int]) -> list[int]:
        """Tokens proposed by round, given how many were accepted in each."""
        if self.kind != "heuristic":
            return [self.tokens] * len(accepted)
        lengths, length = [], self.tokens
        for right in accepted:
            lengths.append(length)
            length = min(length + 2, self.most) if right >= length else max(length - 1, 1)
        return lengths

    @staticmethod
    def of(text: str) -> LengthSchedule:
        """Read ``constant:K``, ``stopped:K``, ``heuristic``, ``heuristic:START`` or ``heuristic:START:MOST``.

        Raises:
            ValueError: anything else.
        """
        kind, *numbers = text.split(":")
        most = {"constant": 1, "stopped": 1, "heuristic": 2}.get(kind, -1)
        if len(numbers) > most or (kind != "heuristic" and not numbers):
            raise ValueError(f"{text!r} is no schedule; constant:K, stopped:K or heuristic[:START[:MOST]]")
        if not all(number.isdigit() and int(number) > 0 for number in numbers):
            raise ValueError(f"{text!r} has a length that is no whole number above 0")
        start = int(numbers[0]) if numbers else 5
        if kind == "constant" or kind == "stopped":
            return LengthSchedule("constant" if kind == "constant" else "stopped", start, start)
        return LengthSchedule("heuristic", start, int(numbers[1]) if len(numbers) > 1 else 20)
