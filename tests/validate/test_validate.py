"""Live beside simulated on the CPU, with tiny random models; and the arithmetic of the comparison."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from spinsim.cli import app
from spinsim.errors import InputError
from spinsim.experiments import validate as experiment
from spinsim.experiments.validate import Options, validate
from spinsim.experiments.validation_metrics import (
    compared,
    covered,
    errors,
    identical_share,
    overall,
    ranking,
)
from spinsim.experiments.validation_plan import at_load, deployments, plan
from tests.validate.tiny_models import tiny_scenario

GRID = ["policies.selector={name: round_robin},{name: fixed, draft: b}"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_both_worlds_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two policies, deployed once; a kill after the first cell costs that cell nothing."""
    path = tiny_scenario(tmp_path).path
    cells = plan([path], GRID, [], None)
    assert [len(group) for group in deployments(cells)] == [2]
    loads = 0
    deploy = experiment.deploy

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal loads
        loads += 1
        return deploy(*args, **kwargs)

    monkeypatch.setattr(experiment, "deploy", counted)
    options = Options(repetitions=2, intervals=3)
    done = validate(cells, tmp_path / "out", options)
    assert loads == 1
    assert json.loads((tmp_path / "out" / "validation.json").read_text())["schema"] == "spinsim.validation/1"
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

    # again, with --resume: nothing runs live a second time
    monkeypatch.setattr(experiment, "run_scenario", lambda *a, **k: pytest.fail("ran a finished cell"))
    again = validate(cells, tmp_path / "out", options, resume=True)
    assert loads == 1
    assert again["cells"] == done["cells"]
    with pytest.raises(InputError, match="--resume"):
        validate(cells, tmp_path / "out", options)


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
    again = CliRunner().invoke(app, [*arguments[:-1]])
    assert again.exit_code == 2
    shown = CliRunner().invoke(app, [*arguments[:-1], "--resume"])
    assert shown.exit_code == 0
    assert "requests drafted and accepted alike" in " ".join(shown.stdout.split())


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
    assert overall([])["ranking"]["pairs"] == 0
