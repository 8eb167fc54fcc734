"""How many tokens a proposal is expected to yield, for each live request, draft and length."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from spinsim.policies.base import Feedback

Array = np.ndarray[Any, Any]

CERTAIN = 0.999  # the highest chance that a position is accepted
PRIOR_MEAN = 0.7  # of a draft of which nothing is known
PRIOR_TRIED = 16.0  # positions that this prior counts for
SHAPE_TRIED = 24.0  # positions of evidence before a position's own rate counts as much as the draft's
LEAST_STRENGTH, MOST_STRENGTH = 4.0, 400.0  # of the prior that requests share, in positions
REMEMBERED = 256  # ended requests that still tell how requests differ


class Survival:
    """A shrinkage estimate of acceptance, by request, draft and position in the proposal (ours).

    A draft d has a rate p_d and, since acceptances cluster, a rate h_d(j) of position j given that all before
    it were accepted. A request i with A of T tried positions accepted scales them by
    (s_d + A / p_d) / (s_d + T): its own evidence against that of everybody, worth ``s_d`` positions. Here
    s_d = 1 / rho - 1 comes from the analysis-of-variance estimator of the intra-class correlation rho of
    binary data (Ridout, Demetrio and Firth 1999, Biometrics 55): the more requests differ, the less a
    request is believed to be like the others. A proposal that the end of the output cut short has tried only
    what was accepted.
    """

    def __init__(self, drafts: int, most: int) -> None:
        self._most = most
        self._rows: dict[int, int] = {}
        self._free = list(range(16))
        self._own = np.zeros((2, 16, drafts))  # accepted, tried; by live request
        self._ended: list[Array] = []  # the same of requests that ended
        self._all = np.zeros((2, drafts, most))  # accepted, tried; by position
        self._noted: list[Feedback] = []  # rounds, and requests that ended, still to be counted
        self._read: list[tuple[int, int, bytes]] = []  # what drafts said of tokens that they read
        self._gone: list[int] = []
        self.strength = np.full(drafts, 16.0)
        self._squares = np.zeros(drafts)  # of what each request that ended has tried, summed

    def observe(self, feedback: Feedback) -> None:
        """Note what a round tried.

        Rounds wait for this call. So it is counted later, several rounds at once: by :meth:`count`, or when
        the counts are asked for.
        """
        self._noted.append(feedback)

    def read(self, request: int, draft: int, hits: bytes) -> None:
        """Note which of a request's output tokens the draft would have proposed, in their order.

        They count as proposals of as many tokens as are allowed, one after the other: the next begins behind
        a token that was missed.
        """
        self._read.append((request, draft, hits))

    @property
    def noted(self) -> int:
        """Rounds that are still to be counted."""
        return len(self._noted)

    def forget(self, request: int) -> None:
        """Note that the request has ended; how it differed from others is kept."""
        self._gone.append(request)

    def count(self) -> None:
        """Count the rounds, and then the ends of requests, that were noted since the last time."""
        noted, self._noted = self._noted, []
        gone, self._gone = self._gone, []
        read, self._read = self._read, []
        if noted:
            self._count_rounds(noted)
        for request, draft, hits in read:
            self._count_read(self._row(request), draft, hits)
        for request in gone:
            self._count_end(request)

    def _count_rounds(self, noted: Sequence[Feedback]) -> None:
        columns = zip(*((one.drafts, one.lengths, one.accepted, one.committed) for one in noted), strict=True)
        told = [np.array(list(chain.from_iterable(column))) for column in columns]
        drafted = (told[0] >= 0) & (told[1] > 0)
        if not drafted.any():
            return
        rows = np.array([self._row(view.id) for one in noted for view in one.requests])
        rows, drafts, lengths, accepted, committed = (column[drafted] for column in (rows, *told))
        tried = accepted + ((accepted < lengths) & (committed > accepted))
        for kept, own, reached in zip(self._all, self._own, (accepted, tried), strict=True):
            kept += self._by_position(drafts, reached)
            np.add.at(own, (rows, drafts), reached)

    def _count_read(self, row: int, draft: int, hits: bytes) -> None:
        self._own[:, row, draft] += sum(hits), len(hits)
        position = 0
        for hit in hits:
            self._all[:, draft, position] += hit, 1
            position = (position + 1) % self._most if hit else 0

    def _by_position(self, drafts: Array, reached: Array) -> Array:
        """[draft, position]: how many of the rows reached beyond the position."""
        wide = self._most + 1
        ends = np.bincount(drafts * wide + reached, minlength=len(self.strength) * wide)
        found: Array = ends.reshape(-1, wide)[:, :0:-1].cumsum(1)[:, ::-1]
        return found

    def _count_end(self, request: int) -> None:
        row = self._rows.pop(request, None)
        if row is None:
            return
        self._squares += self._own[1, row] ** 2
        self._ended.append(self._own[:, row].copy())
        if len(self._ended) > REMEMBERED:
            del self._ended[: REMEMBERED // 2]
        self._own[:, row] = 0.0
        self._free.append(row)

    def rates(self) -> Array:
        """p_d: accepted of tried positions, by draft."""
        self.count()
        accepted = self._all[0].sum(1) + PRIOR_MEAN * PRIOR_TRIED
        found: Array = accepted / self.tried()
        return found

    def tried(self) -> Array:
        """Positions tried so far, by draft; the prior's included."""
        self.count()
        found: Array = self._all[1].sum(1) + PRIOR_TRIED
        return found

    def deviations(self) -> Array:
        """Standard deviation of what is believed of p_d, by draft."""
        rate = self.rates()
        found: Array = np.sqrt(rate * (1 - rate) / (self.tried() + 1))
        return found

    def learn_strength(self) -> None:
        """Estimate anew how much requests differ. It reads every live request: once a plan is enough."""
        self.count()
        rows = list(self._rows.values())
        own = self._own[:, rows]
        if self._ended:
            own = np.concatenate((own, np.stack(self._ended, 1)), 1)
        accepted, tried = own
        seen = tried > 0
        groups, total = seen.sum(0), tried.sum(0)
        rate = self.rates()
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(seen, accepted / tried, 0.0)
            between = (tried * (mean - rate) ** 2).sum(0) / np.maximum(groups - 1, 1)
            within = (tried * mean * (1 - mean)).sum(0) / np.maximum(total - groups, 1)
            size = (total - (tried**2).sum(0) / np.maximum(total, 1)) / np.maximum(groups - 1, 1)
            rho = (between - within) / (between + (size - 1) * within)
            strength = 1 / rho - 1
        known = (groups >= 4) & (total > 4 * groups) & np.isfinite(rho)
        strength = np.where(rho > 0, strength, MOST_STRENGTH)
        self.strength = np.where(known, strength.clip(LEAST_STRENGTH, MOST_STRENGTH), 16.0)

    def yields(self, requests: Sequence[int]) -> tuple[Array, Array]:
        """Tokens [request, draft, length 0 .. most] that a round commits, the target's own included; and the
        standard deviation [request, draft] of a request's rate.

        The deviation has two parts: how requests differ, less what the request has shown of itself, and what
        is not known of the rate that they share.
        """
        self.count()
        rows = [self._row(request) for request in requests]
        accepted, tried = self._own[:, rows]
        rate = self.rates()
        position_accepted, position_tried = self._all
        # The prior's positions lie as the tried ones do: it is about the rate, and not about its course.
        prior = PRIOR_TRIED * position_tried / np.maximum(position_tried.sum(1, keepdims=True), 1.0)
        shape = position_accepted + PRIOR_MEAN * prior + SHAPE_TRIED * rate[:, None]
        shape /= position_tried + prior + SHAPE_TRIED
        scale = (self.strength + accepted / rate) / (self.strength + tried)
        hazard = np.minimum(shape * scale[:, :, None], CERTAIN)
        tokens = np.empty((len(rows), len(rate), self._most + 1))
        tokens[:, :, 0] = 1.0
        np.cumsum(np.cumprod(hazard, 2), 2, out=tokens[:, :, 1:])
        tokens[:, :, 1:] += 1.0
        own = np.minimum(rate * scale, CERTAIN)
        spread = own * (1 - own) / (self.strength + tried + 1)
        shared = rate * (1 - rate) / (self._independent() + 1)
        return tokens, np.sqrt(spread + shared * (self.strength / (self.strength + tried)) ** 2)

    def _independent(self) -> Array:
        """Independent positions that tell as much of p_d as those tried so far, the prior's included.

        Positions of one request tell the less, the more requests differ: Kish's design effect
        1 + (n - 1) rho, n the positions of a request in the mean of positions (Kish 1965, Survey Sampling).
        """
        tried = self.tried() - PRIOR_TRIED
        squares = self._squares + (self._own[1] ** 2).sum(0)
        each = np.maximum(squares / np.maximum(tried, 1.0), 1.0)
        found: Array = PRIOR_TRIED + tried / (1 + (each - 1) / (1 + self.strength))
        return found

    def _row(self, request: int) -> int:
        row = self._rows.get(request)
        if row is None:
            if not self._free:
                held = self._own.shape[1]
                self._own = np.concatenate((self._own, np.zeros_like(self._own)), 1)
                self._free = list(range(held, 2 * held))
            row = self._rows[request] = self._free.pop()
        return row
