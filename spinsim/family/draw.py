"""Random draws that are the same on every platform and Python version."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """Draws from one stream per key.

    Everything rests on ``random.Random.random``, the only sequence that Python promises to keep
    from version to version.
    """

    def __init__(self, key: str) -> None:
        self._unit = random.Random(key).random

    def below(self, n: int) -> int:
        """An integer of 0 .. n - 1."""
        return int(self._unit() * n)

    def between(self, low: int, high: int) -> int:
        """An integer of low .. high, both included."""
        return low + int(self._unit() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        return self._unit() < probability

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self._unit() * len(items))]

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """``count`` different items, in random order (partial Fisher-Yates)."""
        pool = list(items)
        for i in range(count):
            j = i + int(self._unit() * (len(pool) - i))
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:count]
