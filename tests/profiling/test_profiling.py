"""Profiles measured on this CPU: complete, resumable, written as they grow, and read by the predictor."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from spinsim.buckets import PROMPT_TOKENS, prompt_passes, row_buckets, token_buckets
from spinsim.cli import app
from spinsim.costs.base import INTERPOLATED, MEASURED
from spinsim.costs.contention import USUAL_LAW, Demand
from spinsim.costs.contention_fit import fit_law, groups_of
from spinsim.costs.for_scenario import build_predictor
from spinsim.costs.profiled.executed import PassShape, causal_shape
from spinsim.costs.profiled.predictors import EDGE, part_of
from spinsim.costs.profiled.profile import (
    BESIDE_MODELS,
    MODEL_OPERATIONS,
    OPERATIONS,
    REHEARSED,
    SCHEMA,
    Point,
    Profile,
    ProfiledModel,
    read_profile,
    write_profile,
)
from spinsim.costs.sheets.shapes import shape_of
from spinsim.engine.world import Lane
from spinsim.errors import InputError
from spinsim.live import places
from spinsim.live.deployment import deploy
from spinsim.policies.packing.decomposed import decompose
from spinsim.profiling.adaptive import next_probes, report_of_lanes
from spinsim.profiling.bench import Bench
from spinsim.profiling.design import FEW, Range, design, levels
from spinsim.profiling.drift import drifted
from spinsim.profiling.probes import SKEW, Probe, spread
from spinsim.profiling.session import Session
from spinsim.profiling.sharing import beside_points, probes_of, shared_subsets
from spinsim.profiling.timing import Effort, Timing, sampled, timing_of
from spinsim.profiling.workplace import Workplace
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies import profile as experiment
from spinsim.studies.profile import profile
from tests.validation.tiny_models import tiny_scenario

TINY = Effort(seconds=0.0, fewest=1, most=1, warm=0, passes=1)


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One sample a point, one thread: these tests are about what is measured, not how precisely."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(experiment, "QUICK", TINY)
    monkeypatch.setattr(experiment, "Effort", lambda: TINY)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(scenario, its quick profile)."""
    folder = tmp_path_factory.mktemp("profile")
    loaded = tiny_scenario(folder)
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "QUICK", TINY)
        profile(loaded, folder / "p.json", quick=True, budget_s=0.1)
    return loaded.path, folder / "p.json"


def test_every_operation_is_there(measured: tuple[Path, Path]) -> None:
    known = read_profile(measured[1])
    # one CPU: nothing is transferred or summed, and no two lanes share it; handling has the orchestrator
    absent = {"transfer", "all_reduce", "beside", "lane_slowdown", "orchestrator", *BESIDE_MODELS}
    assert {point.operation for point in known.points} == set(OPERATIONS) - absent
    ran = {(point.kind, point.model) for point in known.points if point.operation == "in_run"}
    target, draft = known.models
    assert ran >= {("prefill", target), ("verify", target), ("propose", draft)}
    handled = {(point.kind, point.policy) for point in known.points if point.operation == "handling"}
    assert handled >= {("verify", "round_robin"), ("propose", "round_robin")}
    assert [model.shape.hidden for model in known.models.values()] == [32, 16]
    packings = {point.packing for point in known.points if point.operation == "verify"}
    assert packings == {"padded", "decomposed", "ragged"}
    assert known.kv_block_tokens == 16  # as it runs by default
    assert known.versions["torch"]
    assert all(point.seconds > 0 for point in known.points)
    assert "/" not in json.dumps([model.shape.source for model in known.models.values()])


