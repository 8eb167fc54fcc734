"""The ladder: its steps, the search for the best fixed plan, and what one tells of a scenario."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from spinsim import api
from spinsim.errors import InputError
from spinsim.scenario_file import load
from spinsim.studies.ladder.best import best_fixed
from spinsim.studies.ladder.ladder import LadderPlan
from spinsim.studies.ladder.steps import (
    BEST,
    BEST_SERIAL,
    COMPOSITIONS,
    ORDER,
    PACKINGS,
    PLANNED,
    REPLICAS,
    SHARDED,
    VANILLA,
    FixedPlan,
    gpus,
    paper_steps,
    planned_steps,
    replica,
    sharded,
)

TEXT = """
name: small
seed: 3
workload:
  requests: 12
  arrivals: {process: closed, concurrency: 6}
  prompt_tokens: {distribution: lognormal, median: 300, sigma: 0.6, min: 50, max: 900}
  output_tokens: {distribution: fixed, value: 40}
models:
  target: {shape: llama-7b}
  drafts: {little: {shape: llama-68m}, big: {shape: llama-1.1b}}
devices: {gpu0: {hardware: h100}, gpu1: {hardware: h100}}
placement: {target: [gpu0], drafts: {little: gpu1, big: gpu1}}
costs: {model: roofline}
acceptance: {model: constant, probability: {little: 0.5, big: 0.8}}
limits: {batch: 6, context_tokens: 1024}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    return path


# --- steps -------------------------------------------------------------------------------------------


def test_every_step_is_a_scenario(small: Path) -> None:
    scenario = load(small).scenario
    steps = {
        **paper_steps(scenario, "little", 4),
        **planned_steps(),
        REPLICAS: replica(scenario, 2),
        SHARDED: sharded(scenario, gpus(scenario)),
        BEST: FixedPlan("big", 3, "decomposed", 2, "balanced").overrides(),
        BEST_SERIAL: FixedPlan(None, 0, "ragged").overrides(),
    }
    assert set(steps) == set(ORDER)
    for overrides in steps.values():
        load(small, overrides)


@pytest.mark.parametrize("said", [(), ("kv.reserve=full",), ("policies.packing.name=padded",)])
def test_every_step_reserves_memory_as_the_scenario_does(small: Path, said: tuple[str, ...]) -> None:
    plan = LadderPlan(small, said, 1, None, 4, (), ())
    own = plan.load().scenario.kv.reserve
    assert own == ("full" if said else "grow")
    for packing in PACKINGS:
        assert plan.load([f"policies.packing.name={packing}"]).scenario.kv.reserve == own


def test_a_copy_has_its_part_of_the_clients_and_nothing_of_the_other_devices(small: Path) -> None:
    scenario = load(small, replica(load(small).scenario, 2)).scenario
    assert gpus(scenario) == ["gpu0"]
    assert list(scenario.devices) == ["gpu0"]
    assert scenario.workload.arrivals.concurrency == 3  # type: ignore[union-attr]
    assert scenario.workload.requests == 6
    assert scenario.limits.batch == 3
    poisson = "workload.arrivals={process: poisson, rate_per_s: 8}"
    quarter = load(small, [poisson, *replica(load(small, [poisson]).scenario, 4)]).scenario
    assert quarter.workload.arrivals.rate_per_s == 2.0  # type: ignore[union-attr]


def test_a_sharded_target_takes_every_device(small: Path) -> None:
    scenario = load(small, sharded(load(small).scenario, ["gpu0", "gpu1"])).scenario
    assert scenario.placement.target == ("gpu0", "gpu1")
    assert scenario.placement.drafts == {"little": "gpu0", "big": "gpu1"}


# --- the best fixed plan -----------------------------------------------------------------------------


def rate(plan: FixedPlan) -> float:
    """One peak over the length, which differs by draft and depth."""
    peak = {"a": 3, "b": 6, None: 0}[plan.draft] - (plan.depth - 1)
    base = {"a": 90.0, "b": 100.0, None: 60.0}[plan.draft] - 4 * abs(plan.length - max(peak, 1))
    base *= {1: 1.0, 2: 1.2, 3: 1.1, 4: 0.7}[plan.depth]
    base *= {"ragged": 1.0, "decomposed": 1.01, "padded": 0.8}[plan.packing]
    return base * (1.02 if plan.composition == "round_robin" and plan.depth > 1 else 1.0)


@pytest.mark.parametrize("depths", [(1,), (1, 2, 3, 4)])
def test_the_climb_finds_what_an_exhaustive_search_finds(depths: tuple[int, ...]) -> None:
    asked: list[FixedPlan] = []

    def rates(plans: Sequence[FixedPlan]) -> dict[FixedPlan, float]:
        asked.extend(plans)
        return {plan: rate(plan) for plan in plans}

    best, known = best_fixed(rates, ["a", "b"], 8, depths=depths)
    everything = [
        FixedPlan(draft, length, packing, depth, composition)
        for draft, lengths in (("a", range(1, 9)), ("b", range(1, 9)), (None, [0]))
        for length, packing, depth in itertools.product(lengths, PACKINGS, depths)
        for composition in (COMPOSITIONS if depth > 1 else COMPOSITIONS[-1:])
    ]
    top = max(map(rate, everything))
    assert known[best] >= 0.99 * top  # decomposed and round robin are tried one at a time
    assert len(asked) == len(set(asked)) == len(known) < len(everything) / 2


