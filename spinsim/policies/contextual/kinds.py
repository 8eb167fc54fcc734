"""What kind of text a request is, told by what was seen of it and of the traffic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from spinsim.policies.contextual.request_rows import RequestRows

Array = np.ndarray[Any, Any]

TEMPER = 0.3  # of the evidence: rounds of one request are no independent draws
REQUESTS = 2.0  # that the share of each kind in training is worth
KEEP = 0.98  # of the traffic's kinds, per request that ended


class Kinds:
    """A posterior over kinds of text for every live request (ours).

    Kinds are the domains that were trained on. The prior is the traffic: what the requests that ended
    lately, and those alive, are taken to be. The evidence is the likelihood of the matches that were found
    and of the tokens that were accepted, raised to the power ``temper``. Where the traffic is of one kind,
    it is soon known for that.
    """

    def __init__(self, shares: Sequence[float], temper: float = TEMPER) -> None:
        self.temper = temper
        self._trained = REQUESTS * np.asarray(shares, np.float64)
        self._ended = np.zeros(len(shares))
        self._evidence = RequestRows(len(shares), 0.0)

    def of(self, requests: Sequence[int]) -> Array:
        """[request, kind]: probabilities."""
        rows = self._evidence.of(requests)
        if len(self._trained) == 1:
            return np.ones((len(requests), 1))
        evidence = self._evidence.values
        prior = self._trained + self._ended
        everyone = posterior(evidence[self._evidence.all()], prior)
        return posterior(evidence[rows], prior + everyone.sum(0))

    def observe(self, requests: Sequence[int], said: Array) -> None:
        """``said`` [request, kind]: log-likelihood of something seen of each request; a request may be
        named several times."""
        known = [at for at, request in enumerate(requests) if request in self._evidence]
        rows = self._evidence.of([requests[at] for at in known])
        np.add.at(self._evidence.values, rows, self.temper * said[known])

    @contextmanager
    def supposing(self, requests: Sequence[int], said: Array) -> Iterator[None]:
        """As if that had been observed."""
        rows = self._evidence.of(requests)
        before = self._evidence.values[rows]
        self._evidence.values[rows] = before + self.temper * said
        try:
            yield
        finally:
            self._evidence.values[rows] = before

    def forget(self, request: int) -> None:
        """The request has ended; the traffic remembers what it was."""
        evidence = self._evidence.forget(request)
        if evidence is not None:
            own = posterior(evidence[None], self._trained + self._ended)[0]
            self._ended = KEEP * self._ended + own


def posterior(evidence: Array, prior: Array) -> Array:
    """[..., kind]: probabilities from log-likelihoods [..., kind]."""
    scores = evidence + np.log(prior / prior.sum())
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    found: Array = scores / scores.sum(-1, keepdims=True)
    return found
