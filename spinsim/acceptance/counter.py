"""A counter-based generator: a random number is a pure function of what it is for.

SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014) as a
hash: its output function turns ``key + counter * GAMMA`` into 64 bits. Keys come from seed, purpose and
request in the same way, so any number can be had without the ones before it.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

MASK = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd
_M1, _M2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_GAMMA_U, _M1_U, _M2_U = np.uint64(GAMMA), np.uint64(_M1), np.uint64(_M2)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)

BITS = 53  # of a uniform number: what a double holds
ONE = 1 << BITS


def mix(value: int) -> int:
    """SplitMix64's output function on one 64-bit number."""
    value &= MASK
    value = ((value ^ (value >> 30)) * _M1) & MASK
    value = ((value ^ (value >> 27)) * _M2) & MASK
    return value ^ (value >> 31)


def purpose_key(seed: int, purpose: str) -> int:
    """The key of one purpose under one seed (any integer >= 0); alike in every process."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def item_key(purpose: int, item: int) -> int:
    """The key of one item (a request) under a purpose."""
    return mix(mix(purpose + (item + 1) * GAMMA))


def counters(rows: int, positions: int) -> NDArray[np.uint64]:
    """Counters times GAMMA for ``rows`` independent sequences, (rows, positions): to be sliced and reused."""
    row = np.arange(rows, dtype=np.uint64)[:, None] << np.uint64(32)
    position = np.arange(1, positions + 1, dtype=np.uint64)
    counted: NDArray[np.uint64] = np.multiply(row + position, _GAMMA_U)
    return counted


def bits53(key: int, counted: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Uniform integers in [0, 2^53), one for each counter, with the shape of ``counted``."""
    value = counted + np.uint64(key)
    shifted = value >> _S30
    value ^= shifted
    value *= _M1_U
    np.right_shift(value, _S27, out=shifted)
    value ^= shifted
    value *= _M2_U
    np.right_shift(value, _S31, out=shifted)
    value ^= shifted
    value >>= _S11
    return value


def uniforms(key: int, counted: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1)."""
    drawn: NDArray[np.float64] = np.multiply(bits53(key, counted), 2.0**-BITS)
    return drawn


def normals(key: int, counted: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Standard normal numbers, one for each column of ``counted`` (2, n) (Box and Muller, 1958)."""
    first, second = uniforms(key, counted)
    drawn: NDArray[np.float64] = np.sqrt(-2.0 * np.log1p(-first)) * np.cos(2.0 * np.pi * second)
    return drawn
