"""What the commands share: exit codes, progress on the terminal, and how results are shown."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer

from spinsim.errors import InputError

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
# what comes with an extra only, so that a missing one is named by what installs it
EXTRAS = {"torch": "live", "transformers": "live", "tokenizers": "live", "safetensors": "live"}
P = ParamSpec("P")
R = TypeVar("R")
Progress = Callable[[str, float, float], None]


def exit_codes(command: Callable[P, None]) -> Callable[P, None]:
    """Turn what a command raises into a line on stderr and an exit code.

    2 for bad input, 130 for Ctrl-C and SIGTERM, 1 for anything else; the environment's
    ``SPINSIM_TRACEBACK=1`` adds the traceback of the latter.
    """

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with terminable():
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
            from spinsim.policies.plugins import place_in_plugin

            place = place_in_plugin(error)
            said = f"failed: {place}: {cause(error)}" if place else f"failed: {cause(error)}"
            typer.echo("; ".join([said, *getattr(error, "__notes__", [])]), err=True)
            raise typer.Exit(FAILED) from None

    return guarded


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM, as batch systems and containers send it, ends a command as Ctrl-C does: results are kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def cause(error: BaseException) -> str:
    """An exception in one line: its type and first line, and what it came from."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
        text = f"this needs {error.name}; pip install -e '.[{EXTRAS[error.name]}]' in the checkout"
    return f"{text} (from {cause(error.__cause__)})" if error.__cause__ else text


@contextmanager
def progress_bar(*, enabled: bool) -> Iterator[Progress | None]:
    """``progress(phase, done, total)`` as bars on stderr, where that is a terminal; gone when done."""
    if not (enabled and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    bars = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    tasks: dict[str, TaskID] = {}

    def report(phase: str, done: float, total: float) -> None:
        if phase not in tasks:
            tasks[phase] = bars.add_task(phase, total=total)
        bars.update(tasks[phase], completed=done, total=total)

    with bars:
        yield report


@contextmanager
def experimenting(out: Path, *, quiet: bool) -> Iterator[Progress | None]:
    """Progress of an experiment in ``out``; an interruption says what is kept and how to go on."""
    try:
        with progress_bar(enabled=not quiet) as progress:
            yield progress
    except KeyboardInterrupt:
        kept = any((out / "cells").glob("*.json"))
        where = f"; finished cells are in {out}, --resume goes on with them" if kept else ""
        typer.echo(f"interrupted{where}", err=True)
        raise typer.Exit(INTERRUPTED) from None


def despite_failures(experiment: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of an experiment, failed cells or not: :func:`show_experiment` tells of them."""
    from spinsim.studies.failed import CellsFailed

    try:
        return experiment(*args, **kwargs)
    except CellsFailed as error:
        result: R = error.result
        return result


def show_experiment(
    out: Path, summary: dict[str, Any], print_it: Any, result: Any, *, as_json: bool, quiet: bool
) -> None:
    """Show an experiment's result; exit code 1 where cells failed."""
    if as_json:
        print_json(summary)
    elif not quiet and len(summary["failed"]) < summary["cells"]:
        from rich.console import Console

        console = Console()
        print_it(result, console)
        console.print(f"\nresults in {out}", highlight=False, soft_wrap=True)
    if failed := summary["failed"]:
        typer.echo(
            f"{len(failed)} of {summary['cells']} cells failed, the first: {failed[0]['error']}", err=True
        )
        raise typer.Exit(FAILED)


def print_json(values: object) -> None:
    """``values`` as JSON on stdout."""
    typer.echo(json.dumps(values, indent=2))


def show_summary(summary: dict[str, Any], out: Path, *, as_json: bool, quiet: bool) -> None:
    """The summary on stdout: as JSON and nothing else, or as a table."""
    if as_json:
        print_json(summary)
    elif not quiet:
        from rich.console import Console

        from spinsim.pages.run_terminal import print_summary

        console = Console()
        print_summary(summary, console)
        console.print(f"results in {out}", highlight=False, soft_wrap=True)
