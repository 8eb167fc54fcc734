"""Seeds, requests, positions and purposes each have random numbers of their own."""

from __future__ import annotations

import itertools

import torch

from spinsim.runner import randomness
from spinsim.runner.randomness import ACCEPT, EMIT, PROPOSE


def test_no_number_is_met_twice() -> None:
    """Neither seed + 1 at request r nor any such shift repeats what another key has given: repetitions over
    seeds would then be one repetition with its requests renamed."""
    requests, positions = torch.arange(400)[:, None], torch.arange(20)
    drawn = [
        randomness.uniform(seed, requests, positions, purpose).flatten()
        for seed, purpose in itertools.product((0, 1, 2, 3, 7, 1000, 2**31), (PROPOSE, ACCEPT, EMIT))
    ]
    numbers = torch.cat(drawn)
    # Of 168,000 numbers of 53 bits, some pair is equal by chance once in 600,000 times.
    assert len(numbers.unique()) == len(numbers)
