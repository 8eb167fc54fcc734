"""How likely the first j tokens of a proposal are all accepted, counted by what is known before drafting."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spinsim.errors import InputError

Array = np.ndarray[Any, Any]

SCHEMA = "spinsim-survival/1"
SURE = 1e-3  # no probability that a kind of text is judged by is nearer to 0 or 1
# Lower ends of the classes of a match's length; class 0 is no match, or nobody who could tell.
MATCHES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 17, 25, 40, 64)
# Lower ends of the classes of recent acceptance; class 0 is a drafter that the request has not used yet.
RECENT = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
UNTRIED = -1.0  # recent acceptance of such a drafter
KEEP = 0.8  # of recent acceptance, per round
HOPE = 0.7  # acceptance of a token of which nothing is known: high enough to be tried


def match_class(matched: int) -> int:
    """The class of a match of so many tokens."""
    return bisect_right(MATCHES, matched)


def recent_class(recent: float) -> int:
    """The class of a share of accepted tokens, or of :data:`UNTRIED`."""
    return bisect_right(RECENT, recent)


def smoothed(recent: float, accepted: int, length: int) -> float:
    """Recent acceptance after one more round: an exponential average of the share accepted (ours)."""
    share = accepted / length
    return share if recent < 0 else KEEP * recent + (1 - KEEP) * share


class Classes(NamedTuple):
    """Contexts of some rows: by row the class of the match, and of recent acceptance."""

    matches: Sequence[int]
    recents: Sequence[int]


class Survival:
    """Counts of one drafter: a proposal's j-th token was reached, and was accepted, by class of context
    (ours).

    A class is (kind of text, length of the match that lookup drafters found, the drafter's recent
    acceptance for the request). Acceptance of the j-th token in a class is accepted / reached, drawn
    towards the same share of the kind's requests with such a match, and that towards the share of all of
    the kind, each worth ``strength`` proposals: a class seen often speaks for itself, so that the
    probabilities are calibrated where they are used. Counts of a kind are halved when they exceed
    ``memory`` proposals.
    """

    def __init__(self, longest: int, kinds: int = 1, strength: float = 8.0, memory: float = 20_000.0) -> None:
        self.longest = longest
        self._strength = strength
        self._memory = memory
        self._reached = np.zeros((kinds, len(MATCHES) + 1, len(RECENT) + 1, longest))
        self._accepted = np.zeros_like(self._reached)
        self._sum()

    def observe(
        self, context: Classes, accepted: Sequence[int], lengths: Sequence[int], weights: Array
    ) -> Array:
        """Proposals of which ``lengths`` tokens were judged and ``accepted`` stood; ``weights`` [row, kind].

        Returns the log-likelihood of what was seen, [row, kind].
        """
        steps = np.arange(self.longest)
        stood = steps < np.asarray(accepted)[:, None]
        reached = steps < np.minimum(np.asarray(accepted) + 1, np.asarray(lengths))[:, None]
        rate = np.clip(self.rates(context), SURE, 1 - SURE)
        said: Array = (np.where(stood, np.log(rate), np.log1p(-rate)) * reached).sum(2).T
        matches, recents = context
        # Row by row: for the rows of a batch slices take a fifth of what numpy.add.at does.
        for row, share in enumerate(weights[:, :, None]):
            seen, stayed = reached[row] * share, stood[row] * share
            self._reached[:, matches[row], recents[row]] += seen
            self._accepted[:, matches[row], recents[row]] += stayed
            self._reached_by_match[:, matches[row]] += seen
            self._accepted_by_match[:, matches[row]] += stayed
            self._reached_in_all += seen
            self._accepted_in_all += stayed
        full = self._reached_in_all[:, 0] > self._memory
        if full.any():
            self._reached[full] *= 0.5
            self._accepted[full] *= 0.5
            self._sum()
        return said

    def _sum(self) -> None:
        """The counts of all requests with such a match, and of all; kept, since every round asks for them."""
        self._reached_by_match, self._accepted_by_match = self._reached.sum(2), self._accepted.sum(2)
        self._reached_in_all = self._reached_by_match.sum(1)
        self._accepted_in_all = self._accepted_by_match.sum(1)

    def probabilities(self, context: Classes, weights: Array) -> Array:
        """[row, j]: the first j + 1 tokens are all accepted; ``weights`` [row, kind]: what each row is."""
        by_kind = np.cumprod(self.rates(context), 2)
        survival: Array = (by_kind * weights.T[:, :, None]).sum(0)
        return survival

    def rates(self, context: Classes) -> Array:
        """[kind, row, j]: token j is accepted where those before it were."""
        strength, (matches, recents) = self._strength, context
        whole = (self._accepted_in_all + strength * HOPE) / (self._reached_in_all + strength)
        near = self._accepted_by_match[:, matches] + strength * whole[:, None]
        near /= self._reached_by_match[:, matches] + strength
        rate: Array = self._accepted[:, matches, recents] + strength * near
        rate /= self._reached[:, matches, recents] + strength
        return rate

    def state(self) -> dict[str, Any]:
        """The counts, as JSON has them."""
        return {"reached": self._reached.tolist(), "accepted": self._accepted.tolist()}

    def load(self, state: Mapping[str, Any], trust: float) -> None:
        """Begin with these counts, those of each kind scaled down to at most ``trust`` proposals.

        Raises:
            InputError: they are of another shape.
        """
        shape = self._reached.shape[:3]
        try:
            reached = np.asarray(state["reached"], np.float64)
            accepted = np.asarray(state["accepted"], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"no counts ({error}); a file that training wrote") from error
        if reached.shape != accepted.shape or reached.ndim != 4 or reached.shape[:3] != shape:
            raise InputError(
                f"counts of shape {reached.shape}; {shape} and a length, as training writes them"
            )
        proposals = reached[:, :, :, 0].sum((1, 2))
        scale = np.minimum(1.0, trust / np.maximum(proposals, 1.0))[:, None, None, None]
        known = min(self.longest, reached.shape[3])
        self._reached[..., :known] = scale * reached[..., :known]
        self._accepted[..., :known] = scale * accepted[..., :known]
        self._sum()
