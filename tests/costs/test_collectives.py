"""All-reduces and gathers between equal devices: the law, its closed forms, and what it was fitted to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.costs.collectives import (
    FUSED,
    FUSED_DEVICE_S,
    ONE_SHOT,
    RING,
    TWO_SHOT,
    VOLUME,
    Collective,
    Interconnect,
    fitted,
)
from spinsim.costs.operators import PassCosts
from spinsim.costs.sheets.hardware import hardware_of
from spinsim.costs.sheets.shapes import shape_of

H200 = hardware_of("h200")
ROW = 4096 * 2  # bytes of a token's hidden state in bf16
# Microseconds of an all-reduce of so many tokens between two H200s, as benchmarks.sharded measured them.
MEASURED = {
    RING: {
        1: 6.9,
        2: 7.2,
        4: 7.4,
        8: 7.4,
        16: 7.7,
        32: 8.8,
        64: 10.4,
        128: 14.5,
        256: 27.3,
        512: 32.8,
        1024: 46.1,
    },
    ONE_SHOT: {
        1: 8.4,
        2: 8.0,
        4: 8.3,
        8: 8.4,
        16: 9.4,
        32: 10.0,
        64: 11.8,
        128: 15.3,
        256: 21.2,
        512: 33.8,
        1024: 56.5,
    },
    TWO_SHOT: {
        1: 8.4,
        2: 8.7,
        4: 9.1,
        8: 9.2,
        16: 9.3,
        32: 9.5,
        64: 9.7,
        128: 12.5,
        256: 15.2,
        512: 23.2,
        1024: 36.8,
    },
    FUSED: {1: 3.22, 2: 3.33, 4: 3.33, 8: 3.66, 16: 3.83, 32: 4.22, 64: 4.89, 128: 6.29, 256: 9.32},
}
# Microseconds of the fastest way over four, by bytes: a profile of the 30B. The sheet's laws are of two.
OVER_FOUR = {
    13312: 7.20,
    26624: 7.56,
    53248: 8.65,
    106496: 8.97,
    212992: 9.42,
    425984: 9.68,
    851968: 12.2,
    1703936: 18.8,
    3407872: 26.0,
    6815744: 42.0,
}
# Likewise of a sum that goes with a norm, the kernel's own way among them: a profile of the 13B.
NORMED_OVER_FOUR = {
    10240: 7.6,
    20480: 7.3,
    40960: 8.0,
    81920: 8.3,
    163840: 8.4,
    327680: 9.7,
    655360: 10.6,
    1310720: 14.8,
    2621440: 20.2,
    5242880: 34.8,
}


def alone(algorithm: str, *, step_s: float = 3e-6) -> Interconnect:
    """Two of the sheet's figures, one algorithm."""
    (one,) = (c for c in H200.collectives if c.algorithm == algorithm)
    return Interconnect(H200.link_bandwidth, step_s, (one,))


@pytest.mark.parametrize(
    ("algorithm", "within"), [(RING, 0.32), (ONE_SHOT, 0.07), (TWO_SHOT, 0.12), (FUSED, 0.05)]
)
def test_two_h200s_took_what_the_sheet_says(algorithm: str, within: float) -> None:
    link = alone(algorithm)
    for tokens, microseconds in MEASURED[algorithm].items():
        assert link.all_reduce_s(tokens * ROW, 2) == pytest.approx(microseconds * 1e-6, rel=within)


def test_four_h200s_took_what_the_sheet_s_fastest_way_says() -> None:
    link = H200.interconnect
    errors = [link.all_reduce_s(size, 4) / (seen * 1e-6) - 1 for size, seen in OVER_FOUR.items()]
    assert max(map(abs, errors)) < 0.16
    assert sum(map(abs, errors)) / len(errors) < 0.065


def test_four_h200s_took_as_long_for_a_sum_with_its_norm() -> None:
    link = H200.interconnect
    errors = [
        link.all_reduce_s(size, 4, normed=True) / (seen * 1e-6) - 1 for size, seen in NORMED_OVER_FOUR.items()
    ]
    assert max(map(abs, errors)) < 0.11
    assert sum(map(abs, errors)) / len(errors) < 0.05


@pytest.mark.parametrize("algorithm", list(VOLUME))
def test_the_sheet_s_figures_are_the_fit_of_what_was_measured(algorithm: str) -> None:
    points = [(tokens * ROW, microseconds * 1e-6) for tokens, microseconds in MEASURED[algorithm].items()]
    found = fitted(algorithm, points, 2, H200.link_bandwidth, H200.link_latency_s)
    (sheet,) = alone(algorithm).collectives
    # The sheet's are of the 13B's hidden states as well.
    assert found.latency_s == pytest.approx(sheet.latency_s, rel=0.05)
    assert found.efficiency == pytest.approx(sheet.efficiency, rel=0.1)


