"""The API has what the command line has: a function for every command, a parameter for every option."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from typing import Any

import pytest
import typer

from spinsim import api
from spinsim.cli import app

SHOWN = {"json", "as_json", "quiet", "help", "version"}  # how a result is printed
NAMES = {"set_": "set", "range_": "ranges", "plugin": "plugins", "metric": "metrics", "policy": "policies",
         "objective": "objectives", "duration": "duration_s"}  # fmt: skip
# options that choose between two functions
CHOICES = {("profile", "again"): "profile_again", ("validate", "again"): "validate_again"}
FUNCTIONS = {"models list": "models.members"}


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of the program by its full name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands(typer.main.get_command(app)))


def function(name: str) -> Callable[..., Any]:
    """The API's counterpart of a command."""
    here: Any = api
    for part in FUNCTIONS.get(name, name.replace(" ", ".")).split("."):
        here = getattr(here, part)
    assert callable(here)
    return here


def parameters(called: Callable[..., Any]) -> dict[str, Any]:
    """Names and defaults, those of ``**where`` included."""
    found = {name: each.default for name, each in inspect.signature(called).parameters.items()}
    if "where" in found:
        del found["where"]
        found |= dict.fromkeys(api.Where.__annotations__)
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_function_and_every_option_a_parameter(name: str) -> None:
    called = function(name)
    assert called.__doc__
    known = parameters(called)
    for param in COMMANDS[name].params:
        if param.name in SHOWN:
            continue
        if (name, param.name) in CHOICES:
            other = function(CHOICES[name, param.name])
            known |= parameters(other)
            continue
        said = NAMES.get(param.name, param.name)
        assert said in known, f"spinsim {name} has --{param.name}, api.{name} has not"


@pytest.mark.parametrize("name", COMMANDS)
def test_defaults_are_the_same(name: str) -> None:
    known = parameters(function(name))
    for param in COMMANDS[name].params:
        default = known.get(NAMES.get(param.name, param.name), inspect.Parameter.empty)
        if isinstance(default, bool | int | float) and isinstance(param.default, bool | int | float):
            assert default == param.default, param.name


def test_what_is_exported_exists_and_is_typed() -> None:
    assert sorted(api.__all__) == api.__all__
    assert set(api.__all__) <= set(dir(api))
    for name in api.__all__:
        found = getattr(api, name)
        if inspect.isfunction(found):
            returned = inspect.signature(found).return_annotation
            assert returned not in (inspect.Signature.empty, "Any"), name
        elif inspect.isclass(found) and name not in ("CellsFailed", "InputError", "Where"):
            assert is_dataclass(found)
            assert found.__dataclass_params__.frozen  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        api.simulat  # noqa: B018


def test_the_api_is_there_without_torch_or_pandas() -> None:
    program = (
        "import sys, spinsim\n"
        "for name in spinsim.api.__all__: getattr(spinsim.api, name)\n"
        "from spinsim.api import simulate, models\n"
        "heavy = ('torch', 'transformers', 'pandas', 'matplotlib', 'jinja2', 'optuna')\n"
        "print([m for m in heavy if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
