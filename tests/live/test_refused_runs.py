"""What cannot be run is refused in one line with its place; what fails is told once."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from spinsim.cli import app
from spinsim.cli.support import cause
from spinsim.live.lanes import LaneError

QUICKSTART = Path(__file__).parents[2] / "scenarios" / "quickstart.yaml"


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        ("policies.selector={name: oracle}", "policies.selector.name", "allowed with live.acceptance: field"),
        ("models.target.weights=embedded:nobody", "models.target.weights", "unknown family member 'nobody'"),
        ("models.drafts.tiny.weights=embedded:nobody", "models.drafts.tiny.weights", "allowed: target, tiny"),
        ("models.target.weights=/no/such", "models.target.weights", "no folder '/no/such'"),
        (f"models.target.weights={QUICKSTART}", "models.target.weights", "is a file"),
    ],
)
def test_a_run_is_refused_at_its_key(change: str, place: str, said: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["run", str(QUICKSTART), "--device", "cpu", "--out", str(out), "--set", change]
    result = CliRunner().invoke(app, asked)
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, out.exists()) == (2, False)
    assert f": {place}: " in line
    assert said in line


def after(error: Exception, reason: Exception) -> Exception:
    """The error as raised from its reason."""
    error.__cause__ = reason
    return error


def test_a_failure_says_once_what_it_came_from() -> None:
    told = after(LaneError("lane a/target: verify: OSError: gone"), OSError("gone"))
    assert cause(told) == "LaneError: lane a/target: verify: OSError: gone"
    assert (
        cause(after(ValueError("no figure"), OSError("gone"))) == "ValueError: no figure (from OSError: gone)"
    )
