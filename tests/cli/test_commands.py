"""The commands as a user meets them: output, exit codes, results folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import spinsim
from spinsim.cli import app, support
from spinsim.studies import replay
from tests.cli.commands import QUICKSTART, SMALL, simulate


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A results folder and the summary that was printed; tests only read it."""
    out = tmp_path_factory.mktemp("cli") / "out"
    result = simulate("--out", out, "--json")
    assert result.exit_code == 0, result.output
    summary: dict[str, Any] = json.loads(result.stdout)
    return out, summary


def test_json_is_the_summary_of_the_folder_and_nothing_else(finished: tuple[Path, dict[str, Any]]) -> None:
    out, summary = finished
    assert summary == json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["requests"]["completed"] == 12


def test_resolved_scenario_gives_the_same_result(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, summary = finished
    arguments = ["simulate", str(out / "scenario.yaml"), "--out", str(tmp_path / "again"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    again = json.loads(result.stdout)
    timed = {"host"}  # what the wall clock says
    assert {k: v for k, v in again.items() if k not in timed} == {
        k: v for k, v in summary.items() if k not in timed
    }


def test_results_are_overwritten_only_by_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    first = simulate("--seed", "5")
    assert first.exit_code == 0, first.output
    assert "tokens/s" in first.stdout
    folder = Path("results") / "quickstart-simulated"
    assert f"results in {folder}" in first.stdout
    summary = (folder / "summary.json").read_bytes()
    again = simulate("--seed", "6")
    assert again.exit_code == 2
    assert again.stdout == ""
    assert (
        again.stderr
        == f"{folder}: already holds results; --force replaces them, --out names another folder\n"
    )
    assert (folder / "summary.json").read_bytes() == summary
    forced = simulate("--seed", "6", "--force", "--quiet")
    assert (forced.exit_code, forced.output) == (0, "")
    assert json.loads((folder / "summary.json").read_bytes())["seed"] == 6


def test_force_spares_what_is_no_results(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    result = simulate("--out", mine, "--force")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{mine}: holds something else than results; ")
    assert (mine / "thesis.tex").read_text() == "years of work"
    result = simulate("--out", mine / "thesis.tex", "--force")
    assert result.exit_code == 2
    assert result.stderr == f"{mine / 'thesis.tex'}: is a file; --out takes a folder\n"


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = simulate("--out", tmp_path / "file" / "below" / "it")
    assert result.exit_code == 2
    assert result.stderr.endswith(f": {tmp_path / 'file'} is a file; --out takes a folder\n")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that takes no folders")
def test_a_file_system_that_takes_nothing_is_noticed_before_the_work() -> None:
    result = simulate("--out", "/proc/spinsim/out")
    assert result.exit_code == 2
    assert result.stderr == "/proc/spinsim/out: /proc cannot be written to; --out takes a folder that can\n"


def test_report_is_written_again(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(finished[0], copy)
    original = (copy / "report.html").read_bytes()
    (copy / "report.html").unlink()
    result = CliRunner().invoke(app, ["report", str(copy)])
    assert (result.exit_code, result.stdout) == (0, f"{copy / 'report.html'}\n")
    assert (copy / "report.html").read_bytes() == original


@pytest.mark.parametrize("command", ["report", "replay"])
def test_folders_without_results_are_bad_input(command: str, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        result = CliRunner().invoke(app, [command, str(folder)])
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith(str(folder))


def test_replay_refuses_a_simulation(finished: tuple[Path, dict[str, Any]]) -> None:
    result = CliRunner().invoke(app, ["replay", str(finished[0])])
    assert result.exit_code == 2
    assert "is not a live run's results" in result.stderr


@pytest.mark.parametrize("difference", ["", "rounds.parquet: row 3: draft was 1, now 2"])
def test_replay_fails_where_decisions_differ(difference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = replay.Replayed(10, 4, 8, difference)
    monkeypatch.setattr(replay, "replay", lambda folder: replayed)
    result = CliRunner().invoke(app, ["replay", "run"])
    assert result.exit_code == (1 if difference else 0)
    said = result.stderr if difference else result.stdout
    assert said.startswith("run: not the same run: rounds" if difference else "run: the same decisions")
    assert "10 inputs, 4 rounds, 8 decisions" in said
    assert said == result.output
    as_json = CliRunner().invoke(app, ["replay", "run", "--json"])
    assert json.loads(as_json.stdout) == {"inputs": 10, "rounds": 4, "decisions": 8, "difference": difference}


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("acceptance={model: trace, path: nowhere.json}", "acceptance.path"),
        ("workload.source={format: azure, path: nowhere.csv}", "workload.source.path"),
        ("workload.source={format: azure, path: $SPINSIM_NOT_SET/x.csv}", "workload.source.path"),
        ("devices.gpu0.memory_gib=8", "placement.target"),
        ("limits.context_tokens=9000000", "limits.context_tokens"),
        ("costs={model: profile, path: nowhere.json}", "costs.path"),
    ],
)
def test_what_only_the_run_can_know_is_bad_input_too(override: str, key: str, tmp_path: Path) -> None:
    result = simulate("--out", tmp_path / "out", "--set", override)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert f": {key}: " in result.stderr
    assert result.stderr.startswith(("--set ", f"{QUICKSTART}:"))
    assert not (tmp_path / "out").exists()


def test_seed_and_device_are_checked() -> None:
    for arguments in (["--seed", "-1"], ["--device", "tpu"], ["--nothing"]):
        result = simulate(*arguments)
        assert result.exit_code == 2
        assert "Traceback" not in result.output


def test_schema_is_json() -> None:
    result = CliRunner().invoke(app, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["title"] == "Scenario"


def test_version() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"spinsim {spinsim.__version__}\n"


def test_help_imports_nothing_heavy_and_simulate_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from spinsim.cli import app\n"
        "heavy = ('numpy', 'pydantic', 'rich', 'yaml', 'simpy', 'matplotlib')\n"
        "print([m for m in heavy if m in sys.modules])\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "print([m for m in ('torch', 'transformers') if m in sys.modules])\n"
    )
    command = [sys.executable, "-c", program, "simulate", str(QUICKSTART), *SMALL, "--quiet"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n[]\n", "")


def test_bad_input_survives_the_way_out_of_a_process() -> None:
    import pickle

    from spinsim.errors import InputError, InputErrors

    error = InputError("is wrong; what is allowed", key="a.b", file="f.yaml", line=3)
    for sent in (error, InputErrors([error, error])):
        received = pickle.loads(pickle.dumps(sent))
        assert (str(received), received.line) == (str(sent), 3)


@pytest.mark.parametrize(
    "command", [["report"], ["tables"], ["calibrate"], ["simulate"], ["study"], ["export", "--for", "vllm"]]
)
def test_what_is_not_there_is_said_in_words(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "nowhere"])
    assert result.exit_code == 2
    assert result.stderr.startswith("nowhere")
    assert "Errno" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_progress_in_a_log_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 10.0, 31.0, 40.0, 62.0])
    monkeypatch.setattr(support.time, "monotonic", lambda: next(now))
    with support.progress_bar(enabled=True) as report:
        assert report is not None
        for done in (1.0, 2.0, 3.0, 4.0):
            report("profile", done, 8.0)
    assert capsys.readouterr().err.splitlines() == [
        "profile: 25 %, about 2 min to go",
        "profile: 50 %, about 70 s to go",
    ]


def test_what_is_left_of_a_phase_is_told_from_its_own_pace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulations that a folder had already took no time, and a phase may come round again."""
    now = iter([0.0, 0.0, 40.0, 40.0, 40.0, 90.0])
    monkeypatch.setattr(support.time, "monotonic", lambda: next(now))
    with support.progress_bar(enabled=True) as report:
        assert report is not None
        for done in (6.0, 7.0, 0.0, 1.0, 2.0):
            report("cells", done, 8.0)
    assert capsys.readouterr().err.splitlines() == [
        "cells: 88 %, about 40 s to go",
        "cells: 25 %, about 2 min to go",
    ]


def test_nobody_reading_on_is_no_failure(tmp_path: Path) -> None:
    """As with ``spinsim simulate ... | head``: nothing is said of it."""
    theirs, ours = os.pipe()
    os.close(theirs)
    command = [sys.executable, "-m", "spinsim", "simulate", str(QUICKSTART), *SMALL]
    with os.fdopen(ours, "w") as closed:
        done = subprocess.run(
            [*command, "--out", str(tmp_path / "out")],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "")
    assert (tmp_path / "out" / "summary.json").is_file()


def test_a_path_from_the_home_folder_is_found_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells leave ``~`` to the program in ``--out=~/run``; a folder of that name would be a trap."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert simulate("--out=~/run", "--quiet").exit_code == 0
    assert (tmp_path / "home" / "run" / "rounds.parquet").is_file()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["init", "{file}/a.yaml"],
        ["init", "{long}"],
        ["simulate", "{long}"],
        ["tables", "{results}", "--out", "{file}"],
        ["tables", "{results}", "--out", "{file}/tables"],
        ["models", "widen", "tiny", "llama-7b", "--out", "{file}/widened"],
        ["models", "evaluate", "--save", "{file}/recording.npz"],
    ],
)
def test_a_place_that_takes_nothing_is_bad_input(
    command: list[str], finished: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    places = {"file": file, "long": "a" * 300, "results": finished[0]}
    result = CliRunner().invoke(app, [word.format(**places) for word in command])
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
