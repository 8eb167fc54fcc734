"""Profiles measured on this CPU: complete, resumable, written as they grow, and read by the predictor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.sharded_measures import kept_profile
from spinsim.cli import app
from spinsim.costs.base import INTERPOLATED, MEASURED
from spinsim.costs.contention import USUAL_LAW, Demand
from spinsim.costs.contention_fit import fit_law, groups_of
from spinsim.costs.for_scenario import build_predictor
from spinsim.costs.profiled.profile import (
    BESIDE_MODELS,
    MODEL_OPERATIONS,
    OPERATIONS,
    REHEARSED,
    Point,
    Profile,
    read_profile,
    write_profile,
)
from spinsim.engine.world import Lane
from spinsim.errors import InputError
from spinsim.live import places
from spinsim.live.deployment import deploy
from spinsim.profiling.adaptive import next_probes, report_of_lanes
from spinsim.profiling.bench import Bench
from spinsim.profiling.drift import drifted
from spinsim.profiling.probes import Probe
from spinsim.profiling.resumed import resumed
from spinsim.profiling.session import Session
from spinsim.profiling.sharing import beside_points, probes_of, shared_subsets
from spinsim.profiling.timing import Effort, sampled, timing_of
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
    plans = [point for point in known.points if point.operation == "planning"]
    assert {point.packing for point in plans} == {"decomposed"}
    assert all(point.features["after_s"] > 0 for point in plans)  # each behind a verification, as in a run
    assert known.kv_block_tokens == 0  # the padded packing has whole slots
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


def test_an_interrupted_profile_is_kept_and_so_is_the_one_that_it_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit = Session.visit
    count = 0

    def interrupted(self: Session, bench: object, probe: Probe) -> None:
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        visit(self, bench, probe)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "visit", interrupted)
    (tmp_path / "p.json").write_text("the earlier one")
    with pytest.raises(KeyboardInterrupt) as caught:
        profile(tiny_scenario(tmp_path), tmp_path / "p.json", quick=True, force=True)
    kept, replaced = caught.value.__notes__
    assert "are kept in" in kept
    assert "--resume" in kept
    earlier = tmp_path / "p.json.earlier-results"
    assert earlier.read_text() == "the earlier one"
    assert replaced == f"the earlier profile is {earlier}"
    assert len([p for p in read_profile(tmp_path / "p.json").points if p.model]) == 5


def test_another_machines_profile_is_not_gone_on_with(measured: tuple[Path, Path], tmp_path: Path) -> None:
    known = read_profile(measured[1])
    path = tmp_path / "p.json"
    write_profile(replace(known, hardware="h200"), path)
    with pytest.raises(InputError, match="--force"):
        profile(tiny_scenario(tmp_path), path, quick=True, resume=True)
    with pytest.raises(InputError, match="exists already"):
        profile(tiny_scenario(tmp_path), path, quick=True)
    write_profile(replace(known, kv_block_tokens=64), path)
    with pytest.raises(InputError, match=r"K/V in blocks of 64 tokens, here in whole slots.*reserve: grow"):
        profile(tiny_scenario(tmp_path), path, quick=True, resume=True)


def test_a_profile_of_another_model_of_the_same_name_is_not_gone_on_with(
    measured: tuple[Path, Path], tmp_path: Path
) -> None:
    """A point is kept under its model's name: those of two models would be fitted as one's."""
    known = read_profile(measured[1])
    name, model = next(iter(known.models.items()))
    deeper = replace(model, shape=replace(model.shape, layers=model.shape.layers + 1))
    path = tmp_path / "p.json"
    write_profile(replace(known, models={**known.models, name: deeper}), path)
    scenario = tiny_scenario(tmp_path).scenario
    with pytest.raises(InputError, match=r"another model, dtype or number of devices") as caught:
        resumed(path, replace(known, points=()), scenario)
    assert caught.value.key == f"models.{name}"
    assert resumed(measured[1], replace(known, points=()), scenario).points == known.points


def test_a_benchmark_goes_on_with_the_profile_of_its_deployment_alone(
    measured: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another deployment's is set aside, never measured into and never lost."""
    known, scenario = read_profile(measured[1]), tiny_scenario(tmp_path).scenario
    begun, path = replace(known, points=()), tmp_path / "part.profile.json"
    assert kept_profile(path, begun, scenario) is begun
    write_profile(known, path)
    assert kept_profile(path, begun, scenario).points == known.points
    assert f"goes on with {len(known.points)} points of this machine" in capsys.readouterr().out
    elsewhere = replace(begun, versions=begun.versions | {"machine": "another"})
    assert kept_profile(path, elsewhere, scenario).points == known.points
    assert "this machine is another" in capsys.readouterr().out
    write_profile(replace(known, hardware="h200"), path)
    assert kept_profile(path, begun, scenario) is begun
    assert not path.exists()
    assert read_profile(tmp_path / "other-part.profile.json").hardware == "h200"


def test_what_is_measured_by_default_lies_in_blocks(tmp_path: Path) -> None:
    loaded = tiny_scenario(tmp_path, policies={"length": {"name": "fixed", "tokens": 3}})
    with (
        deploy(loaded.scenario, loaded.base_dir) as deployment,
        Workplace(loaded.scenario, loaded.base_dir, deployment) as place,
    ):
        assert place.empty_profile().kv_block_tokens == 16
        assert not deployment.target.cache.whole_slots


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


def test_models_that_a_profile_has_under_other_names_have_no_drift(
    measured: tuple[Path, Path], tmp_path: Path
) -> None:
    """Predictions know a model by its widths; a folder that was moved has names of its own."""
    loaded = tiny_scenario(tmp_path / "moved")
    with (
        deploy(loaded.scenario, loaded.base_dir) as deployment,
        Workplace(loaded.scenario, loaded.base_dir, deployment) as place,
    ):
        probes = place.design(quick=True).core
        assert drifted(read_profile(measured[1]), place.bench, probes, TINY).points == ()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its time is over at once: what has to be measured is, and nothing beyond.
    monkeypatch.setattr(Session, "elapsed_s", property(lambda session: 60.0))
    path = tiny_scenario(tmp_path).path
    out = tmp_path / "p.json"
    result = CliRunner().invoke(app, ["profile", str(path), "--quick", "--minutes", "0.1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "held-out errors" in result.stdout
    assert CliRunner().invoke(app, ["profile", str(path), "--quick", "--out", str(out)]).exit_code == 2
    again = CliRunner().invoke(app, ["profile", str(path), "--again", "--json", "--out", str(out)])
    assert set(json.loads(again.stdout)["factors"]) == {*MODEL_OPERATIONS, "hop", "handling"}


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
