"""Live beside simulated on the CPU, with tiny random models; and the arithmetic of the comparison."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spinsim.cli import app
from spinsim.costs.profiled.profile import Point, read_profile, write_profile
from spinsim.errors import InputError
from spinsim.live.lanes import LaneError
from spinsim.pages.fidelity_terminal import left_out_note
from spinsim.pages.validation import validation_report
from spinsim.profiling.timing import Effort
from spinsim.scenario import ProfileCosts
from spinsim.studies import profile as profiling
from spinsim.studies.validation import live_cells, shared_deployment
from spinsim.studies.validation.agreement import (
    compared,
    covered,
    errors,
    identical_share,
    overall,
    ranking,
)
from spinsim.studies.validation.plan import at_load, deployments, plan
from spinsim.studies.validation.simulated_cells import simulate_cells
from spinsim.studies.validation.validate import Options, again, live_half, validate
from tests.validation.tiny_models import tiny_scenario

GRID = ["policies.selector={name: round_robin},{name: fixed, draft: b}"]


def timeless(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells without what a simulation's own pace decides."""
    return [{k: v for k, v in c.items() if k not in ("simulated_cpu_s", "speedup")} for c in result["cells"]]


def test_both_worlds_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two policies, deployed once; a kill after the first cell costs that cell nothing."""
    path = tiny_scenario(tmp_path).path
    cells = plan([path], GRID, [], None)
    assert [len(group) for group in deployments(cells)] == [2]
    loads = 0
    deploy = shared_deployment.deploy

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal loads
        loads += 1
        return deploy(*args, **kwargs)

    monkeypatch.setattr(shared_deployment, "deploy", counted)
    options = Options(repetitions=2, intervals=3)
    done = validate(cells, tmp_path / "out", options, report=validation_report)
    assert loads == 1
    assert json.loads((tmp_path / "out" / "validation.json").read_text())["schema"] == "spinsim.validation/2"
    assert len(done["cells"]) == 2
    for cell in done["cells"]:
        # fp32, time-blind policies, acceptance recorded from the same models: not a round differs
        assert cell["identical_requests"] == 1.0
        assert cell["metrics"]["acceptance_length"]["error"] == pytest.approx(0.0)
        assert len(cell["metrics"]["goodput_tokens_per_s"]["repetitions"]) == 2
        for kind in ("prefill", "propose", "verify", "round"):
            assert cell["metrics"][f"{kind}_mean_s"]["live"] > 0
        assert 0 < cell["metrics"]["busy.cpu"]["live"] <= 1
        assert cell["speedup"] > 1
    assert done["identical_requests"] == 1.0
    shown = (tmp_path / "out" / "report.html").read_text()
    assert "Where the error sits" in shown
    assert "verify target" in shown

    # again, with --resume: nothing runs live a second time
    monkeypatch.setattr(live_cells, "run_scenario", lambda *a, **k: pytest.fail("ran a finished cell"))
    resumed = validate(cells, tmp_path / "out", options, resume=True)
    assert loads == 1
    assert timeless(resumed) == timeless(done)
    with pytest.raises(InputError, match="--resume"):
        validate(cells, tmp_path / "out", options)


def test_the_simulated_half_needs_the_folder_alone(tmp_path: Path) -> None:
    """Live runs, then elsewhere, with the scenario gone: the same comparison."""
    away = tmp_path / "away"
    cells = plan([tiny_scenario(away).path], GRID, [], None)
    options = Options(repetitions=2, intervals=0, seconds=1.0)
    live_half(cells, tmp_path / "out", options)
    assert not (tmp_path / "out" / "validation.json").exists()
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    away.rename(tmp_path / "gone")
    done = again(tmp_path / "elsewhere", intervals=0)
    assert [cell["name"] for cell in done["cells"]] == [cell.name for cell in cells]
    assert done["identical_requests"] == 1.0
    assert {"deploy", "trace", "live runs"} <= set(done["wall_s"])
    assert timeless(again(tmp_path / "elsewhere", intervals=0, workers=2)) == timeless(done)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real profile of this machine for the tiny models, a sample a point."""
    loaded = tiny_scenario(tmp_path_factory.mktemp("measured") / "tiny")  # which its models are named after
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profiling, "QUICK", Effort(seconds=0.0, fewest=1, most=1, warm=0, passes=1))
        return profiling.profile(loaded, loaded.base_dir / "p.json", quick=True, budget_s=0.1).path


