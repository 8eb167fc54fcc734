"""Simulated times: a prediction times one noise factor per kind of operation and run, and one per call."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spinsim.engine.records import KINDS
from spinsim.scenario import NoiseSpec, NoisyOperation, NoisyPart

_BLOCK = 4096


class Noise:
    """Lognormal factors with median 1, from streams of their own.

    ``per_run_sd`` is drawn once per kind of operation: it is what makes an interval. ``per_call_sd``
    is drawn for every operation and averages out over a run. Both hold a value per kind. ``host_sd``: of the
    factors :attr:`hop` and :attr:`handling`, once a run. ``shift`` and ``host_shift`` are logarithms of
    further factors, which are not drawn.
    """

    def __init__(
        self,
        per_run_sd: tuple[float, ...],
        per_call_sd: tuple[float, ...],
        seed: int,
        host_sd: tuple[float, float] = (0.0, 0.0),
        shift: tuple[float, ...] = (),
        host_shift: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._rng = _stream(seed, 0x6E6F6973)
        drawn = self._rng.normal(0.0, 1.0, len(per_run_sd))
        moved = np.asarray(shift or (0.0,) * len(per_run_sd))
        self._per_run = np.exp(drawn * np.asarray(per_run_sd) + moved).tolist()
        self._per_call_sd = per_call_sd
        self._block: list[float] = []
        # another stream: the operations' draws are the same with and without a host that scatters
        host = _stream(seed, 0x686F7374).normal(0.0, 1.0, len(host_sd)) * np.asarray(host_sd)
        self.hop, self.handling = np.exp(host + np.asarray(host_shift)).tolist()

    def factor(self, kind: int) -> float:
        """The factor on one operation of a kind."""
        factor: float = self._per_run[kind]
        if self._per_call_sd[kind] > 0:
            if not self._block:
                self._block = np.exp(self._rng.normal(0.0, 1.0, _BLOCK)).tolist()
            factor *= self._block.pop() ** self._per_call_sd[kind]
        return factor


def noise_of(spec: NoiseSpec, seed: int) -> Noise | None:
    """The noise of times that a scenario asks for; None where it asks for none.

    ``other_text`` is not of times: the acceptance field draws it (:mod:`spinsim.acceptance.other_text`).
    """
    per_run, per_call = _by_kind(spec.per_run_sd), _by_kind(spec.per_call_sd)
    # one number for all is the operations'; the host has a factor where it is named
    host = spec.per_run_sd if isinstance(spec.per_run_sd, Mapping) else {}
    host_sd = host.get("hop", 0.0), host.get("handling", 0.0)
    shift = _by_kind(spec.per_run_shift)
    host_shift = spec.per_run_shift.get("hop", 0.0), spec.per_run_shift.get("handling", 0.0)
    if not any((*per_run, *per_call, *host_sd, *shift, *host_shift)):
        return None
    return Noise(per_run, per_call, seed, host_sd, shift, host_shift)


def _stream(seed: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, purpose])))


def _by_kind(
    given: float | Mapping[NoisyOperation, float] | Mapping[NoisyPart, float],
) -> tuple[float, ...]:
    if isinstance(given, Mapping):
        by_name = {str(name): deviation for name, deviation in given.items()}
        return tuple(by_name.get(kind, 0.0) for kind in KINDS)
    return (given,) * len(KINDS)