def test_a_whole_simulation_stays_inside_the_profile(measured: tuple[Path, Path], tmp_path: Path) -> None:
    """At every length up to the limits, under every packing, without asking the roofline."""
    for packing in ("padded", "decomposed", "ragged"):
        for length in ({"name": "fixed", "tokens": 3}, {"name": "fixed", "tokens": 1}):
            loaded = tiny_scenario(
                measured[0].parent,
                "inside",
                costs={"model": "profile", "path": measured[1].name},
                policies={
                    "selector": {"name": "round_robin"},
                    "length": length,
                    "packing": {"name": packing},
                    "pipeline": {"name": "fixed", "micro_batches": 2},
                },
                workload={
                    "requests": 12,
                    "arrivals": {"process": "at_once"},
                    "prompt_tokens": {"distribution": "uniform", "min": 1, "max": 40},
                    "output_tokens": {"distribution": "fixed", "value": 24},
                },
            )
            done = simulate_scenario(loaded.scenario, loaded.base_dir)
            assert done.records.ended_ns > 0
            assert done.records.label_s["roofline"] == 0
            assert done.records.label_s["interpolated"] > 0


def test_points_answer_what_was_measured(measured: tuple[Path, Path]) -> None:
    """A probe's plan, asked of the predictor, gives the probe's own time, and says so."""
    loaded = tiny_scenario(measured[0].parent, "asked", costs={"model": "profile", "path": measured[1].name})
    predictor = build_predictor(loaded.scenario, loaded.base_dir)
    known = {point.identity: point for point in read_profile(measured[1]).points}
    deployment = deploy(loaded.scenario, loaded.base_dir)
    with Workplace(loaded.scenario, loaded.base_dir, deployment) as place:
        core = place.design(quick=True).core
    asked = 0
    for probe in core:
        point = known[probe.identity]
        if probe.operation == "verify":
            answer = predictor.verify(probe.plan)
        elif probe.operation == "prefill":
            answer = predictor.prefill([probe.tokens] * probe.rows, probe.contexts)
        elif probe.operation == "catch_up":
            answer = predictor.catch_up(probe.draft, [probe.tokens] * probe.rows, probe.contexts)
        elif probe.tokens == 2:
            answer = predictor.propose(probe.draft, [1] * probe.rows, probe.contexts)
        else:
            continue
        assert answer == (point.seconds, MEASURED)
        asked += 1
    assert asked > 40


def test_a_later_step_is_what_further_tokens_take(measured: tuple[Path, Path]) -> None:
    loaded = tiny_scenario(measured[0].parent, "steps", costs={"model": "profile", "path": measured[1].name})
    predictor = build_predictor(loaded.scenario, loaded.base_dir)
    first = predictor.propose(0, [1, 1, 1], [30, 30, 30])
    third = predictor.propose(0, [3, 3, 3], [30, 30, 30])
    assert third.seconds > first.seconds
    assert third.label == INTERPOLATED


