"""A results folder is complete, reproducible, anonymous, and never half written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spinsim.engine.records import Records
from spinsim.errors import InputError
from spinsim.pages.run import write_report
from spinsim.results import folder as folder_module
from spinsim.results.environment import command_line, environment
from spinsim.results.folder import Additions, write_results
from spinsim.results.summary import summarise
from spinsim.scenario import Scenario

FILES = (
    "summary.json",
    "requests.parquet",
    "rounds.parquet",
    "inputs.parquet",
    "decisions.parquet",
    "load.parquet",
    "timeline.json",
    "report.html",
    "scenario.yaml",
    "environment.json",
)


@pytest.fixture
def write(
    scenario: Scenario, scenario_yaml: str, make_records: Callable[..., Records]
) -> Callable[..., None]:
    def write_to(out: Path, **options: Any) -> None:
        records = make_records(0, requests=12)
        summary = summarise(records, scenario, mode="simulated", acceptance_source="synthetic")
        write_results(out, records, summary, scenario_yaml, Additions(report=write_report), **options)

    return write_to


def test_every_file_is_there_and_nothing_else(results: Path) -> None:
    assert {path.name for path in results.iterdir()} == set(FILES)
    assert [path.name for path in results.parent.iterdir()] == [results.name], "no temporary folder is left"


def test_same_input_same_bytes(
    results: Path,
    tmp_path: Path,
    scenario: Scenario,
    scenario_yaml: str,
    make_records: Callable[..., Records],
) -> None:
    again, records = tmp_path / "again", make_records()
    summary = summarise(records, scenario, mode="simulated", acceptance_source="synthetic")
    write_results(again, records, summary, scenario_yaml, Additions(report=write_report))
    for name in FILES:
        if name != "environment.json":
            assert (results / name).read_bytes() == (again / name).read_bytes(), name


def test_what_is_there_is_not_overwritten(tmp_path: Path, write: Callable[..., None]) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write(out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    write(out, force=True)
    assert {path.name for path in out.iterdir()} == set(FILES)


def test_an_empty_folder_and_missing_parents_are_fine(tmp_path: Path, write: Callable[..., None]) -> None:
    out = tmp_path / "a" / "b"
    out.mkdir(parents=True)
    write(out)
    write(tmp_path / "c" / "d")
    assert (tmp_path / "c" / "d" / "report.html").is_file()


def test_a_failure_while_writing_keeps_what_there_is_and_says_so(
    tmp_path: Path, write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(folder_module, "write_timeline", full)
    with pytest.raises(OSError, match="no space"):
        write(tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "no space left on device" in summary["interrupted"]
    assert (tmp_path / "run" / "rounds.parquet").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_partial_results_do_not_replace_complete_ones(
    tmp_path: Path, write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out, partial = tmp_path / "run", tmp_path / "run.partial-results"
    write(out)
    complete = {path.name: path.read_bytes() for path in out.iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr(folder_module, "write_timeline", interrupted)
        for _ in range(2):  # later partial results replace earlier ones
            with pytest.raises(KeyboardInterrupt):
                write(out, force=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == complete
    assert "KeyboardInterrupt" in json.loads((partial / "summary.json").read_text())["interrupted"]
    assert (partial / "rounds.parquet").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"run", "run.partial-results"}
    write(out, force=True)
    assert not json.loads((out / "summary.json").read_text())["interrupted"]


def test_environment_names_versions_and_no_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "people" / "alice"
    here = tmp_path / "project"
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    argv = [
        "/opt/venv/bin/spinsim",
        "simulate",
        str(here / "scenarios" / "a.yaml"),
        f"--out={home}/results",
        "--set",
        f"workload.source.path={tmp_path}/traces/azure.csv",
        "--seed",
        "3",
    ]
    found = environment(argv)
    assert found["command"] == [
        "spinsim", "simulate", "scenarios/a.yaml", "--out=~/results", "--set",
        "workload.source.path=.../azure.csv", "--seed", "3",
    ]  # fmt: skip
    assert found["packages"]["numpy"]
    assert found["cpu_count"] >= 1
    assert str(tmp_path) not in json.dumps(found)


def test_command_of_a_module_run() -> None:
    assert command_line(["/somewhere/spinsim/__main__.py", "--help"]) == ["spinsim", "--help"]
    assert command_line([]) == []
