"""What live runs on other hosts say of a further one, and how repeats of a profile update it."""

from __future__ import annotations

import json
from dataclasses import replace
from math import hypot, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks.estimates.__main__ import INTERVALS, ROOT, SHEETS
from benchmarks.estimates.deviations import hops, means, within
from benchmarks.estimates.shipped import hosts, measured
from spinsim.costs.base import INTERPOLATED, ROOFLINE
from spinsim.costs.for_scenario import build_predictor
from spinsim.costs.noting import Noting
from spinsim.costs.profiled.elsewhere import Machine, laid_elsewhere, profile_elsewhere
from spinsim.costs.profiled.profile import read_profile
from spinsim.lab.host_prior import (
    Scale,
    deviations,
    durations,
    host_scale,
    host_scales,
    scale_at,
    updated,
)
from spinsim.lab.uncertainty import on_sheets, profiled
from spinsim.scenario import ProfileCosts
from spinsim.scenario_file import load
from spinsim.studies.intervals import bounds

PROFILE = ROOT / "profiles" / "two-gpus-h100-x2.json"


def test_the_estimator_is_a_prediction_interval_over_hosts() -> None:
    values = [0.02, -0.03, 0.05, 0.01]
    spread = np.std(values, ddof=1) * sqrt(1 + 1 / 4)
    assert host_scale(values) == pytest.approx((spread, 3, np.mean(values)))
    with pytest.raises(ValueError, match="no spread"):
        host_scale([0.1])


def test_it_holds_a_further_host_nine_times_in_ten() -> None:
    rng = np.random.default_rng(5)
    inside = 0
    for _ in range(1500):
        *known, further = rng.normal(0.0, 0.05, 6)
        scale, freedom, _ = host_scale(known)
        inside += abs(further - np.mean(known)) <= scale * stats.t.ppf(0.95, freedom)
    assert inside / 1500 == pytest.approx(0.9, abs=0.02)


@given(st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=8), st.floats(-0.3, 0.3))
def test_what_all_hosts_share_is_error_of_the_prediction(values: list[float], shift: float) -> None:
    plain, shifted = host_scale(values), host_scale([value + shift for value in values])
    assert shifted.scale == pytest.approx(plain.scale, abs=1e-9)
    assert shifted.shared == pytest.approx(np.mean(values) + shift, abs=1e-9)


def test_repeats_shrink_it_towards_the_machines_own() -> None:
    prior, own = Scale(0.1, 4, 0.05), 0.01
    assert updated(prior, None) == prior
    assert updated(None, Scale(own, 2)) == (own, 2, 0.0)
    scales = [updated(prior, Scale(own, n)) for n in (1, 3, 10, 100_000)]
    assert all(one is not None for one in scales)
    widths = [one.scale * stats.t.ppf(0.95, one.freedom) + one.shared for one in scales if one is not None]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == pytest.approx(own * 1.645, rel=0.05)


def test_a_host_is_left_out_to_be_judged_and_two_are_too_few() -> None:
    known = {"verify": {"a": 0.01, "b": 0.02, "c": 0.4}, "hop": {"a": 0.1, "b": 0.2}}
    assert set(host_scales(known)) == {"verify"}  # type: ignore[arg-type]
    assert host_scales(known, without="c") == {}  # type: ignore[arg-type]


def test_cells_scatter_about_their_own_host() -> None:
    """However far hosts are from each other; a host of one cell says nothing."""
    near = {"a": [0.1, 0.3], "b": [0.0, 0.1, 0.2], "c": [5.0]}
    far = {"a": [1.1, 1.3], "b": [-3.0, -2.9, -2.8], "c": [0.0]}
    expected = sqrt((0.02 + 0.02) / (1 + 2))
    assert (
        within({"verify": near}) == within({"verify": far}) == {"verify": pytest.approx(expected, abs=1e-4)}
    )
    assert within({"hop": {"a": [1.0], "b": [2.0]}}) == {}


def test_what_is_an_amount_of_time_matters_less_to_long_operations() -> None:
    """Hosts whose operations take 7 ms are off by 4 %, which is 0.3 ms; those of 60 ms by 0.2 ms."""
    known = {"a": 0.043, "b": 0.05, "c": 0.036, "d": 0.004, "e": 0.002}
    took = {"a": 7e-3, "b": 7e-3, "c": 7e-3, "d": 60e-3, "e": 60e-3}
    short, long = (scale_at(known, took, seconds, speed=1e-5) for seconds in (7e-3, 60e-3))
    assert short.shared == pytest.approx(0.043, abs=0.002)
    assert long.shared == pytest.approx(short.shared * 7 / 60)
    assert long.freedom == short.freedom == 4
    assert sqrt(1e-5 * 1.2) <= long.scale < short.scale
    # Where nothing but speed differs, it is a share at any length.
    same = [scale_at(known, took, seconds, speed=1.0).scale for seconds in (7e-3, 60e-3)]
    assert same == pytest.approx([sqrt(1.2)] * 2)


def test_a_scenario_of_long_prompts_is_less_uncertain_of_them() -> None:
    known = deviations("profile")
    short, long = (host_scales(known, seconds={"prefill": at})["prefill"] for at in (7e-3, 55e-3))
    assert long.scale < short.scale
    assert long.shared < short.shared
    assert set(durations()["prefill"]) >= set(known["prefill"])
    assert host_scales(known, seconds={"prefill": 55e-3})["verify"] == host_scales(known)["verify"]


def test_what_ships_is_of_all_that_was_measured() -> None:
    """``python -m benchmarks.estimates sheets``, then ``intervals``, after every new measurement."""
    for path in (SHEETS, INTERVALS):
        assert json.loads(path.read_text())["measured"] == measured(ROOT), path


