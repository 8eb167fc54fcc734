"""Noise by operation, and intervals that hold what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spinsim.costs.profile import SCHEMA, Point, Profile, ProfiledModel, Repeat
from spinsim.costs.shapes import shape_of
from spinsim.engine.records import KINDS
from spinsim.experiments.intervals import HEADLINES, bounds, intervals_of, profile_noise
from spinsim.experiments.simulate import simulate, simulate_scenario
from spinsim.scenario import NoiseSpec
from spinsim.simulated.noise import noise_of
from tests.validate.tiny_models import tiny_scenario

COSTS = {"model": "constant", "verify_s": 0.01, "draft_step_s": 0.001, "prefill_s": 0.005}


def test_no_noise_is_none() -> None:
    assert noise_of(NoiseSpec(), 1) is None
    assert noise_of(NoiseSpec(per_run_sd={"verify": 0.0}), 1) is None


def test_a_factor_per_run_is_the_operations_own() -> None:
    spec = NoiseSpec(per_run_sd={"verify": 0.1})
    draws = []
    for seed in range(400):
        noise = noise_of(spec, seed)
        assert noise is not None
        factors = [noise.factor(kind) for kind in range(len(KINDS))]
        assert factors[:3] == [1.0, 1.0, 1.0]
        assert noise.factor(3) == factors[3]  # the same all through a run
        draws.append(np.log(factors[3]))
    assert np.std(draws) == pytest.approx(0.1, rel=0.15)
    assert np.mean(draws) == pytest.approx(0.0, abs=0.02)


def test_noise_per_call_is_drawn_anew() -> None:
    noise = noise_of(NoiseSpec(per_call_sd={"propose": 0.2}), 3)
    assert noise is not None
    logs = [np.log(noise.factor(KINDS.index("propose"))) for _ in range(6000)]
    assert np.std(logs) == pytest.approx(0.2, rel=0.05)
    assert noise.factor(KINDS.index("verify")) == 1.0


def test_the_same_noise_seed_gives_the_same_run(tmp_path: Path) -> None:
    loaded = tiny_scenario(tmp_path, costs=COSTS, noise={"per_run_sd": 0.05, "per_call_sd": 0.05})
    ends = [
        simulate_scenario(loaded.scenario, loaded.base_dir, noise_seed=seed).records.ended_ns
        for seed in (7, 7, 8)
    ]
    assert ends[0] == ends[1] != ends[2]


def test_noise_per_run_makes_the_interval_and_noise_per_call_averages_out(tmp_path: Path) -> None:
    def width(noise: dict[str, float]) -> float:
        loaded = tiny_scenario(
            tmp_path,
            costs=COSTS,
            noise=noise,
            acceptance={"model": "constant", "probability": 0.0},
            workload={
                "requests": 40,
                "arrivals": {"process": "closed", "concurrency": 3},
                "prompt_tokens": {"distribution": "fixed", "value": 8},
                "output_tokens": {"distribution": "fixed", "value": 20},
            },
        )
        said = intervals_of(loaded.scenario, loaded.base_dir, 40)["metrics"]["goodput_tokens_per_s"]
        assert said["low"] <= said["median"] <= said["high"]
        return float((said["high"] - said["low"]) / said["median"])

    per_run, per_call = width({"per_run_sd": 0.05}), width({"per_call_sd": 0.05})
    assert per_call < per_run / 4
    assert 0.06 < per_run < 0.2


def test_bounds_hold_nine_tenths() -> None:
    values = list(np.random.default_rng(0).normal(10, 1, 2000))
    found = bounds({"x": values, "nothing": []})
    assert set(found) == {"x"}
    inside = np.mean([found["x"]["low"] <= v <= found["x"]["high"] for v in values])
    assert inside == pytest.approx(0.9, abs=0.01)


def test_the_summary_has_intervals_when_asked(tmp_path: Path) -> None:
    loaded = tiny_scenario(tmp_path, costs=COSTS, noise={"per_run_sd": 0.03})
    assert "intervals" not in simulate(loaded, None)
    summary = simulate(loaded, tmp_path / "out", intervals=5)
    said = summary["intervals"]
    assert (said["level"], said["runs"]) == (0.9, 5)
    assert set(said["metrics"]) == set(HEADLINES)
    assert "90 % of 5 runs" in (tmp_path / "out" / "report.html").read_text()


def profile_with(repeats: tuple[Repeat, ...]) -> Profile:
    shape = shape_of("llama-68m")
    features = {"rows": 1.0, "tokens": 1.0, "query_tokens": 1.0, "kv_tokens": 64.0}
    return Profile(
        schema=SCHEMA,
        hardware="cpu",
        created="",
        graphs=False,
        versions={},
        clocks={},
        models={"m": ProfiledModel(shape, "fp32", "cpu")},
        points=(Point("verify", 1e-3, 0.6745e-5, 9, features, "m", "padded"),),
        repeats=repeats,
    )


def test_noise_is_estimated_from_repeats() -> None:
    repeats = (Repeat("", {"verify": 1.02, "draft_step": 1.1}), Repeat("", {"verify": 1 / 1.02}))
    noise = profile_noise(profile_with(repeats))
    assert noise.per_run_sd == {"propose": pytest.approx(np.log(1.1)), "verify": pytest.approx(np.log(1.02))}
    assert noise.per_call_sd == {"verify": pytest.approx(0.01)}


def test_a_profile_without_repeats_knows_no_noise_per_run() -> None:
    assert profile_noise(profile_with(())).per_run_sd == 0.0
