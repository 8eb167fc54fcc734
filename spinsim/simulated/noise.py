"""The truth is the prediction times noise: a factor per operation and run, and one per call."""

from __future__ import annotations

import numpy as np


class Noise:
    """Lognormal factors with median 1, from a stream of their own.

    ``per_run_sd`` is drawn once per kind of operation: it is what makes an interval. ``per_call_sd``
    is drawn for every operation and averages out over a run.
    """

    _BLOCK = 4096

    def __init__(self, per_run_sd: float, per_call_sd: float, kinds: int, seed: int) -> None:
        self._rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0x6E6F6973])))
        self._per_run = np.exp(self._rng.normal(0.0, per_run_sd, kinds)).tolist()
        self._per_call_sd = per_call_sd
        self._block: list[float] = []

    def factor(self, kind: int) -> float:
        """The factor on one operation of a kind."""
        factor: float = self._per_run[kind]
        if self._per_call_sd > 0:
            if not self._block:
                self._block = np.exp(self._rng.normal(0.0, self._per_call_sd, self._BLOCK)).tolist()
            factor *= self._block.pop()
        return factor
