"""What tests of commands share: a small simulation, by the command line."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from spinsim.cli import app

QUICKSTART = Path(__file__).parents[2] / "scenarios" / "quickstart.yaml"

SMALL = ["--set", "workload.requests=12"]


def simulate(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["simulate", str(QUICKSTART), *SMALL, *map(str, arguments)])
