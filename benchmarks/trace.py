"""A trace with the statistics of Azure's public one, for machines that do not have that."""

from __future__ import annotations

import csv
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# Read off AzureLLMInferenceTrace_conv.csv (2023): percentiles of tokens, and requests in each twelfth of it.
REQUESTS, SECONDS = 19_366, 3_501.7
PERCENTILES = (0, 1, 5, 10, 25, 50, 75, 90, 95, 99, 100)
PROMPT_TOKENS = (2, 29, 181, 207, 396, 1020, 1189, 2734.5, 4083, 4142, 14050)
OUTPUT_TOKENS = (7, 16, 41, 54, 85, 129, 395, 424, 451, 601, 1000)
BY_TWELFTH = (1403, 1384, 1515, 1498, 1808, 2131, 2192, 1897, 1632, 1503, 1275, 1128)


def write_trace(path: Path, requests: int = REQUESTS, *, seed: int = 0, output_scale: float = 1.0) -> None:
    """Write ``requests`` rows in Azure's format: the hour's load again and again, lengths independent.

    ``output_scale`` shortens the outputs, and the gaps between arrivals alike: as many are in the
    system at a time.
    """
    rng = np.random.default_rng(seed)
    seconds = _arrivals(rng, requests) * output_scale
    prompts = _lengths(rng, PROMPT_TOKENS, requests)
    outputs = np.maximum(_lengths(rng, OUTPUT_TOKENS, requests) * output_scale, 1).round()
    begin = datetime(2000, 1, 1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("TIMESTAMP", "ContextTokens", "GeneratedTokens"))
        for at, prompt, output in zip(seconds, prompts, outputs, strict=True):
            stamp = begin + timedelta(seconds=float(at))
            writer.writerow((stamp.isoformat(sep=" ", timespec="microseconds"), int(prompt), int(output)))


def _arrivals(rng: np.random.Generator, requests: int) -> NDArray[np.float64]:
    """Poisson arrivals at the rate of each twelfth."""
    load = np.concatenate(([0], np.cumsum(BY_TWELFTH)))  # requests expected until the end of each twelfth
    hours, within = np.divmod(np.cumsum(rng.exponential(1.0, requests)), load[-1])
    return (hours + np.interp(within, load, np.linspace(0, 1, load.size))) * SECONDS


def _lengths(rng: np.random.Generator, quantiles: tuple[float, ...], requests: int) -> NDArray[np.float64]:
    """Between two percentiles, the logarithm is uniform."""
    drawn = np.interp(rng.uniform(0, 100, requests), PERCENTILES, np.log(quantiles))
    return np.exp(drawn).round()
