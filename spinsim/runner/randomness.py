"""Uniform numbers that belong to (seed, request, position, purpose) and to nothing else.

A counter-based generator in integer tensor operations: the same numbers on every device, in any
batch and any order, so that sampled outputs do not depend on scheduling. The mixing function is
SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014), chained over the key.
"""

from __future__ import annotations

import torch

from spinsim.acceptance.counter import mix

PROPOSE, ACCEPT, EMIT = 1, 2, 3  # purposes: draw a proposal, test it, draw the target's own token


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: torch.Tensor) -> torch.Tensor:
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def uniform(seed: int, requests: torch.Tensor, positions: torch.Tensor, purpose: int) -> torch.Tensor:
    """Float64 in [0, 1) with 53 random bits; ``requests`` and ``positions`` int64, broadcast together."""
    # Mixed before the request is added: else seed + 1 has the numbers of seed, a request further.
    start = _signed(mix(seed * 0x9E3779B97F4A7C15 + purpose * 0xD1B54A32D192ED03))
    state = _mix(requests * _GOLDEN + start)
    state = _mix(state + positions * _GOLDEN + _GOLDEN)
    return _shift(state, 11).to(torch.float64) * 2.0**-53
