"""The planner: the closed form of its cycle, its search against brute force, and whole runs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from spinsim.costs.base import CONSTANT, Estimate
from spinsim.errors import InputError
from spinsim.operations import Packing
from spinsim.packings.padded import Padded
from spinsim.packings.ragged import Ragged
from spinsim.policies.base import NO_DRAFT, CyclePlan, PolicyContext
from spinsim.policies.build import build_policies
from spinsim.policies.pipeline.static import FixedDepth
from spinsim.policies.planning.cycle import Contexts, CycleTimes, contexts_of
from spinsim.policies.planning.information import expected_gain, information, information_by_rate
from spinsim.policies.planning.search import Arm, Batch, Plan, Search
from spinsim.scenario import PoliciesSpec, PolicyChoice
from spinsim.scenario_file import load
from spinsim.simulated.simulation import simulate_scenario
from tests.policies.policy_world import LinearCosts, context, views

ROOT = Path(__file__).parents[2]
KINDS = ("selector", "length", "packing", "pipeline", "composition")
PLANNED = {kind: {"name": "planned"} for kind in KINDS}


# --- what trying is worth ----------------------------------------------------------------------------


def test_expected_gain_is_the_normal_loss_function() -> None:
    for behind, deviation in itertools.product((0.0, 0.3, 2.0), (0.1, 1.0, 5.0)):
        z = -behind / deviation
        exact = deviation * (stats.norm.pdf(z) + z * stats.norm.cdf(z))
        got = expected_gain(np.array([behind]), np.array([deviation]))[0]
        assert got == pytest.approx(exact, abs=2e-4 * deviation)


def test_information_falls_with_evidence_and_with_the_price() -> None:
    tokens, deviation = np.array([[2.0, 2.2]]), np.array([[0.5, 0.5]])

    def of(evidence: float, price: float) -> float:
        return float(
            information(tokens, deviation, np.full((1, 2), evidence), np.array([price, 0.0]), 8)[0, 0]
        )

    assert of(4, 0) > of(40, 0) > 0
    assert of(4, 0) > of(4, 0.5) > of(4, 2)
    assert information(tokens[:, :1], deviation[:, :1], np.ones((1, 1)), np.zeros(1), 8) == pytest.approx(0)


def test_information_by_rate_goes_through_what_may_be_shown() -> None:
    """By medians of eight parts; never more than all of it, and more than the slope at the mean tells."""
    rates, deviation, price, tries = np.array([[0.3, 0.5]]), np.array([[0.25, 0.1]]), np.zeros(2), 20
    evidence = rates * (1 - rates) / deviation**2 - 1
    surviving = rates[:, :, None] ** np.arange(1, 9)
    got = information_by_rate(surviving, deviation, evidence, price, tries)[0]
    learned = (deviation * np.sqrt(tries / (tries + evidence)))[0]

    def gain(parts: int) -> float:
        """Of the first draft, worse than the second for most."""
        z = stats.norm.ppf((np.arange(parts) + 0.5) / parts)[:, None]
        shown = (rates[0] + learned * z).clip(0, 0.999)
        first, second = (shown[:, :, None] ** np.arange(9)).sum(2).T
        return float(np.maximum(first - second.mean(), 0).mean())

    assert got[0] == pytest.approx(gain(8), rel=0.01)
    assert gain(8) < gain(1000)
    slope = (np.arange(1, 9) * rates[:, :, None] ** np.arange(8)).sum(2)
    linear = information(1 + surviving.sum(2), deviation * slope, evidence, price, tries)[0]
    assert got[0] > 2 * linear[0] > 0


# --- the cycle ---------------------------------------------------------------------------------------


def times(costs: LinearCosts, packings: dict[str, Any] | None = None, **changes: Any) -> CycleTimes:
    return CycleTimes(context(3, costs, **changes), packings or {})


@pytest.mark.parametrize(
    ("depth", "verify_s", "draft_s", "wanted"),
    [
        (1, 10e-3, 4e-3, 14e-3),  # one after the other
        (2, 10e-3, 4e-3, 20e-3),  # the target never waits
        (2, 3e-3, 9e-3, 18e-3),  # the draft never waits
        (2, 5e-3, 5e-3, 10e-3),  # both are always busy
        (3, 1e-3, 1e-3, 3e-3),
    ],
)
def test_cycle_of_lanes_that_overlap(depth: int, verify_s: float, draft_s: float, wanted: float) -> None:
    assert times(LinearCosts()).cycle_s(depth, 4, verify_s, {0: draft_s}) == pytest.approx(wanted)


def test_hops_are_latency_and_the_orchestrator_is_a_lane() -> None:
    costs = LinearCosts(hop_s=1e-3, handling_s={"verify": 6e-3, "propose": 1e-3})
    assert times(costs).cycle_s(1, 4, 10e-3, {0: 4e-3}) == pytest.approx(14e-3 + 7e-3 + 4e-3)
    assert times(costs).cycle_s(1, 4, 10e-3, {}) == pytest.approx(10e-3 + 6e-3 + 2e-3)
    assert times(costs).cycle_s(4, 4, 1e-3, {0: 1e-3}) == pytest.approx(4 * 7e-3)


def test_drafts_of_one_lane_take_turns_and_groups_have_their_own() -> None:
    shared = times(LinearCosts(), draft_lanes=(1, 1, 1))
    assert shared.cycle_s(1, 4, 10e-3, {0: 4e-3, 1: 3e-3}) == pytest.approx(17e-3)
    apart = times(LinearCosts())
    assert apart.cycle_s(1, 4, 10e-3, {0: 4e-3, 1: 3e-3}) == pytest.approx(14e-3)
    assert apart.grouped_s(2, 4, 5e-3, {0: (1, 4e-3), 1: (1, 9e-3)}) == pytest.approx(14e-3)


def test_a_draft_beside_the_target_takes_its_time_away() -> None:
    class Slow(LinearCosts):
        def slowdown(self, draft: int, target_lane: bool) -> float:
            return 2.0

    beside = times(Slow(), draft_devices=("gpu0",) * 3, target_devices=("gpu0",))
    # halves of a GPU: pipelining gains nothing
    assert beside.cycle_s(2, 4, 5e-3, {0: 5e-3}) == pytest.approx(20e-3)
    away = times(Slow(), draft_devices=("gpu1",) * 3, target_devices=("gpu0",))
    assert away.cycle_s(2, 4, 5e-3, {0: 5e-3}) == pytest.approx(10e-3)


def test_padding_is_paid_for_as_it_is_executed() -> None:
    costs = LinearCosts(verify_s=0, verify_kv_s=1e-6)
    shapes = Contexts(mean=512, longest=1024)
    ragged = times(costs).verify_s(8, 3, 3, shapes, "")
    padded = times(costs, {"padded": Padded(Padded.Params(), context())}).verify_s(8, 2, 3, shapes, "padded")
    assert padded == pytest.approx(8 * 1027e-6)  # every row has as many queries as the longest
    assert ragged == pytest.approx(8 * 515e-6)
    assert times(costs).verify_s(8, 2.5, 4, shapes, "") == pytest.approx(8 * 514.5e-6)


# --- the search --------------------------------------------------------------------------------------


def cases(seed: int) -> tuple[Search, CycleTimes, Batch, PolicyContext]:
    stream = np.random.default_rng(seed)
    costs = LinearCosts(
        step_s=tuple(stream.uniform(1e-4, 3e-3, 3)),
        verify_s=stream.uniform(1e-3, 1e-2),
        verify_query_s=stream.uniform(0, 1e-4),
        verify_kv_s=stream.uniform(0, 2e-6),
    )
    given = context(3, costs, max_length=4, allow_none=True)
    limits = CyclePlan(most_depth=3)
    kept = CycleTimes(given, {})
    rates = stream.uniform(0.2, 0.95, (6, 3, 1))
    worth = np.ones((6, 4, 5))
    worth[:, :3, 1:] += np.cumsum(np.cumprod(np.repeat(rates, 4, 2), 2), 2)
    batch = Batch(worth, np.zeros((6, 4), int), contexts_of([300, 400, 500, 600, 700, 800]), 6, 16.0)
    return Search(kept, limits, given, (0, 1, 2, NO_DRAFT)), kept, batch, given


def brute_force(search: Search, batch: Batch) -> float:
    """The best rate of all depths and all sets of arms of different drafts, by the plan's own choice."""
    arms = [Arm(draft, length) for draft in range(3) for length in range(1, 5)] + [Arm(NO_DRAFT, 0)]
    best = 0.0
    for depth, size in itertools.product((1, 2, 3), (1, 2, 3)):
        for chosen in itertools.combinations(arms, size):
            if len({arm.draft for arm in chosen}) == size:
                worth = np.stack([batch.worth[:, arm.draft, arm.length] for arm in chosen])
                best = max(best, search.with_choice(batch, depth, chosen, worth.argmax(0), "").rate)
    return best


