"""Random streams by name, so that changing one part of a workload leaves the others alone."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, purpose: str) -> np.random.Generator:
    """A Philox generator for ``(seed, purpose)``: the same in every process and on every machine.

    The purpose is the spawn key of a ``SeedSequence``, so streams of different purposes are independent.
    """
    name = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(name,))))
