"""The controllers of the pipeline's depth, on throughput curves with a known best depth."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinsim.policies.base import PipelinePolicy
from spinsim.policies.build import build_policies
from spinsim.policies.pipeline.evidence import Evidence
from spinsim.scenario import PoliciesSpec, PolicyChoice
from tests.policies.policy_world import LinearCosts, context


def pipeline(name: str, within: object = None, **params: object) -> PipelinePolicy:
    spec = PoliciesSpec(pipeline=PolicyChoice(name=name, **params))
    return build_policies(spec, within or context()).pipeline  # type: ignore[arg-type]


class Plant:
    """Rounds whose throughput is ``curve(depth)`` tokens a second.

    ``noise``: standard deviation of a round's tokens, relative. ``trend``: the rate of every depth alike
    grows by this share a round, up to ``ceiling`` times (a selector that learns).
    """

    def __init__(
        self,
        policy: PipelinePolicy,
        noise: float = 0.0,
        trend: float = 0.0,
        ceiling: float = 3.0,
        seed: int = 3,
    ) -> None:
        self.policy = policy
        self.now = 0
        self.noise = random.Random(seed)
        self.sd = noise
        self.trend = trend
        self.ceiling = ceiling
        self.visited: list[int] = []

    def run(self, rounds: int, curve: Callable[[int], float], active: int = 32) -> None:
        for _ in range(rounds):
            depth = self.policy.depth()
            assert 1 <= depth <= self.policy.max_depth
            self.visited.append(depth)
            level = math.exp(min(self.trend * len(self.visited), math.log(self.ceiling)))
            tokens = round(1000 * max(0.1, 1 + self.noise.gauss(0, self.sd)))
            self.now += round(1000 / (level * curve(depth)) * 1e9)
            self.policy.observe(self.now, tokens, active)

    def path(self) -> list[int]:
        """Every change of depth."""
        return [d for i, d in enumerate(self.visited) if i == 0 or self.visited[i - 1] != d]


def peak(best: int) -> Callable[[int], float]:
    return lambda depth: 1000 - 80 * abs(depth - best)


def test_static_depths() -> None:
    assert pipeline("serial").depth() == pipeline("serial").max_depth == 1
    assert pipeline("fixed", micro_batches=3).depth() == pipeline("fixed", micro_batches=3).max_depth == 3


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("best", [1, 3, 5, 8])
@pytest.mark.parametrize("start", [1, 4, 8])
def test_spin_settles_on_the_peak(best: int, start: int, noise: float) -> None:
    """0.3 is what a round of eight requests with mixed drafts has."""
    plant = Plant(pipeline("spin", start=start, blocks=64), noise)
    plant.run(30_000 if noise > 0.1 else 8_000, peak(best))
    assert set(plant.visited[-500:]) == {best}


def test_spin_compares_neighbours_in_turns_and_stops_where_it_loses() -> None:
    plant = Plant(pipeline("spin"))
    plant.run(4000, peak(3))
    # Three blocks A B B A for each answer where there is no noise; then the next pair.
    assert plant.path() == [1, 2, 1, 2, 1, 2, 1, *[2, 3, 2, 3, 2, 3, 2], *[3, 4, 3, 4, 3, 4, 3]]


@pytest.mark.parametrize("trend", [0.002, -0.002])
@pytest.mark.parametrize("best", [1, 3, 5])
def test_a_trend_of_all_depths_is_not_taken_for_the_depths(best: int, trend: float) -> None:
    """Rates rise eightfold, or fall without end: the depth measured last looks better, or worse."""
    plant = Plant(pipeline("spin", load_change=1.0), 0.1, trend, ceiling=8.0)
    plant.run(4000, peak(best))
    assert max(plant.visited) == best + 1  # compared with, never climbed to
    assert set(plant.visited[-500:]) == {best}


def test_the_first_windows_after_a_cold_start_decide_nothing() -> None:
    """Depth 1's first rounds yield a tenth: prompts are new to the drafts."""
    for seed in range(10):
        plant = Plant(pipeline("spin"), 0.2, seed=seed)
        plant.run(12, lambda depth: 0.1 * peak(1)(depth))
        plant.run(3000, peak(1))
        assert set(plant.visited[-500:]) == {1}
        assert max(plant.visited) == 2


def test_spin_rarely_errs_where_nothing_is_to_be_gained() -> None:
    """All depths alike: a step up needs a gain, so nearly every run stays; each answer errs with 10 %."""
    stays = 0
    for seed in range(60):
        plant = Plant(pipeline("spin"), 0.3, seed=seed)
        plant.run(3000, lambda depth: 1000.0)
        stays += plant.visited[-1] == 1
    assert stays >= 54


