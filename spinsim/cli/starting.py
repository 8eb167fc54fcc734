"""Where a newcomer starts: questions on a terminal, and how a first scenario and lists are printed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from spinsim.cli.command import Shown
from spinsim.cli.support import print_json

if TYPE_CHECKING:
    from spinsim.api import Started

Values = dict[str, Any]


def ask(values: Values, usual: Values) -> Values:
    """``values`` of ``init``, with answers to questions where nothing but the file was said, on a terminal.

    ``usual``: what each value is without an option. An empty answer takes it.
    """
    said = {name for name, value in values.items() if value not in (None, [], usual.get(name))}
    if said - {"out", "name", "force"} or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return values
    answers = {
        "target": typer.prompt("Target (of `spinsim list shapes`, or a config.json)", usual["target"]),
        "draft": typer.prompt("Drafts, with blanks between (empty: of the target's vocabulary)", "").split(),
        "hardware": typer.prompt("GPU (of `spinsim list hardware`, or a sheet's file)", usual["hardware"]),
        "gpus": typer.prompt("How many GPUs", usual["gpus"], type=int),
        "traffic": typer.prompt("A file with your traffic (empty: requests are drawn)", "") or None,
    }
    return values | answers


def show_started(started: Started, shown: Shown) -> None:
    """Where the scenario is, what it assumes, and what to do with it."""
    if shown.json:
        study = {} if started.study is None else {"study": str(started.study)}
        print_json({"path": str(started.path), "assumed": list(started.assumed)} | study)
    elif not shown.quiet:
        said = [f"{started.path} assumes:", *(f"  - {line}" for line in started.assumed)]
        said.append(f"next: spinsim simulate {_quoted(started.path)}")
        if started.study is not None:
            said.append(f"and:  spinsim study {_quoted(started.study)}")
        typer.echo("\n".join(said))


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


def show_list(lines: Mapping[str, str], shown: Shown) -> None:
    """A line a name."""
    if shown.json:
        print_json(dict(lines))
        return
    width = max(map(len, lines), default=0)
    for name, line in lines.items():
        typer.echo(f"{name:<{width}}  {line}")
    if not shown.given.get("kind"):
        typer.echo("spinsim list KIND has a line for each name of a kind")
