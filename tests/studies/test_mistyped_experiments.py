"""What an experiment's options get wrong is refused before any cell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.studies.experiment_commands import LENGTHS, POISSON, spinsim
from tests.studies.experiment_files import write_scenario


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "--grid", LENGTHS, "--metric", "goodputt"], "--metric: no number of a summary is called"),
        (
            ["sweep", "--grid", LENGTHS, "--metric", "latency.ttft_s"],
            "--metric: 'latency.ttft_s' is no number",
        ),
        (["sweep", "--grid", LENGTHS, "--metric", "attainment"], "--metric: 'attainment' needs objectives"),
        (["sweep", "--grid", "nope=1"], "--grid nope=1: nope: unknown key; allowed: name, "),
        (
            ["sweep", "--grid", "limits.batch=2,four"],
            "--grid limits.batch=2,four: limits.batch: 'four' is not",
        ),
        (["compare", "--policy", "selector=nope"], "--policy selector=nope: policies.selector.name: 'nope'"),
        (["compare", "--policy", "a:selector=ucb1,x=2"], "--policy a: policies.selector.x: ucb1 has no"),
        (["compare", "--policy", "selector=random", "--metric", "speed"], "--metric: no number of a summary"),
        (
            ["tune", "--choose", "selector=nope"],
            "--choose selector=nope: 'nope' is no selector policy; allowed: ",
        ),
        (["tune", "--choose", "length=none,none"], "--choose length=none,none: 'none' is given twice"),
        (["tune", "--objective", "speed"], "--objective: no number of a summary is called 'speed'"),
        (["tune", "--require", "speed>=1"], "--require: no number of a summary is called 'speed'"),
        (["tune", "--range", "nope=1:2"], "--range nope: nope: unknown key"),
        (["tune", "--range", "limits.batch=1:inf"], "--range limits.batch=1:inf: not a range"),
        (["tune", "--holdout-set", "nope=1"], "--holdout-set nope=1: nope: unknown key"),
        (["tune", "--require", "attainment>=nan"], "--require attainment>=nan: not a bound"),
        (
            ["capacity", "--slo", "ttft_s=1"],
            "gamma or replay, such as --set 'workload.arrivals={process: poisson, rate_per_s: 1}'",
        ),
        (["capacity", "--slo", "ttft_s=1,ttft_s=2"], "--slo ttft_s=1,ttft_s=2: ttft_s is given twice; once"),
        (["capacity", "--slo", "ttft_s=nan"], "--slo ttft_s=nan: 'ttft_s=nan' is no objective"),
        (["capacity", *POISSON, "--duration", "nan"], "--duration: nan is not allowed"),
        (["capacity", *POISSON, "--duration", "1e12"], "--duration: 1e+12 s of traffic have 5e+12"),
        (["sweep", "--grid", "acceptance={model: trace, path: no.npz}"], "acceptance.path: "),
        (
            ["compare", "--policy", "length=none", "--set", "costs={model: profile, path: no.json}"],
            "costs.path: ",
        ),
        (["tune", "--set", "costs={model: profile, path: no.json}"], "costs.path: "),
        (["sweep", "--grid", "limits.batch=[2"], "--grid limits.batch=[2: not valid YAML"),
    ],
)
def test_a_mistyped_option_is_refused_before_any_cell_and_leaves_earlier_results(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    command, *options = arguments
    if command == "tune":
        pytest.importorskip("optuna")
    scenario, out = write_scenario(tmp_path), tmp_path / "out"
    kind = {"compare": "comparison", "tune": "tuning"}.get(command, command)
    (out / "cells").mkdir(parents=True)
    manifest = {"schema": "spinsim.experiment/1", "kind": kind}
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "cells" / "earlier.json").write_text("{}")
    refused = spinsim(command, scenario, *options, "--out", out, "--force")
    assert refused.exit_code == 2, refused.output
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1
    assert said in refused.stderr
    assert refused.stderr.startswith((said, f"{scenario}:", "--grid acceptance=", "--set costs="))
    assert [path.name for path in (out / "cells").iterdir()] == ["earlier.json"]


@pytest.mark.parametrize("command", ["compare", "tune", "capacity"])
def test_what_does_not_fit_is_refused_before_any_cell(command: str, tmp_path: Path) -> None:
    options = {"compare": ["--policy", "selector=random"], "capacity": POISSON}.get(command, ())
    small = ["--set", "devices.gpu0.memory_gib=1", "--out", tmp_path / "out"]
    result = spinsim(command, write_scenario(tmp_path), *options, *small)
    assert result.exit_code == 2
    assert ": placement.target: gpu0 has 1.00 GiB" in result.stderr
    assert not (tmp_path / "out").exists()


BEYOND = "99999999999999999999"


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((command, "--seeds") for command in ("compare", "sweep", "capacity", "tune", "ladder")),
        *(("tune", option) for option in ("--trials", "--fresh", "--confirm")),
    ],
)
def test_more_runs_than_can_be_waited_for_are_refused(command: str, option: str, tmp_path: Path) -> None:
    given = {"compare": ["--policy", "selector=random"], "sweep": ["--grid", LENGTHS], "capacity": POISSON}
    scenario = write_scenario(tmp_path)
    result = spinsim(command, scenario, *given.get(command, ()), option, BEYOND, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"{option}: {BEYOND} is not allowed; at most 1,000,000" in result.stderr


def test_a_search_takes_any_seed_that_a_scenario_takes(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    scenario = write_scenario(tmp_path)
    small = ["--trials", "1", "--seeds", "1", "--fresh", "1", "--confirm", "0", "--workers", "0"]
    result = spinsim("tune", scenario, *small, "--seed", 2**40, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