def test_resuming_measures_what_is_missing_alone(
    measured: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut in half, a profile is completed; what is there is not measured again."""
    known = read_profile(measured[1])
    half = replace(known, points=known.points[: len(known.points) // 2])
    path = tmp_path / "half.json"
    write_profile(half, path)
    visited: list[Probe] = []
    visit = Session.visit
    monkeypatch.setattr(
        Session, "visit", lambda self, bench, probe: (visited.append(probe), visit(self, bench, probe))[1]
    )
    loaded = tiny_scenario(measured[0].parent)
    done = profile(loaded, path, quick=True, resume=True, budget_s=0.01)
    before = {point.identity for point in half.points}
    assert visited
    assert not before & {probe.identity for probe in visited}
    planned = [point for point in known.points if point.operation in MODEL_OPERATIONS]
    assert {p.identity for p in planned} <= {p.identity for p in done.profile.points}
    assert done.profile.points[: len(half.points)] == half.points


def test_an_interrupted_profile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    visit = Session.visit
    count = 0

    def interrupted(self: Session, bench: object, probe: Probe) -> None:
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        visit(self, bench, probe)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "visit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        profile(tiny_scenario(tmp_path), tmp_path / "p.json", quick=True)
    assert len([p for p in read_profile(tmp_path / "p.json").points if p.model]) == 5


def test_another_machines_profile_is_not_gone_on_with(measured: tuple[Path, Path], tmp_path: Path) -> None:
    known = read_profile(measured[1])
    path = tmp_path / "p.json"
    write_profile(replace(known, hardware="h200"), path)
    with pytest.raises(InputError, match="--force"):
        profile(tiny_scenario(tmp_path), path, quick=True, resume=True)
    with pytest.raises(InputError, match="exists already"):
        profile(tiny_scenario(tmp_path), path, quick=True)
    write_profile(replace(known, kv_block_tokens=0), path)
    with pytest.raises(InputError, match=r"K/V in whole slots, here in blocks of 16.*reserve: full"):
        profile(tiny_scenario(tmp_path), path, quick=True, resume=True)


def test_a_profile_does_not_carry_another_machines_name(
    measured: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = tiny_scenario(tmp_path)
    path = tmp_path / "p.json"
    monkeypatch.setattr(places, "found_devices", lambda _: {"cpu": "NVIDIA H100 80GB HBM3"})
    for measure in (lambda: profile(loaded, path, quick=True), lambda: experiment.again(loaded, measured[1])):
        with pytest.raises(InputError, match="NVIDIA H100 80GB HBM3; h100") as caught:
            measure()
        assert caught.value.key == "devices.cpu.hardware"
    assert not path.exists()


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    """What would be charged must be what runs."""
    loaded = tiny_scenario(tmp_path)
    deployment = deploy(loaded.scenario, loaded.base_dir)
    drafts = {name: {"shape": "target.json", "dtype": "fp32"} for name in ("a", "b")}
    models = {"target": {"shape": "target.json", "dtype": "fp32"}, "drafts": drafts}
    other = tiny_scenario(tmp_path, "other", models=models)
    with pytest.raises(InputError, match="the weights have") as caught:
        Workplace(other.scenario, other.base_dir, deployment)
    assert caught.value.key == "models.drafts.a.shape"


def test_measuring_again_notes_how_far_it_moved(measured: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text(measured[1].read_text())
    drift = experiment.again(tiny_scenario(measured[0].parent), path)
    known = read_profile(path)
    assert len(known.repeats) == 1
    assert known.repeats[0].factors == drift.factors
    assert set(drift.factors) == {*MODEL_OPERATIONS, "hop", "handling"}
    assert {point.operation for point in known.repeats[0].points} == {"hop", *REHEARSED}
    assert known.points == read_profile(measured[1]).points


def test_drift_measures_five_points_of_every_kind(measured: tuple[Path, Path]) -> None:
    loaded = tiny_scenario(measured[0].parent)
    deployment = deploy(loaded.scenario, loaded.base_dir)
    known = read_profile(measured[1])
    slow = replace(known, points=tuple(replace(p, seconds=1e3 * p.seconds) for p in known.points))
    with Workplace(loaded.scenario, loaded.base_dir, deployment) as place:
        found = drifted(slow, place.bench, place.design(quick=True).core, TINY, most=5)
    assert len(found.points) == 5
    assert {point.operation for point in found.points} == {"prefill", "catch_up", "draft_step", "verify"}
    assert len(found.moved) == 5


def test_the_command(tmp_path: Path) -> None:
    path = tiny_scenario(tmp_path).path
    out = tmp_path / "p.json"
    result = CliRunner().invoke(app, ["profile", str(path), "--quick", "--minutes", "0.1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "held-out errors" in result.stdout
    assert CliRunner().invoke(app, ["profile", str(path), "--quick", "--out", str(out)]).exit_code == 2
    again = CliRunner().invoke(app, ["profile", str(path), "--again", "--json", "--out", str(out)])
    assert set(json.loads(again.stdout)["factors"]) == {*MODEL_OPERATIONS, "hop", "handling"}


# --- the design ---------------------------------------------------------------------------------------

LIMITS = st.builds(
    Range,
    rows=st.integers(1, 128),
    context=st.integers(32, 4096),
    length=st.integers(1, 8),
    chunk=st.integers(8, 2048),
)


@settings(deadline=None)
@given(limits=LIMITS, quick=st.booleans(), graphs=st.booleans(), prompts=st.booleans())
def test_a_design_reaches_the_limits_and_no_further(
    limits: Range, quick: bool, graphs: bool, prompts: bool
) -> None:
    packings = ("padded", "decomposed", "ragged")
    replayed = dict.fromkeys("td", graphs)
    plan = design("t", {"d": 0}, limits, packings, graphs=replayed, prompt_graphs=prompts, quick=quick)
    probes = (*plan.core, *plan.candidates)
    assert len({probe.identity for probe in probes}) == len(probes)
    for probe in probes:
        beyond = {"verify": probe.tokens - 1, "draft_step": probe.steps}.get(probe.operation, probe.tokens)
        assert 1 <= probe.rows <= limits.rows
        assert probe.context + beyond <= limits.context
        assert all(math.isfinite(value) for value in probe.features.values())
    for packing in ("padded", "ragged"):
        verifies = [p for p in plan.core if p.packing == packing]
        assert max(p.plan.real_query_tokens for p in verifies) == limits.rows * (limits.length + 1)
        assert max(p.plan.kv_tokens for p in verifies) == limits.rows * limits.context
    most = PROMPT_TOKENS if graphs and prompts else limits.chunk
    longest = max(p.tokens for p in plan.core if p.operation == "prefill")
    assert longest == min(limits.chunk, limits.context - 1, most)
    caught = max(p.rows * p.tokens for p in probes if p.operation == "catch_up")
    if graphs and prompts:
        assert caught <= PROMPT_TOKENS
    else:
        assert caught == limits.rows * (limits.context - 1)


@settings(deadline=None, max_examples=20)
@given(limits=LIMITS)
def test_stairs_have_every_bucket_that_a_run_executes(limits: Range) -> None:
    plan = design("t", {"d": 0}, limits, ["ragged"], graphs=dict.fromkeys("td", True), quick=True)
    tokens = {p.shape.tokens for p in plan.stairs if p.operation == "verify"}
    most = limits.rows * (limits.length + 1)
    assert tokens == {size for size in token_buckets(most) if size >= FEW}
    if limits.length > 1:
        rows = {p.shape.rows for p in plan.stairs if p.operation == "draft_step"}
        assert rows == {size for size in row_buckets(limits.rows) if size >= FEW}
    eager = design("t", {"d": 0}, limits, ["ragged"], graphs=dict.fromkeys("td", False), quick=True)
    assert not eager.stairs


def test_dear_buckets_are_noted_in_the_profile(tmp_path: Path) -> None:
    limits = Range(rows=64, context=256, length=7, chunk=64)
    plan = design("t", {"d": 0}, limits, ["ragged"], graphs=dict.fromkeys("td", True), quick=True)
    shape = shape_of("llama-68m")
    models = {name: ProfiledModel(shape, "bf16", "h200") for name in "td"}
    empty = Profile(SCHEMA, "h200", "", True, {}, {}, models, ())
    session = Session(empty, tmp_path / "p.json", TINY, lambda probe: 1e-3, None)
    for probe in plan.stairs:
        dear = probe.shape.tokens == 448 if probe.operation == "verify" else probe.shape.rows == 48
        size = probe.shape.tokens
        session.add(probe.point(Timing(1e-3 + 1e-6 * size + (1e-3 if dear else 0.0), 0.0, 3)))
    session.pass_over(plan.stairs)
    session.write()
    found = read_profile(tmp_path / "p.json").models
    assert (found["t"].without_tokens, found["t"].without_rows) == ((448,), ())
    assert (found["d"].without_tokens, found["d"].without_rows) == ((), (48,))
    assert (found["t"].buckets.tokens(440), found["d"].buckets.rows(42)) == (480, 56)


def covered(probes: Sequence[Probe], asked: PassShape) -> bool:
    """As :meth:`ProfiledPass.covers`, without a fit."""
    shapes = [probe.shape for probe in probes]
    return (
        asked.tokens <= EDGE * max(shape.tokens for shape in shapes)
        and asked.kv_tokens <= EDGE * max(shape.kv_tokens for shape in shapes)
        and asked.kv_tokens <= EDGE * asked.rows * max(shape.kv_tokens / shape.rows for shape in shapes)
    )


@settings(deadline=None)
@given(limits=LIMITS, quick=st.booleans(), source=st.randoms(use_true_random=False))
def test_every_captured_pass_of_a_run_is_inside_the_design(
    limits: Range, quick: bool, source: Random
) -> None:
    """Those that go on with a row as well, after all that the passes before computed of it."""
    limits = replace(limits, chunk=PROMPT_TOKENS + limits.chunk)
    graphs = dict.fromkeys("td", True)
    plan = design("t", {"d": 0}, limits, ["ragged"], graphs=graphs, prompt_graphs=True, quick=quick)
    rows, whole = source.choice([limits.rows, source.randint(1, limits.rows)]), limits.context - 1
    caught = [source.choice([whole, source.randint(1, whole)]) for _ in range(rows)]
    before = [source.randint(0, whole - new) for new in caught]
    # A chunk: the rest of one prompt, and others from their beginnings.
    filled, room = [], limits.chunk
    while room and len(filled) < rows:
        filled.append(min(room, source.choice([whole, source.randint(1, whole)])))
        room -= filled[-1]
    started = [whole - filled[0], *[0] * (len(filled) - 1)]
    for operation, tokens, starts in (("catch_up", caught, before), ("prefill", filled, started)):
        probes = [probe for probe in plan.core if probe.operation == operation]
        for one in prompt_passes(tokens, starts):
            shape = causal_shape(one.tokens, one.starts, True, head=operation == "prefill")
            assert covered(probes, shape), (operation, shape)


@given(limit=st.integers(1, 5000), count=st.integers(2, 9), low=st.integers(1, 64))
def test_levels(limit: int, count: int, low: int) -> None:
    found = levels(limit, count, low)
    assert (found[0], found[-1]) == (min(low, limit), limit)
    assert len(found) <= count


@given(longest=st.integers(1, 500), rows=st.integers(1, 64))
def test_spread(longest: int, rows: int) -> None:
    lengths = spread(longest, rows, even=False)
    assert len(lengths) == rows
    assert lengths[0] == longest
    assert min(lengths) >= longest // SKEW
    if rows > 1 and longest > 2 * SKEW:
        assert lengths[-1] == round(longest / SKEW)
    assert lengths == sorted(lengths, reverse=True)


def test_a_decomposed_probe_is_what_the_policy_would_plan() -> None:
    probe = Probe("verify", "t", -1, 3, 4, 100, "decomposed", 64, even=False)
    assert probe.plan == decompose([103, 38, 15], [4, 4, 4], 64)
    assert probe.point(timing_of([1.0])).packing == "decomposed"
    assert part_of(probe.point(timing_of([1.0]))) == probe.part


def test_the_worst_fit_gets_the_next_point(measured: tuple[Path, Path]) -> None:
    """A point of one operation is spoiled: it is measured again, and a neighbour with it."""
    known = read_profile(measured[1])
    target = next(iter(known.models))
    probes = [Probe("verify", target, -1, rows, 1, 60, "ragged") for rows in (1, 2, 3)]
    wild = Probe("verify", target, -1, 2, 4, 31, "ragged")
    clean = [
        Probe("verify", target, -1, rows, tokens, context, "ragged")
        for rows in (1, 2, 3)
        for tokens in (1, 2, 3)
        for context in (10, 30)
    ]

    def seconds(probe: Probe) -> float:
        return 1e-3 * (100 if probe is wild else 1) * (1 + probe.shape.tokens / 4)

    points = tuple(probe.point(timing_of([seconds(probe)])) for probe in [*clean, wild])
    spoiled = replace(known, points=points)
    found = next_probes(spoiled, probes, {probe.identity: probe for probe in [*clean, wild]}, 4)
    assert found[0] is wild
    assert found[1] in probes
    good = replace(spoiled, points=points[:-1])
    assert next_probes(good, probes, {}, 4) == []


def test_samples_and_their_median() -> None:
    values = iter([9.0, 9.0, 1.0, 3.0, 2.0])
    found = sampled(lambda: next(values), Effort(seconds=0.0, fewest=3, most=5, warm=2))
    assert found == [1.0, 3.0, 2.0]
    timing = timing_of(found)
    assert (timing.seconds, timing.spread_s, timing.repetitions) == (2.0, 0.5, 3)
    with pytest.raises(ValueError, match="nothing"):
        timing_of([])


def test_repeats_are_checked(measured: tuple[Path, Path], tmp_path: Path) -> None:
    known: Profile = read_profile(measured[1])
    data = json.loads(measured[1].read_text())
    assert data["schema"] == known.schema
    data["repeats"] = [{"created": "", "factors": {"transfer": 1.1}}]
    (tmp_path / "p.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match="unknown 'transfer'"):
        read_profile(tmp_path / "p.json")


def test_lanes_of_one_device_are_measured_side_by_side(measured: tuple[Path, Path]) -> None:
    """A CPU has one lane; with more, subsets of them are timed alone and side by side."""
    loaded = tiny_scenario(measured[0].parent)
    deployment = deploy(loaded.scenario, loaded.base_dir)
    drafts = list(loaded.scenario.models.drafts)
    lanes = (Lane("target", ("cpu",)), *(Lane(name, ("cpu",)) for name in drafts))
    with Workplace(loaded.scenario, loaded.base_dir, deployment) as place:
        subject = place.subject
        probes = probes_of(subject.by_draft, subject.target, 2, 8, 2, "ragged")
        assert shared_subsets(place.bench, probes) == []
        bench = Bench(loaded.scenario, deployment, lanes, 0, range(1, 1 + len(drafts)))
        subsets = shared_subsets(bench, probes)
        alone: dict[Probe, float] = {}
        points = [
            point
            for group, subset in enumerate(subsets)
            for point in beside_points(bench, place.loads(), subset, group, Effort(0.05), alone)
        ]
        bench.close()
    assert [sorted(probe.draft for probe in subset) for subset in subsets] == [
        [-1, 0],
        [-1, 1],
        [0, 1],
        [-1, 0, 1],
    ]
    assert set(alone) == set(probes)
    known = read_profile(measured[1])
    path = measured[0].parent / "shared.json"
    write_profile(replace(known, points=(*known.points, *points)), path)
    groups = groups_of(read_profile(path))
    assert [len(group.seconds) for group in groups] == [2, 2, 2, 3]
    for group in groups:
        for demand, seconds in zip(group.demands, group.seconds, strict=True):
            assert demand.work_s > 0
            assert seconds > 0 < demand.seconds  # how they compare is a matter of the machine's load
    costs = {"model": "profile", "path": path.name}
    asked = tiny_scenario(measured[0].parent, "shared", costs=costs)
    predictor = build_predictor(asked.scenario, asked.base_dir)
    law, loads = predictor.contention()
    assert law == fit_law(groups)
    assert loads.propose(0, [2, 2], [8, 8])[0] == 2 * loads.propose(0, [1, 1], [8, 8])[0]  # kernels by step
    (row,) = report_of_lanes(read_profile(path))
    assert row["points"] == len(points)


def test_a_profile_of_before_keeps_its_factors(measured: tuple[Path, Path]) -> None:
    """Of the target beside a draft; drafts that were never measured side by side go by the usual law."""
    known = read_profile(measured[1])
    model = list(known.models)[1]  # of the first draft; the second has the target's shape
    points = [
        Point("lane_slowdown", 0.01 * factor, 0.0, 3, {"target_lane": lane, "alone_s": 0.01}, model)
        for lane, factor in ((1.0, 1.2), (0.0, 2.5))
    ]
    path = measured[0].parent / "before.json"
    write_profile(replace(known, points=(*known.points, *points)), path)
    asked = tiny_scenario(measured[0].parent, "before", costs={"model": "profile", "path": path.name})
    predictor = build_predictor(asked.scenario, asked.base_dir)
    law = predictor.contention().law
    target, mine = Demand(-1, 1.0, 100.0, 0.5), Demand(0, 1e-3, 100.0, 0.5e-3)
    assert law.slowdowns([target, mine]) == pytest.approx([1.2, 2.5])
    other = Demand(1, 1e-3, 50.0, 0.2e-3)
    assert law.slowdowns([mine, other]) == pytest.approx(USUAL_LAW.slowdowns([mine, other]))
    with pytest.raises(InputError, match="lane_slowdown was not measured"):
        law.slowdowns([target, other])