def test_plans_are_near_the_best_of_all() -> None:
    reached = []
    for seed in range(12):
        search, _, batch, _ = cases(seed)
        plan = search.best(batch)
        assert set(plan.of) <= set(range(len(plan.arms)))
        assert len(plan.of) == len(batch.worth)
        reached.append(plan.rate / brute_force(search, batch))
    assert min(reached) > 0.92  # drafts that differ thirtyfold in speed, six requests that differ as much
    assert float(np.mean(reached)) > 0.98


def test_steps_of_a_search_only_improve_and_end_with_the_best() -> None:
    search, _, batch, _ = cases(2)
    steps = list(search.steps(batch))
    rates = [plan.rate for plan in steps]
    assert rates == sorted(rates)
    assert steps[-1].rate == search.best(batch).rate


def test_everybody_alike_takes_the_time_of_the_cycle() -> None:
    _, kept, batch, _ = cases(7)
    late_s = np.array([0.0, 2e-3, 0.0, 0.0])
    for depth in (1, 3):
        rows = -(-6 // depth)
        alike = kept.alike_s(depth, rows, late_s, batch.contexts, "")
        for draft, length in itertools.product(range(3), range(1, 5)):
            verify = kept.verify_s(rows, length, length, batch.contexts, "")
            drafting = kept.draft_s(draft, rows, length, batch.contexts.mean)
            cycle = kept.cycle_s(depth, rows, verify, {draft: drafting}, late_s[draft])
            assert alike[draft, length] == pytest.approx(cycle)
        none = kept.cycle_s(depth, rows, kept.verify_s(rows, 0, 0, batch.contexts, ""), {})
        assert alike[-1, 0] == pytest.approx(none)


def test_the_plan_has_the_packing_that_is_the_fastest_for_it() -> None:
    """Padding is cheap by the token here, and rows of one length have none."""
    _, _, batch, given = cases(8)
    dear = {"ragged": 3e-6, "padded": 2e-6}

    class Costs(LinearCosts):
        def verify(self, packing: Packing) -> Estimate:
            return Estimate(1e-3 + dear[packing.kind] * packing.kv_tokens, CONSTANT)

    chosen = {}
    for uneven in (False, True):
        contexts = Contexts(512, 2048 if uneven else 512)
        within = replace(given, predictor=Costs())
        packings = {"ragged": Ragged(None, within), "padded": Padded(None, within)}
        search = Search(CycleTimes(within, packings), CyclePlan(most_depth=2), within, (0, 1, 2))
        chosen[uneven] = search.best(replace(batch, contexts=contexts)).packing
    assert chosen == {False: "padded", True: "ragged"}


def test_a_single_draft_gets_its_best_depth_and_length() -> None:
    _, kept, batch, given = cases(3)
    alone = Search(kept, CyclePlan(most_depth=3), given, (1,))
    plan = alone.best(batch)
    rates = {}
    for depth, length in itertools.product((1, 2, 3), range(1, 5)):
        rates[depth, length] = alone.with_choice(batch, depth, [Arm(1, length)], np.zeros(6, int), "").rate
    assert (plan.depth, plan.arms[0].length) == max(rates, key=lambda key: rates[key])


def test_other_policies_limit_the_plan() -> None:
    _, kept, batch, given = cases(4)
    pipeline = FixedDepth(FixedDepth.Params(2), given)
    limits = CyclePlan(most_depth=2, pipeline=pipeline, fixed_lengths=(3, 2, 1))
    plan = Search(kept, limits, given, (0, 1, 2)).best(batch)
    assert plan.depth == 2
    assert all(arm.length == (3, 2, 1)[arm.draft] for arm in plan.arms)


def test_capacities_hold_for_every_micro_batch() -> None:
    _, kept, batch, _ = cases(5)
    tight = context(3, kept._predictor, max_length=4, capacities=(1, None, 1))
    plan = Search(kept, CyclePlan(most_depth=1), tight, (0, 1, 2)).best(batch)
    drafts = [plan.arms[at].draft for at in plan.of]
    assert drafts.count(0) <= 1
    assert drafts.count(2) <= 1


# --- within the scenario -----------------------------------------------------------------------------


def test_followers_need_a_plan() -> None:
    for kind in ("length", "packing", "pipeline", "composition"):
        spec = PoliciesSpec(selector=PolicyChoice(name="joint"), **{kind: PolicyChoice(name="planned")})
        with pytest.raises(InputError, match=rf"policies.{kind}.name: .*planned or planned_oracle"):
            build_policies(spec, context())


def test_one_plan_is_shared_by_all_policies_and_no_two_runs_share_one() -> None:
    spec = PoliciesSpec.model_validate(PLANNED)
    first, second = build_policies(spec, context()), build_policies(spec, context())
    batch = views(6)
    drafts = first.selector.assign(batch)
    lengths = first.length.lengths(batch, drafts)
    assert all(length >= 1 for length in lengths)
    assert len(lengths) == 6
    assert second.length.lengths([], []) == []


def goodput(path: str, *seeds: int, **policies: Any) -> float:
    rates = []
    for seed in seeds:
        given = [f"seed={seed}", *(f"policies.{kind}={choice}" for kind, choice in policies.items())]
        loaded = load(ROOT / path, overrides=given)
        done = simulate_scenario(loaded.scenario, loaded.base_dir)
        finished = done.records.requests.values()
        rates.append(sum(one.output_tokens for one in finished) / done.records.ended_ns * 1e9)
    return sum(rates) / len(rates)


def test_plans_pay_where_requests_differ_and_nobody_beats_the_planner_that_knows() -> None:
    path, seeds = "scenarios/specialists.yaml", (2, 3)  # of one, much depends on which draft is tried first
    planned = dict.fromkeys(PLANNED, "{name: planned}")
    plan = goodput(path, *seeds, **planned)
    alone = (
        goodput(path, *seeds, selector=f"{{name: fixed, draft: {draft}}}") for draft in ("tiny", "large")
    )
    assert plan > 1.1 * max(alone)
    assert plan > goodput(path, *seeds, selector="{name: joint}")
    knows = {**planned, "selector": "{name: planned_oracle}"}
    assert goodput(path, 2, **knows) > goodput(path, 2, **planned)


def test_rate_of_a_plan_is_tokens_over_the_cycle() -> None:
    search, kept, batch, _ = cases(6)
    plan = search.best(batch)
    assert isinstance(plan, Plan)
    one = search.with_choice(batch, 1, [Arm(0, 2)], np.zeros(6, int), "")
    verify = kept.verify_s(6, 2, 2, batch.contexts, "")
    draft = kept.draft_s(0, 6, 2, batch.contexts.mean)
    assert one.rate == pytest.approx(batch.worth[:, 0, 2].sum() / (verify + draft))
