"""How operations of one device slow each other down: the law, older factors, and the fit."""

from __future__ import annotations

import math
from dataclasses import astuple, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.costs.contention import LONG_S, USUAL_LAW, Demand, Factors, InTurn, KernelLaw, Law, side_by_side
from spinsim.costs.contention_fit import Group, errors, fit_law, groups_of, held_out
from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.profile import read_profile
from spinsim.costs.roofline import RooflineLoads, RooflinePredictor
from spinsim.costs.sheets.hardware import hardware_of
from spinsim.costs.sheets.shapes import shape_of
from spinsim.policies.beliefs import ragged

LAW = KernelLaw(gap=0.2, crowd=0.5, short_s=5e-6, wait=1.5)
OTHER_LAW = KernelLaw(gap=0.25, crowd=0.7, short_s=5e-6, wait=1.4)
VERIFY = Demand(-1, 6e-3, 388.0, 4.8e-3)  # long kernels, busy for most of the time
SMALL = Demand(0, 0.6e-3, 112.0, 0.12e-3)  # short ones that mostly launch
LARGE = Demand(1, 6e-3, 1072.0, 3e-3)

demands = st.builds(
    lambda seconds, kernels, busy: Demand(0, seconds, float(kernels), busy * seconds),
    st.floats(1e-4, 1e-1),
    st.integers(1, 3000),
    st.floats(0.0, 1.0),
)
laws = st.sampled_from([LAW, USUAL_LAW, InTurn()])


def test_by_hand() -> None:
    kernel_s = 4.8e-3 / 388
    expected = 1 + 0.8 * (0.2 + 0.5 * 0.8) + 112 / 0.6e-3 * 0.8 * 1.5 * (kernel_s - 5e-6)
    assert LAW.slowdowns([SMALL, VERIFY])[0] == pytest.approx(expected)


def test_a_kernel_waits_for_one_of_a_neighbour_at_most() -> None:
    """A prompt's kernels may be far longer than any that were measured side by side: half of that counts."""
    prompt = Demand(-1, 40e-3, 388.0, 40e-3)
    gaps = 0.8 * (0.2 + 0.5)
    assert LAW.slowdowns([SMALL, prompt])[0] == pytest.approx(
        1 + gaps + 112 / 0.6e-3 * (40e-3 / 388 + LONG_S) / 2
    )


def test_short_kernels_suffer_beside_long_ones_and_hardly_the_other_way_round() -> None:
    draft, target = USUAL_LAW.slowdowns([SMALL, VERIFY])
    assert draft > 2.0
    assert target < 1.3


@given(laws, st.lists(demands, max_size=6))
def test_no_one_is_faster_in_company(law: Law, running: list[Demand]) -> None:
    slow = law.slowdowns(running)
    assert all(factor >= 1.0 for factor in slow)
    if len(running) == 1:
        assert slow == [1.0]


@given(laws, st.lists(demands, min_size=1, max_size=5), demands)
def test_one_more_neighbour_never_helps(law: Law, running: list[Demand], other: Demand) -> None:
    before, after = law.slowdowns(running), law.slowdowns([*running, other])
    assert all(a >= b - 1e-9 for a, b in zip(after, before, strict=False))


@given(laws, st.lists(demands, min_size=1, max_size=5))
def test_side_by_side_lasts_as_long_as_the_longest_and_never_less(law: Law, running: list[Demand]) -> None:
    ends = side_by_side(law, running)
    assert all(end >= one.seconds * (1 - 1e-9) for end, one in zip(ends, running, strict=True))


def test_in_turn_is_in_turn() -> None:
    """Equal work that shares a device ends when the last of a queue would."""
    assert side_by_side(InTurn(), [Demand(0, 2.0), Demand(1, 2.0), Demand(2, 2.0)]) == pytest.approx(
        [6.0] * 3
    )
    assert max(side_by_side(InTurn(), [Demand(0, 1.0), Demand(1, 3.0)])) == pytest.approx(4.0)


def test_older_factors_mean_what_they_meant() -> None:
    """Of a target and one draft: a factor each, whatever they do."""
    asked = []

    def factor(draft: int, target_lane: bool) -> float:
        asked.append((draft, target_lane))
        return {(1, True): 1.1, (1, False): 2.4}[draft, target_lane]

    law = Factors(factor, USUAL_LAW)
    assert law.slowdowns([VERIFY, LARGE]) == pytest.approx([1.1, 2.4])
    assert law.slowdowns([Demand(-1, 1.0), Demand(1, 1e-4)]) == pytest.approx([1.1, 2.4])
    assert sorted(set(asked)) == [
        (1, False),
        (1, True),
    ]  # other drafts' are not asked for: they may be unknown
    beside = USUAL_LAW.slowdowns([SMALL, LARGE])
    assert law.slowdowns([SMALL, LARGE]) == pytest.approx(beside)


