"""Where the K/V of the bench's rows lie: all over the cache, as after a while of serving, or in order."""

from __future__ import annotations

import numpy as np

from spinsim.runner.base import Runner

GROWN = 3  # tokens of a row between two passes


class Laid:
    """The blocks of one runner's rows. Where slots are whole there is nothing to lay, and nothing is done."""

    def __init__(
        self, runner: Runner, slots: int, tokens: int, context_tokens: int, block: int | None
    ) -> None:
        self._runner, self._slots, self._block = runner, slots, block
        self._blocks = 0 if block is None else tokens // block
        self._width = 0 if block is None else -(-context_tokens // block)
        self._order = np.arange(self._blocks, dtype=np.int32)
        self._rows: list[np.ndarray[tuple[int], np.dtype[np.int32]]] = []
        self._due = 0.0  # writes that passes so far had, and that are still to come

    def lay(self, *, scattered: bool) -> None:
        """Every row has as many blocks as a context can take; rows share some where there are too few.

        ``scattered``: they lie all over the cache, else in order.
        """
        self._runner.share()
        if self._block is None:
            return
        self._order = np.arange(self._blocks, dtype=np.int32)
        if scattered:
            np.random.default_rng(0).shuffle(self._order)
        self._rows = [self._order[:0]] * self._slots
        self.part(self._slots)

    def part(self, rows: int) -> None:
        """Divide the blocks among so many rows: none shares one before the cache is full.

        Rows that shared blocks would find each other's in the GPU's cache.
        """
        if self._block is None:
            return
        begin = np.arange(rows)[:, None] * max(1, self._blocks // rows)
        self._rows[:rows] = list(self._order[(begin + np.arange(self._width)) % self._blocks])
        self.write(rows)

    def grown(self, rows: int) -> None:
        """Before a pass of so many rows, write what a run writes, as often as a run does.

        A row takes a new block every so many passes. Where no row does, nothing is written: with blocks of 64
        tokens and one row, that is before 20 of 21 passes. A write is no small part of a small draft's pass.
        """
        if self._block is None:
            return
        each = min(1.0, GROWN / self._block)
        chance = 1 - (1 - each) ** rows  # that any row does
        self._due += chance
        if self._due >= 1:
            self._due -= 1
            self.write(max(1, round(rows * each / chance)))

    def write(self, rows: int) -> None:
        """Write the tables of so many rows. Only where K/V lie in blocks."""
        self._runner.hold(range(rows), self._rows[:rows])
