"""What the commands share: exit codes, results folders, progress on the terminal."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec

import typer

from spinsim.errors import InputError

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
P = ParamSpec("P")
Progress = Callable[[str, float, float], None]


def exit_codes(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what a command raises into a line on stderr and an exit code.

    2 for bad input, 130 for Ctrl-C, 1 for anything else; the environment's ``SPINSIM_TRACEBACK=1``
    adds the traceback of the latter.
    """

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except InputError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if os.environ.get("SPINSIM_TRACEBACK"):
                traceback.print_exc()
            typer.echo(f"failed: {cause(error)}", err=True)
            raise typer.Exit(FAILED) from None

    return guarded


def cause(error: BaseException) -> str:
    """An exception in one line: its type and first line, and what it came from."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return f"{text} (from {cause(error.__cause__)})" if error.__cause__ else text


@contextmanager
def progress_bar(*, enabled: bool) -> Iterator[Progress | None]:
    """``progress(phase, done, total)`` on stderr, where that is a terminal."""
    if not (enabled and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console

    from spinsim.reporting.terminal import progress

    with progress(Console(stderr=True)) as report:
        yield lambda phase, done, total: report(phase, int(done), int(total))


def show_summary(summary: dict[str, Any], out: Path, *, as_json: bool, quiet: bool) -> None:
    """The summary on stdout: as JSON and nothing else, or as a table."""
    if as_json:
        import json

        typer.echo(json.dumps(summary, indent=2))
    elif not quiet:
        from rich.console import Console

        from spinsim.reporting.terminal import print_summary

        console = Console()
        print_summary(summary, console)
        console.print(f"results in {out}", highlight=False, soft_wrap=True)
