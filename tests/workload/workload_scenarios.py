"""Scenarios that differ in their workload alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spinsim.scenario import Scenario
from spinsim.workload.for_scenario import build_workload
from spinsim.workload.request import Workload

POISSON = {"process": "poisson", "rate_per_s": 4.0}


def fixed(value: float) -> dict[str, Any]:
    return {"distribution": "fixed", "value": value}


def drawn(**workload: Any) -> dict[str, Any]:
    """A workload without a source."""
    return {
        "requests": 50,
        "arrivals": POISSON,
        "prompt_tokens": {"distribution": "uniform", "min": 1, "max": 900},
        "output_tokens": {"distribution": "lognormal", "median": 60, "sigma": 0.7, "max": 500},
        **workload,
    }


def scenario(workload: dict[str, Any], seed: int = 7, acceptance: dict[str, Any] | None = None) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "test",
            "seed": seed,
            "workload": workload,
            "models": {"target": {"shape": "llama-7b"}, "drafts": {"a": {"shape": "llama-68m"}}},
            "devices": {"gpu0": {"hardware": "h200"}},
            "placement": {"target": ["gpu0"], "drafts": {"a": "gpu0"}},
            "costs": {"model": "constant", "verify_s": 0.01},
            "acceptance": acceptance or {"model": "constant", "probability": 0.5},
        }
    )


def build(workload: dict[str, Any], seed: int = 7, base_dir: Path = Path()) -> Workload:
    return build_workload(scenario(workload, seed), base_dir)


def from_file(path: Path, format: str, text: str | bytes = "", **source: Any) -> dict[str, Any]:
    """A workload section that reads ``path``, which gets ``text`` first."""
    if text:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return {"arrivals": POISSON, "source": {"format": format, "path": str(path), **source}}
