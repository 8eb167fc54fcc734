"""What the commands share: exit codes, progress on the terminal, and how results are shown."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import ENAMETOOLONG
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer

from spinsim.errors import InputError
from spinsim.files import EARLIER, earlier
from spinsim.progress import Progress

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
LINE_EVERY_S = 30.0  # of progress, where stderr is no terminal
# what comes with an extra only, so that a missing one is named by what installs it
EXTRAS = {"torch": "live", "transformers": "live", "tokenizers": "live", "safetensors": "live"}
P = ParamSpec("P")
R = TypeVar("R")


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
        except KeyboardInterrupt as error:
            typer.echo("; ".join(["interrupted", *getattr(error, "__notes__", [])]), err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except (Exception, SystemExit) as error:  # the latter of a plugin
            if isinstance(
                error.__context__, BrokenPipeError
            ):  # rich exits where nobody reads on, as `| head`
                raise typer.Exit(FAILED) from None
            if os.environ.get("SPINSIM_TRACEBACK"):
                traceback.print_exc()
            from spinsim.policies.plugins import place_in_plugin

            if isinstance(error, OSError) and error.errno == ENAMETOOLONG:  # looking for a file finds it out
                typer.echo(f"{error.filename}: {error.strerror}; a shorter name", err=True)
                raise typer.Exit(BAD_INPUT) from None
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
    before = cause(error.__cause__) if error.__cause__ else ""
    return text if before in text else f"{text} (from {before})"  # an error may say itself what it came from


@contextmanager
def progress_bar(*, enabled: bool) -> Iterator[Progress | None]:
    """``progress(phase, done, total)`` as bars on stderr, where that is a terminal; gone when done.

    Elsewhere, as in a log, it is a line every :data:`LINE_EVERY_S`: nothing of what is soon over.
    """
    if not enabled:
        yield None
        return
    if not sys.stderr.isatty():
        yield _progress_lines()
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


def _progress_lines() -> Progress:
    """A line on stderr now and then: the phase, the share of it that is done, and the time it still takes."""
    last = time.monotonic()
    begun: dict[str, tuple[float, float]] = {}  # by phase: when it was first heard of, and what was done then

    def report(phase: str, done: float, total: float) -> None:
        nonlocal last
        now = time.monotonic()
        since, before = begun.setdefault(phase, (now, done))
        if done < before:  # another round of the same name
            since, before = begun[phase] = (now, done)
        if total and now - last >= LINE_EVERY_S:
            last = now
            left = (now - since) * (total - done) / (done - before) if done > before else None
            rest = "" if not left else f", {_about(left)} to go"
            typer.echo(f"{phase}: {100 * done / total:.0f} %{rest}", err=True)

    return report


def _about(seconds: float) -> str:
    """A time that is no better known than to the minute, or to ten seconds."""
    return (
        f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {max(10, 10 * round(seconds / 10))} s"
    )


@contextmanager
def keeping(out: Path | None) -> Iterator[None]:
    """Results are written to the folder ``out``: a failure or an interruption says what is there."""
    from spinsim.results.place import beside

    places = () if out is None else (out, beside(out))
    before = {place: _written_at(place) for place in places}

    def told() -> list[str]:
        partial = [f"partial results in {place}" for place in places if _written_at(place) != before[place]]
        waiting = [] if out is None else [earlier(out)]
        if out is not None and os.path.isdir(out):
            waiting += out.glob(f"*{EARLIER}")
        # os.path says no where Path.exists would raise, as of a name that is too long
        return [*partial, *(f"earlier results in {path}" for path in waiting if os.path.exists(path))]

    try:
        yield
    except KeyboardInterrupt as interruption:
        said = ["interrupted", *getattr(interruption, "__notes__", [])]
        if out is not None and any((out / "cells").glob("*.json")):
            said.append(f"finished cells are in {out}, --resume goes on with them")
        elif out is not None and any(out.glob("*/cells/*.json")):
            said.append(f"finished parts and cells are in {out}, the same command goes on with them")
        typer.echo("; ".join([*said, *told()]), err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (Exception, SystemExit) as error:
        for note in told():
            error.add_note(note)
        raise


def _written_at(out: Path) -> int | None:
    """When results were last written to ``out``, in nanoseconds; None where there are none."""
    try:
        return (out / "summary.json").stat().st_mtime_ns
    except OSError:
        return None


def despite_failures(experiment: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The result of an experiment, failed cells or not: what shows it tells of them."""
    from spinsim.studies.failed import CellsFailed

    try:
        return experiment(*args, **kwargs)
    except CellsFailed as error:
        result: R = error.result
        return result


def print_json(values: object) -> None:
    """``values`` as JSON on stdout."""
    typer.echo(json.dumps(values, indent=2))
