"""A command comes from a function: its options, their types, defaults and limits are the signature's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict, Unpack

import pytest
import typer
from typer.testing import CliRunner

from spinsim.api import options
from spinsim.api.options import Argument, Option, Paths, Progress, Texts
from spinsim.cli.command import Command, Instead, Shown
from spinsim.cli.program import COMMANDS, program
from spinsim.cli.signatures import parameters
from spinsim.errors import InputError


class Rest(TypedDict, total=False):
    """What the function hands on."""

    workers: options.Workers
    resume: options.Resume
    progress: Progress | None


def survey(
    scenarios: Annotated[Paths, Argument("What is counted.", metavar="SCENARIO...")],
    share: Annotated[float, Option("Of everything.", max=1)] = 0.5,
    *,
    labels: Annotated[Mapping[str, str] | Texts, Option("Named.", flag="--label", metavar="NAME")] = (),
    order: Annotated[str | None, Option("Which first.", choices=("old", "new"))] = None,
    weights: Annotated[Sequence[float], Option("Several numbers.", flag="--weight")] = (1.0,),
    top_rows: Annotated[int, Option("Rows to keep.", min=1)] = 3,
    thorough: Annotated[bool, Option("Looks twice.")] = True,
    out: options.Out = None,
    hook: object = None,
    **rest: Unpack[Rest],
) -> dict[str, Any]:
    """Count what is there.

    A second paragraph is for readers of the API.
    """
    if share == 0:
        raise InputError("0 is not allowed; above 0", key="--share")
    return {name: value for name, value in locals().items() if name != "rest"} | rest


def survey_again(
    out: options.OutNeeded, *, top_rows: Annotated[int, Option("", min=1)] = 3
) -> dict[str, Any]:
    """Count once more."""
    return {"again": str(out), "top_rows": top_rows}


def show(result: Mapping[str, Any], shown: Shown) -> None:
    typer.echo("as JSON" if shown.json else f"{dict(result)} in {shown.folder}")


def run(*words: str, instead: Instead | None = None) -> Any:
    """``spinsim`` with one command more."""
    more = Command(survey, show, folder=lambda given: Path("counted"), instead=instead)
    return CliRunner().invoke(program([*COMMANDS, more]), list(words), env={"COLUMNS": "200"})


def test_a_new_function_is_a_command_with_its_options() -> None:
    assert re.search(r"^  survey +Count what is there\.$", run("--help").stdout, re.M)
    said = " ".join(run("survey", "--help").stdout.split())
    for part in (
        "SCENARIO... <list[Path]> What is counted. [required]",
        "--share <float range> Of everything. [default: 0.5; x<=1]",
        "--label NAME Named.",
        "--order <old|new> Which first.",
        "--top-rows <int range> Rows to keep. [default: 3; x>=1]",
        "--thorough / --no-thorough Looks twice. [default: thorough]",
        "--workers <int range> Processes [one a core]; 0 runs in this one. [x>=0]",
        "--json Prints the summary as JSON",
    ):
        assert part in said
    assert "hook" not in said
    assert "progress" not in said
    assert "second paragraph" not in said


def test_the_function_gets_what_was_given_and_keeps_its_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "spinsim.cli.support._progress_lines", lambda: None
    )  # a function is printed by address
    done = run("survey", "a.yaml", "--label", "x", "--label", "y", "--order", "new", "--workers", "0")
    expected = {
        "scenarios": [Path("a.yaml")],
        "share": 0.5,
        "labels": ["x", "y"],
        "order": "new",
        "weights": (1.0,),
        "top_rows": 3,
        "thorough": True,
        "out": Path("counted"),
        "hook": None,
        "workers": 0,
        "resume": False,
        "progress": None,
    }
    assert done.stdout == f"{expected} in counted\n"
    given = run(
        "survey", "a.yaml", "--no-thorough", "--weight", "2", "--weight", "3.5", "--out", "there"
    ).stdout
    assert "'thorough': False" in given
    assert "'weights': [2.0, 3.5]" in given
    assert given.endswith("in there\n")
    assert run("survey", "a.yaml", "--json").stdout == "as JSON\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "spinsim survey: SCENARIO is missing; allowed: spinsim survey [OPTIONS] SCENARIO..."),
        (["a", "--top-rows", "0"], "spinsim survey: --top-rows: "),
        (["a", "--share", "2"], "spinsim survey: --share: "),
        (["a", "--order", "best"], "spinsim survey: --order: 'best' is not one of 'old', 'new'"),
        (["a", "--lable", "x"], "(did you mean --label?)"),
        (["a", "--share", "0"], "--share: 0 is not allowed; above 0"),
    ],
)
def test_bad_words_get_one_line(words: list[str], said: str) -> None:
    done = run("survey", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_again_calls_the_other_function() -> None:
    again = Instead("--again", survey_again, show, "Counts what is in --out once more.")
    assert (
        run("survey", "--again", "--out", "x", instead=again).stdout == "{'again': 'x', 'top_rows': 3} in x\n"
    )
    assert "--again Counts what is" in " ".join(run("survey", "--help", instead=again).stdout.split())
    for words, said in (
        (["a", "--again", "--out", "x"], "--again: goes with none of SCENARIO; leave them out\n"),
        (["--again", "--out", "x", "--share", "1"], "--again: goes with none of --share; leave them out\n"),
        (["--again"], "--out: is missing; Results folder [below results/, by name and command].\n"),
    ):
        done = run("survey", *words, instead=again)
        assert (done.exit_code, done.stderr) == (2, said)


def test_what_no_text_can_be_is_refused_when_the_program_is_built() -> None:
    def wrong(hook: Annotated[Mapping[str, object], Option("A mapping.")]) -> None:
        """It cannot be called from a terminal."""

    with pytest.raises(TypeError, match=r"hook: .* cannot be given as a text"):
        parameters(wrong)
