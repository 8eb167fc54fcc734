"""The truth is the prediction times noise: a factor per operation and run, and one per call."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spinsim.engine.records import KINDS
from spinsim.scenario import NoiseSpec, NoisyOperation

_BLOCK = 4096


class Noise:
    """Lognormal factors with median 1, from a stream of their own.

    ``per_run_sd`` is drawn once per kind of operation: it is what makes an interval. ``per_call_sd``
    is drawn for every operation and averages out over a run. Both hold a value per kind.
    """

    def __init__(self, per_run_sd: tuple[float, ...], per_call_sd: tuple[float, ...], seed: int) -> None:
        self._rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0x6E6F6973])))
        drawn = self._rng.normal(0.0, 1.0, len(per_run_sd))
        self._per_run = np.exp(drawn * np.asarray(per_run_sd)).tolist()
        self._per_call_sd = per_call_sd
        self._block: list[float] = []

    def factor(self, kind: int) -> float:
        """The factor on one operation of a kind."""
        factor: float = self._per_run[kind]
        if self._per_call_sd[kind] > 0:
            if not self._block:
                self._block = np.exp(self._rng.normal(0.0, 1.0, _BLOCK)).tolist()
            factor *= self._block.pop() ** self._per_call_sd[kind]
        return factor


def noise_of(spec: NoiseSpec, seed: int) -> Noise | None:
    """The noise that a scenario asks for; None where it asks for none."""
    per_run, per_call = _by_kind(spec.per_run_sd), _by_kind(spec.per_call_sd)
    return Noise(per_run, per_call, seed) if any(per_run) or any(per_call) else None


def _by_kind(given: float | Mapping[NoisyOperation, float]) -> tuple[float, ...]:
    if isinstance(given, Mapping):
        by_name = {str(name): deviation for name, deviation in given.items()}
        return tuple(by_name.get(kind, 0.0) for kind in KINDS)
    return (given,) * len(KINDS)
