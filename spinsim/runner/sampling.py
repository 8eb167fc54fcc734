"""How next tokens are chosen, and the uniform numbers behind sampled ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from spinsim.runner import randomness
from spinsim.runner.acceptance_rule import distribution, draw
from spinsim.scenario import GREEDY_BELOW

if TYPE_CHECKING:
    from spinsim.runner.decoder import Decoder


class Sampling(NamedTuple):
    """A temperature below ``GREEDY_BELOW`` is greedy.

    A random number depends on (seed, request, index of the token in its context, purpose) alone: the
    sampled output of a request is the same in any batch.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    @property
    def greedy(self) -> bool:
        return self.temperature < GREEDY_BELOW


GREEDY = Sampling()


def choose(
    decoder: Decoder,
    logits: torch.Tensor,
    sampling: Sampling,
    requests: torch.Tensor | None,
    positions: torch.Tensor,
    purpose: int,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Next tokens ``[R]`` (int64) from a decoder's logits ``[R, V]``, and their distribution when sampling.

    ``requests`` and ``positions`` int64 ``[R]``: whose token it is, and which of its context.
    """
    if sampling.greedy:
        return decoder.likeliest(logits), None
    assert requests is not None
    probabilities = distribution(decoder.whole(logits), sampling.temperature, sampling.top_p)
    return draw(probabilities, randomness.uniform(sampling.seed, requests, positions, purpose)), probabilities


def entropy(logits: torch.Tensor, probabilities: torch.Tensor | None) -> torch.Tensor:
    """In nats, float32 ``[R]``: of ``probabilities`` ``[R, V]``, or of the softmax of ``logits``."""
    spread = torch.softmax(logits.float(), -1) if probabilities is None else probabilities
    total: torch.Tensor = torch.special.entr(spread).sum(-1)
    return total
