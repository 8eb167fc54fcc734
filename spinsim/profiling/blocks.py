"""Where the K/V of the bench's rows lie: all over the cache, as after a while of serving, or in order."""

from __future__ import annotations

import numpy as np

from spinsim.runner.base import Runner

GROWN = 3  # tokens of a row between two passes, so that every so many tokens of a block its table is written


class Laid:
    """The blocks of one runner's rows. Where slots are whole there is nothing to lay, and nothing is done."""

    def __init__(
        self, runner: Runner, slots: int, tokens: int, context_tokens: int, block: int | None
    ) -> None:
        self._runner, self._slots, self._block = runner, slots, block
        self._blocks = 0 if block is None else tokens // block
        self._width = 0 if block is None else -(-context_tokens // block)
        self._rows: list[np.ndarray[tuple[int], np.dtype[np.int32]]] = []

    def lay(self, *, scattered: bool) -> None:
        """Every row has as many blocks as a context can take; rows share some where there are too few."""
        self._runner.share()
        if self._block is None:
            return
        order = np.arange(self._blocks, dtype=np.int32)
        if scattered:
            np.random.default_rng(0).shuffle(order)
        at = np.arange(self._slots * self._width).reshape(self._slots, self._width) % self._blocks
        self._rows = list(order[at])
        self._runner.hold(range(self._slots), self._rows)

    def grown(self, rows: int) -> None:
        """Write what a run writes before a pass of so many rows: those whose contexts took a new block."""
        if self._block is not None:
            count = -(-rows * GROWN // self._block)
            self._runner.hold(range(count), self._rows[:count])
