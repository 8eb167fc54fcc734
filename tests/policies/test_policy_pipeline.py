"""The controllers of the pipeline's depth, on throughput curves with a known best depth."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_world import LinearCosts, context

from spinsim.policies.base import PipelinePolicy
from spinsim.policies.build import build_policies
from spinsim.scenario import PoliciesSpec, PolicyChoice


def pipeline(name: str, within: object = None, **params: object) -> PipelinePolicy:
    spec = PoliciesSpec(pipeline=PolicyChoice(name=name, **params))
    return build_policies(spec, within or context()).pipeline  # type: ignore[arg-type]


class Plant:
    """Rounds whose throughput is ``curve(depth)`` tokens a second, with noise from round to round."""

    def __init__(self, policy: PipelinePolicy, noise: float = 0.0) -> None:
        self.policy = policy
        self.now = 0
        self.noise = random.Random(3)
        self.sd = noise
        self.visited: list[int] = []

    def run(self, rounds: int, curve: Callable[[int], float], active: int = 32) -> None:
        for _ in range(rounds):
            depth = self.policy.depth()
            assert 1 <= depth <= self.policy.max_depth
            self.visited.append(depth)
            tokens = round(100 * max(0.1, 1 + self.noise.gauss(0, self.sd)))
            self.now += round(100 / curve(depth) * 1e9)
            self.policy.observe(self.now, tokens, active)


def peak(best: int) -> Callable[[int], float]:
    return lambda depth: 1000 - 80 * abs(depth - best)


def test_static_depths() -> None:
    assert pipeline("serial").depth() == pipeline("serial").max_depth == 1
    assert pipeline("fixed", micro_batches=3).depth() == pipeline("fixed", micro_batches=3).max_depth == 3


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("best", range(1, 9))
@pytest.mark.parametrize("start", [1, 4, 8])
def test_spin_settles_on_the_peak(best: int, start: int, noise: float) -> None:
    plant = Plant(pipeline("spin", start=start), noise)
    plant.run(3000, peak(best))
    assert set(plant.visited[-500:]) == {best}


def test_spin_climbs_one_by_one_and_steps_back_once() -> None:
    plant = Plant(pipeline("spin"))
    plant.run(2000, peak(3))
    path = [d for i, d in enumerate(plant.visited) if i == 0 or plant.visited[i - 1] != d]
    assert path == [1, 2, 3, 4, 3]


@given(st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_spin_comes_back_when_the_curve_moves(before: int, after: int) -> None:
    plant = Plant(pipeline("spin"))
    plant.run(2500, peak(before))
    plant.run(4000, lambda depth: 0.4 * peak(after)(depth))
    assert set(plant.visited[-500:]) == {after}


def test_spin_comes_back_when_the_load_changes() -> None:
    plant = Plant(pipeline("spin"))
    plant.run(2000, peak(6), active=32)
    assert plant.visited[-1] == 6
    plant.run(3000, peak(2), active=12)
    assert set(plant.visited[-300:]) == {2}
    plant.run(4000, peak(6), active=32)
    assert set(plant.visited[-300:]) == {6}


def test_spin_notices_a_load_that_changes_no_throughput() -> None:
    plant = Plant(pipeline("spin"))
    plant.run(2000, peak(6), active=32)
    plant.run(3000, lambda depth: 320 + peak(2)(depth), active=16)  # at depth 6 as much as before
    assert set(plant.visited[-300:]) == {2}


def test_spin_stays_while_nothing_changes() -> None:
    plant = Plant(pipeline("spin"), noise=0.1)
    plant.run(2000, peak(4))
    settled = len(plant.visited)
    plant.run(5000, peak(4))
    assert set(plant.visited[settled:]) == {4}


def test_spin_uses_no_more_micro_batches_than_requests() -> None:
    plant = Plant(pipeline("spin"))
    plant.run(2000, lambda depth: 100.0 * depth, active=3)
    assert max(plant.visited) <= 3
    plant.run(2000, lambda depth: 100.0 * depth, active=32)
    plant.run(500, lambda depth: 100.0 * depth, active=2)
    assert plant.visited[-1] <= 2


def test_spin_does_not_take_idle_time_for_a_bad_depth() -> None:
    plant = Plant(pipeline("spin", patience=1))
    plant.run(1500, peak(4))
    for _ in range(6):
        plant.policy.observe(plant.now, 10, 0)  # the last request has ended
        plant.now += 60_000_000_000
        plant.run(150, peak(4))
    assert set(plant.visited[-800:]) == {4}


def test_model_based_by_hand() -> None:
    # Constant costs: a cycle is max(m V, m D, V + D). With V = D two micro-batches hide one behind the other.
    costs = LinearCosts(step_s=(2.5e-3,), verify_s=10e-3)
    policy = pipeline("model_based", context(1, costs))
    assert [policy.cycle_s(16, m) for m in (1, 2, 3)] == pytest.approx([0.02, 0.02, 0.03])  # type: ignore[attr-defined]
    bound = pipeline("model_based", context(1, LinearCosts(step_s=(1e-3,), verify_s=10e-3)))
    assert [bound.cycle_s(16, m) for m in (1, 2, 3)] == pytest.approx([0.014, 0.02, 0.03])  # type: ignore[attr-defined]
    # Work that splits with the rows: V = 1 ms + 1 ms a row, D likewise; deeper pays until the constants show.
    split = LinearCosts(step_s=(0.25e-3,), step_row_s=0.25e-3, verify_s=1e-3, verify_row_s=1e-3)
    policy = pipeline("model_based", context(1, split))
    cycles = {m: policy.cycle_s(16, m) for m in range(1, 9)}  # type: ignore[attr-defined]
    assert cycles[1] == pytest.approx(0.034)
    assert cycles[2] == pytest.approx(0.018)
    assert cycles[4] == pytest.approx(0.020)
    policy.observe(0, 10, 16)
    assert policy.depth() == min(cycles, key=cycles.__getitem__) == 2
    policy.observe(1, 10, 1)
    assert policy.depth() == 1


def test_model_based_counts_drafts_that_share_a_lane() -> None:
    costs = LinearCosts(step_s=(1e-3, 1e-3), verify_s=4e-3)
    apart = pipeline("model_based", context(2, costs, draft_lanes=(1, 2)))
    together = pipeline("model_based", context(2, costs, draft_lanes=(1, 1)))
    assert apart.cycle_s(8, 1) == pytest.approx(8e-3)  # type: ignore[attr-defined]
    assert together.cycle_s(8, 1) == pytest.approx(12e-3)  # type: ignore[attr-defined]