@pytest.fixture
def profile(measured: Path, tmp_path: Path) -> Path:
    """A test's own copy, beside its scenario."""
    (folder := tmp_path / "tiny").mkdir()
    return Path(shutil.copy(measured, folder / "p.json"))


def test_other_costs_are_judged_by_the_same_live_runs(tmp_path: Path, profile: Path) -> None:
    """A real profile of this machine, in place of the roofline; and again from its copy."""
    loaded = tiny_scenario(profile.parent)
    live_half(plan([loaded.path], [], [], None), tmp_path / "out", Options(repetitions=1))
    before = again(tmp_path / "out")
    after = again(tmp_path / "out", profile=profile)
    for name, row in after["cells"][0]["metrics"].items():
        assert row["live"] == before["cells"][0]["metrics"][name]["live"]
    assert after["profile"] == "p.json"
    verify = after["cells"][0]["metrics"]["verify_mean_s"]["simulated"]
    assert verify != before["cells"][0]["metrics"]["verify_mean_s"]["simulated"]
    assert after["cells"][0]["cause"]["effect"]

    # One that lacks an operation: refused, or answered by sheets, and then it says so.
    whole, path = read_profile(profile), tmp_path / "cut.json"
    cut = replace(whole, points=tuple(p for p in whole.points if p.operation != "verify"))
    write_profile(cut, path)
    with pytest.raises(InputError, match="spinsim profile --resume"):
        again(tmp_path / "out", profile=path, intervals=0)
    beyond = again(tmp_path / "out", profile=path, allow_roofline=True, intervals=2)
    assert 0 < beyond["cells"][0]["costs"]["roofline"] < 1
    assert "100 % of verify" in left_out_note(beyond)

    costs = {"model": "profile", "path": "p.json"}
    cells = plan([tiny_scenario(profile.parent, costs=costs).path], [], [], None)
    live_half(cells, tmp_path / "measured", Options(repetitions=1))
    profile.unlink()
    copied = again(tmp_path / "measured")
    assert len(copied["drift"]) == 5
    assert copied["cells"][0]["costs"]["roofline"] == 0


def test_every_cell_is_charged_its_own_selectors_thinking(tmp_path: Path, profile: Path) -> None:
    """Whoever was simulated before: cells share what is fitted, and no selector's handling."""
    loaded = tiny_scenario(profile.parent)
    known = read_profile(profile)
    points = [point for point in known.points if point.operation != "handling"]
    for policy, seconds in (("round_robin", 1e-4), ("fixed", 0.05)):
        points.append(Point("handling", seconds, 0.0, 9, {"rows": 2.0}, kind="verify", policy=policy))
    write_profile(replace(known, points=tuple(points)), profile)
    live_half(plan([loaded.path], GRID, [], None), tmp_path / "out", Options(repetitions=1))
    quick, slow = again(tmp_path / "out", profile=profile, intervals=0)["cells"]
    assert slow["metrics"]["round_mean_s"]["simulated"] > 0.05 > quick["metrics"]["round_mean_s"]["simulated"]
    costs = ProfileCosts(model="profile", path=str(profile))
    for cell in (quick, slow):
        (alone,) = simulate_cells(tmp_path / "out", [cell["key"]], 0, costs)
        assert alone["metrics"] == cell["metrics"]


