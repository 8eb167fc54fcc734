"""Scenarios with constant costs, through everything that ``spinsim simulate`` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spinsim.scenario import Scenario
from spinsim.simulated.simulation import Simulated, simulate_scenario

VERIFY_S = 0.010


def scenario(
    arrivals: Mapping[str, Any],
    *,
    requests: int,
    prompt: int = 8,
    output: int,
    acceptance: float | Sequence[float] = (),
    draft_step_s: Sequence[float] = (),
    verify_s: float = VERIFY_S,
    prefill_s: float = 0.0,
    catch_up_s: float = 0.0,
    orchestrator_s: float = 0.0,
    hop_s: float = 0.0,
    policies: Mapping[str, Any] | None = None,
    batch: int = 1,
    max_length: int = 8,
    seed: int = 0,
) -> Scenario:
    """Drafts ``d0``, ``d1``, ... on a device of their own, one for each of ``draft_step_s``."""
    names = [f"d{i}" for i in range(len(draft_step_s))]
    probability = (
        dict(zip(names, acceptance, strict=True)) if isinstance(acceptance, Sequence) else acceptance
    )
    return Scenario.model_validate(
        {
            "name": "closed-form",
            "seed": seed,
            "workload": {
                "arrivals": dict(arrivals),
                "requests": requests,
                "prompt_tokens": {"distribution": "fixed", "value": prompt},
                "output_tokens": {"distribution": "fixed", "value": output},
            },
            "models": {
                "target": {"shape": "llama-7b"},
                "drafts": {name: {"shape": "llama-68m"} for name in names},
            },
            "devices": {"gpu0": {"hardware": "h200"}, "gpu1": {"hardware": "h200"}},
            "placement": {"target": ["gpu0"], "drafts": dict.fromkeys(names, "gpu1")},
            "costs": {
                "model": "constant",
                "verify_s": verify_s,
                "prefill_s": prefill_s,
                "catch_up_s": catch_up_s,
                "orchestrator_s": orchestrator_s,
                "hop_s": hop_s,
                "draft_step_s": dict(zip(names, draft_step_s, strict=True)),
            },
            "acceptance": {"model": "constant", "probability": probability},
            "policies": dict(policies or {}),
            "limits": {"batch": batch, "context_tokens": prompt + output, "max_length": max_length},
        }
    )


def run(given: Scenario) -> Simulated:
    """Simulate it."""
    return simulate_scenario(given, Path())


def expected_tokens(a: float, k: int) -> float:
    """Tokens of a round of k proposals, each accepted with probability a (Leviathan et al., equation 1)."""
    return k + 1.0 if a == 1.0 else (1.0 - a ** (k + 1)) / (1.0 - a)
