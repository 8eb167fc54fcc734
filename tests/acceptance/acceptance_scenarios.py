"""Scenarios that differ in their acceptance, and the walk of an engine over a field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinsim.acceptance.cached import CachedField
from spinsim.acceptance.for_scenario import build_field
from spinsim.scenario import Scenario
from spinsim.workload.request import Request, Workload


def scenario(
    acceptance: dict[str, Any], drafts: Sequence[str] = ("a", "b"), seed: int = 7, **sections: Any
) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "test",
            "seed": seed,
            "workload": {"arrivals": {"process": "at_once"}},
            "models": {
                "target": {"shape": "llama-7b"},
                "drafts": {d: {"shape": "llama-68m"} for d in drafts},
            },
            "devices": {"gpu0": {"hardware": "h200"}},
            "placement": {"target": ["gpu0"], "drafts": dict.fromkeys(drafts, "gpu0")},
            "costs": {"model": "constant", "verify_s": 0.01},
            "acceptance": acceptance,
            **sections,
            "limits": {"context_tokens": 100_000, **sections.get("limits", {})},
        }
    )


def workload(outputs: Sequence[int], domain: str = "", keys: Sequence[str] | None = None) -> Workload:
    names = keys or [""] * len(outputs)
    return Workload(tuple(Request(i, 0.0, 10, n, domain=domain, key=names[i]) for i, n in enumerate(outputs)))


def field(acceptance: dict[str, Any], outputs: Sequence[int], domain: str = "", **more: Any) -> CachedField:
    return build_field(scenario(acceptance, **more), workload(outputs, domain), Path())


def tokens_per_round(runs: Sequence[int], output: int, length: int) -> tuple[int, int]:
    """Tokens and rounds of whole rounds of ``length`` proposals after prefill's token."""
    position, rounds = 1, 0
    while position + length < output:
        position += min(runs[position], length) + 1
        rounds += 1
    return position - 1, rounds


def bits(runs: Sequence[int], count: int) -> NDArray[np.float64]:
    """Was the proposal at each of the first ``count`` positions accepted?"""
    return (np.array(runs[:count]) > 0).astype(np.float64)
