"""A command: an API function, what is the command line's alone, and how the result is printed."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from spinsim.cli.signatures import REQUIRED, Parameter, for_typer, parameters, typed
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
class Instead:
    """What a command calls instead where the option ``flag`` is given. Its options join the command's.

    ``flag`` is an option of ``function``, or else a switch that ``help`` explains.
    """

    flag: str
    function: str | Function
    show: Show
    help: str = ""


@dataclass(frozen=True)
class Command:
    """A command that calls an API function.

    ``function`` is its name below :mod:`spinsim.api`, or the function itself; ``name`` is the command's where
    it differs. ``show`` prints what the function returns, and heeds ``switches`` of ``SWITCHES``. ``folder``
    names the results folder from the other values where ``--out`` is not given. ``ask`` completes the values,
    given those of a command line without options, such as by questions on a terminal.
    """

    function: str | Function
    show: Show
    name: str = ""
    switches: tuple[str, ...] = ("json", "quiet")
    folder: Callable[[Values], Path] | None = None
    instead: Instead | None = None
    ask: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] | None = None

    def add_to(self, app: typer.Typer) -> None:
        """Make it a command of ``app``."""
        first = _Call(self.function, self.show, self.folder)
        second = _Call(self.instead.function, self.instead.show) if self.instead else None
        takes = first.takes if second is None else _joined(first.takes, second.takes)
        flags = {each.name: flag for flag, each in takes.items()}
        needed = {flag for flag in takes if first.needs(flag) and (second is None or second.needs(flag))}
        ordered = sorted(takes, key=lambda flag: flag != "--out")  # first what is wanted most
        options = [for_typer(takes[flag], required=flag in needed) for flag in ordered]
        if self.instead is not None and self.instead.flag not in takes:
            name = self.instead.flag.removeprefix("--")
            flags[name] = self.instead.flag
            options.append(_switch(name, typer.Option(self.instead.flag, help=self.instead.help)))

        def command(**values: Any) -> None:
            switches = {name: values.pop(name) for name in self.switches}
            if self.ask is not None:
                values = self.ask(values, {each.name: each.absent for each in takes.values()})
            said = {flags[name]: v.value if isinstance(v, Enum) else v for name, v in values.items()}
            if self.instead is None or second is None:
                first(said, switches)
            elif said[self.instead.flag]:
                if alien := [flag for flag in first.chosen(said) if flag not in second.takes]:
                    message = f"goes with none of {', '.join(alien)}; leave them out"
                    raise InputError(message, key=self.instead.flag)
                second(said, switches)
            else:
                if alien := [flag for flag in second.chosen(said) if flag not in first.takes]:
                    raise InputError(f"goes with {self.instead.flag}; leave it out", key=alien[0])
                first(said, switches)

        options += [_switch(name, SWITCHES[name]) for name in self.switches]
        command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
        app.command(self.name or first.function.__name__, help=_summary(first.function))(exit_codes(command))


class _Call:
    """An API function that a command calls. ``takes``: its parameters by how they are said."""

    def __init__(
        self, function: str | Function, show: Show, folder: Callable[[Values], Path] | None = None
    ) -> None:
        self.function = _below_api(function) if isinstance(function, str) else function
        self.takes = {each.flag: each for each in parameters(self.function).values()}
        self.show, self.folder = show, folder

    def needs(self, flag: str) -> bool:
        """Whether the command line has to say it."""
        derived = flag == "--out" and self.folder is not None
        return flag in self.takes and self.takes[flag].default is REQUIRED and not derived

    def chosen(self, said: Values) -> list[str]:
        """What was said otherwise than by a command line without it."""
        return [flag for flag, each in self.takes.items() if said[flag] not in (None, [], each.absent)]

    def __call__(self, said: Values, switches: Mapping[str, bool]) -> None:
        given = self._given(said)
        if self.folder is not None and "out" not in given:
            given["out"] = self.folder(given)
        with (
            keeping(given["out"] if self.folder else None),
            progress_bar(enabled=not switches.get("quiet")) as progress,
        ):
            watched = {"progress": progress} if "progress" in typed(self.function) else {}
            result = despite_failures(self.function, **given, **watched)
        self.show(result, Shown(given, **switches))

    def _given(self, said: Values) -> dict[str, Any]:
        """The function's arguments. What was not said is left out: the function has its own default."""
        given = {}
        for flag, each in self.takes.items():
            value = said[flag]
            if value in (None, []):
                if self.needs(flag) and not each.several:
                    raise InputError(f"is missing; {each.option.help}", key=flag)
                if self.needs(flag):
                    given[each.name] = ()  # the function says how many it needs
                continue
            if isinstance(value, list) and not each.several:
                if len(value) > 1:
                    what = "files" if each.kind is Path else "values"
                    raise InputError(f"{len(value)} {what}; one {each.name}", key=flag)
                value = value[0]
            given[each.name] = _from_home(value)
        return given


def _from_home(value: Any) -> Any:
    """``~`` of paths is the home folder, which shells leave to the program in ``--out=~/results``."""
    if isinstance(value, list):
        return [_from_home(each) for each in value]
    return Path(os.path.expanduser(value)) if isinstance(value, Path) else value


def _joined(first: Mapping[str, Parameter], second: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """The parameters of both. What both have may be given several times where either takes several."""
    joined = {**second, **first}
    for flag in first.keys() & second.keys():
        joined[flag] = replace(first[flag], several=first[flag].several or second[flag].several)
    return {flag: joined[flag] for flag in (*first, *(flag for flag in second if flag not in first))}


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
