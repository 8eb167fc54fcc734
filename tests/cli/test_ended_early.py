"""Runs that fail or are interrupted: one line, an exit code, and the results so far."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from spinsim.simulated.world import SimulatedWorld
from tests.cli.commands import simulate


def breaking(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the simulated world raise ``error`` in the middle of a simulation."""
    submit, calls = SimulatedWorld.submit, [0]

    def submit_or_break(world: SimulatedWorld, lane: int, operation: Any) -> Any:
        calls[0] += 1
        if calls[0] == 100:
            raise error
        return submit(world, lane, operation)

    monkeypatch.setattr(SimulatedWorld, "submit", submit_or_break)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, ModuleNotFoundError("No module named 'torch'", name="torch"))
    result = simulate("--engine", "python", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "this needs torch; pip install -e '.[live]'" in result.stderr


def test_interruption_keeps_partial_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    breaking(monkeypatch, KeyboardInterrupt())
    result = simulate("--engine", "python", "--out", tmp_path / "out")
    assert result.exit_code == 130, result.output
    assert result.stderr == f"interrupted; partial results in {tmp_path / 'out'}\n"
    assert json.loads((tmp_path / "out" / "summary.json").read_bytes())["interrupted"]


def test_an_interrupted_run_does_not_replace_a_complete_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial-results"
    assert simulate("--out", out, "-q").exit_code == 0
    complete = (out / "summary.json").read_bytes()
    breaking(monkeypatch, KeyboardInterrupt())
    result = simulate("--engine", "python", "--out", out, "--force", "-q")
    assert result.exit_code == 130, result.output
    assert result.stderr == (
        f"interrupted; partial results in {partial}; the complete ones in {out} are kept\n"
    )
    assert (out / "summary.json").read_bytes() == complete
    assert json.loads((partial / "summary.json").read_bytes())["interrupted"]


def test_failure_names_its_cause(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    breaking(monkeypatch, RuntimeError("lane gpu0/target is on fire\nand more"))
    result = simulate("--engine", "python", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("failed: ")
    assert "RuntimeError: lane gpu0/target is on fire" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_failure_says_where_partial_results_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from spinsim.studies import simulate as module

    publish = module.publish

    def publish_and_fail(*arguments: Any, **options: Any) -> None:
        publish(*arguments, **options)
        raise RuntimeError("too late")

    monkeypatch.setattr(module, "publish", publish_and_fail)
    result = simulate("--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr == f"failed: RuntimeError: too late; partial results in {tmp_path / 'out'}\n"


def test_sigterm_keeps_what_ctrl_c_keeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a batch system ends a job: exit code 130, and the results so far."""
    submit, calls, before = SimulatedWorld.submit, [0], signal.getsignal(signal.SIGTERM)

    def submit_and_end(world: SimulatedWorld, lane: int, operation: Any) -> Any:
        calls[0] += 1
        if calls[0] == 100:
            os.kill(os.getpid(), signal.SIGTERM)
        return submit(world, lane, operation)

    monkeypatch.setattr(SimulatedWorld, "submit", submit_and_end)
    result = simulate("--engine", "python", "--out", tmp_path / "out")
    assert result.exit_code == 130, result.output
    assert result.stderr == f"interrupted; partial results in {tmp_path / 'out'}\n"
    assert json.loads((tmp_path / "out" / "summary.json").read_bytes())["interrupted"]
    assert signal.getsignal(signal.SIGTERM) == before