def test_closed_forms() -> None:
    size, devices, bandwidth, step = 8e6, 4, 1e11, 2e-6

    def seconds(algorithm: str) -> float:
        return Interconnect(bandwidth, step, (Collective(algorithm, 1e-5, 0.5),)).all_reduce_s(size, devices)

    # 5e10 bytes/s are reached: 1.5 tensors leave each device by ring and two-shot, and 3 by the fused kernel.
    assert seconds(TWO_SHOT) == pytest.approx(1e-5 + 12e6 / 5e10)
    assert seconds(FUSED) == pytest.approx(1e-5 + 2 * FUSED_DEVICE_S + 24e6 / 5e10)
    assert seconds(ONE_SHOT) == pytest.approx(1e-5 + 16e6 / 5e10)  # four are read, where two were measured
    assert seconds(RING) == pytest.approx(1e-5 + 4 * step + 12e6 / 5e10)  # 6 steps, of which 2 were measured
    # The bus bandwidth of NCCL's tests: size / time * 2 (n - 1) / n.
    large = Interconnect(bandwidth, step, (Collective(RING, 1e-5, 0.5),)).all_reduce_s(1e12, devices)
    assert 1e12 / large * 1.5 == pytest.approx(5e10, rel=1e-3)


def test_the_kernel_of_the_norm_sums_what_a_norm_follows_and_what_it_has_room_for() -> None:
    ways = (Collective(TWO_SHOT, 8e-6, 1.0), Collective(FUSED, 3e-6, 1.0, most_bytes=1e6))
    link = Interconnect(1e12, 0.0, ways)
    assert link.all_reduce_s(1e6, 2, normed=True) == pytest.approx(3e-6 + 1e-6)
    for size, normed in ((1e6, False), (1.1e6, True)):
        assert link.all_reduce_s(size, 2, normed=normed) == pytest.approx(8e-6 + size * 1e-12)
    assert link.all_gather_s(0.0, 2) == pytest.approx(8e-6)


def test_a_gather_is_half_an_all_reduce_of_all_parts() -> None:
    link = Interconnect(1e11, 0.0, (Collective(TWO_SHOT, 0.0, 0.5),))
    for devices in (2, 4, 8):
        assert link.all_gather_s(1e6, devices) == pytest.approx(link.all_reduce_s(devices * 1e6, devices) / 2)


@given(st.floats(0, 1e9), st.integers(1, 16), st.sampled_from(("h200", "l4", "v100-32", "cpu")))
def test_one_device_has_nothing_to_sum_and_more_never_wait_less(size: float, devices: int, name: str) -> None:
    link = hardware_of(name).interconnect
    assert link.all_reduce_s(size, 1) == link.all_gather_s(size, 1) == 0
    assert 0 <= link.all_reduce_s(size, devices) <= link.all_reduce_s(size, devices + 1)
    assert link.all_reduce_s(size, devices) <= link.all_reduce_s(size + 1e6, devices)
    apart = [one for one in link.collectives if one.algorithm != FUSED]
    each = [Interconnect(link.bandwidth, link.step_s, (one,)) for one in apart]
    assert link.all_reduce_s(size, devices) == min(one.all_reduce_s(size, devices) for one in each)


def test_more_devices_measured_give_back_the_law_of_two() -> None:
    law = Collective(RING, 2e-5, 0.4)
    link = Interconnect(1e11, 3e-6, (law,))
    points = [(size, link.all_reduce_s(size, 4)) for size in (1e4, 1e6, 1e7)]
    assert fitted(RING, points, 4, 1e11, 3e-6)[1:3] == pytest.approx(law[1:3])
    with pytest.raises(ValueError, match="two sizes"):
        fitted(RING, points[:1], 4, 1e11, 3e-6)


def test_a_pass_over_two_devices_is_half_the_work_and_two_sums_a_layer() -> None:
    """13B at one token: every product is bound by its weights, of which each device reads half."""
    shape = shape_of("llama-13b")
    one, two = (PassCosts(shape, "bf16", H200, devices=devices) for devices in (1, 2))
    link, size = H200.interconnect, shape.hidden * 2
    sums = 2 * shape.layers * link.all_reduce_s(size, 2, normed=True) + link.all_reduce_s(size, 2)
    matrices = shape.parameters() - 2 * shape.vocab * shape.hidden
    weights = matrices * 2 / H200.achieved_bandwidth()
    assert one.body(1) - (two.body(1) - sums) == pytest.approx(weights / 2, rel=1e-3)
    assert sums == pytest.approx(80 * 3.36e-6 + 7.36e-6, rel=0.01)  # 0.28 ms of latency a pass
    sampled, greedy = (PassCosts(shape, "bf16", H200, devices=2, greedy=greedy) for greedy in (False, True))
    told = [H200.interconnect.all_gather_s(5 * size, 2) for size in (shape.vocab / 2 * 2, 8)]
    read = 5 * shape.vocab / 2 * 2 / H200.achieved_bandwidth()  # the other device's logits, to choose
    assert sampled.output(5) - greedy.output(5) == pytest.approx(told[0] - told[1] + read)
