"""How far a prediction may be trusted: runs with other seeds and other noise, 90 % of which lie inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spinsim.costs.profile import Profile, read_profile
from spinsim.experiments.metrics import metric, value
from spinsim.experiments.simulate import simulate_scenario
from spinsim.reporting.metrics import summarise
from spinsim.scenario import NoiseSpec, ProfileCosts, Scenario
from spinsim.workload.source import resolve

Progress = Callable[[str, float, float], None]
Interval = dict[str, float]

LEVEL = 0.9
HEADLINES = (
    "goodput_tokens_per_s",
    "latency.ttft_s.p50",
    "latency.ttft_s.p99",
    "latency.tpot_s.p50",
    "latency.tpot_s.p99",
    "latency.e2e_s.p50",
    "latency.e2e_s.p99",
    "speculation.acceptance_length",
)
_NOISY = {"prefill": "prefill", "catch_up": "catch_up", "draft_step": "propose", "verify": "verify"}


def intervals_of(
    scenario: Scenario, base_dir: Path, runs: int, progress: Progress | None = None
) -> dict[str, Any]:
    """``runs`` simulations of a scenario, with seeds that follow its own and noise of their own.

    The noise is the scenario's, or where it states none what the profile's repeats show. Raises
    InputError as a simulation does.
    """
    noisy = scenario.model_copy(update={"noise": noise_for(scenario, base_dir)})
    drawn: dict[str, list[float]] = {name: [] for name in HEADLINES}
    for run in range(1, runs + 1):
        seeded = noisy.model_copy(update={"seed": scenario.seed + run})
        done = simulate_scenario(seeded, base_dir)
        summary = summarise(done.records, seeded, mode="simulated", acceptance_source=done.acceptance_source)
        collect(drawn, summary)
        if progress is not None:
            progress("intervals", run, runs)
    return {
        "level": LEVEL,
        "runs": runs,
        "noise": noisy.noise.model_dump(mode="json"),
        "metrics": bounds(drawn),
    }


def collect(drawn: Mapping[str, list[float]], summary: Mapping[str, Any]) -> None:
    """Add a run's headline metrics, where it has them."""
    for name, values in drawn.items():
        found = value(summary, metric(name))
        if found is not None:
            values.append(float(found))


def bounds(drawn: Mapping[str, Iterable[float]]) -> dict[str, Interval]:
    """By metric, the quantiles that hold ``LEVEL`` of the runs between them, and the median."""
    tail = (1 - LEVEL) / 2
    found: dict[str, Interval] = {}
    for name, values in drawn.items():
        numbers = list(values)
        if numbers:
            low, middle, high = np.quantile(numbers, (tail, 0.5, 1 - tail))
            found[name] = {"low": float(low), "median": float(middle), "high": float(high)}
    return found


def noise_for(scenario: Scenario, base_dir: Path) -> NoiseSpec:
    """The scenario's noise, or its profile's where it states none."""
    if scenario.noise != NoiseSpec() or not isinstance(scenario.costs, ProfileCosts):
        return scenario.noise
    return profile_noise(read_profile(resolve(scenario.costs.path, base_dir, "costs.path")))


def profile_noise(profile: Profile) -> NoiseSpec:
    """What a profile says about itself.

    Per run: the root mean square of the logarithms of its repeats' factors, by operation: how far
    another process or day is from the profile. Per call: the spread of repetitions, half an interquartile
    range taken for 0.6745 standard deviations, its median over points (ours).
    """
    per_run = {
        kind: _rms([repeat.factors[operation] for repeat in profile.repeats if operation in repeat.factors])
        for operation, kind in _NOISY.items()
        if any(operation in repeat.factors for repeat in profile.repeats)
    }
    per_call: dict[str, float] = {}
    for operation, kind in _NOISY.items():
        spreads = [
            point.spread_s / 0.6745 / point.seconds
            for point in profile.points
            if point.operation == operation
        ]
        if spreads:
            per_call[kind] = float(np.median(spreads))
    return NoiseSpec.model_validate({"per_run_sd": per_run or 0.0, "per_call_sd": per_call or 0.0})


def _rms(factors: Iterable[float]) -> float:
    return float(np.sqrt(np.mean(np.square(np.log(list(factors))))))


__all__ = ["HEADLINES", "LEVEL", "bounds", "collect", "intervals_of", "noise_for", "profile_noise"]
