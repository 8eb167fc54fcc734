"""Command lines that cannot be understood: one line, exit code 2, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from spinsim.cli import app

QUICKSTART = str(Path(__file__).parents[2] / "scenarios" / "quickstart.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulate"], "spinsim simulate: SCENARIO is missing; allowed: spinsim simulate [OPTIONS] SCENARIO"),
        (["simulate", QUICKSTART, "more"], "spinsim simulate: got unexpected extra argument"),
        (["simulate", QUICKSTART, "--forse"], "spinsim simulate: no such option --forse; allowed: --out, "),
        (["simulate", QUICKSTART, "--forse"], "(did you mean --force?)"),
        (["simulate", QUICKSTART, "--seed"], "spinsim simulate: --seed: requires an argument; see "),
        (["simulate", QUICKSTART, "--seed", "one"], "spinsim simulate: --seed: "),
        (["simulate", QUICKSTART, "--seed", "-1"], "spinsim simulate: --seed: "),
        (["simulate", QUICKSTART, "--device", "tpu"], "--device: 'tpu' is not one of 'cpu', 'cuda'"),
        (["simulat", QUICKSTART], "spinsim: no such command simulat; allowed: init, list, "),
        (["simulat", QUICKSTART], "(did you mean simulate?)"),
        (["--nothing"], "spinsim: no such option --nothing; allowed: --version"),
        (["models", "lst"], "spinsim models: no such command lst; allowed: list, train, "),
        (["models", "widen"], "spinsim models widen: "),
        (["models", "widen", "tiny", "llama-7b"], "spinsim models widen: --out is missing; allowed: "),
        (["validate"], "SCENARIO: none; give the YAML of one or several"),
        (["compare"], "spinsim compare: SCENARIO is missing; allowed: spinsim compare [OPTIONS] SCENARIO..."),
        (["profile", QUICKSTART, "--minutes", "0"], "spinsim profile: --minutes: "),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong_and_what_is_allowed(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert said in result.stderr
    assert result.stderr.startswith(("spinsim", "SCENARIO"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["simulate", "sweep", "--seed", "x\ny", "--grid", "-q", "--", "--set", "\x1b[1m"])
    )
)
def test_any_words_give_one_line_or_help(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code in (0, 2)
    assert "Traceback" not in result.output
    if result.stderr and "Usage:" not in result.output:
        assert len(result.stderr.splitlines()) == 1
        assert "\x1b" not in result.stderr


def test_help_stays_help() -> None:
    for arguments in (["-h"], ["simulate", "--help"], ["models", "-h"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: spinsim")
    for arguments in ([], ["models"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "Usage: spinsim" in result.output