def test_factors_of_several_neighbours_add_up() -> None:
    law = Factors(lambda draft, target_lane: 1.5)
    running = [Demand(-1, 1.0), Demand(0, 1.0), Demand(1, 1.0)]
    assert law.slowdowns(running) == pytest.approx([2.0] * 3)


def measured(law: KernelLaw, noise: float = 0.0) -> list[Group]:
    """Pairs, three and four of some operations, as ``law`` slows them."""
    sizes = [VERIFY, SMALL, LARGE, Demand(0, 3e-3, 784.0, 0.7e-3), Demand(-1, 5e-3, 388.0, 3.3e-3)]
    subsets = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (1, 4), (2, 4), (1, 2, 3), (0, 1, 2, 3)]
    random = np.random.default_rng(0)
    groups = []
    for subset in subsets:
        chosen = tuple(sizes[i] for i in subset)
        slow = law.slowdowns(chosen)
        seconds = [one.seconds * factor for one, factor in zip(chosen, slow, strict=True)]
        groups.append(Group(chosen, tuple(s * math.exp(noise * random.normal()) for s in seconds)))
    return groups


def test_the_fit_finds_the_law_that_was_measured() -> None:
    law = OTHER_LAW
    found = fit_law(measured(law))
    assert astuple(found) == pytest.approx(astuple(law), rel=0.1)


def test_what_was_held_out_is_predicted() -> None:
    wrong = held_out(measured(OTHER_LAW, noise=0.02))
    assert len(wrong) == sum(len(group.seconds) for group in measured(LAW))
    assert max(map(abs, wrong)) < 0.1


def test_without_a_measurement_the_law_is_the_usual_one() -> None:
    assert fit_law([]) == USUAL_LAW
    assert held_out(measured(LAW)[:1]) == []


def test_one_pair_does_not_send_the_law_astray() -> None:
    """What it cannot tell stays near the usual."""
    pair = measured(USUAL_LAW)[3]
    law = fit_law([pair])
    assert max(map(abs, errors(law, pair))) < 0.01
    for group in measured(USUAL_LAW):
        assert max(map(abs, errors(law, group))) < 0.1


def test_a_divided_target_does_no_work_while_it_waits_for_a_sum() -> None:
    """Its neighbours have the device to themselves then, however slow the link is."""
    h200 = hardware_of("h200")
    packing = ragged(8, 8 * 512, 40)

    def work(link_bandwidth: float) -> tuple[float, float]:
        hardware = replace(h200, link_bandwidth=link_bandwidth)
        target = PassCosts(shape_of("llama-13b"), "bf16", hardware, devices=2)
        return RooflineLoads(RooflinePredictor(target, [], None)).verify(packing)

    kernels, seconds = work(h200.link_bandwidth)
    assert work(1e9) == (kernels, seconds)
    assert 0 < seconds < 5e-3


def test_a_roofline_without_a_factor_of_its_own_has_the_law() -> None:
    target, draft = (
        PassCosts(shape_of(f"llama-{size}"), "bf16", hardware_of("h200")) for size in ("7b", "68m")
    )
    assert RooflinePredictor(target, [draft], None).contention().law == USUAL_LAW
    assert RooflinePredictor(target, [draft], None, 1.5).contention().law.slowdowns(
        [VERIFY, SMALL]
    ) == pytest.approx([1.5, 1.5])


def test_the_usual_law_foretells_what_ran_beside_a_divided_target() -> None:
    """It was fitted to a 7B on one GPU. 24 groups of a 13B over two and five drafts were measured later."""
    path = Path(__file__).parents[2] / "profiles" / "13b-two-gpus-h200-x2.json"
    profile = read_profile(path)
    named = [point.model for point in profile.points if point.operation == "beside"]
    found = [error for group in groups_of(profile) for error in errors(USUAL_LAW, group)]
    of_target = [error for name, error in zip(named, found, strict=True) if name.startswith("llama-13b")]
    of_drafts = [error for name, error in zip(named, found, strict=True) if not name.startswith("llama-13b")]
    assert fmean(map(abs, of_target)) < 0.06
    assert fmean(map(abs, of_drafts)) < 0.06
    assert max(map(abs, found)) < 0.2
