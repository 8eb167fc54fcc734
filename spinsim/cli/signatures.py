"""The options of an API function as Typer takes them."""

from __future__ import annotations

import inspect
from enum import Enum
from typing import Annotated, Any

import typer

from spinsim.api.options import Argument
from spinsim.api.signatures import REQUIRED, Parameter, parameters, typed

__all__ = ["REQUIRED", "Parameter", "for_typer", "parameters", "typed"]


def for_typer(given: Parameter, *, required: bool) -> inspect.Parameter:
    """The parameter of a function that Typer makes a command of."""
    kind: Any = _one_of(given.option.choices) if given.option.choices else given.kind
    kind = list[kind] if given.several else kind
    if given.absent is None and not required:
        kind = kind | None
    return inspect.Parameter(
        given.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=REQUIRED if required else given.absent,
        annotation=Annotated[kind, _for_typer(given)],
    )


def _for_typer(given: Parameter) -> Any:
    option = given.option
    said: dict[str, Any] = {
        "help": option.help,
        "metavar": option.metavar,
        "min": option.min,
        "max": option.max,
        "show_default": given.absent is not None,
    }
    if isinstance(option, Argument):
        return typer.Argument(**said)
    return typer.Option(
        f"{given.flag}/--no-{given.flag[2:]}" if given.default is True else given.flag, **said
    )


def _one_of(choices: tuple[str, ...]) -> Any:
    return Enum("Choice", {choice: choice for choice in choices})
