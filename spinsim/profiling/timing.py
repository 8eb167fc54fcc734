"""Medians with their spread, within a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True)
class Effort:
    """How long one visit to a point is: until ``seconds`` have passed, within these repetitions.

    A point is visited ``passes`` times, all others between: whatever disturbs a machine comes in bursts,
    and a burst then spoils one visit, which the median over all of them does not mind.
    """

    seconds: float = 0.08
    fewest: int = 3
    most: int = 20
    warm: int = 2
    passes: int = 3

    @property
    def hurried(self) -> Effort:
        """One warm-up call and one that counts, where time is up."""
        return replace(self, seconds=0.0, fewest=1, most=1, warm=min(self.warm, 1))

    def expected(self, call_s: float) -> float:
        """Seconds that one visit takes to a point of calls of ``call_s``."""
        repetitions = min(max(self.seconds / max(call_s, 1e-9), self.fewest), self.most)
        return (repetitions + self.warm) * call_s


QUICK = Effort(seconds=0.02, fewest=1, most=8, warm=1)


@dataclass(frozen=True, slots=True)
class Timing:
    """A median, and half the interquartile range around it."""

    seconds: float
    spread_s: float
    repetitions: int


def timing_of(samples: Sequence[float]) -> Timing:
    """Raises ValueError without a sample."""
    if not samples:
        raise ValueError("nothing was measured")
    low, middle, high = np.quantile(samples, (0.25, 0.5, 0.75))
    return Timing(float(middle), float(high - low) / 2, len(samples))


def sampled(once: Callable[[], float], effort: Effort) -> list[float]:
    """``once`` does the work and returns its seconds; warm-up calls are not among the samples."""
    for _ in range(effort.warm):
        once()
    samples: list[float] = []
    end = time.perf_counter() + effort.seconds
    while len(samples) < effort.fewest or (time.perf_counter() < end and len(samples) < effort.most):
        samples.append(once())
    return samples


def repeated(once: Callable[[], float], effort: Effort) -> Timing:
    """The median of :func:`sampled`."""
    return timing_of(sampled(once, effort))
