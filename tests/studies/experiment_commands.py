"""Experiments of one request at a time, run as commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from spinsim.cli import app

# one request at a time, and a tenth of a second for each token
SERIAL: dict[str, Any] = {
    "models": {"target": {"shape": "llama-7b"}},
    "devices": {"gpu0": {"hardware": "h200"}},
    "placement": {"target": ["gpu0"]},
    "costs": {"model": "constant", "prefill_s": 0.1, "verify_s": 0.1},
    "acceptance": {"model": "constant", "probability": 0.5},
    "policies": {"length": {"name": "none"}},
    "limits": {"batch": 1, "context_tokens": 64, "max_length": 1},
}
LENGTHS = "policies.length.tokens=1,4,8"
POISSON = ("--slo", "ttft_s=1", "--set", "workload.arrivals={process: poisson, rate_per_s: 5}")


def spinsim(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--workers", "0"])


def done(out: Path, *arguments: str | Path) -> dict[str, Any]:
    """Run a command; what it printed with --json, which is its summary.json."""
    result = spinsim(*arguments, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    summary: dict[str, Any] = json.loads(result.stdout)
    assert summary == json.loads((out / "summary.json").read_text())
    page = (out / "report.html").read_text()
    if arguments[0] != "tune":
        assert "; acceptance: synthetic." in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "nan" not in page.lower().replace("nan-", "").split("<body>")[1].split("<footer")[0].split()
    return summary


def alone(output: int) -> dict[str, Any]:
    """A workload of one request at a time."""
    return {
        "requests": 6,
        "arrivals": {"process": "closed", "concurrency": 1},
        "prompt_tokens": {"distribution": "fixed", "value": 16},
        "output_tokens": {"distribution": "fixed", "value": output},
    }


def tokens_per_second(accept: float, length: int, verify: float, step: float) -> float:
    """Of one request at constant acceptance and costs."""
    return (1 - accept ** (length + 1)) / (1 - accept) / (verify + length * step)
