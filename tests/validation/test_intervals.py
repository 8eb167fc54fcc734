"""Intervals that hold what they say, and where what is drawn for them comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spinsim.costs.base import CONSTANT, Estimate
from spinsim.costs.constant import ConstantPredictor
from spinsim.costs.profiled.predictors import ProfilePredictor, fit_operations
from spinsim.costs.profiled.profile import (
    SCHEMA,
    Point,
    Profile,
    ProfiledModel,
    Repeat,
    read_profile,
    write_profile,
)
from spinsim.costs.sheets.shapes import shape_of
from spinsim.engine.records import KINDS
from spinsim.lab.uncertainty import (
    Uncertainty,
    day_scale,
    model_errors,
    profiled,
    stated,
)
from spinsim.pages.run import write_report
from spinsim.results.metrics import shown_in
from spinsim.scenario import WorkloadSpec
from spinsim.simulated.noise import noise_of
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.intervals import (
    bounds,
    chance,
    described,
    seconds_of_prefill,
    shares_beyond,
)
from spinsim.studies.simulate import simulate
from spinsim.workload.request import Request, Workload
from tests.validation.tiny_models import tiny_scenario

COSTS = {"model": "constant", "verify_s": 0.01, "draft_step_s": 0.001, "prefill_s": 0.005}


def test_bounds_hold_nine_tenths() -> None:
    values = list(np.random.default_rng(0).normal(10, 1, 2000))
    found = bounds({"x": values, "nothing": []})
    assert set(found) == {"x"}
    inside = np.mean([found["x"]["low"] <= v <= found["x"]["high"] for v in values])
    assert inside == pytest.approx(0.9, abs=0.01)


def test_the_summary_has_intervals_when_asked(tmp_path: Path) -> None:
    loaded = tiny_scenario(tmp_path, costs=COSTS, noise={"per_run_sd": 0.03})
    assert "intervals" not in simulate(loaded, None)
    summary = simulate(loaded, tmp_path / "out", intervals=5, report=write_report)
    said = summary["intervals"]
    assert (said["level"], said["runs"]) == (0.9, 5)
    assert set(said["metrics"]) == {known.path for known in shown_in("intervals")}
    assert said["chance"] == pytest.approx(4 / 6)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "least and most of 5 runs with other seeds and noise, which hold 67 % of further ones" in page


@pytest.mark.parametrize("runs", [2, 5, 19, 30])
def test_bounds_of_few_runs_hold_the_chance_that_is_told(runs: int) -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(1000):
        found = bounds({"x": rng.normal(size=runs)})["x"]
        held += found["low"] <= rng.normal() <= found["high"]
    assert held / 1000 == pytest.approx(chance(runs), abs=0.04)


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
    assert found.repeats == {"propose": 1, "verify": 2}  # each its own
    assert found.call == {"verify": pytest.approx(0.01)}
    assert found.model == {}


def test_a_profile_without_repeats_knows_no_other_day(tmp_path: Path) -> None:
    found = profiled(
        profile_with(()),
        ConstantPredictor(verify_s=0.01, draft_step_s=[0.001]),
        tiny_scenario(tmp_path).scenario,
    )
    assert (found.day, found.repeats) == ({}, {})
    assert found.typical().per_run_sd == 0.0
    assert described(found)["note"].startswith("what another process, day or host takes is not in these")


def test_sheets_beyond_a_profile_are_told_where_their_error_is_not_known(tmp_path: Path) -> None:
    repeats, scenario = (Repeat("", {"verify": 1.02}),), tiny_scenario(tmp_path).scenario
    predictor = ConstantPredictor(verify_s=0.01, draft_step_s=[0.001])
    found = profiled(profile_with(repeats), predictor, scenario, beyond={"verify": 0.25})
    note = described(found)["note"]
    assert note.startswith("what sheets are off by beyond the profile is not in")
    assert note.endswith(": 25 % of verify")
    assert "note" not in described(profiled(profile_with(repeats), predictor, scenario))


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
    unknown = Uncertainty({"verify": 0.03, "hop": 0.1}, {"verify": 3, "hop": 1}, {}, {})
    draws = []
    for seed in range(4000):
        noise = noise_of(unknown.drawn(seed), seed)
        assert noise is not None
        draws.append(np.log(noise.factor(KINDS.index("verify"))) / 0.03)
    assert stats.kstest(draws, stats.t(3).cdf).pvalue > 1e-3


def test_a_kind_without_repeats_is_drawn_with_its_scale_as_known() -> None:
    unknown = Uncertainty({"verify": 0.03, "hop": 0.1}, {"hop": 2}, {}, {})
    drawn = [unknown.drawn(seed).per_run_sd for seed in range(20)]
    assert {sd["verify"] for sd in drawn} == {0.03}  # type: ignore[index]
    assert len({sd["hop"] for sd in drawn}) == 20  # type: ignore[index]


def test_the_hosts_day_is_estimated_from_the_repeats_that_have_it(tmp_path: Path) -> None:
    """An older repeat has no factor of the host; its hop's and handling's are those of the others."""
    repeats = (
        Repeat("", {"verify": 1.01}),
        Repeat("", {"verify": 1.02, "hop": 1.25, "handling": 0.9}),
        Repeat("", {"verify": 0.99, "hop": 1.1}),
    )
    profile = profile_with(repeats)
    write_profile(profile, tmp_path / "p.json")
    assert read_profile(tmp_path / "p.json").repeats == repeats
    costs = ConstantPredictor(verify_s=0.01, draft_step_s=[0.001])
    found = profiled(profile, costs, tiny_scenario(tmp_path).scenario)
    assert found.repeats == {"verify": 3, "hop": 2, "handling": 1}
    assert found.day["hop"] == pytest.approx(day_scale(np.log([1.25, 1.1]).tolist()))
    assert found.day["handling"] == pytest.approx(day_scale([np.log(0.9)]))
    assert set(found.call) == {"verify"}
    assert set(found.drawn(1).per_run_sd) == {"verify", "hop", "handling"}  # type: ignore[arg-type]


def test_a_single_repeat_draws_no_run_without_end() -> None:
    unknown = Uncertainty({"verify": 0.2}, {"verify": 1}, {}, {})
    drawn = [unknown.drawn(seed).per_run_sd["verify"] for seed in range(2000)]  # type: ignore[index]
    assert max(drawn) == 1.0
    assert np.median(drawn) == pytest.approx(0.2 / np.sqrt(stats.chi2(1).median()), rel=0.1)


def test_the_models_error_adds_to_the_day(tmp_path: Path) -> None:
    unknown = Uncertainty({"verify": 0.03}, {}, {"verify": 0.04, "prefill": 0.02}, {})
    assert unknown.typical().per_run_sd == {"verify": pytest.approx(0.05), "prefill": 0.02}
    assert unknown.drawn(5) == unknown.typical()
    assert not unknown.nothing
    assert stated(tiny_scenario(tmp_path).scenario).nothing


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


def test_a_run_has_some_of_what_hosts_share_and_all_of_what_a_scenario_states(tmp_path: Path) -> None:
    """From nothing to twice as much, evenly: the direction is known."""
    unknown = Uncertainty({"verify": 0.0}, {}, {}, {}, shared={"handling": 0.2, "verify": -0.1})
    drawn = [unknown.drawn(seed) for seed in range(400)]
    found = np.array([[spec.per_run_shift["handling"], spec.per_run_shift["verify"]] for spec in drawn])
    assert found[:, 0].min() >= 0.0 >= found[:, 1].max()
    assert stats.kstest(found[:, 0] / 0.4, stats.uniform.cdf).pvalue > 1e-3
    assert unknown.typical().per_run_shift == {"handling": 0.2, "verify": -0.1}
    one = noise_of(drawn[0], 7)
    assert one is not None
    assert one.factor(KINDS.index("verify")) == pytest.approx(np.exp(found[0, 1]))
    assert (one.hop, one.handling) == (1.0, pytest.approx(np.exp(found[0, 0])))
    loaded = tiny_scenario(tmp_path, costs=COSTS, noise={"per_run_shift": {"verify": 0.3}})
    assert stated(loaded.scenario).drawn(3).per_run_shift == {"verify": 0.3}
    plain = tiny_scenario(tmp_path, costs=COSTS)
    slow, fast = (
        simulate_scenario(each.scenario, each.base_dir).records.ended_ns for each in (loaded, plain)
    )
    assert slow > fast


def test_what_lies_beyond_a_profile_is_told_of_the_workload_that_ran(tmp_path: Path) -> None:
    """A live half is moved to another machine without the file that its requests are drawn from."""
    loaded = tiny_scenario(tmp_path)
    workload = Workload((Request(0, 0.0, 8, 4),), concurrency=1)
    source = {"format": "spinsim", "path": "gone.npz"}
    moved = WorkloadSpec.model_validate(
        {"source": source, "arrivals": {"process": "closed", "concurrency": 1}}
    )
    scenario = loaded.scenario.model_copy(update={"workload": moved})
    predictor = ConstantPredictor(verify_s=0.01, draft_step_s=[0.001] * len(scenario.models.drafts))
    assert shares_beyond(scenario, loaded.base_dir, predictor, workload) == {}


def test_a_scenarios_prefills_are_as_long_as_its_chunks(tmp_path: Path) -> None:
    """Of prompts that fit: 64 and 36 new tokens of one of 100, and one of 20."""
    asked: list[tuple[int, int]] = []

    class Told(ConstantPredictor):
        def prefill(self, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
            asked.append((tokens[0], starts[0]))
            return Estimate(1e-3 * tokens[0], CONSTANT)

    scenario = tiny_scenario(tmp_path).scenario
    limits = scenario.limits.model_copy(update={"prefill_chunk_tokens": 64, "context_tokens": 128})
    scenario = scenario.model_copy(update={"limits": limits})
    requests = tuple(Request(i, 0.0, prompt, 4) for i, prompt in enumerate((100, 20, 500)))
    told = Told(verify_s=0.01, draft_step_s=[0.001])
    assert seconds_of_prefill(Workload(requests, 1), scenario, told) == pytest.approx(0.040)
    assert asked == [(64, 0), (36, 64), (20, 0)]
    assert seconds_of_prefill(Workload(requests[2:], 1), scenario, told) == 0
