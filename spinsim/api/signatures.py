"""The options of an API function, read off its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from spinsim.api.options import Argument, Option

REQUIRED = inspect.Parameter.empty
KINDS: tuple[type, ...] = (bool, int, float, Path, str)  # a union's first of these is what a word is read as


@dataclass(frozen=True)
class Parameter:
    """A parameter of an API function that has an option.

    ``kind`` is what a word on the command line is read as; ``several``: it may be given several times.
    ``default`` is the function's, or ``REQUIRED``. ``mapping``: from Python and YAML it may be a mapping.
    """

    name: str
    option: Option
    kind: type
    several: bool
    default: Any
    mapping: bool = False

    @property
    def flag(self) -> str:
        """As an error names it: ``--seed``, or ``SCENARIO``."""
        if isinstance(self.option, Argument):
            return (self.option.metavar or self.name.upper()).rstrip(".")
        return self.option.flag or f"--{self.name.replace('_', '-')}"

    @property
    def absent(self) -> Any:
        """What the command line has where the option is not given: the default, where that is one word."""
        return self.default if isinstance(self.default, self.kind) and not self.several else None


def parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The function's parameters that have an option, in its order.

    Raises TypeError for one whose type no text of a command line can be.
    """
    found = {}
    for name, (hint, default) in typed(function).items():
        for option in getattr(hint, "__metadata__", ()):
            if isinstance(option, Option):
                found[name] = _parameter(name, hint, option, default)
    return found


def typed(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Type and default of every parameter. An unpacked ``**where`` stands for the keys of its TypedDict."""
    # without what the function returns: that type may be imported for a type checker alone
    written = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
    hints = get_type_hints(
        SimpleNamespace(__annotations__=written), function.__globals__, include_extras=True
    )
    found = {}
    for name, each in inspect.signature(function).parameters.items():
        if each.kind is inspect.Parameter.VAR_KEYWORD:
            (where,) = get_args(hints[name])
            for key, hint in get_type_hints(where, include_extras=True).items():
                found[key] = (hint, False if bool in _members(hint) else None)
        else:
            found[name] = (hints[name], each.default)
    return found


def _parameter(name: str, hint: Any, option: Option, default: Any) -> Parameter:
    members = _members(hint)
    several = [each for each in members if get_origin(each) is Sequence]
    words = [*members, *(word for each in several for word in _members(get_args(each)[0]))]
    kind = next((kind for kind in KINDS if kind in words), None)
    if kind is None:
        raise TypeError(f"{name}: {hint} cannot be given as a text; let it take one, too")
    mapping = any(get_origin(each) is Mapping for each in members)
    return Parameter(name, option, kind, bool(several) and not option.once, default, mapping)


def _members(hint: Any) -> list[Any]:
    """The members of a union, or the one type; Annotated's metadata left off."""
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return list(get_args(hint))
    return [hint]
