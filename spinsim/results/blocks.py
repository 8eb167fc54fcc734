"""Records in blocks: what is counted over a run needs a part of its columns in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinsim.engine.columns import Column, blocks
from spinsim.engine.records import Operations, Rounds

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]

ROWS = 262_144  # of a block, and of a row group of the tables
_LEAF = 1 << 20  # numbers that are summed at once


@dataclass(frozen=True)
class RoundBlock:
    """Micro-batch rounds [first, last) with their rows [low, high). ``sizes``: rows by round."""

    rounds: Rounds
    first: int
    last: int
    low: int
    high: int
    sizes: Ints

    def header(self, column: Column) -> Ints:
        """An entry a round."""
        return column[self.first : self.last]

    def row(self, column: Column) -> Ints:
        """An entry a row."""
        return column[self.low : self.high]

    def spread(self, headers: NDArray[Any]) -> NDArray[Any]:
        """What there is by round, for each of its rows."""
        return np.repeat(headers, self.sizes)


def round_blocks(rounds: Rounds) -> Iterator[RoundBlock]:
    """All rounds, in blocks of at most ``ROWS`` rows, and of one round at least."""
    first, low, count = 0, 0, len(rounds.size)
    while first < count:
        sizes = rounds.size[first : first + ROWS]
        ends = np.cumsum(sizes, dtype=np.int64)
        taken = max(int(np.searchsorted(ends, ROWS, side="right")), 1)
        high = low + int(ends[taken - 1])
        yield RoundBlock(rounds, first, first + taken, low, high, sizes[:taken])
        first, low = first + taken, high


def finished_in_order(operations: Operations, by: Column) -> Iterator[Ints]:
    """Ids of the operations that have run, by the moment ``by`` (when they started, or finished).

    The earlier submitted goes first where moments are equal. What was submitted later than a moment neither
    started nor finished before it, so that a block's operations wait for few of the next.
    """
    waiting: Ints = np.empty(0, dtype=np.int64)
    count = len(operations.lane)
    for part in blocks(count, ROWS):
        done = part.start + np.flatnonzero(operations.finished_ns[part] >= 0)
        waiting = np.concatenate((waiting, done))
        moments = gathered(by, waiting)
        waiting = waiting[np.argsort(moments, kind="stable")]
        if part.stop < count:
            next_ns = operations.submitted_ns[part.stop]
            ready = int(np.searchsorted(np.sort(moments), next_ns, side="right"))
        else:
            ready = waiting.size
        if ready:
            yield waiting[:ready]
        waiting = waiting[ready:]


def gathered(column: Column, ids: Ints) -> Ints:
    """``column[ids]``, for ids that lie close together."""
    if not ids.size:
        return np.empty(0, dtype=column.dtype)
    low = int(ids.min())
    part: Ints = column[low : int(ids.max()) + 1][ids - low]
    return part


def by_request(request: Ints) -> Ints:
    """A stable order of rows by their request. Numpy sorts 16 bits several times as fast as 32."""
    if not request.size:
        return np.empty(0, dtype=np.int64)
    low = int(request.min())
    narrow = int(request.max()) - low < 1 << 16
    order: Ints = np.argsort((request - low).astype(np.uint16) if narrow else request, kind="stable")
    return order


def pairwise_sum(count: int, parts: Iterable[Floats]) -> float:
    """The sum of ``count`` numbers that come in parts, to the last bit as ``numpy.sum`` gives it.

    It adds halves of halves, each half a multiple of eight numbers long.
    """
    source = _Source(parts)

    def summed(n: int) -> float:
        if n <= _LEAF:
            return float(source.take(n).sum())
        half = n // 2
        half -= half % 8
        return summed(half) + summed(n - half)

    return summed(count)


class _Source:
    """Numbers that come in parts, taken in others."""

    def __init__(self, parts: Iterable[Floats]) -> None:
        self._parts = iter(parts)
        self._left = np.empty(0)

    def take(self, count: int) -> Floats:
        """The next ``count``. Raises StopIteration where so many do not come."""
        found = [self._left]
        while sum(map(len, found)) < count:
            found.append(next(self._parts))
        whole = np.concatenate(found)
        self._left = whole[count:]
        return whole[:count]
