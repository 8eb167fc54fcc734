"""Every function of the API does what it says, on models that take milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from spinsim import api
from spinsim.api.notebook import MOST_ROWS
from spinsim.errors import InputError
from tests.validation.tiny_models import DRAFT as MODEL

pytest.importorskip("pandas")

SCENARIO: dict[str, Any] = {
    "name": "tiny",
    "seed": 1,
    "workload": {
        "requests": 6,
        "arrivals": {"process": "closed", "concurrency": 3},
        "prompt_tokens": {"distribution": "uniform", "min": 2, "max": 12},
        "output_tokens": {"distribution": "uniform", "min": 4, "max": 12},
    },
    "models": {
        "target": {"shape": "model.json", "dtype": "fp32"},
        "drafts": {name: {"shape": "model.json", "dtype": "fp32"} for name in ("a", "b")},
    },
    "devices": {"cpu": {"hardware": "cpu"}},
    "placement": {"target": ["cpu"], "drafts": {"a": "cpu", "b": "cpu"}},
    "costs": {"model": "constant", "verify_s": 0.01, "draft_step_s": {"a": 0.0005, "b": 0.002}},
    "acceptance": {"model": "constant", "probability": {"a": 0.3, "b": 0.9}},
    "policies": {
        "selector": {"name": "fixed", "draft": "b"},
        "length": {"name": "fixed", "tokens": 2},
        "packing": {"name": "padded"},
    },
    "limits": {"batch": 3, "context_tokens": 64, "prefill_chunk_tokens": 16, "max_length": 3},
}
PLUGIN = """
from dataclasses import dataclass
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.arms import PerRequest

@SELECTORS.register("api_first")
class First(PerRequest["First.Params"]):
    @dataclass(frozen=True)
    class Params:
        pass

    def choose(self, view, arms):
        return arms[0]
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    (folder / "model.json").write_text(json.dumps(MODEL))
    (folder / "tiny.yaml").write_text(yaml.safe_dump(SCENARIO, sort_keys=False))
    (folder / "plugin.py").write_text(PLUGIN)
    return folder / "tiny.yaml"


def test_simulate_gives_frames_with_and_without_a_folder(tiny: Path, tmp_path: Path) -> None:
    done = api.simulate(tiny, seed=3, intervals=2, set={"noise.per_run_sd": 0.1}, out=tmp_path / "out")
    assert done.goodput == done.summary["goodput_tokens_per_s"] > 0
    assert list(done.drafts.index) == ["a", "b"]
    assert list(done.drafts["share"]) == [0, 1]
    assert done.rounds["drafted"].sum() >= done.drafts.loc["b", "drafted"] > 0
    assert len(done.requests) == 6
    assert done.latency.loc["ttft_s", "count"] == 6
    assert (done.intervals["low"] <= done.intervals["high"]).all()
    kept = api.open_results(tmp_path / "out")
    assert kept.summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    for table in ("requests", "rounds", "decisions"):
        assert getattr(kept, table).equals(getattr(done, table))
    with pytest.raises(InputError, match="--force replaces them"):
        api.simulate(tiny, out=tmp_path / "out")
    again = api.simulate(tiny, seed=4, out=tmp_path / "out", force=True, device="cpu")
    assert again.summary["seed"] == 4
    with pytest.raises(InputError, match="simulate with intervals=N"):
        again.intervals  # noqa: B018


