"""The predictor of a profile, on profiles drawn from a known law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.buckets import PROMPT_TOKENS, Buckets, bucket_rows
from spinsim.costs.base import INTERPOLATED, MEASURED, ROOFLINE, Predictor
from spinsim.costs.for_scenario import buckets_of, build_predictor
from spinsim.costs.profiled.executed import PassShape, pass_shape, verify_shape
from spinsim.costs.profiled.predictors import ProfilePredictor, fit_operations
from spinsim.costs.profiled.profile import Point, read_profile, write_profile
from spinsim.errors import InputError
from spinsim.operations import Packing
from tests.costs.cost_cases import DRAFT, TARGET, Truth, measured, scenario_of


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profiles") / "machine.json"
    write_profile(measured(), path)
    return path


@pytest.fixture(scope="module")
def strict(saved: Path) -> Predictor:
    return build_predictor(scenario_of(costs={"model": "profile", "path": saved.name}), saved.parent)


@pytest.fixture(scope="module")
def lenient(saved: Path) -> Predictor:
    costs = {"model": "profile", "path": saved.name, "allow_roofline": True}
    return build_predictor(scenario_of(costs=costs), saved.parent)


def ragged(rows: int, queries: int, kv: int) -> Packing:
    return Packing("ragged", rows, 0, queries, kv, queries, kv)


def test_a_bucket_that_is_passed_over_runs_as_the_next_larger_one(tmp_path: Path) -> None:
    """What was measured of it misleads nobody: here it took ten times as long."""
    profile = measured()
    models = profile.models | {
        "target": replace(profile.models["target"], without_tokens=(64,)),
        "draft": replace(profile.models["draft"], without_rows=(16,)),
    }

    def dear(point: Point) -> Point:
        passed_over = replace(profile, models=models).passes_over(
            point.operation, point.model, point.features
        )
        return replace(point, seconds=10 * point.seconds) if passed_over else point

    points = tuple(dear(p) if p.operation in ("verify", "draft_step") else p for p in profile.points)
    write_profile(replace(profile, models=models, points=points), tmp_path / "p.json")
    costs = {"model": "profile", "path": "p.json"}
    scenario = scenario_of(costs=costs)
    assert buckets_of(scenario, tmp_path)["target"].tokens(60) == 72
    assert buckets_of(scenario_of(), tmp_path) == {}
    predictor = build_predictor(scenario, tmp_path)
    for short, long in ((57, 70), (64, 72)):
        assert verify_shape(ragged(16, short, 4096), True, Buckets(frozenset(), frozenset({64}))).tokens == 72
        seconds = [predictor.verify(ragged(16, queries, 4096)).seconds for queries in (short, long)]
        assert seconds[0] == pytest.approx(seconds[1], rel=0.02)
    rows = [predictor.propose(0, [2] * rows, [256] * rows).seconds for rows in (8, 12, 24)]
    assert rows == sorted(rows)
    assert rows[2] < 3 * rows[0]


def test_measured_at_points_interpolated_between(strict: Predictor) -> None:
    point = measured().of("verify", "target", "ragged")[10]
    f = {name: int(value) for name, value in point.features.items()}
    at = strict.verify(ragged(f["rows"], f["query_tokens"], f["kv_tokens"]))
    assert at == (point.seconds, MEASURED)
    assert strict.verify(ragged(f["rows"], f["query_tokens"], f["kv_tokens"] + 1)).label == INTERPOLATED
    assert strict.prefill([512], [0]).label == MEASURED
    assert strict.prefill([300, 150], [0, 77]).label == INTERPOLATED
    assert strict.catch_up(0, [100], [5]).label == INTERPOLATED
    assert strict.propose(0, [1] * 4, [256] * 4).label == MEASURED
    assert strict.propose(0, [2] * 4, [256] * 4).label == INTERPOLATED


def test_predictions_come_near_the_truth(strict: Predictor) -> None:
    target, draft = Truth(TARGET), Truth(DRAFT)
    kv = 24 * 700
    expected = target.seconds(120, 120, 120, kv, kv * 5)
    assert strict.verify(ragged(24, 120, kv)).seconds == pytest.approx(expected, rel=0.03)
    steps = [draft.seconds(48 if s == 0 else 24, 24, 48, 24 * (700 + s), 0) for s in range(4)]
    assert strict.propose(0, [4] * 24, [700] * 24).seconds == pytest.approx(sum(steps), rel=0.03)
    uneven = strict.propose(0, [4, 0, 2, 2] * 6, [700] * 24).seconds
    assert (
        strict.propose(0, [2] * 12, [700] * 12).seconds
        < uneven
        < strict.propose(0, [4] * 24, [700] * 24).seconds
    )
    assert strict.orchestrate(8).seconds == pytest.approx(38e-6, rel=0.05)
    assert strict.hop().seconds == pytest.approx(8e-6, rel=0.05)
    assert strict.transfer(8, 32).seconds == pytest.approx(30e-6, rel=0.05)
    assert strict.slowdown(0, True) == pytest.approx(1.1, rel=0.05)
    assert strict.slowdown(0, False) == pytest.approx(1.9, rel=0.05)


def test_a_proposal_is_the_sum_of_its_fitted_steps(strict: Predictor) -> None:
    assert isinstance(strict, ProfilePredictor)
    fits = {step: strict.drafts[0]["draft_step", step].chosen.fit for step in ("first", "later")}
    for lengths in ([5] * 12, [5, 3] * 6):
        expected = 0.0
        for step in range(5):
            active = sum(1 for length in lengths if length > step)
            rows = bucket_rows(active)
            tokens, kv = (rows if step else 2 * rows), active * (333 + step)
            fit = fits["later" if step else "first"]
            expected += fit.predict(PassShape(rows, tokens, rows, tokens, kv, kv * tokens / rows))
        assert strict.propose(0, lengths, [333] * 12).seconds == pytest.approx(expected, rel=1e-9)


ASKS: dict[str, Callable[[Predictor], Any]] = {
    "too many tokens": lambda p: p.verify(ragged(64, 2000, 64 * 100)),
    "too many KV tokens": lambda p: p.verify(ragged(64, 320, 64 * 4000)),
    "too long a context": lambda p: p.verify(ragged(1, 5, 9000)),
    "a packing that was not measured": lambda p: p.verify(Packing("decomposed", 8, 128, 40, 1024, 40, 900)),
    "too long a prompt": lambda p: p.prefill([5000], [0]),
    "too long a catch-up": lambda p: p.catch_up(0, [10], [9000]),
    "too many drafting rows": lambda p: p.propose(0, [4] * 100, [50] * 100),
    "too long a draft context": lambda p: p.propose(0, [4], [2200]),
    "too many rows to handle": lambda p: p.orchestrate(1000),
    "too many ids to send": lambda p: p.transfer(64, 2**23),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_beyond_the_range_is_refused_or_flagged(
    strict: Predictor, lenient: Predictor, ask: Callable[[Predictor], Any]
) -> None:
    with pytest.raises(InputError) as caught:
        ask(strict)
    assert caught.value.key == "costs.allow_roofline"
    answer = ask(lenient)
    assert answer.label == ROOFLINE
    assert answer.seconds > 0


def test_a_profile_that_was_cut_short_says_so(strict: Predictor) -> None:
    """What the host takes is measured last. It was once "not measured at this size"."""
    whole = measured()
    cut = replace(whole, points=tuple(p for p in whole.points if p.operation not in ("orchestrator", "hop")))
    assert isinstance(strict, ProfilePredictor)
    predictor = ProfilePredictor(cut, strict.target, strict.drafts, ("draft",), link=None, fallback=None)
    with pytest.raises(InputError, match=r"what the host takes between operations was not .*--resume"):
        predictor.orchestrate(4)
    with pytest.raises(InputError, match="hop was not measured; allowed: a whole profile"):
        predictor.hop()
    with pytest.raises(InputError, match="orchestrator was not measured at this size"):
        strict.orchestrate(1000)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> ProfilePredictor:
    """From a profile with prompt graphs, whose points of 4,096 tokens were measured eagerly."""
    path = tmp_path_factory.mktemp("profiles") / "machine.json"
    write_profile(replace(measured(), prompt_graphs=True, prompt_tokens=PROMPT_TOKENS), path)
    costs = {"model": "profile", "path": path.name}
    found = build_predictor(scenario_of(costs=costs), path.parent)
    assert isinstance(found, ProfilePredictor)
    return found


def test_a_large_prompt_costs_its_passes(strict: Predictor, replayed: ProfilePredictor) -> None:
    asks = (replayed.prefill, lambda tokens, starts: replayed.catch_up(0, tokens, starts))
    for ask in asks:
        assert ask([PROMPT_TOKENS], [0]).label == MEASURED
        parts = ask([PROMPT_TOKENS], [0]), ask([476, 300], [PROMPT_TOKENS, 40])
        whole = ask([PROMPT_TOKENS + 476, 300], [0, 40])
        assert whole == (pytest.approx(sum(part.seconds for part in parts), rel=1e-12), INTERPOLATED)
    # Without prompt graphs it is one pass, measured as such.
    assert strict.prefill([2 * PROMPT_TOKENS], [0]).label == MEASURED
    with pytest.raises(InputError, match="KV tokens is outside the profile"):
        replayed.prefill([9000], [0])  # no pass is too large, but the last ones reach too far back


def test_eager_points_of_a_profile_with_prompt_graphs_are_left_out(replayed: ProfilePredictor) -> None:
    for fitted in (replayed.target["prefill", ""], replayed.drafts[0]["catch_up", ""]):
        assert max(shape.tokens for shape in fitted.shapes) == PROMPT_TOKENS
    only = [point for point in measured().points if point.features.get("tokens") == 2 * PROMPT_TOKENS]
    assert only
    assert not fit_operations(replace(measured(), prompt_graphs=True, points=tuple(only)), "draft")
    before = fit_operations(replace(measured(), prompt_graphs=True), "draft")  # when graphs held 1,024 tokens
    assert max(shape.tokens for shape in before["catch_up", ""].shapes) == 1024


@pytest.mark.parametrize("name", ["one-gpu-h100", "two-gpus-h100-x2"])
def test_shipped_profiles_answer_for_large_catch_ups(name: str) -> None:
    """Of all the rows and context that they were made for."""
    profile = read_profile(Path(__file__).parents[2] / "profiles" / f"{name}.json")
    assert profile.prompt_graphs
    for model in profile.models:
        fits = {key: fit for key, fit in fit_operations(profile, model).items() if key[0] == "catch_up"}
        if not fits:  # the target
            continue
        predictor = ProfilePredictor(profile, {}, [fits], [model], link=None, fallback=None)
        full = predictor.catch_up(0, [PROMPT_TOKENS // 64] * 64, [0] * 64)
        whole = predictor.catch_up(0, [511] * 64, [0] * 64)
        passes = 511 * 64 / PROMPT_TOKENS
        assert whole.label <= INTERPOLATED
        assert 0.5 * passes * full.seconds < whole.seconds < 2 * passes * full.seconds


def test_below_the_range_the_smallest_shape_answers(strict: Predictor) -> None:
    low = strict.verify(ragged(1, 1, 2))
    assert low.label == INTERPOLATED
    assert low.seconds == pytest.approx(strict.verify(ragged(1, 1, 64)).seconds, rel=0.05)


def test_padding_is_asked_for_the_executed_shape(strict: Predictor) -> None:
    exact = strict.verify(Packing("padded", 8, 256, 32, 8 * 256, 32, 1000))
    assert strict.verify(Packing("padded", 7, 200, 32, 7 * 200, 32, 900)).seconds == pytest.approx(
        exact.seconds, rel=0.05
    )


def test_nothing_asked_costs_nothing(strict: Predictor) -> None:
    asked = (
        strict.prefill([], []),
        strict.catch_up(0, [0], [9]),
        strict.propose(0, [0], [9]),
        strict.verify(ragged(0, 0, 0)),
        strict.transfer(3, 0),
    )
    assert {answer.seconds for answer in asked} == {0.0}


def test_a_model_that_was_not_measured(saved: Path) -> None:
    models = {"target": {"shape": "llama-7b"}, "drafts": {"small": {"shape": DRAFT}}}
    costs = {"model": "profile", "path": saved.name}
    with pytest.raises(InputError, match=r"llama-7b in bf16 on 1 x h200") as caught:
        build_predictor(scenario_of(models=models, costs=costs), saved.parent)
    assert caught.value.key == "models.target.shape"
    flagged = build_predictor(
        scenario_of(models=models, costs=costs | {"allow_roofline": True}), saved.parent
    )
    assert flagged.verify(ragged(4, 20, 400)).label == ROOFLINE
    assert flagged.propose(0, [1] * 4, [256] * 4).label == MEASURED


def test_other_hardware_is_told_from_other_numbers_of_it(saved: Path) -> None:
    """Of the hardware that was profiled: not the device is wrong, the model on so many of them is missing."""
    two = {"devices": {name: {"hardware": "h200"} for name in ("gpu0", "gpu1", "gpu2")}}
    two["placement"] = {"target": ["gpu0", "gpu2"], "drafts": {"small": "gpu1"}}  # type: ignore[dict-item]
    costs = {"model": "profile", "path": saved.name}
    with pytest.raises(InputError, match="on 2 x h200 is not in the profile") as caught:
        build_predictor(scenario_of(costs=costs, **two), saved.parent)
    assert caught.value.key == "models.target.shape"


def test_a_missing_profile_points_at_the_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read") as caught:
        build_predictor(scenario_of(costs={"model": "profile", "path": "none.json"}), tmp_path)
    assert caught.value.key == "costs.path"


@given(
    rows=st.integers(1, 60), queries=st.integers(1, 8), context=st.integers(1, 1500), more=st.integers(0, 400)
)
def test_predictions_are_monotone_off_the_points(rows: int, queries: int, context: int, more: int) -> None:
    fitted = _FITTED["verify", "ragged"].chosen.fit

    def ask(queries: int, context: int) -> float:
        tokens, kv = rows * queries, rows * context
        return fitted.predict(PassShape(rows, tokens, tokens, tokens, kv, kv * queries))

    assert ask(queries, context + more) >= ask(queries, context)
    assert ask(queries + more % 8, context) >= ask(queries, context)


_FITTED = fit_operations(measured(), "target")


def test_fits_are_kept_for_reports(strict: Predictor) -> None:
    assert isinstance(strict, ProfilePredictor)
    assert set(strict.target) == {("prefill", ""), ("verify", "padded"), ("verify", "ragged")}
    assert set(strict.drafts[0]) == {("catch_up", ""), ("draft_step", "first"), ("draft_step", "later")}
    chosen = strict.target["verify", "ragged"].chosen
    assert len(chosen.residuals) == len(measured().of("verify", "target", "ragged"))


def test_every_operation_of_a_model_maps_to_a_pass() -> None:
    for point in measured().points:
        if point.model:
            shape = pass_shape(point)
            assert min(shape._replace(head=1, longest=1)) > 0
            assert (shape.head > 0) == (point.operation != "catch_up")  # which needs no logits
            assert shape.queries >= shape.tokens >= shape.head or point.operation == "verify"
