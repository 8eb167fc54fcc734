"""What kind of text a request is, told by what was seen of it and of the traffic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

TEMPER = 0.3  # of the evidence: rounds of one request are no independent draws
REQUESTS = 2.0  # that the share of each kind in training is worth
KEEP = 0.98  # of the traffic's kinds, per request that ended


class Kinds:
    """A posterior over kinds of text for every live request (ours).

    Kinds are the domains that were trained on. The prior is the traffic: what the requests that ended
    lately, and those alive, are taken to be. The evidence is the likelihood of the matches that were found
    and of the tokens that were accepted. Where the traffic is of one kind, it is soon known for that.
    """

    def __init__(self, shares: Sequence[float]) -> None:
        self._trained = REQUESTS * np.asarray(shares, np.float64)
        self._ended = np.zeros(len(shares))
        self._evidence: dict[int, Array] = {}

    def of(self, requests: Sequence[int]) -> Array:
        """[request, kind]: probabilities."""
        known, kinds = self._evidence, len(self._trained)
        for request in requests:
            known.setdefault(request, np.zeros(kinds))
        if kinds == 1:
            return np.ones((len(requests), 1))
        prior = self._trained + self._ended
        everyone = _posterior(np.stack(list(known.values())), prior)
        prior = prior + everyone.sum(0)
        return _posterior(np.stack([known[request] for request in requests]), prior)

    def observe(self, requests: Sequence[int], said: Array) -> None:
        """``said`` [request, kind]: log-likelihood of something seen of each request."""
        for request, each in zip(requests, said, strict=True):
            if request in self._evidence:
                self._evidence[request] = self._evidence[request] + TEMPER * each

    def forget(self, request: int) -> None:
        """The request has ended; the traffic remembers what it was."""
        evidence = self._evidence.pop(request, None)
        if evidence is not None:
            own = _posterior(evidence[None], self._trained + self._ended)[0]
            self._ended = KEEP * self._ended + own


def _posterior(evidence: Array, prior: Array) -> Array:
    scores = evidence + np.log(prior / prior.sum())
    scores = np.exp(scores - scores.max(1, keepdims=True))
    found: Array = scores / scores.sum(1, keepdims=True)
    return found
