"""What a batch's learner remembers, in arrays: the requests of a round are read and written together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
GAIN, COST, PULLS = range(3)


class Tries:
    """Gain, cost and pulls of every live request and arm, and of all requests there ever were.

    As :class:`spinsim.policies.statistics.Statistics` with a prior: a request starts as if every arm had been
    pulled min(``prior_weight``, pulls in the pool) times with the pool's average gain and cost.
    """

    def __init__(self, arms: int, prior_weight: float) -> None:
        self._weight = prior_weight
        self._table = np.zeros((3, 16, arms))
        self._rows: dict[int, int] = {}
        self._free = list(range(16))
        self._pool = np.zeros((3, arms))

    def of(self, requests: Sequence[int]) -> Array:
        """[gain, cost or pulls; request; arm], the prior's included."""
        rows = [self._row(request) for request in requests]  # first: the table may grow
        return self._table[:, rows] + self._prior()[:, None]

    def add(
        self, requests: Sequence[int], arms: Sequence[int], gains: Sequence[float], costs: Sequence[float]
    ) -> None:
        """One pull a request; each at most once. NO_DRAFT, -1, is the last arm."""
        rows = [self._row(request) for request in requests]
        values = np.array((gains, costs, [1.0] * len(rows)))
        self._table[:, rows, arms] += values
        width = self._pool.shape[1]
        for total, value in zip(self._pool, values, strict=True):
            total += np.bincount(np.asarray(arms) % width, value, width)

    def forget(self, request: int) -> None:
        """The request has ended; the pool keeps what it taught."""
        row = self._rows.pop(request, None)
        if row is not None:
            self._table[:, row] = 0.0
            self._free.append(row)

    def _prior(self) -> Array:
        pulls = self._pool[PULLS]
        prior: Array = self._pool * (np.minimum(self._weight, pulls) / np.maximum(pulls, 1.0))
        return prior

    def _row(self, request: int) -> int:
        row = self._rows.get(request)
        if row is None:
            if not self._free:
                held = self._table.shape[1]
                self._table = np.concatenate((self._table, np.zeros_like(self._table)), 1)
                self._free = list(range(held, 2 * held))
            row = self._rows[request] = self._free.pop()
        return row
