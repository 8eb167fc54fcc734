"""Medians with their spread, within a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Effort:
    """How long one point is measured: until ``seconds`` have passed, within these repetitions."""

    seconds: float = 0.25
    fewest: int = 5
    most: int = 50
    warm: int = 2

    def expected(self, call_s: float) -> float:
        """Seconds that a point of calls of ``call_s`` takes."""
        repetitions = min(max(self.seconds / max(call_s, 1e-9), self.fewest), self.most)
        return (repetitions + self.warm) * call_s


QUICK = Effort(seconds=0.06, fewest=3, most=15, warm=1)


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


def repeated(once: Callable[[], float], effort: Effort) -> Timing:
    """``once`` does the work and returns its seconds; warm-up calls are not counted."""
    for _ in range(effort.warm):
        once()
    samples: list[float] = []
    end = time.perf_counter() + effort.seconds
    while len(samples) < effort.fewest or (time.perf_counter() < end and len(samples) < effort.most):
        samples.append(once())
    return timing_of(samples)


def repeated_pair(
    short: Callable[[], float], long: Callable[[], float], steps: int, effort: Effort
) -> Timing:
    """What one of ``steps`` further steps takes: (long - short) / steps, the two measured in turn.

    The spread is that of the differences of neighbours, so that a drift of the clock cancels.
    """
    for _ in range(effort.warm):
        short(), long()
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + effort.seconds
    while len(pairs) < effort.fewest or (time.perf_counter() < end and len(pairs) < effort.most):
        pairs.append((short(), long()))
    differences = [(b - a) / steps for a, b in pairs]
    apart = timing_of(differences)
    middle = (float(np.median([b for _, b in pairs])) - float(np.median([a for a, _ in pairs]))) / steps
    # Noise can make a short step vanish; it never takes less than no time.
    return Timing(max(middle, 1e-9), apart.spread_s, len(pairs))
