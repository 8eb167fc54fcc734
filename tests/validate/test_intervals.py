"""Noise by operation, and intervals that hold what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spinsim.costs.constant import ConstantPredictor
from spinsim.costs.predictors import ProfilePredictor, fit_operations
from spinsim.costs.profile import SCHEMA, Point, Profile, ProfiledModel, Repeat
from spinsim.costs.shapes import shape_of
from spinsim.engine.records import KINDS
from spinsim.experiments.intervals import HEADLINES, bounds, intervals_of
from spinsim.experiments.simulate import simulate, simulate_scenario
from spinsim.experiments.uncertainty import Uncertainty, day_scale, model_errors, profiled, stated
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


def test_sources_are_estimated_from_the_profile(tmp_path: Path) -> None:
    loaded = tiny_scenario(tmp_path)
    repeats = (Repeat("", {"verify": 1.02, "draft_step": 1.1}), Repeat("", {"verify": 1 / 1.02}))
    found = profiled(
        profile_with(repeats), ConstantPredictor(verify_s=0.01, draft_step_s=[0.001]), loaded.scenario
    )
    assert found.day == {
        "propose": pytest.approx(np.log(1.1)),
        "verify": pytest.approx(np.log(1.02) * np.sqrt(4 / 3)),
    }
    assert found.repeats == 2
    assert found.call == {"verify": pytest.approx(0.01)}
    assert found.model == {}


def test_a_profile_without_repeats_knows_no_other_day(tmp_path: Path) -> None:
    found = profiled(
        profile_with(()),
        ConstantPredictor(verify_s=0.01, draft_step_s=[0.001]),
        tiny_scenario(tmp_path).scenario,
    )
    assert (found.day, found.repeats) == ({}, 0)
    assert found.typical().per_run_sd == 0.0


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(0, 1000))
def test_a_further_day_is_covered_however_few_were_seen(repeats: int, seed: int) -> None:
    """Scale and degrees of freedom give at least the level that they say, over draws of profile and days."""
    rng = np.random.default_rng(seed)
    days = rng.normal(0.0, 0.05, (600, repeats + 2))
    logs = days - days[:, :1]  # the profile's day is first, the further one last
    scales = np.array([day_scale(row[1:-1]) for row in logs])
    inside = np.abs(logs[:, -1]) <= scales * stats.t.ppf(0.95, repeats)
    assert inside.mean() > 0.86


def test_runs_draw_students_t() -> None:
    unknown = Uncertainty({"verify": 0.03}, 3, {}, {})
    draws = []
    for seed in range(4000):
        noise = noise_of(unknown.drawn(seed), seed)
        assert noise is not None
        draws.append(np.log(noise.factor(KINDS.index("verify"))) / 0.03)
    assert stats.kstest(draws, stats.t(3).cdf).pvalue > 1e-3


def test_a_single_repeat_draws_no_run_without_end() -> None:
    unknown = Uncertainty({"verify": 0.2}, 1, {}, {})
    drawn = [unknown.drawn(seed).per_run_sd["verify"] for seed in range(2000)]  # type: ignore[index]
    assert max(drawn) == 1.0
    assert np.median(drawn) == pytest.approx(0.2 / np.sqrt(stats.chi2(1).median()), rel=0.1)


def test_the_models_error_adds_to_the_day() -> None:
    unknown = Uncertainty({"verify": 0.03}, 0, {"verify": 0.04, "prefill": 0.02}, {})
    assert unknown.typical().per_run_sd == {"verify": pytest.approx(0.05), "prefill": 0.02}
    assert unknown.drawn(5) == unknown.typical()
    assert not unknown.nothing
    assert stated(NoiseSpec()).nothing


def test_the_models_error_is_the_body_of_those_held_out(tmp_path: Path) -> None:
    """Points off a line by known factors; the packing that is not used does not count."""
    rng = np.random.default_rng(0)
    points = []
    for packing, sd in (("padded", 0.02), ("ragged", 0.3)):
        for kv in range(64, 64 * 41, 64):
            features = {"rows": 1.0, "tokens": 1.0, "query_tokens": 1.0, "kv_tokens": float(kv)}
            seconds = float((1e-3 + 1e-7 * kv) * np.exp(rng.normal(0, sd)))
            points.append(Point("verify", seconds, 1e-6, 9, features, "m", packing))
    profile = replace(profile_with(()), points=tuple(points))
    fits = fit_operations(profile, "m")
    predictor = ProfilePredictor(profile, fits, [], [], link=None, fallback=None)
    found = model_errors(predictor, "padded")
    assert set(found) == {"verify"}
    assert 0.01 < found["verify"] < 0.04
    assert model_errors(predictor, "ragged")["verify"] > 0.1
    assert model_errors(ConstantPredictor(verify_s=0.01, draft_step_s=[0.001]), "padded") == {}
