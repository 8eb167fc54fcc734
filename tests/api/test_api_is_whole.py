"""The API is whole: exported, typed, light to import, and on the command line."""

from __future__ import annotations

import inspect
import subprocess
import sys
from dataclasses import is_dataclass
from typing import Any

import pytest

from spinsim import api
from spinsim.cli import program
from spinsim.cli.signatures import parameters


def functions() -> dict[str, Any]:
    """Every function of the API by its name below ``spinsim.api``."""
    found = {name: getattr(api, name) for name in api.__all__}
    found |= {f"models.{name}": each for name, each in vars(api.models).items() if not name.startswith("_")}
    return {
        name: each
        for name, each in found.items()
        if inspect.isfunction(each) and each.__module__.startswith("spinsim.api.")
    }


def test_every_function_with_options_is_a_command() -> None:
    commands = [*program.COMMANDS, *program.FAMILY]
    called = {command.function for command in commands}
    called |= {command.instead.function for command in commands if command.instead}
    for name, function in functions().items():
        if parameters(function):
            assert name in called, f"api.{name} has options and is no command"
            assert function.__doc__


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
