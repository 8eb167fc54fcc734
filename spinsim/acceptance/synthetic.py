"""Modelled acceptance: constant, and logistic in difficulty and strength with drift (ours)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from spinsim.acceptance.ar1 import Ar1
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
    drift = Ar1(drift_tokens, longest)

    def draw(request: int) -> list[list[int]]:
        count = positions[request]
        strength = strengths[request if len(strengths) > 1 else 0]
        if drift_sd:
            noise = normals(item_key(drift_key, request), drift_counted[:, :count])
            level = difficulties[request] + drift_sd * drift(noise)
        else:
            level = difficulties[request : request + 1]
        # u < 1 / (1 + e^(level - strength)) as u (1 + a b) < 1: exponentials by draft and by position
        odds = np.exp(_bounded(-strength))[:, None] * np.exp(_bounded(level))
        accepted = uniforms(item_key(key, request), counted[:, :count]) * (1.0 + odds) < 1.0
        return runs_of(accepted).tolist()  # type: ignore[no-any-return]

    return draw


def logistic_block(
    strengths: NDArray[np.float64],
    difficulties: NDArray[np.float64],
    positions: Sequence[int],
    seed: int,
    size: int,
) -> Callable[[int, int], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """:func:`logistic_runs` without drift, bit by bit: of one draft, for the n-th ``size`` requests.

    In one array, and where each request's end.
    """
    key = purpose_key(seed, "acceptance")
    counted = counters(strengths.shape[1], max(positions, default=0))
    counts = np.array(positions, np.int64)

    def draw(block: int, draft: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        requests = range(block * size, min((block + 1) * size, len(counts)))
        lengths = counts[requests.start : requests.stop]
        ends = np.cumsum(lengths)
        index = np.arange(int(ends[-1]))
        position = index - np.repeat(ends - lengths, lengths)
        keys = np.array([item_key(key, request) for request in requests], np.uint64)
        drawn = uniforms(0, counted[draft][position] + np.repeat(keys, lengths))
        strength = (
            strengths[requests.start : requests.stop, draft] if len(strengths) > 1 else strengths[0, draft]
        )
        odds = np.exp(_bounded(-strength)) * np.exp(_bounded(difficulties[requests.start : requests.stop]))
        accepted = drawn * (1.0 + np.repeat(odds, lengths)) < 1.0
        stop = np.minimum.accumulate(np.where(accepted, len(index), index)[::-1])[::-1]
        return np.minimum(stop, np.repeat(ends, lengths)) - index, ends

    return draw


def _bounded(exponents: NDArray[np.float64]) -> NDArray[np.float64]:
    """Within +-300: the product of two exponentials stays finite, and e^-300 is as good as 0."""
    return np.minimum(np.maximum(exponents, -300.0), 300.0)  # np.clip takes three times as long here