def test_errors_point_at_the_scenario(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as wrong:
        api.simulate(tiny, set={"acceptance": {"model": "trace", "path": "nowhere.npz"}})
    assert wrong.value.key == "acceptance.path"
    assert wrong.value.file.startswith("--set acceptance=")
    with pytest.raises(InputError, match="is no results folder"):
        api.open_results(tmp_path)


def test_report_is_written_again(tiny: Path, tmp_path: Path) -> None:
    api.simulate(tiny, out=tmp_path / "out")
    before = (tmp_path / "out" / "report.html").read_bytes()
    (tmp_path / "out" / "report.html").unlink()
    assert api.report(tmp_path / "out").read_bytes() == before
    api.sweep(tiny, "limits.batch=2", set=FEW, workers=0, out=tmp_path / "sweep")
    before = (tmp_path / "sweep" / "report.html").read_bytes()
    (tmp_path / "sweep" / "report.html").unlink()
    assert api.report(tmp_path / "sweep").read_bytes() == before


def test_the_schema_accepts_the_scenario() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(SCENARIO, api.schema())


def test_compare_in_both_ways_of_saying_it(tiny: Path) -> None:
    by_mapping = api.compare(
        tiny, {"short": {"length": {"name": "fixed", "tokens": 1}}}, seeds=5, metrics=["goodput"], workers=0
    )
    by_text = api.compare([tiny], ["short:length=fixed,tokens=1"], seeds=5, metrics=["goodput"], workers=0)
    assert by_mapping.frame.equals(by_text.frame)
    assert list(by_mapping.frame["verdict"]) == ["baseline", "worse"]
    assert len(by_mapping.cells) == 10
    assert by_mapping.summary["metrics"]["goodput_tokens_per_s"]["short"]["verdict"] == "worse"


def test_sweep_in_both_ways_of_saying_it(tiny: Path) -> None:
    by_mapping = api.sweep(tiny, {"policies.length.tokens": [1, 2]}, metrics=["goodput"], workers=0)
    by_text = api.sweep(tiny, ["policies.length.tokens=1,2"], metrics=["goodput"], workers=0)
    kept = ["policies.length.tokens", "goodput_tokens_per_s"]
    assert by_mapping.frame[kept].equals(by_text.frame[kept])
    assert by_mapping.summary["cells"] == 2


def test_capacity_finds_a_rate(tiny: Path) -> None:
    arrivals = {"workload.arrivals": {"process": "poisson", "rate_per_s": 10}}
    found = api.capacity(
        tiny, slo={"ttft_s": 0.1}, set=arrivals, duration_s=3, tolerance=0.3, seeds=2, workers=0
    )
    assert found.requests_per_s is not None
    assert found.curve["attainment"].iloc[0] >= 0.9 > found.curve["attainment"].iloc[-1]
    assert len(found.cells) == found.summary["cells"]
    assert repr(found) == f"Capacity(tiny: {found.requests_per_s:.4g}/s)"
    said = api.capacity(tiny, slo="ttft_s=0.1", set=arrivals, duration_s=3, tolerance=0.3, seeds=2, workers=0)
    assert said.requests_per_s == found.requests_per_s


def test_tune_writes_what_simulate_takes(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    done = api.tune(
        tiny,
        only=["length"],
        choose={"selector": ["fixed", "greedy"]},
        trials=4,
        seeds=1,
        confirm=1,
        fresh=3,
        set={"limits.max_length": 4},
        workers=0,
    )
    assert len(done.trials) == 4
    assert repr(done).startswith("Tuning(tiny: 4 trials; best ")
    assert list(done.gains["winner"]) == ["best"]
    assert done.summary["held_out"] == "fresh seeds"
    assert api.simulate(done.write(tmp_path / "best.yaml")).goodput > 0
    with pytest.raises(InputError, match="no winner 3; there are 1"):
        done.write(tmp_path / "none.yaml", winner=3)


def test_run_and_replay_with_a_plugin(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    chosen = {"policies.selector": {"name": "api_first"}}
    plugins = [tiny.parent / "plugin.py"]
    with pytest.raises(InputError, match="'api_first' is no selector policy"):
        api.run(tiny, tmp_path / "out", set=chosen)
    ran = api.run(tiny, tmp_path / "out", set=chosen, plugins=plugins, graphs=False)
    assert ran.summary["mode"] == "live"
    assert set(ran.rounds["draft"]) == {"a"}
    same = api.replay(tmp_path / "out", plugins=plugins)
    assert (same.difference, same.rounds) == ("", len(ran.decisions))
    with pytest.raises(InputError, match="--force replaces them"):
        api.run(tiny, tmp_path / "out", set=chosen)


def test_profile_and_again(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    path = tmp_path / "profile.json"
    done = api.profile(tiny, out=path, quick=True, minutes=0.02)
    assert done.result.path == path
    assert {"prefill", "verify", "draft_step", "catch_up"} <= set(done.fits["operation"])
    assert len(done.points) == len(done.result.profile.points)
    assert (done.points["seconds"] > 0).all()
    again = api.profile_again(tiny, out=path)
    assert {*again.frame["operation"], "hop", "handling"} == set(again.result.factors)
    assert done._repr_html_().count("<tr>") == 1 + len(done.fits)
    assert again._repr_html_().count("<tr>") == 1 + min(len(again.frame), MOST_ROWS)
    assert repr(done) == f"Profiling({path}: {len(done.points)} points)"
    predicted = api.simulate(tiny, set={"costs": {"model": "profile", "path": str(path)}})
    assert predicted.goodput > 0
    with pytest.raises(InputError, match="--resume goes on with it"):
        api.profile(tiny, out=path)
    for wrong in (float("nan"), 0):
        with pytest.raises(InputError, match="--minutes"):
            api.profile(tiny, out=path, minutes=wrong)


def test_trace_is_what_a_simulation_replays(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    done = api.trace(tiny, out=tmp_path / "new" / "trace.npz")
    assert len(done.frame) == 2 * 6
    assert done.frame["accepted"].dropna().between(0, 1).all()
    assert done._repr_html_().count("<tr>") == 1 + 2
    assert "6 requests" in done._repr_html_()
    replayed = api.simulate(tiny, set={"acceptance": {"model": "trace", "path": str(done.result.path)}})
    assert replayed.summary["acceptance"]["source"] == "trace"
    with pytest.raises(InputError, match="is a folder; --out takes a file"):
        api.trace(tiny, out=tmp_path)


def test_validate_and_its_simulated_half_again(tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    out = tmp_path / "out"
    done = api.validate(
        tiny,
        out,
        grid={"policies.length.tokens": [1, 2]},
        set={"costs": {"model": "roofline"}},
        repetitions=1,
        intervals=0,
        seconds=2,
        workers=0,
    )
    goodput = done.frame[done.frame["metric"] == "goodput_tokens_per_s"]
    assert list(goodput["policies.length.tokens"]) == [1, 2]
    assert (goodput["simulated"] / goodput["live"] - 1).to_list() == pytest.approx(goodput["error"].to_list())
    html = done._repr_html_()
    assert html.count("<tr>") == 1 + 2
    assert "goodput" in html
    again = api.validate_again(out, intervals=0, workers=0)
    kept = ["cell", "metric", "live", "simulated"]
    assert again.frame[kept].equals(done.frame[kept])
    for wrong in ({"loads": [float("nan")]}, {"seconds": float("inf")}, {"resume": True, "force": True}):
        with pytest.raises(InputError, match="--"):
            api.validate(tiny, tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


def test_the_family(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    assert len(api.models.members().frame) == 7
    assert api.models.members(tmp_path).frame["megabytes"].isna().all()
    tiny = api.models.inspect("tiny")
    assert tiny.matches_manifest
    shape = tmp_path / "shape.json"
    shape.write_text(json.dumps({**tiny.config, "hidden_size": 128, "intermediate_size": 384}))
    widened = api.models.widen("tiny", str(shape), tmp_path / "wide", dtype="fp32")
    inspected = api.models.inspect(widened.out)
    assert inspected.cost_stand_in
    assert "matches_manifest" not in inspected.as_dict()
    found = api.models.evaluate(requests=1, output_tokens=8, save=tmp_path / "trace.npz")
    assert (found.frame["tokens_per_round"] >= 1).all()
    assert sum(found.result.best.values()) == pytest.approx(1)
    assert (tmp_path / "trace.npz").is_file()


def test_training_is_asked_for_as_the_options_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training itself takes minutes, and has tests of its own."""
    pytest.importorskip("torch")
    from spinsim.family import train

    asked: list[train.Options] = []
    monkeypatch.setattr(
        train, "train_family", lambda options: asked.append(options) or options.out / "m.json"
    )
    assert api.models.train(tmp_path, steps=7, device="cpu", rows=9) == tmp_path / "m.json"
    api.models.train(tmp_path, tiny=True, device="cpu")
    assert (asked[0].minutes, asked[0].steps, asked[0].rows_per_domain) == (None, 7, 9)
    assert "--steps 7 --device cpu" in asked[0].command
    assert (asked[1].steps, asked[1].batch) == (2, 4)
    monkeypatch.undo()
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="is not empty"):
        api.models.train(tmp_path, tiny=True, device="cpu")


FEW = {"workload.requests": 3}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda path: api.simulate(path, intervals=-1), "--intervals: -1 is not allowed; 0 or more"),
        (lambda path: api.simulate(path, set="limits.batch=x"), "--set limits.batch=x: limits.batch: 'x'"),
        (lambda path: api.simulate(path, plugins="nowhere.py"), "nowhere.py: is no plugin"),
        (lambda path: api.simulate(path, set={"limits.batch": {1}}), "cannot be written as YAML"),
        (lambda path: api.sweep(path, {"limits.batch": 4}), "limits.batch: not an axis; a list of values"),
        (lambda path: api.sweep(path, "limits.batch=4", metrics="speed"), "--metric: no number of a summary"),
        (
            lambda path: api.compare(path, {"x": {"selector": "ucb1"}}),
            "--policy x: policies.selector: 'ucb1'",
        ),
        (lambda path: api.tune(path, trials=0), "--trials: 0 is not allowed; 1 or more"),
        (lambda path: api.tune(path, batch=0), "--batch: 0 is not allowed; 1 or more"),
        (lambda path: api.tune(path, choose={"selector": "nope"}), "--choose selector=nope: 'nope' is no"),
        (lambda path: api.validate(path, "unused", repetitions=0), "--repetitions: 0 is not allowed"),
        (lambda path: api.validate(path, "unused", grid={"limits.batch": 3}), "limits.batch: not an axis"),
    ],
)
def test_bad_arguments_are_named(call: Any, said: str, tiny: Path) -> None:
    with pytest.raises(InputError) as wrong:
        call(tiny)
    assert said in str(wrong.value)


def test_one_text_does_for_several_and_numpy_for_lists(tiny: Path) -> None:
    import numpy as np

    one = api.sweep(tiny, "limits.batch=2,3", set="workload.requests=3", metrics="goodput", workers=0)
    many = api.sweep(tiny, {"limits.batch": np.arange(2, 4)}, set=FEW, metrics=["goodput"], workers=0)
    assert one.frame["goodput_tokens_per_s"].equals(many.frame["goodput_tokens_per_s"])
    assert list(one.frame["limits.batch"]) == [2, 3]
    assert api.simulate(tiny, set={"limits.batch": np.int64(2)}).goodput > 0


def test_results_are_short_to_look_at(tiny: Path) -> None:
    assert repr(api.simulate(tiny)).startswith("Results(tiny, simulated, seed 1: ")
    swept = api.sweep(tiny, "limits.batch=2", set=FEW, workers=0)
    assert repr(swept) == "Sweep(tiny: 1 cells over limits.batch)"
    compared = api.compare(tiny, "x:length=fixed,tokens=1", set=FEW, metrics="goodput", seeds=1, workers=0)
    assert repr(compared) == "Comparison(goodput_tokens_per_s against tiny: x undecided; 1 seeds)"
