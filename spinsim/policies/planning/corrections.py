"""What operations took, over what the cost model had said: a planner corrects its costs by what it sees."""

from __future__ import annotations

from collections import deque
from statistics import median

import numpy as np

LEAST, MOST = 0.25, 4.0  # of a correction: beyond it something else happened
REMEMBERED = 32  # samples that a correction of operations is a mean of; the last weigh the most
CYCLES = 15  # that a correction of the cycle is the median of

FEWEST_CYCLES = 3
ODD = 2.0  # a cycle that took so many times what was predicted waited for a prompt, or caught up


class Corrections:
    """Factors by which predicted seconds are multiplied (ours): of measured over predicted ones.

    ``verify`` is of every verification, ``draft`` of each draft's proposals; a draft that has not proposed
    yet has that of all proposals. :meth:`pace` is of a whole cycle, by its number of micro-batches: what the
    host adds, and what overlaps less than the cycle reckons.
    """

    def __init__(self, drafts: int) -> None:
        self.verify = 1.0
        self.draft = np.ones(drafts)
        self._any_draft = 1.0
        self._verified = self._proposed = 0
        self._samples = np.zeros(drafts, int)
        self._cycles: dict[int, deque[float]] = {}
        self._pace: dict[int, float] = {}

    def verified(self, seconds: float, predicted_s: float) -> None:
        """A verification took so long."""
        self._verified += 1
        self.verify = _moved(self.verify, _ratio(seconds, predicted_s), self._verified)

    def proposed(self, draft: int, seconds: float, predicted_s: float) -> None:
        """A proposal of a draft took so long."""
        ratio = _ratio(seconds, predicted_s)
        self._proposed += 1
        self._samples[draft] += 1
        self._any_draft = _moved(self._any_draft, ratio, self._proposed)
        self.draft[draft] = _moved(self.draft[draft], ratio, int(self._samples[draft]))
        self.draft[self._samples == 0] = self._any_draft

    def cycled(self, depth: int, seconds: float, predicted_s: float) -> None:
        """A cycle of ``depth`` micro-batches took so long, and was predicted from corrected operations."""
        ratio = _ratio(seconds, predicted_s)
        if not 1 / ODD < ratio < ODD:
            return
        cycles = self._cycles.setdefault(depth, deque(maxlen=CYCLES))
        cycles.append(ratio)
        if len(cycles) >= FEWEST_CYCLES:
            self._pace[depth] = median(cycles)

    def pace(self, depth: int) -> float:
        """Of cycles of so many micro-batches; where there was none, of the next fewer that there were."""
        known = [tried for tried in self._pace if tried <= depth]
        return self._pace[max(known)] if known else 1.0


def _ratio(seconds: float, predicted_s: float) -> float:
    return min(max(seconds / max(predicted_s, 1e-9), LEAST), MOST)


def _moved(mean: float, sample: float, samples: int) -> float:
    return float(mean + (sample - mean) / min(samples, REMEMBERED))
