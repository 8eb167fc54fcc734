"""Runs of accepted proposals, drawn in Python and handed to the kernel as they are asked for."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

import numpy as np

from spinsim.acceptance.cached import BLOCK, CachedField

LONGEST = 2**16 - 1  # of a run: no proposal is longer
FEW = 256  # pieces that are kept before anybody looks which of them are needed


class NativeRuns:
    """``table``: addresses of runs by request and draft, 0 where nobody asked yet.

    ``finished_ns`` says by request since when nobody asks any more; negative where somebody may.
    """

    def __init__(
        self, field: CachedField, requests: int, drafts: int, finished_ns: np.ndarray[Any, Any]
    ) -> None:
        self.table = np.zeros((requests, max(drafts, 1)), np.uintp)
        self._field = field
        self._finished_ns = finished_ns
        self._kept: dict[tuple[int, int, int], object] = {}  # first request, last, draft
        self._many = FEW

    def ask(self, request: int, draft: int) -> None:
        """Draw what the kernel needs: the runs of one request and draft, or of a block of requests."""
        if len(self._kept) >= self._many:
            self._release()
        drawn = self._field.block(request // BLOCK, draft)
        if drawn is None:
            one = _whole(self._field.runs(request, draft))
            self._kept[request, request + 1, draft] = one
            self.table[request, draft] = one.buffer_info()[0]
            return
        values, ends = drawn
        runs = np.minimum(values, LONGEST).astype(np.uint16)
        first = request // BLOCK * BLOCK
        last = first + len(ends)
        starts = np.concatenate(([0], ends[:-1]))
        self._kept[first, last, draft] = runs
        self.table[first:last, draft] = runs.ctypes.data + starts * runs.itemsize

    def _release(self) -> None:
        for first, last, draft in list(self._kept):
            if (self._finished_ns[first:last] >= 0).all():
                del self._kept[first, last, draft]
                self.table[first:last, draft] = 0
                for request in range(first, last):
                    self._field.forget(request)
        self._many = 2 * len(self._kept) + FEW


def _whole(runs: Sequence[int]) -> array[int]:
    """For a few hundred numbers four times as fast as numpy."""
    try:
        return array("H", runs)
    except OverflowError:
        return array("H", [min(run, LONGEST) for run in runs])
