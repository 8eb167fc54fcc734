"""A command: an API function, what is the command line's alone, and how the result is printed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from spinsim.cli.signatures import REQUIRED, Parameter, parameters, typed
from spinsim.cli.support import despite_failures, exit_codes, keeping, progress_bar
from spinsim.errors import InputError

Function = Callable[..., Any]
Values = Mapping[str, Any]

SWITCHES = {
    "json": typer.Option("--json", help="Prints the summary as JSON, and nothing else."),
    "quiet": typer.Option("--quiet", "-q", help="Prints errors only."),
}


@dataclass(frozen=True)
class Shown:
    """How a result is printed. ``given``: what the API function was called with, by parameter."""

    given: Values
    json: bool = False
    quiet: bool = False

    @property
    def folder(self) -> Path:
        """Where the results are."""
        return Path(self.given["out"])


Show = Callable[[Any, Shown], None]


@dataclass(frozen=True)
class Again:
    """What a command calls instead where ``--again`` is given. Its options join the command's."""

    function: str | Function
    show: Show
    help: str


@dataclass(frozen=True)
class Command:
    """A command that calls an API function.

    ``function`` is its name below :mod:`spinsim.api`, or the function itself; ``name`` is the command's where
    it differs. ``show`` prints what the function returns, and heeds ``switches`` of ``SWITCHES``. ``folder``
    names the results folder from the other values where ``--out`` is not given.
    """

    function: str | Function
    show: Show
    name: str = ""
    switches: tuple[str, ...] = ("json", "quiet")
    folder: Callable[[Values], Path] | None = None
    again: Again | None = None

    def add_to(self, app: typer.Typer) -> None:
        """Make it a command of ``app``."""
        first = _Call(self.function, self.show, self.folder)
        second = _Call(self.again.function, self.again.show) if self.again else None

        def command(**values: Any) -> None:
            switches = {name: values.pop(name) for name in self.switches}
            values = {name: v.value if isinstance(v, Enum) else v for name, v in values.items()}
            if second is None:
                first(values, switches)
            elif values.pop("again"):
                if alien := [each.flag for each in first.chosen(values) if each.name not in second.takes]:
                    raise InputError(f"goes with none of {', '.join(alien)}; leave them out", key="--again")
                second(values, switches)
            else:
                for each in second.chosen(values):
                    if each.name not in first.takes:
                        raise InputError("goes with --again; leave it out", key=each.flag)
                first(values, switches)

        command.__signature__ = self._signature(first, second)  # type: ignore[attr-defined]
        name = self.name or first.function.__name__
        app.command(name, help=_summary(first.function))(exit_codes(command))

    def _signature(self, first: _Call, second: _Call | None) -> inspect.Signature:
        """The options of both calls, and the command line's own."""
        takes = {**first.takes, **(second.takes if second else {})}
        # what --again does without is asked for once it is known which of the two is called
        needed = {name for name in takes if first.needs(name) and (second is None or second.needs(name))}
        ordered = sorted(takes.values(), key=lambda each: each.name != "out")  # it is what most wanted
        found = [each.for_typer(required=each.name in needed) for each in ordered]
        if self.again is not None:
            found.append(_switch("again", typer.Option("--again", help=self.again.help)))
        return inspect.Signature([*found, *(_switch(name, SWITCHES[name]) for name in self.switches)])


class _Call:
    """An API function that a command calls."""

    def __init__(
        self, function: str | Function, show: Show, folder: Callable[[Values], Path] | None = None
    ) -> None:
        self.function = _below_api(function) if isinstance(function, str) else function
        self.takes = parameters(self.function)
        self.show, self.folder = show, folder

    def needs(self, name: str) -> bool:
        """Whether the command line has to say ``name``."""
        derived = name == "out" and self.folder is not None
        return name in self.takes and self.takes[name].default is REQUIRED and not derived

    def chosen(self, values: Values) -> list[Parameter]:
        """The parameters that ``values`` has otherwise than a command line without them."""
        return [each for each in self.takes.values() if values[each.name] not in (None, [], each.absent)]

    def __call__(self, values: Values, switches: Mapping[str, bool]) -> None:
        given = {name: values[name] for name in self.takes if values[name] not in (None, [])}
        for name in filter(self.needs, self.takes.keys() - given.keys()):
            if not self.takes[name].several:
                raise InputError(f"is missing; {self.takes[name].option.help}", key=self.takes[name].flag)
            given[name] = ()  # the function says how many it needs
        if self.folder is not None and "out" not in given:
            given["out"] = self.folder(given)
        with (
            keeping(given["out"] if self.folder else None),
            progress_bar(enabled=not switches.get("quiet")) as progress,
        ):
            watched = {"progress": progress} if "progress" in typed(self.function) else {}
            result = despite_failures(self.function, **given, **watched)
        self.show(result, Shown(given, **switches))


def _below_api(name: str) -> Function:
    """``models.train`` of :mod:`spinsim.api`."""
    from spinsim import api

    found: Function = attrgetter(name)(api)
    return found


def _switch(name: str, option: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=False, annotation=Annotated[bool, option])


def _summary(function: Function) -> str:
    """The first paragraph of what the function says of itself."""
    return " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split())
