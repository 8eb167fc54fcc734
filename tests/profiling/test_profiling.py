"""Profiles measured on this CPU: complete, resumable, written as they grow, and read by the predictor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

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
from spinsim.profiling.session import Session
from spinsim.profiling.sharing import beside_points, probes_of, shared_subsets
from spinsim.profiling.timing import Effort, sampled, timing_of
from spinsim.profiling.workplace import Workplace
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies import profile as experiment
from spinsim.studies.profile import profile
from tests.profiling.conftest import TINY
from tests.validation.tiny_models import tiny_scenario


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
