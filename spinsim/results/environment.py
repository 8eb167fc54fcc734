"""environment.json: what a result was made with. No user name, no host name, no home path."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "spinsim",
    "simpy",
    "numpy",
    "scipy",
    "pydantic",
    "pyyaml",
    "pyarrow",
    "matplotlib",
    "torch",
    "transformers",
    "safetensors",
    "flashinfer-python",
    "optuna",
    "ray",
)


def environment(command: Sequence[str] | None = None) -> dict[str, Any]:
    """Versions, platform and the command line (``sys.argv`` when None), with paths made anonymous.

    Packages that are not installed are left out.
    """
    return {
        "schema": "spinsim.environment/1",
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_line(sys.argv if command is None else command),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def command_line(argv: Sequence[str]) -> list[str]:
    """The command as one would type it in the folder it was run from.

    The program is named without its folder; absolute paths below the current folder become relative,
    below the home folder begin with ``~``, and elsewhere keep their last part alone.
    """
    if not argv:
        return []
    program = Path(argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return [name, *(_anonymous(word) for word in argv[1:])]


def _anonymous(word: str) -> str:
    option, equals, value = word.rpartition("=")
    path = Path(value)
    if not path.is_absolute():
        return word
    for base, sign in ((Path.cwd(), "."), (Path.home(), "~")):
        if base != Path(base.anchor) and path.is_relative_to(base):
            rest = path.relative_to(base).as_posix()
            return option + equals + (rest if sign == "." else f"~/{rest}")
    return f"{option}{equals}.../{path.name}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
