"""Profiles of a target over several devices: found by their number, fitted, and with their own sums."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from spinsim.costs.base import INTERPOLATED, ROOFLINE
from spinsim.costs.collectives import RING, TWO_SHOT, Collective, Interconnect
from spinsim.costs.for_scenario import build_profiled, build_roofline
from spinsim.costs.profiled.collectives import fitted_collectives, held_out_sums, measured_sums
from spinsim.costs.profiled.predictors import fit_operations
from spinsim.costs.profiled.profile import Point, Profile, read_profile, write_profile
from spinsim.costs.sheets.hardware import hardware_of
from spinsim.errors import InputError
from spinsim.operations import Packing
from spinsim.scenario import RooflineCosts
from tests.costs.cost_cases import scenario_of, synthetic_profile

H200 = hardware_of("h200")
BOTH = {"target": ["gpu0", "gpu1"], "drafts": {"small": "gpu1"}}
SLOW = Collective(TWO_SHOT, 50e-6, 0.2)  # what this machine's sums take


def sums(law: Collective, devices: int, sizes: tuple[float, ...] = (8192.0, 1e6, 1e7)) -> list[Point]:
    link = Interconnect(H200.link_bandwidth, H200.link_latency_s, (law,))
    return [
        Point(
            "all_reduce",
            link.all_reduce_s(size, devices),
            0.0,
            9,
            {"bytes": size, "devices": float(devices)},
            kind=law.algorithm,
        )
        for size in sizes
    ]


@cache
def measured() -> Profile:
    known = synthetic_profile(0.01, devices=2)
    return replace(known, points=(*known.points, *sums(SLOW, 2), *sums(Collective(RING, 9e-5, 0.5), 2)))


def sharded(**sections: Any) -> Any:
    return scenario_of(placement=BOTH, **sections)


def test_it_is_written_and_read(tmp_path: Path) -> None:
    write_profile(measured(), tmp_path / "p.json")
    assert read_profile(tmp_path / "p.json") == measured()
    wrong = replace(measured(), points=(replace(sums(SLOW, 2)[0], kind="star"),))
    with pytest.raises(InputError, match="'star' for all_reduce; allowed: ring, two_shot, one_shot, fused"):
        write_profile(wrong, tmp_path / "wrong.json")


def test_passes_over_two_devices_are_fitted_sums_and_all() -> None:
    """The sums of a pass grow with its tokens: the law has a constant and a slope for them."""
    for fitted in fit_operations(measured(), "target").values():
        chosen = fitted.chosen
        assert chosen.held_out[chosen.fit.name].quantile(0.5) < 0.02
    predictor = build_profiled(sharded(), None, measured(), allow_roofline=False)
    found = predictor.verify(Packing("ragged", 24, 0, 120, 24 * 700, 120, 24 * 700))
    assert found.label == INTERPOLATED
    assert found.seconds > 0


def test_a_model_is_looked_up_by_how_many_devices_it_is_on() -> None:
    with pytest.raises(InputError, match="llama-3-8b in bf16 on 1 x h200 is not in the profile"):
        build_profiled(scenario_of(), None, measured(), allow_roofline=False)
    with pytest.raises(InputError, match="on 2 x h200 is not in the profile"):
        build_profiled(sharded(), None, synthetic_profile(), allow_roofline=False)


def test_beyond_the_profile_sums_take_what_they_were_measured_to() -> None:
    roofline = build_roofline(sharded(), None, RooflineCosts(model="roofline"))
    predictor = build_profiled(sharded(), None, measured(), allow_roofline=True)
    huge = Packing("ragged", 64, 0, 64, 64 * 8192, 64, 64 * 8192)
    beyond, sheet = predictor.verify(huge), roofline.verify(huge)
    assert beyond.label == ROOFLINE
    size = 64 * 4096 * 2
    slow = Interconnect(H200.link_bandwidth, H200.link_latency_s, (SLOW,)).all_reduce_s(size, 2)
    link = H200.interconnect
    later = 65 * slow - 64 * link.all_reduce_s(size, 2, normed=True) - link.all_reduce_s(size, 2)
    gathered = 2 * SLOW.latency_s  # of ids, in either: a latency at most
    assert beyond.seconds - sheet.seconds == pytest.approx(later, abs=gathered)


def test_a_draft_beside_another_rank_s_share_takes_a_call_longer() -> None:
    """Whatever it does, under the sheet's graphs; one on the first device, or on its own, does not."""

    def proposal(device: str) -> float:
        placement = {"target": ["gpu0", "gpu1"], "drafts": {"small": device}}
        scenario = scenario_of(placement=placement, devices={name: {"hardware": "h200"} for name in names})
        return build_roofline(scenario, None, RooflineCosts(model="roofline")).propose(0, [4], [500]).seconds

    names = ["gpu0", "gpu1", "gpu2"]
    first, other, apart = (proposal(name) for name in names)
    assert other - first == pytest.approx(H200.hosted_s)
    assert apart == first


def test_sums_of_another_number_of_devices_say_nothing_of_these() -> None:
    assert fitted_collectives(measured(), H200, 4) == ()
    (two_shot, ring) = fitted_collectives(measured(), H200, 2)
    assert (two_shot.algorithm, ring.algorithm) == (TWO_SHOT, RING)
    assert two_shot[1:3] == pytest.approx(SLOW[1:3])


def test_errors_of_sums_are_of_those_left_out() -> None:
    known = measured_sums(measured(), 2)[TWO_SHOT]
    assert held_out_sums(known, TWO_SHOT, 2) == pytest.approx([0.0] * 3, abs=1e-9)
    off = [*known[:-1], (known[-1][0], 2 * known[-1][1])]
    assert held_out_sums(off, TWO_SHOT, 2)[-1] == pytest.approx(-0.5)
    assert held_out_sums(known[:2], TWO_SHOT, 2) == []


def test_planners_reckon_with_what_a_pair_made_of_each_other() -> None:
    """Profiles of today have groups of lanes, and no factors."""

    def beside(group: float, model: str, factor: float) -> Point:
        features = {"group": group, "lane": 0.0, "rows": 4.0, "alone_s": 0.01, "kernels": 9.0, "work_s": 1e-3}
        return Point("beside", 0.01 * factor, 0.0, 3, features, model)

    pair = [beside(1.0, "target", 1.1), beside(1.0, "draft", 1.9)]
    three = [beside(2.0, "target", 1.5), beside(2.0, "draft", 3.0), beside(2.0, "draft", 3.0)]
    points = [point for point in measured().points if point.operation != "lane_slowdown"]
    profile = replace(measured(), points=(*points, *pair, *three))
    predictor = build_profiled(sharded(), None, profile, allow_roofline=False)
    assert predictor.slowdown(0, True) == pytest.approx(1.1)
    assert predictor.slowdown(0, False) == pytest.approx(1.9)
