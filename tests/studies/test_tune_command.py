"""`spinsim tune`, against arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from spinsim.cli import app
from tests.studies.experiment_commands import alone, done, spinsim, tokens_per_second
from tests.studies.experiment_files import write_plugin, write_scenario


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    pytest.importorskip("optuna")
    folder = tmp_path_factory.mktemp("tune")
    out = folder / "out"
    summary = done(
        out, "tune", write_scenario(folder, workload=alone(200)), "--only", "length",
        "--choose", "selector=fixed,greedy",
        "--trials", "24", "--seeds", "2", "--fresh", "6",
    )  # fmt: skip
    return out, summary


def test_tune_finds_the_length_that_arithmetic_finds(tuned: tuple[Path, dict[str, Any]]) -> None:
    _, summary = tuned
    rates = {k: tokens_per_second(0.9, k, 0.01, 0.002) for k in range(1, 9)}
    best = summary["winners"]["best"]
    assert rates[best["parameters"]["policies.length.tokens"]] >= 0.97 * max(rates.values())
    gain = best["gain"]["goodput_tokens_per_s"]
    assert gain["verdict"] == "better"
    assert gain["relative"]["low"] > 0
    assert {trial["state"] for trial in summary["trials"]} >= {"complete", "stopped early"}
    assert summary["trials"][0]["parameters"]["policies.length.tokens"] == 1  # as written


def test_the_best_policy_is_a_scenario(tuned: tuple[Path, dict[str, Any]]) -> None:
    out, summary = tuned
    result = CliRunner().invoke(
        app, ["simulate", str(out / "best.yaml"), "--out", str(out.parent / "again"), "--json"]
    )
    assert result.exit_code == 0, result.output
    again = json.loads(result.stdout)
    table = pq.read_table(out / "trials.parquet").to_pylist()
    trial = summary["winners"]["best"]["trial"]
    (row,) = [r for r in table if r["trial"] == trial and r["workload"] == "tuning" and r["seed"] == 1]
    assert again["goodput_tokens_per_s"] == row["goodput_tokens_per_s"]


def test_a_tuning_that_was_killed_goes_on_the_same(
    tuned: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, summary = tuned
    copy = tmp_path / "killed"
    (copy / "cells").mkdir(parents=True)
    (copy / "manifest.json").write_bytes((out / "manifest.json").read_bytes())
    for i, path in enumerate(sorted((out / "cells").iterdir())):
        if i % 2:
            (copy / "cells" / path.name).write_bytes(path.read_bytes())
    again = done(
        copy, "tune", out.parent / "small.yaml", "--only", "length", "--choose", "selector=fixed,greedy",
        "--trials", "24", "--seeds", "2", "--fresh", "6", "--resume",
    )  # fmt: skip
    assert again == summary


def test_a_front_is_not_dominated_and_each_member_is_written(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    out = tmp_path / "out"
    summary = done(
        out, "tune", write_scenario(tmp_path), "--objective", "goodput", "--objective", "p99_tpot",
        "--only", "limits", "--range", "policies.length.tokens=1:8",
        "--trials", "12", "--seeds", "1", "--fresh", "5",
        "--require", "acceptance_length>=1.5",
    )  # fmt: skip
    trials = {trial["number"]: trial for trial in summary["trials"]}
    chosen = [trials[winner["trial"]] for winner in summary["winners"].values()]
    assert chosen
    for trial in trials.values():
        if trial["values"] and trial["feasible"]:
            for other in chosen:
                assert not (
                    trial["values"][0] > other["values"][0] and trial["values"][1] < other["values"][1]
                )
    assert sorted(path.stem for path in out.glob("front-*.yaml")) == sorted(summary["winners"])


def test_a_search_where_every_trial_fails_says_so(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    scenario, plugin = write_scenario(tmp_path), write_plugin(tmp_path, "failing_always")
    options = ["--seed", "2", "--trials", "2", "--seeds", "1", "--fresh", "1", "--plugin", plugin]
    chosen = ["--set", "policies.selector={name: failing_always}", "--only", "length"]
    result = spinsim("tune", scenario, *options, *chosen, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "this seed is bad" in result.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["winners"] == {}
    assert "no trial ended: nothing was chosen" in summary["notes"]


@pytest.mark.parametrize("held", ["seeds", "rows", "other"])
def test_tuning_says_what_the_gain_was_measured_on(held: str, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    rows = "".join(f"2023-11-16 18:15:{i:02}.0000000,16,{8 + i % 9}\n" for i in range(24))
    (tmp_path / "rows.csv").write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{rows}")
    source = {
        "requests": None,
        "arrivals": {"process": "replay"},
        "source": {"format": "azure", "path": str(tmp_path / "rows.csv")},
    }
    scenario = write_scenario(tmp_path, workload=alone(16) if held == "seeds" else source)
    other = ["--holdout-set", "workload.source.limit=9"] if held == "other" else []
    result = spinsim(
        "tune", scenario, "--only", "length", "--trials", "2", "--seeds", "1", "--confirm", "0",
        "--fresh", "2", *other, "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    wanted = {"seeds": "fresh seeds", "rows": "fresh seeds, last 12 rows"}
    said = wanted.get(held, "fresh seeds, workload of --holdout-set")
    assert summary["held_out"] == said
    assert f"on {said}" in " ".join(result.stdout.split())
    written = summary["winners"]["best"]["parameters"]["policies.length.tokens"] == 1
    note = "best does as the scenario as written does: nothing better was found"
    assert (note in summary["notes"]) == written