def test_a_run_that_fails_is_reported_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = plan([tiny_scenario(tmp_path).path], GRID, [], None)
    run = live_cells.run_scenario

    def failing(scenario: Any, *args: Any, **kwargs: Any) -> Any:
        ran = run(scenario, *args, **kwargs)
        if scenario.policies.selector.name == "round_robin":
            return replace(ran, error=LaneError("lane cpu: verify: out of memory"))
        return ran

    monkeypatch.setattr(live_cells, "run_scenario", failing)
    done = validate(cells, tmp_path / "out", Options(repetitions=1, intervals=0))
    assert [cell["name"] for cell in done["cells"]] == [cells[1].name]
    assert done["failed"] == [{"name": cells[0].name, "error": "lane cpu: verify: out of memory"}]
    monkeypatch.undo()
    mended = validate(cells, tmp_path / "out", Options(repetitions=1, intervals=0), resume=True)
    assert (len(mended["cells"]), mended["failed"]) == (2, [])

    monkeypatch.setattr(live_cells, "run_scenario", failing)
    with pytest.raises(LaneError):
        validate(cells[:1], tmp_path / "other", Options(repetitions=1))


def test_a_profile_that_lacks_an_operation_is_refused_after_the_live_runs(
    tmp_path: Path, profile: Path
) -> None:
    """Live runs need no costs: what was paid for is kept."""
    whole = read_profile(profile)
    write_profile(replace(whole, points=tuple(p for p in whole.points if p.packing != "padded")), profile)
    loaded = tiny_scenario(profile.parent, costs={"model": "profile", "path": "p.json"})
    with pytest.raises(InputError, match=r"verify \(padded\)"):
        validate(plan([loaded.path], [], [], None), tmp_path / "out", Options(repetitions=1))
    write_profile(whole, profile)
    assert len(again(tmp_path / "out", profile=profile, intervals=0)["cells"]) == 1


