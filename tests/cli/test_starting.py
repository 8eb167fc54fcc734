"""``spinsim init`` and ``list`` on the command line: options, questions on a terminal, what is printed."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from spinsim.cli import app, starting

runner = CliRunner()


def test_options_become_a_scenario(tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    options = ["--target", "qwen3-8b", "--draft", "small=qwen3-0.6b", "--gpus", "1", "--clients", "3"]
    done = runner.invoke(app, ["init", str(out), *options])
    assert done.exit_code == 0, done.output
    assert f"{out} assumes:" in done.stdout
    assert f"next: spinsim simulate {out}" in done.stdout
    written = yaml.safe_load(out.read_text())
    assert written["models"]["drafts"] == {"small": {"shape": "qwen3-0.6b"}}
    said = json.loads(runner.invoke(app, ["init", str(out), *options, "--force", "--json"]).stdout)
    assert said["path"] == str(out)
    assert all(line in done.stdout for line in said["assumed"])


def test_refusals_are_a_line_and_exit_2(tmp_path: Path) -> None:
    done = runner.invoke(app, ["init", str(tmp_path / "x.yaml"), "--hardware", "h10"])
    assert done.exit_code == 2
    assert done.stderr.startswith("--hardware: unknown hardware 'h10'; allowed: v100-16")
    done = runner.invoke(app, ["list", "gpus"])
    assert (done.exit_code, done.stderr) == (
        2,
        "KIND: 'gpus' is no list; one of hardware, shapes, policies, drafters, formats\n",
    )


@pytest.mark.parametrize("kind", ["hardware", "shapes", "policies", "drafters", "formats"])
def test_lists_have_a_line_each(kind: str) -> None:
    lines = runner.invoke(app, ["list", kind]).stdout.splitlines()
    names = json.loads(runner.invoke(app, ["list", kind, "--json"]).stdout)
    assert [line.split("  ")[0] for line in lines] == list(names)


def test_without_a_kind_the_kinds_are_listed() -> None:
    done = runner.invoke(app, ["list"])
    assert done.exit_code == 0
    *lines, hint = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["hardware", "shapes", "policies", "drafters", "formats"]
    for line in lines:
        count, names = line.rpartition(". ")[2].split(": ")
        listed = json.loads(runner.invoke(app, ["list", line.split()[0], "--json"]).stdout)
        assert int(count) == len(listed)
        assert set(names.removesuffix(", ...").split(", ")) <= set(listed)
    assert hint == "spinsim list KIND has a line for each name of a kind"


def test_a_terminal_is_asked_and_an_empty_answer_takes_what_is_usual(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "spinsim", "init", str(tmp_path / "mine.yaml")]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.write(ours, b"qwen3-8b\n\nh200\n1\n\n")
        assert process.wait(60) == 0
    said = os.read(ours, 1 << 16).decode()
    os.close(ours)
    os.close(theirs)
    assert "Target (of `spinsim list shapes`" in said
    written = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert written["models"]["target"] == {"shape": "qwen3-8b"}
    assert written["devices"] == {"gpu0": {"hardware": "h200"}}
    assert list(written["models"]["drafts"].values()) == [{"shape": "qwen3-0.6b"}, {"shape": "qwen3-1.7b"}]


def test_nobody_is_asked_who_said_something_or_sits_at_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    usual: dict[str, Any] = {"out": "scenario.yaml", "target": "llama-3-8b", "draft": None, "gpus": 2}
    assert starting.ask(dict(usual), usual) == usual  # no terminal
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    said = {**usual, "gpus": 1}
    assert starting.ask(dict(said), usual) == said
