"""Modelled acceptance: constant, and logistic in difficulty and strength with drift (ours)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from spinsim.acceptance.ar1 import ar1
from spinsim.acceptance.counter import ONE, bits53, counters, item_key, normals, purpose_key, uniforms
from spinsim.acceptance.runs import runs_of


def constant_runs(
    probabilities: Sequence[float], positions: Sequence[int], seed: int
) -> Callable[[int], list[list[int]]]:
    """Runs under one acceptance probability per draft, independent at every position.

    ``positions[request]``: how many to draw; the end counts as a refusal, so that it lies
    beyond the output by the longest proposal. A round of length k then commits (1 - a^(k+1)) / (1 - a)
    tokens in expectation (Leviathan et al., arXiv 2211.17192, equation 1).
    """
    key = purpose_key(seed, "acceptance")
    thresholds = np.array([[math.ceil(p * ONE)] for p in probabilities], np.uint64).reshape(-1, 1)
    counted = counters(len(probabilities), max(positions, default=0))

    def draw(request: int) -> list[list[int]]:
        bits = bits53(item_key(key, request), counted[:, : positions[request]])
        return runs_of(bits < thresholds).tolist()  # type: ignore[no-any-return]

    return draw


def logistic_runs(
    strengths: NDArray[np.float64],
    difficulties: NDArray[np.float64],
    drift_sd: float,
    drift_tokens: float,
    positions: Sequence[int],
    seed: int,
) -> Callable[[int], list[list[int]]]:
    """Runs under p = sigmoid(strength - difficulty - drift(position)), ours.

    ``strengths``: (requests or 1, drafts), affinity included; ``difficulties``: (requests,). The
    drift is the request's, alike for its drafts. ``positions`` as for :func:`constant_runs`.
    """
    key, drift_key = purpose_key(seed, "acceptance"), purpose_key(seed, "drift")
    longest = max(positions, default=0)
    counted = counters(strengths.shape[1], longest)
    drift_counted = counters(2, longest)
    # u < 1/(1 + e^-s e^(d + drift)) as u (1 + a b) < 1: exponentials per draft and per position, not per pair
    against = np.exp(np.clip(-strengths, -_LARGEST, _LARGEST))

    def draw(request: int) -> list[list[int]]:
        count = positions[request]
        level = np.full(count, difficulties[request])
        if drift_sd:
            noise = normals(item_key(drift_key, request), drift_counted[:, :count])
            level += drift_sd * ar1(noise, drift_tokens)
        np.clip(level, -_LARGEST, _LARGEST, out=level)
        odds = against[request if len(against) > 1 else 0][:, None] * np.exp(level)
        odds += 1.0
        odds *= uniforms(item_key(key, request), counted[:, :count])
        return runs_of(odds < 1.0).tolist()  # type: ignore[no-any-return]

    return draw


_LARGEST = 300.0  # of an exponent: the product of two stays finite, and e^-300 is as good as 0
