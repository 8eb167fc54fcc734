"""What the commands share: exit codes, results folders, progress on the terminal."""

from __future__ import annotations

import functools
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import typer

from spinsim.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
RESULT_FILES = (
    "summary.json",
    "requests.parquet",
    "rounds.parquet",
    "operations.parquet",
    "inputs.parquet",
    "decisions.parquet",
    "timeline.json",
    "report.html",
    "scenario.yaml",
    "environment.json",
)
_BAR_AFTER_S = 1.0  # short work needs no bar

P = ParamSpec("P")


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
def results_folder(out: Path, *, force: bool) -> Iterator[Path]:
    """``out``, made and free of earlier results; removed again when nothing was left in it.

    Raises InputError when it holds results and ``force`` is not given, and in any case when it
    holds anything else: ``force`` never deletes what this program did not write.
    """
    try:
        held = {entry.name for entry in out.iterdir()} if out.exists() else set()
    except OSError as error:
        raise InputError(
            f"cannot hold results: {error.strerror}; --out takes a folder", file=str(out)
        ) from None
    if held and not held & set(RESULT_FILES):
        raise InputError("holds files that are no results; --out takes a new or empty folder", file=str(out))
    if held and not force:
        raise InputError(
            "already holds results; --force overwrites them, --out names another folder", file=str(out)
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in held & set(RESULT_FILES):
            (out / name).unlink()
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror}; --out takes a folder you may write", file=str(out)
        ) from None
    try:
        yield out
    finally:
        if not any(out.iterdir()):
            out.rmdir()


class TerminalProgress:
    """``progress(phase, done, total)`` as a bar on stderr, once the work has lasted a second."""

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled and sys.stderr.isatty()
        self._began = time.monotonic()
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, phase: str, done: float, total: float) -> None:
        """``done`` of ``total`` units of ``phase`` are finished."""
        if not self._enabled or (self._bar is None and time.monotonic() - self._began < _BAR_AFTER_S):
            return
        if self._bar is None:
            self._bar = _new_bar()
            self._bar.start()
        if phase not in self._tasks:
            self._tasks[phase] = self._bar.add_task(phase, total=total)
        self._bar.update(self._tasks[phase], completed=done, total=total)


def _new_bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


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
