"""Shortest path over (position, caches): the oracle's plan for one request."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from spinsim.costs.base import Predictor
from spinsim.policies.base import NO_DRAFT, RequestView
from spinsim.policies.beliefs import ragged

_MOST_CACHED = 1 << 18
_SETTLED = 1  # tokens that a proposal's first step takes in by itself


class Label(NamedTuple):
    """One way to reach a position."""

    seconds: float
    cached: tuple[int, ...]  # tokens by draft
    position: int
    before: Label | None
    arm: int  # that led from there to here


class Pricing:
    """Predicted seconds of the rounds of a request alone; ``lengths[draft]`` tokens are proposed,
    fewer where the context would grow past ``limit``."""

    def __init__(self, predictor: Predictor, lengths: Sequence[int], limit: int | None = None) -> None:
        self._lengths = tuple(lengths)
        self._limit = sys.maxsize if limit is None else limit
        self._predictor = predictor
        self._host = predictor.orchestrate(1).seconds
        self._submit = self._host + 2.0 * predictor.hop().seconds
        # What follows the end of a round's verification, and of its proposal.
        self._next_s = predictor.handle("verify", 1).seconds
        self._drafted_s = predictor.handle("propose", 1).seconds
        self._rounds: dict[tuple[int, int], float] = {}
        self._catch_ups: dict[tuple[int, int, int], float] = {}

    def length(self, draft: int, context: int) -> int:
        """Tokens that a draft proposes after ``context``."""
        return min(self._lengths[draft], self._limit - context)

    def round_s(self, arm: int, context: int, cached: int) -> float:
        """A round after ``context`` tokens, ``cached`` of which are in the draft's cache."""
        key = (arm, context)
        seconds = self._rounds.get(key)
        if seconds is None:
            seconds = self._rounds[key] = self._round(arm, context)
        missing = context - 1 - cached
        if arm == NO_DRAFT or missing <= _SETTLED:
            return seconds
        return seconds + self.catch_up_s(arm, missing, cached)

    def catch_up_s(self, draft: int, tokens: int, start: int) -> float:
        """What a catch-up adds: the proposal is submitted beside it, and waits for the later of the two."""
        key = (draft, tokens, start)
        seconds = self._catch_ups.get(key)
        if seconds is None:
            seconds = max(self._predictor.catch_up(draft, [tokens], [start]).seconds, self._host)
            if len(self._catch_ups) >= _MOST_CACHED:
                self._catch_ups.clear()
            self._catch_ups[key] = seconds
        return seconds

    def _round(self, arm: int, context: int) -> float:
        predictor = self._predictor
        length = 0 if arm == NO_DRAFT else self.length(arm, context)
        seconds = self._next_s + self._submit
        seconds += predictor.verify(ragged(1, context + length, length + 1)).seconds
        if arm == NO_DRAFT:
            return seconds
        seconds += self._submit + predictor.propose(arm, [length], [context]).seconds + self._drafted_s
        return seconds + predictor.transfer(1, length).seconds


def shortest_path(
    runs: Sequence[Sequence[int]],
    output: int,
    view: RequestView,
    arms: Sequence[int],
    pricing: Pricing,
    width: int,
) -> dict[int, int]:
    """The arm to take at each position of the fastest way from here to ``output`` tokens.

    ``runs[draft][position]`` proposals in a row would be accepted. At most ``width`` labels that no other
    dominates are kept per position. A dominates B if it is no later even after paying, for each
    draft in which B's cache is ahead, a catch-up to the very end: exact where a catch-up costs no
    more than its parts together, and the longer one no less.
    """
    prompt = view.prompt_tokens
    labels: list[list[Label]] = [[] for _ in range(output + 1)]
    labels[view.generated].append(Label(0.0, tuple(view.cached), view.generated, None, NO_DRAFT))
    for p in range(view.generated, output):
        context = prompt + p
        for label in _undominated(labels[p], width, prompt + output, pricing):
            seconds, caches = label.seconds, label.cached
            for arm in arms:
                if arm == NO_DRAFT:
                    reached, now = p + 1, caches
                    spent = pricing.round_s(arm, context, 0)
                else:
                    length = pricing.length(arm, context)
                    hits = runs[arm][p]
                    fed = hits if hits < length else length - 1
                    reached = min(p + min(hits, length) + 1, output)
                    now = (*caches[:arm], context + fed, *caches[arm + 1 :])
                    spent = pricing.round_s(arm, context, caches[arm])
                labels[reached].append(Label(seconds + spent, now, reached, label, arm))
    return _arms_along(min(labels[output], key=lambda label: label.seconds))


def _undominated(labels: list[Label], width: int, end: int, pricing: Pricing) -> list[Label]:
    """The labels worth extending, earliest first."""
    kept: list[Label] = []
    for label in sorted(labels, key=lambda label: label.seconds):
        seconds, caches = label.seconds, label.cached
        for other in kept:
            paid = other.seconds
            for draft, (theirs, ours) in enumerate(zip(other.cached, caches, strict=True)):
                if theirs < ours:
                    paid += pricing.catch_up_s(draft, end - theirs, theirs)
            if paid <= seconds:
                break
        else:
            kept.append(label)
            if len(kept) == width:
                break
    return kept


def _arms_along(last: Label) -> dict[int, int]:
    """The arm taken at each position of the way that ends in ``last``."""
    plan: dict[int, int] = {}
    label = last
    while label.before is not None:
        plan[label.before.position] = label.arm
        label = label.before
    return plan