def test_its_hops_are_those_of_the_profiles(tmp_path: Path) -> None:
    """The part of the data that can be made again at once."""
    known = hosts(ROOT, tmp_path)
    found: dict[str, dict[str, list[float]]] = {"hop": {}}
    for host in known:
        for judge in known:
            if judge.machine != host.machine and judge.gpu == host.gpu and host.live is not None:
                found["hop"].setdefault(host.machine, []).append(hops(judge, host)["hop"])
    assert means(found)["hop"] == deviations("profile")["hop"]


def test_sheets_are_within_the_aim_on_a_kind_of_gpu_left_out() -> None:
    """TPOT within 12 %, or nearly where two lanes share an H100; docs/fidelity.md has an earlier session's
    long contexts, which are further off."""
    for by_kind in json.loads(SHEETS.read_text())["held_out"].values():
        for host, errors in by_kind["hosts"].items():
            if "long-contexts" not in host:
                assert errors["tpot_p50_s"]["mean_absolute"] <= 0.13, host


def test_a_profile_without_repeats_carries_the_prior_and_with_them_less() -> None:
    scenario = load(ROOT / "scenarios" / "two-gpus.yaml").scenario
    profile = read_profile(PROFILE)
    costs = ProfileCosts(model="profile", path=str(PROFILE))
    scenario = scenario.model_copy(update={"costs": costs})
    predictor = build_predictor(scenario)
    alone = profiled(replace(profile, repeats=()), predictor, scenario)
    again = profiled(profile, predictor, scenario)
    hosts_known = len(deviations("profile")["verify"])
    assert alone.hosts["verify"] == again.hosts["verify"] == hosts_known
    assert alone.freedom("verify") == hosts_known - 1
    assert again.freedom("verify") == hosts_known - 1 + len(profile.repeats)
    assert alone.day["verify"] > 0
    cpu = load(ROOT / "scenarios" / "family-cpu.yaml").scenario
    assert profiled(replace(profile, repeats=()), predictor, cpu).hosts == {}  # GPUs say nothing of a CPU


def test_beyond_the_profile_the_sheets_error_is_added_by_its_share() -> None:
    scenario = load(ROOT / "scenarios" / "two-gpus.yaml").scenario
    profile = replace(read_profile(PROFILE), repeats=())
    predictor = build_predictor(scenario)  # sheets
    told = [
        profiled(profile, predictor, scenario, beyond={"verify": share} if share else {}).day["verify"]
        for share in (0.0, 0.5, 1.0)
    ]
    sheets = on_sheets(scenario)
    assert told[2] == pytest.approx(hypot(sheets.day["verify"], sheets.model["verify"]))
    assert told[1] ** 2 == pytest.approx((told[0] ** 2 + told[2] ** 2) / 2)


def test_a_noting_predictor_says_what_stands_behind_its_answers() -> None:
    scenario = load(ROOT / "scenarios" / "two-gpus.yaml").scenario
    noting = Noting(build_predictor(scenario))
    found = noting.propose(0, [4, 4], [100, 100])
    noting.prefill([100], [0])
    assert noting.shares(ROOFLINE) == {"propose": 1.0, "prefill": 1.0}
    assert noting.shares(INTERPOLATED) == {"propose": 0.0, "prefill": 0.0}
    assert noting.seconds["propose", ROOFLINE] == found.seconds


def test_sheets_carry_their_error_and_a_cpus_sheet_none() -> None:
    gpus, cpu = (load(ROOT / "scenarios" / name).scenario for name in ("two-gpus.yaml", "family-cpu.yaml"))
    assert on_sheets(gpus).day.keys() >= {"prefill", "propose", "verify", "hop", "handling"}
    assert on_sheets(cpu).day == {}


def test_a_profile_of_another_machine_says_which() -> None:
    profile = replace(read_profile(PROFILE), versions={"device": "NVIDIA H200", "machine": "0123456789ab"})
    assert "NVIDIA H200, here NVIDIA L4" in profile_elsewhere(profile, Machine("NVIDIA L4", "ba"))
    assert "same NVIDIA H200" in profile_elsewhere(profile, Machine("NVIDIA H200", "ba9876543210"))
    assert not profile_elsewhere(profile, Machine("NVIDIA H200", "0123456789ab"))
    assert not profile_elsewhere(profile, Machine("NVIDIA H200"))  # it is not known
    older = replace(profile, versions={"device": "NVIDIA H200"})
    assert not profile_elsewhere(older, Machine("NVIDIA H200", "ba9876543210"))


def test_a_profile_of_other_blocks_says_which() -> None:
    profile = replace(read_profile(PROFILE), kv_block_tokens=64)
    assert (
        laid_elsewhere(profile, 16) == "measured with K/V in blocks of 64 tokens, here in blocks of 16 tokens"
    )
    assert laid_elsewhere(profile, 0).endswith("here in whole slots")
    assert not laid_elsewhere(profile, 64)
    silent = replace(profile, kv_block_tokens=None)  # as profiles were before
    assert "in whole slots (or does not say), here in blocks of 64" in laid_elsewhere(silent, 64)
    assert not laid_elsewhere(silent, 0)


def test_few_runs_hold_what_they_can() -> None:
    """19 draws hold a further one nine times in ten between their smallest and largest."""
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(3000):
        *drawn, further = rng.normal(size=20).tolist()
        found = bounds({"x": drawn})["x"]
        assert (found["low"], found["high"]) == (min(drawn), max(drawn))
        inside += found["low"] <= further <= found["high"]
    assert inside / 3000 == pytest.approx(0.9, abs=0.02)
