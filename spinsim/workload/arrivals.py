"""Arrival processes: when requests come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinsim.errors import InputError
from spinsim.scenario import MOST, Arrivals, Gamma, Poisson, Replay
from spinsim.workload.streams import stream


def arrival_times(
    arrivals: Arrivals, count: int, seed: int, recorded: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Ascending times in seconds, (count,), each process from its own random stream.

    Poisson and gamma renewal processes start at 0 with a gap before the first request. Closed
    loops and ``at_once`` have all zeros. Replay takes ``recorded`` (seconds from 0, ascending),
    ``rate_scale`` times as fast.

    Raises:
        InputError: replay of a source without arrival times, or a last arrival beyond the clock.
    """
    if isinstance(arrivals, Replay):
        if recorded is None:
            raise InputError(
                "the source records no arrival times to replay; a source with timestamps (azure, mooncake, "
                "burstgpt, or csv and jsonl with a column for arrival), or another process: poisson, gamma, "
                "closed, at_once",
                key="workload.arrivals.process",
            )
        return _reachable(recorded / arrivals.rate_scale, "rate_scale")
    generator = stream(seed, "arrivals")
    if isinstance(arrivals, Poisson):
        return _reachable(np.cumsum(generator.exponential(1.0 / arrivals.rate_per_s, count)), "rate_per_s")
    if isinstance(arrivals, Gamma):
        shape = arrivals.cv**-2  # a gamma's coefficient of variation is 1/sqrt(shape)
        gaps = generator.gamma(shape, 1.0 / (arrivals.rate_per_s * shape), count)
        return _reachable(np.cumsum(gaps), "rate_per_s")
    return np.zeros(count)


def _reachable(times: NDArray[np.float64], key: str) -> NDArray[np.float64]:
    """``times``, all of which the clock can show."""
    if times.size and not times[-1] <= MOST:
        raise InputError(
            f"the last request arrives after {times[-1]:.3g} s; at most {MOST:,.0f} s: a higher rate, "
            "or fewer requests",
            key=f"workload.arrivals.{key}",
        )
    return times
