"""A stationary first-order autoregression, vectorised."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def ar1(noise: NDArray[np.float64], correlation_tokens: float) -> NDArray[np.float64]:
    """x_0 = e_0, x_p = rho x_(p-1) + sqrt(1 - rho^2) e_p, with rho = exp(-1 / correlation_tokens).

    ``noise``: standard normal, (n,). The result is standard normal at every position, with
    correlation exp(-|p - q| / correlation_tokens); a longer one begins with the shorter one.
    """
    rho = math.exp(-1.0 / correlation_tokens)
    if rho < 1e-9:
        return noise
    scaled = noise * math.sqrt(1.0 - rho * rho)
    scaled[:1] = noise[:1]
    # x_p = rho^p sum_(q<=p) e_q / rho^q, in blocks that keep the powers within a double's range
    block = max(1, min(len(noise), int(100 * correlation_tokens)))
    powers = rho ** np.arange(1, block + 1)
    out = np.empty_like(noise)
    last = 0.0
    for start in range(0, len(noise), block):
        part = scaled[start : start + block]
        decay = powers[: len(part)]
        out[start : start + block] = decay * (last + np.cumsum(part / decay))
        last = float(out[min(start + block, len(noise)) - 1])
    return out
