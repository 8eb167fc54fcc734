"""The README's commands, run as they stand, in a folder that has the shipped scenarios."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spinsim.cli import app

ROOT = Path(__file__).parents[2]


def block(name: str) -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- {name}: begin -->(.*?)<!-- {name}: end -->", text, re.S)
    assert found is not None
    return found[1].strip()


def commands() -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for line in block("five minutes").splitlines()]
    assert all(line[0] == "spinsim" for line in lines)
    return [line[1:] for line in lines]


def test_the_five_minutes_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    ran = []
    for command in commands():
        here = ["--workers", "0"] if command[0] in ("sweep", "compare", "capacity") else []
        done = CliRunner().invoke(app, [*command, *here])
        assert done.exit_code == 0, (command, done.output)
        ran.append(command[0])
    assert ran == ["list", "init", "simulate", "sweep", "compare", "capacity", "tables"]
    summary = json.loads((tmp_path / "results" / "mine" / "summary.json").read_text())
    assert summary["requests"]["completed"] == 120
    assert summary["cost"]["per_million_output_tokens"] > 0
    with (tmp_path / "results" / "mine" / "tables" / "requests.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 120
    for name in ("mine-sweep", "mine-compared", "mine-capacity"):
        assert (tmp_path / "results" / name / "report.html").is_file()


def test_the_first_answer_is_what_the_command_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("scenarios", "profiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    command, shown = re.fullmatch(r"spinsim (.*?)\n+```\n(.*?)\n```", block("answer"), re.S).groups()  # type: ignore[union-attr]
    done = CliRunner().invoke(app, [*shlex.split(command), "--workers", "0"], env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    printed = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    assert shown in printed
