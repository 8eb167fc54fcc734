"""Matrix products by the algorithm that measured fastest for their shape, where that was looked for.

torch runs the first algorithm that its library guesses. :meth:`Products.choose` times the library's other
guesses (:mod:`spinsim.runner.layers.cublaslt`) beside it, on the weights themselves: before a pass is
recorded, since what it records stays.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from spinsim.runner.layers import cublaslt
from spinsim.runner.layers.cublaslt import Guess, LibraryError

GUESSES = 24  # that are timed
GAIN = 0.02  # of the time, below which torch's own way stays
COLD = 4  # weights that are read in turn, so that none waits in the on-chip memory
LEAD_CYCLES = 1_500_000  # that the device sleeps while launches queue up; under a millisecond
Product = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Shape = tuple[int, int, int]  # tokens, outer and inner width


class Products:
    """Implements the signature of :func:`torch.nn.functional.linear`."""

    def __init__(self) -> None:
        self.chosen: dict[Shape, Guess] = {}
        self.known: set[Shape] = set()

    def __call__(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        guess = self.chosen.get((len(x), *weight.shape)) if self.chosen and bias is None else None
        return F.linear(x, weight, bias) if guess is None else cublaslt.multiply(x, weight, guess)

    def choose(self, tokens: int, weights: Sequence[torch.Tensor]) -> None:
        """Time products of so many tokens with ``weights`` of one shape. Nothing where the library is not."""
        first = weights[0]
        shape = (tokens, first.shape[0], first.shape[1])
        if shape in self.known:
            return
        self.known.add(shape)
        x = torch.randn(tokens, first.shape[1], device=first.device, dtype=first.dtype)
        if not cublaslt.works(x, *weights):
            return
        cold = weights[:COLD]
        least = seconds(F.linear, x, cold) * (1 - GAIN)
        for guess in cublaslt.guesses(tokens, first, GUESSES):
            try:
                took = seconds(by(guess), x, cold)
            except LibraryError:  # a guess that the library itself refuses
                continue
            if took < least:
                least, self.chosen[shape] = took, guess


def by(guess: Guess) -> Product:
    """Products by one algorithm."""
    return lambda x, weight: cublaslt.multiply(x, weight, guess)


def seconds(product: Product, x: torch.Tensor, weights: Sequence[torch.Tensor], repeats: int = 3) -> float:
    """Of one product on a GPU: the median of ``repeats``, each over all ``weights`` in turn."""
    cuda: Any = torch.cuda
    found: list[float] = []
    for _ in range(1 + repeats):  # the first one warms up
        began, ended = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        cuda._sleep(LEAD_CYCLES)
        began.record()
        for weight in weights:
            product(x, weight)
        ended.record()
        ended.synchronize()
        found.append(began.elapsed_time(ended) / 1e3 / len(weights))
    return statistics.median(found[1:])