@given(st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_spin_comes_back_when_the_curve_moves(before: int, after: int) -> None:
    plant = Plant(pipeline("spin"))
    plant.run(6000, peak(before))
    plant.run(8000, lambda depth: 0.4 * peak(after)(depth))
    assert set(plant.visited[-500:]) == {after}


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_spin_comes_back_when_the_load_changes(noise: float) -> None:
    plant = Plant(pipeline("spin"), noise)
    plant.run(8000, peak(6), active=32)
    assert plant.visited[-1] == 6
    plant.run(8000, peak(2), active=12)
    assert set(plant.visited[-300:]) == {2}
    plant.run(8000, peak(6), active=32)
    assert set(plant.visited[-300:]) == {6}


def test_a_restless_load_does_not_make_spin_explore_for_ever() -> None:
    """Between 4 and 12 requests every hundred rounds: at most one block in five compares, and has 18
    rounds of 28 at depth 2 where another block has 16 at depth 1: a fifth of all rounds."""
    plant = Plant(pipeline("spin"), 0.1)
    for _ in range(100):
        plant.run(100, peak(1), active=4)
        plant.run(100, peak(1), active=12)
    assert plant.visited.count(2) < 0.2 * len(plant.visited)
    assert max(plant.visited) == 2
    assert max(plant.visited[2000:]) == 2  # it does look again


def test_spin_notices_a_load_that_changes_no_throughput() -> None:
    plant = Plant(pipeline("spin"))
    plant.run(6000, peak(6), active=32)
    plant.run(6000, lambda depth: 320 + peak(2)(depth), active=16)  # at depth 6 as much as before
    assert set(plant.visited[-300:]) == {2}


def test_spin_stays_while_nothing_changes() -> None:
    plant = Plant(pipeline("spin"), noise=0.1)
    plant.run(6000, peak(4))
    settled = len(plant.visited)
    plant.run(8000, peak(4))
    assert set(plant.visited[settled:]) == {4}


def test_spin_uses_no_more_micro_batches_than_requests() -> None:
    plant = Plant(pipeline("spin"))
    plant.run(3000, lambda depth: 100.0 * depth, active=3)
    assert max(plant.visited) <= 3
    plant.run(8000, lambda depth: 100.0 * depth, active=32)
    assert plant.visited[-1] == 8
    plant.run(500, lambda depth: 100.0 * depth, active=2)
    assert max(plant.visited[-300:]) <= 2


def test_spin_does_not_take_idle_time_for_a_bad_depth() -> None:
    plant = Plant(pipeline("spin"))
    plant.run(6000, peak(4))
    for _ in range(6):
        plant.policy.observe(plant.now, 10, 0)  # the last request has ended
        plant.now += 60_000_000_000
        plant.run(400, peak(4))
    assert set(plant.visited[-2400:]) == {4}


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 40), st.integers(0, 9)), max_size=400))
@settings(max_examples=50, deadline=None)
def test_spin_takes_whatever_comes(commits: list[tuple[int, int, int]]) -> None:
    """Commits at the same moment, without tokens, with nobody left."""
    policy, now = pipeline("spin", window_rounds=1), 0
    for elapsed, tokens, active in commits:
        now += elapsed
        policy.observe(now, tokens, active)
        assert 1 <= policy.depth() <= policy.max_depth


def test_evidence_by_hand() -> None:
    # n = 2, S = 3, V = 5, c = 1: e = sqrt(1/3) * (3 * 5 / (3 * 5 - 9))
    evidence = Evidence(spread=1.0)
    assert evidence.log_e(0.0) == 0.0
    evidence.add(1.0)
    assert evidence.log_e(0.0) == pytest.approx(0.0)  # one observation tells nothing
    evidence.add(2.0)
    assert evidence.log_e(0.0) == pytest.approx(math.log(math.sqrt(1 / 3) * 15 / 6))
    assert evidence.log_e(1.5) == pytest.approx(math.log(math.sqrt(1 / 3)))
    assert evidence.mean == 1.5


def test_evidence_errs_no_more_often_than_it_says_though_asked_every_time() -> None:
    """True means at the tested value: of 400 samples at most 10 %, plus three standard deviations."""
    stream, wrong = random.Random(5), 0
    for _ in range(400):
        evidence = Evidence()
        for _ in range(60):
            evidence.add(stream.gauss(0.3, 2.0))
            if evidence.above(0.3, 0.1):
                wrong += 1
                break
    assert wrong <= 400 * 0.1 + 18


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(-1, 1), st.floats(0.1, 10))
def test_evidence_does_not_depend_on_the_unit(sample: list[float], mean: float, unit: float) -> None:
    one, other = Evidence(), Evidence()
    for value in sample:
        one.add(value)
        other.add(value * unit)
    if max(abs(value - mean) for value in sample) > 1e-3:
        assert other.log_e(mean * unit) == pytest.approx(one.log_e(mean), rel=1e-3, abs=1e-6)


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
