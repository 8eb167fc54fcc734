"""Counter-based random numbers: a function of (seed, counters), so no scheduling changes a draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MASK = 0xFFFFFFFFFFFFFFFF
_GOLDEN = 0x9E3779B97F4A7C15


def mix(key: int, counter: int) -> int:
    """64 bits from 64 bits and a counter: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    z = (key + (counter + 1) * _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class Draws:
    """The stream of one purpose. ``purpose`` keeps streams of one seed apart."""

    __slots__ = ("_key",)

    def __init__(self, seed: int, purpose: str) -> None:
        key = mix(seed, 0)
        for byte in purpose.encode():
            key = mix(key, byte)
        self._key = key

    def uniform(self, request: int, counter: int) -> float:
        """In [0, 1), for one request and, say, its round."""
        return (mix(mix(self._key, request), counter) >> 11) * 2.0**-53

    def normal(self, request: int, counter: int) -> float:
        """Standard normal (Box and Muller), from two uniforms."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.uniform(request, 2 * counter)))
        return radius * math.cos(2.0 * math.pi * self.uniform(request, 2 * counter + 1))

    def choice(self, request: int, counter: int, arms: Sequence[int], weights: Sequence[float]) -> int:
        """One of ``arms`` with probability proportional to its weight; uniform where all weights are 0."""
        u = self.uniform(request, counter)
        total = sum(weights)
        if total <= 0.0:
            return arms[int(u * len(arms))]
        left = u * total
        chosen = arms[0]
        for arm, weight in zip(arms, weights, strict=True):
            if weight > 0.0:
                chosen = arm
                left -= weight
                if left < 0.0:
                    break
        return chosen