# --- whole ladders -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan",
    [
        FixedPlan(None, 0, "ragged"),
        FixedPlan("a", 1, "ragged"),
        FixedPlan("a-1", 3, "padded"),
        FixedPlan("b", 4, "ragged", 2, "balanced"),
    ],
)
def test_a_fixed_plan_is_read_as_it_is_written(plan: FixedPlan) -> None:
    assert FixedPlan.read(str(plan)) == plan
    with pytest.raises(ValueError, match="is no fixed plan"):
        FixedPlan.read(f"{plan}, and more")


def test_a_ladder_of_ones_own_scenario(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "ladder"
    found = api.ladder(small, seeds=2, workers=0, out=out)
    steps = {step["name"]: step for step in found.summary["steps"]}
    assert list(steps) == list(ORDER)
    assert json.loads((out / "summary.json").read_text()) == found.summary
    assert steps[VANILLA]["ratio_to_vanilla"] == pytest.approx(1.0)
    assert steps[BEST_SERIAL]["ratio_to_best_serial"] == pytest.approx(1.0)
    assert steps[BEST]["ratio_to_best_serial"] >= 0.97
    alternative = found.summary["best_alternative"]
    assert alternative in (REPLICAS, SHARDED)
    assert steps[alternative]["ratio_to_best_alternative"] == pytest.approx(1.0)
    better = max(steps[name]["goodput_tokens_per_s"] for name in (REPLICAS, SHARDED))
    for step in steps.values():
        assert step["goodput_per_gpu"] == pytest.approx(step["goodput_tokens_per_s"] / step["gpus"])
        ratio = step["goodput_tokens_per_s"] / better
        assert step["ratio_to_best_alternative"] == pytest.approx(ratio)
    assert steps[REPLICAS]["gpus"] == 2
    assert not found.summary["failed"]
    assert len(found.steps) == len(ORDER)
    # nothing is run again, and nothing changes
    again = api.ladder(small, seeds=2, workers=0, out=out, resume=True)
    assert again.summary == found.summary


def test_every_seed_serves_the_same_requests_in_every_step(small: Path) -> None:
    found = api.ladder(small, seeds=1, workers=0, steps=[VANILLA, BEST_SERIAL, PLANNED])
    served = {row.labels["step"]: row.summary["requests"] for row in found.result.rows if row.summary}
    assert len(served) == 3
    assert all(counts["completed"] == counts["submitted"] == 12 for counts in served.values())
    assert found.summary["notes"] == ["one seed has no interval; give --seeds 3 or more"]


BOTH = ["placement={target: [gpu0, gpu1], drafts: {little: gpu0, big: gpu1}}"]


def test_a_target_over_all_devices_is_held_against_copies_on_as_few_as_hold_one(small: Path) -> None:
    assert gpus(load(small, [*BOTH, *replica(load(small, BOTH).scenario, 2)]).scenario) == ["gpu0"]
    found = api.ladder(small, seeds=1, workers=0, steps=[VANILLA, REPLICAS, SHARDED], set=BOTH)
    steps = {step["name"]: step for step in found.summary["steps"]}
    assert steps[REPLICAS]["gpus"] == 2
    assert steps[REPLICAS]["goodput_tokens_per_s"] > 0
    assert steps[SHARDED]["goodput_tokens_per_s"] is None
    assert "all that there are" in steps[SHARDED]["why"]


def test_a_step_that_cannot_be_says_why_and_the_others_go_on(small: Path) -> None:
    tight = [*BOTH, "devices.gpu0.memory_gib=13", "devices.gpu1.memory_gib=13"]  # for 12.6 GiB of weights
    found = api.ladder(small, seeds=1, workers=0, steps=[VANILLA, REPLICAS], set=tight)
    steps = {step["name"]: step for step in found.summary["steps"]}
    assert steps[REPLICAS]["why"] == "no fewer devices hold a copy"


def test_unlike_devices_make_no_copies(small: Path) -> None:
    """An H100 and an L4 passed for two copies on H100s."""
    unlike = ["devices.gpu1.hardware=l4"]
    found = api.ladder(small, seeds=1, workers=0, steps=[VANILLA, REPLICAS], set=unlike)
    steps = {step["name"]: step for step in found.summary["steps"]}
    assert steps[REPLICAS]["why"] == "copies need devices that are all alike"
    assert steps[REPLICAS]["goodput_tokens_per_s"] is None
    assert steps[VANILLA]["goodput_tokens_per_s"] > 0


def test_bad_questions_are_refused(small: Path) -> None:
    with pytest.raises(InputError, match=r"--step: 'dance' is no step; choose from autoregressive"):
        api.ladder(small, steps="dance", workers=0)
    with pytest.raises(InputError, match="name some in"):
        api.ladder(
            small,
            set={
                "devices": {"gpu0": {"hardware": "h100"}},
                "models.drafts": {},
                "placement.drafts": {},
                "acceptance": {"model": "constant", "probability": 0.5},
            },
            workers=0,
        )
