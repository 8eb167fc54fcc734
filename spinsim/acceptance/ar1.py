"""A stationary first-order autoregression, vectorised."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


class Ar1:
    """x_0 = e_0, x_p = rho x_(p-1) + sqrt(1 - rho^2) e_p, with rho = exp(-1 / correlation_tokens).

    From standard normal noise (n,), n <= ``longest``, it makes values that are standard normal at every
    position, with correlation exp(-|p - q| / correlation_tokens); longer ones begin with shorter ones.
    """

    def __init__(self, correlation_tokens: float, longest: int) -> None:
        rho = math.exp(-1.0 / correlation_tokens)
        self._white = rho < 1e-9
        if self._white:
            return
        # x_p = rho^p sum_(q<=p) e_q / rho^q, in blocks that keep the powers within a double's range
        self._block = max(1, min(longest, int(100 * correlation_tokens)))
        self._powers = rho ** np.arange(1, self._block + 1)
        self._weights = math.sqrt(1.0 - rho * rho) / self._powers
        self._first = 1.0 / math.sqrt(1.0 - rho * rho)

    def __call__(self, noise: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values for one request's noise."""
        if self._white:
            return noise
        out = noise.copy()
        out[:1] *= self._first  # the first value has no past to add to it
        last = 0.0
        for start in range(0, len(out), self._block):
            part = out[start : start + self._block]
            part *= self._weights[: len(part)]
            np.cumsum(part, out=part)
            part += last
            part *= self._powers[: len(part)]
            last = float(part[-1])
        return out
