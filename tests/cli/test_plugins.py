"""Plugins that break, at their import or within a run: told by file and line, and the run so far is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spinsim.cli import app
from spinsim.policies.registry import SELECTORS
from tests.cli.commands import QUICKSTART, simulate


@pytest.mark.parametrize("text", ["import sys; sys.exit(3)", "raise KeyError('x')", "x = ("])
def test_a_plugin_that_does_not_run_is_bad_input(text: str, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(text)
    result = simulate("--plugin", tmp_path / "plugin.py", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{tmp_path / 'plugin.py'}:1: cannot be imported: ")
    assert len(result.stderr.splitlines()) == 1


BROKEN = """
from dataclasses import dataclass
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.arms import PerRequest

@SELECTORS.register("{name}")
class Broken(PerRequest["Broken.Params"]):
    @dataclass(frozen=True)
    class Params:
        pass

    def choose(self, view, arms):
        return arms[view.rounds + len(arms)]  # line 13
"""


def test_an_error_within_a_plugin_names_its_line(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(BROKEN.format(name="broken_line"))
    chosen = ["--set", "policies.selector={name: broken_line}", "--plugin", plugin]
    result = simulate(*chosen, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"failed: {plugin}:13: IndexError: ")
    assert len(result.stderr.splitlines()) == 1
    arguments = ["--grid", "seed=1", "--workers", "1", "--out", tmp_path / "sweep", *chosen]
    result = CliRunner().invoke(app, ["sweep", str(QUICKSTART), *map(str, arguments)])
    assert f"IndexError: list index out of range at {plugin}:13" in result.stderr.replace("tuple", "list")


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ('return "tiny"', "WrongAnswerError: assign of the selector 'odd' gave ['tiny', "),
        ("return len(arms)", "WrongAnswerError: assign of the selector 'odd' gave [5, "),
        ("raise SystemExit(0)", "plugin.py:13: SystemExit: 0"),
    ],
)
def test_what_a_plugin_does_wrong_within_a_run_is_said_and_the_run_so_far_is_kept(
    does: str, said: str, tmp_path: Path
) -> None:
    plugin, out = tmp_path / "plugin.py", tmp_path / "out"
    plugin.write_text(BROKEN.format(name="odd").replace("return arms[view.rounds + len(arms)]", does))
    try:
        result = simulate("--set", "policies.selector={name: odd}", "--plugin", plugin, "--out", out)
    finally:
        SELECTORS.forget("odd")
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.endswith(f"; partial results in {out}\n")
    assert len(result.stderr.splitlines()) == 1
    assert json.loads((out / "summary.json").read_bytes())["interrupted"] in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('@SELECTORS.register("fixed")\nclass Second: ...\n', "two policies for selector are called 'fixed'"),
        ('@SELECTORS.register("bare")\nclass Bare: ...\n', "bare has no parameters: a dataclass Params"),
        (
            '@SELECTORS.register("mute")\nclass Mute:\n    @dataclass\n    class Params: ...\n',
            "mute is no selector policy, which needs assign, observe, forget",
        ),
    ],
)
def test_a_plugin_whose_policy_cannot_be_one_is_refused_at_its_line(
    text: str, said: str, tmp_path: Path
) -> None:
    plugin = tmp_path / "plugin.py"
    first = "from dataclasses import dataclass\nfrom spinsim.policies.registry import SELECTORS\n"
    plugin.write_text(first + text)
    result = simulate("--plugin", plugin, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{plugin}:3: cannot be imported: ")
    assert said in result.stderr
