"""One server with constant service: Lindley's recursion request by request, M/D/1 in the mean."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spinsim.simulated.simulation import Simulated
from tests.closed_forms.closed_scenarios import VERIFY_S, run, scenario

PREFILL_S = 0.004


def one_server(requests: int, utilisation: float, output: int, arrivals: str = "poisson", **more: Any) -> Any:
    """Batch limit 1, no draft: service = prefill + (output - 1) verifications."""
    service_s = PREFILL_S + (output - 1) * VERIFY_S
    return service_s, run(
        scenario(
            {"process": arrivals, "rate_per_s": utilisation / service_s, **more},
            requests=requests,
            output=output,
            prefill_s=PREFILL_S,
            policies={"length": {"name": "none"}},
            seed=3,
        )
    )


def waits_ns(simulated: Simulated) -> NDArray[np.int64]:
    return np.array([r.admitted_ns - r.arrival_ns for r in simulated.records.by_arrival()])


def lindley(arrivals: NDArray[np.float64], service: float) -> NDArray[np.float64]:
    """W(n+1) = max(0, W(n) + S - (A(n+1) - A(n))) (Lindley 1952)."""
    waits = np.zeros(len(arrivals))
    for n in range(len(arrivals) - 1):
        waits[n + 1] = max(0.0, waits[n] + service - (arrivals[n + 1] - arrivals[n]))
    return waits


@pytest.mark.parametrize("utilisation", [0.3, 0.8, 1.2])
@pytest.mark.parametrize(("process", "more"), [("poisson", {}), ("gamma", {"cv": 3.0})])
def test_each_wait_is_lindleys(utilisation: float, process: str, more: dict[str, float]) -> None:
    service_s, simulated = one_server(600, utilisation, 4, process, **more)
    arrivals = np.array([request.arrival_s for request in simulated.workload.requests])
    waits = waits_ns(simulated) * 1e-9
    # The engine's clock counts nanoseconds: two arrivals are each rounded by half of one.
    assert np.abs(waits - lindley(arrivals, service_s)).max() <= 1.0e-9 + 1e-12
    records = list(simulated.records.by_arrival())
    assert {r.finished_ns - r.admitted_ns for r in records} == {round(service_s * 1e9)}
    assert (waits > 0).sum() > 50


def test_a_long_run_agrees_with_m_d_1() -> None:
    """E[W] = rho S / (2 (1 - rho)) (Pollaczek and Khinchine).

    Waits are correlated, so the standard error is that of a ratio estimate over busy cycles, which are
    independent (Crane and Lemoine, the regenerative method): 2.6 % here. Four of them are allowed.
    """
    rho = 0.5
    service_s, simulated = one_server(24_000, rho, 2)
    waits = waits_ns(simulated) * 1e-9
    begins = np.flatnonzero(waits == 0.0)
    sums = np.add.reduceat(waits, begins)
    counts = np.diff(np.append(begins, waits.size))
    mean = waits.mean()
    error = math.sqrt(((sums - mean * counts) ** 2).sum()) / waits.size
    expected = rho * service_s / (2.0 * (1.0 - rho))
    assert error < 0.03 * expected
    assert abs(mean - expected) < 4.0 * error
    assert (waits == 0.0).mean() == pytest.approx(1.0 - rho, abs=0.02)  # PASTA: who finds it idle