def test_damaged_live_runs_are_refused(tmp_path: Path) -> None:
    live_half(plan([tiny_scenario(tmp_path).path], [], [], None), tmp_path / "out", Options(repetitions=1))
    (table,) = (tmp_path / "out").glob("live/*/operations-1.parquet")
    table.write_bytes(table.read_bytes() + b"x")
    with pytest.raises(InputError, match="damaged"):
        again(tmp_path / "out")
    with pytest.raises(InputError, match="no such folder"):
        again(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no live runs"):
        again(tmp_path / "empty")


def test_long_workloads_are_cut_to_the_time(tmp_path: Path) -> None:
    workload = {
        "requests": 400,
        "arrivals": {"process": "closed", "concurrency": 3},
        "prompt_tokens": {"distribution": "fixed", "value": 8},
        "output_tokens": {"distribution": "fixed", "value": 24},
    }
    costs = {"model": "constant", "verify_s": 0.02, "draft_step_s": 0.001}
    path = tiny_scenario(tmp_path, workload=workload, costs=costs).path
    done = validate(plan([path], [], [], None), tmp_path / "out", Options(repetitions=1, seconds=1.0))
    (cell,) = done["cells"]
    assert cell["of"] == 400
    assert 3 <= cell["requests"] < 100


def test_the_command_prints_and_adds_loads(tmp_path: Path) -> None:
    path = tiny_scenario(tmp_path).path
    out = tmp_path / "out"
    arguments = ["validate", str(path), "--repetitions", "1", "--load", "0.5", "--out", str(out), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    done = json.loads(result.stdout)
    assert [cell["open_loop"] for cell in done["cells"]] == [False, True]
    assert done["cells"][1]["labels"] == {"load": 0.5}
    refused = CliRunner().invoke(app, [*arguments[:-1]])
    assert refused.exit_code == 2
    shown = CliRunner().invoke(app, [*arguments[:-1], "--resume"])
    assert shown.exit_code == 0
    assert "requests drafted and accepted alike" in " ".join(shown.stdout.split())


def test_the_command_has_two_halves(tmp_path: Path) -> None:
    path, out = str(tiny_scenario(tmp_path).path), str(tmp_path / "out")
    live = CliRunner().invoke(app, ["validate", path, "--repetitions", "1", "--live-only", "--out", out])
    assert live.exit_code == 0, live.output
    done = CliRunner().invoke(app, ["validate", "--again", "--out", out, "--workers", "0", "--json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["cells"]) == 1
    for wrong in ([], [path, "--again", "--out", out], [path, "--profile", "p.json"]):
        assert CliRunner().invoke(app, ["validate", *wrong]).exit_code == 2


def test_cells_of_other_models_are_deployed_apart(tmp_path: Path) -> None:
    one = tiny_scenario(tmp_path / "a", "a").path
    other = tiny_scenario(tmp_path / "b", "b", sampling={"temperature": 0.5}).path
    cells = plan([one, other], [], [], None)
    assert [len(group) for group in deployments(cells)] == [1, 1]
    with pytest.raises(InputError, match="two cells are called"):
        plan([one, one], [], [], None)
    poisson = at_load(cells[0], 0.8, 10.0)
    assert poisson.loaded.scenario.workload.arrivals.rate_per_s == pytest.approx(8.0)
    assert poisson.key != cells[0].key


# --- the arithmetic ---------------------------------------------------------------------------------


def cell(name: str, live: list[float], simulated: float, setting: str = "s") -> dict[str, Any]:
    metrics = compared([{"goodput_tokens_per_s": v} for v in live], {"goodput_tokens_per_s": simulated})
    return {
        "name": name, "metrics": metrics, "setting": setting, "open_loop": False, "requests": 4,
        "identical_requests": None, "coverage": None, "speedup": 10.0,
    }  # fmt: skip


def test_errors_stand_beside_the_spread() -> None:
    row = cell("a", [90.0, 100.0, 120.0], 110.0)["metrics"]["goodput_tokens_per_s"]
    assert (row["live"], row["error"], row["spread"]) == (100.0, pytest.approx(0.1), pytest.approx(0.3))
    worst = errors([cell("a", [100.0], 110.0), cell("b", [100.0], 96.0)])["goodput_tokens_per_s"]
    assert (worst["mean"], worst["worst"], worst["worst_cell"]) == (
        pytest.approx(0.07),
        pytest.approx(0.1),
        "a",
    )


def test_ranking_counts_pairs_that_differ_beyond_the_spread() -> None:
    found = ranking(
        [
            cell("slow", [100.0, 102.0], 90.0),
            cell("fast", [200.0, 202.0], 190.0),
            cell("wrong", [300.0, 302.0], 80.0),
            cell("near", [201.0, 203.0], 10.0),
            cell("elsewhere", [1.0], 1000.0, setting="other"),
        ]
    )
    assert found["pairs"] == 5
    assert found["undecided"] == 1
    assert found["alike"] == 2
    assert ["slow", "wrong"] in [pair["cells"] for pair in found["differing"]]


def test_coverage_and_identity() -> None:
    intervals = {"goodput_tokens_per_s": {"low": 95.0, "median": 100.0, "high": 105.0}}
    said = covered([{"goodput_tokens_per_s": v} for v in (96.0, 104.0, 106.0)], intervals)
    assert (said["covered"], said["checked"], said["widths"]) == (2, 3, [pytest.approx(0.1)])
    assert said["outside"] == {"goodput_tokens_per_s": 1}
    rounds = {0: [(0, 3, 1)], 1: [(1, 3, 3)]}
    assert identical_share(rounds, rounds) == 1.0
    assert identical_share(rounds, {0: [(0, 3, 1)], 1: [(1, 3, 2)]}) == 0.5
    assert identical_share({}, rounds) is None
    still = {"goodput_tokens_per_s": {"low": 95.0, "median": 95.0, "high": 95.0}}
    assert covered([{"goodput_tokens_per_s": 96.0}], still)["checked"] == 0  # nothing that noise moved
    assert overall([])["ranking"]["pairs"] == 0
    found = overall([cell("a", [96.0, 106.0], 100.0) | {"coverage": said}] * 2)["intervals"]
    assert (found["covered"], found["checked"], found["outside"]) == (4, 6, {"goodput_tokens_per_s": 2})


def test_specialists_are_validated_though_their_prompts_bring_other_domains(tmp_path: Path) -> None:
    specialists = Path(__file__).parents[2] / "scenarios" / "specialists.yaml"
    short = ["workload.requests=3", "workload.output_tokens={distribution: fixed, value: 6}"]
    result = validate(plan([specialists], [], short, "cpu"), tmp_path / "out", Options(1, 0, 2.0))
    (done,) = result["cells"]
    assert done["requests"] == 3
    assert done["metrics"]["acceptance_length"]["simulated"] >= 1
