"""How many rounds requests last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spinsim.policies.base import RequestView

Array = np.ndarray[Any, Any]

USUAL_ROUNDS = 64.0  # before a request has ended


class Lasting:
    """The mean rounds of the requests that ended, and what is left of it to others (ours)."""

    def __init__(self) -> None:
        self._views: dict[int, RequestView] = {}
        self._ended = self._rounds = 0

    def note(self, batch: Sequence[RequestView]) -> None:
        """These requests are alive."""
        for view in batch:
            self._views[view.id] = view

    def forget(self, request: int) -> None:
        """The request has ended."""
        view = self._views.pop(request, None)
        if view is not None:
            self._ended += 1
            self._rounds += view.rounds

    def left(self, batch: Sequence[RequestView]) -> Array:
        """[row]: rounds that each is expected to last, a quarter of the mean for those that lasted long."""
        mean = self._rounds / self._ended if self._ended else USUAL_ROUNDS
        left: Array = np.maximum(mean - np.array([view.rounds for view in batch]), mean / 4)
        return left
