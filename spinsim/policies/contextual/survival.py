"""How likely the first j tokens of a proposal are all accepted, counted by what is known before drafting."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

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


def smoothed_all(recent: Array, accepted: Sequence[float], lengths: Sequence[int]) -> Array:
    """:func:`smoothed` of every row."""
    share = np.asarray(accepted) / np.asarray(lengths)
    found: Array = np.where(recent < 0, share, KEEP * recent + (1 - KEEP) * share)
    return found


class Classes(NamedTuple):
    """Contexts of some proposals, in arrays alike: the class of the match, and of recent acceptance."""

    matches: Array
    recents: Array

    @classmethod
    def of(cls, matched: ArrayLike, recent: ArrayLike) -> Classes:
        """The classes of matches of so many tokens, and of such recent acceptance."""
        return cls(
            np.searchsorted(MATCHES, np.asarray(matched), side="right"),
            np.searchsorted(RECENT, np.asarray(recent), side="right"),
        )


class Survival:
    """Counts by drafter: a proposal's j-th token was reached, and was accepted, by class of context (ours).

    A class is (kind of text, length of the match that lookup drafters found, the drafter's recent
    acceptance for the request). Acceptance of the j-th token in a class is accepted / reached, drawn
    towards the same share of the kind's requests with such a match, and that towards the share of all of
    the kind, each worth ``strength`` proposals: a class seen often speaks for itself, so that the
    probabilities are calibrated where they are used. Counts of a kind are halved when they exceed
    ``memory`` proposals.

    The drafters' counts are in one array, so that a round asks and tells for all of its rows at once. A
    method's ``drafters`` are indices, an array that is broadcast with the classes of their contexts.
    """

    def __init__(
        self,
        longest: int,
        kinds: int = 1,
        strength: float = 8.0,
        memory: float = 20_000.0,
        drafters: int = 1,
    ) -> None:
        self.longest = longest
        self._strength = strength
        self._memory = memory
        self._reached = np.zeros((drafters, len(MATCHES) + 1, len(RECENT) + 1, kinds, longest))
        self._accepted = np.zeros_like(self._reached)
        self._sum()

    def observe(
        self,
        drafters: Array,
        context: Classes,
        accepted: Sequence[int],
        lengths: Sequence[int],
        weights: Array,
    ) -> Array:
        """Proposals of which ``lengths`` tokens were judged and ``accepted`` stood, a row each; ``weights``
        [row, kind].

        Returns the log-likelihood of what was seen, [row, kind].
        """
        steps = np.arange(self.longest)
        stood = (steps < np.asarray(accepted)[:, None])[:, None, :]
        ends = np.minimum(np.asarray(accepted) + 1, np.asarray(lengths))
        reached = (steps < ends[:, None])[:, None, :]
        rate = np.clip(self.rates(drafters, context), SURE, 1 - SURE)
        said: Array = (np.log(np.where(stood, rate, 1 - rate)) * reached).sum(-1)
        share = weights[:, :, None]
        for (whole, near, own), more in (
            (self._counts_reached, reached * share),
            (self._counts_accepted, stood * share),
        ):
            np.add.at(own, (drafters, *context), more)
            np.add.at(near, (drafters, context.matches), more)
            np.add.at(whole, drafters, more)
        full = self._reached_in_all[..., 0] > self._memory
        if full.any():
            for counts in (self._reached, self._accepted):
                np.multiply(counts, 0.5, out=counts, where=full[:, None, None, :, None])
            self._sum()
        return said

    def _sum(self) -> None:
        """The counts of all requests with such a match, and of all; kept, since every round asks for them."""
        self._reached_by_match, self._accepted_by_match = self._reached.sum(2), self._accepted.sum(2)
        self._reached_in_all = self._reached_by_match.sum(1)
        self._accepted_in_all = self._accepted_by_match.sum(1)

    @property
    def _counts_reached(self) -> tuple[Array, Array, Array]:
        return self._reached_in_all, self._reached_by_match, self._reached

    @property
    def _counts_accepted(self) -> tuple[Array, Array, Array]:
        return self._accepted_in_all, self._accepted_by_match, self._accepted

    def by_kind(self, drafters: Array, context: Classes) -> Array:
        """[..., kind, j]: the first j + 1 tokens are all accepted."""
        return np.cumprod(self.rates(drafters, context), -1)

    def probabilities(self, drafters: Array, context: Classes, weights: Array) -> Array:
        """[..., j]: the first j + 1 tokens are all accepted; ``weights`` [..., kind]: what each row is."""
        return mixed(self.by_kind(drafters, context), weights)

    def rates(self, drafters: Array, context: Classes) -> Array:
        """[..., kind, j]: token j is accepted where those before it were."""
        strength, (matches, recents) = self._strength, context
        whole = (self._accepted_in_all + strength * HOPE) / (self._reached_in_all + strength)
        near = self._accepted_by_match[drafters, matches]
        near += strength * whole[drafters]
        near /= self._reached_by_match[drafters, matches] + strength
        rate: Array = self._accepted[drafters, matches, recents]
        rate += strength * near
        rate /= self._reached[drafters, matches, recents] + strength
        return rate

    def state(self, drafter: int = 0) -> dict[str, Any]:
        """The drafter's counts [kind, match, recent, j], as JSON has them."""
        counts = {"reached": self._reached, "accepted": self._accepted}
        return {name: np.moveaxis(each[drafter], 2, 0).tolist() for name, each in counts.items()}

    def load(self, state: Mapping[str, Any], trust: float, drafter: int = 0) -> None:
        """Begin with these counts, those of each kind scaled down to at most ``trust`` proposals.

        Raises:
            InputError: they are of another shape.
        """
        _, matches, recents, kinds, _ = self._reached.shape
        shape = kinds, matches, recents
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
        scale = np.minimum(1.0, trust / np.maximum(proposals, 1.0))[:, None]
        known = min(self.longest, reached.shape[3])
        for counts, given in ((self._reached, reached), (self._accepted, accepted)):
            counts[drafter, ..., :known] = scale * np.moveaxis(given, 0, 2)[..., :known]
        self._sum()


def mixed(by_kind: Array, weights: Array) -> Array:
    """Probabilities [..., kind, j] for requests that are of each kind with ``weights`` [..., kind]."""
    found: Array = (by_kind * weights[..., None]).sum(-2)
    return found
