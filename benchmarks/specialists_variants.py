"""What ``benchmarks.specialists`` serves: the deployment's overrides, its requests, and every variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spinsim.scenario_file.variants import override

SCENARIO = Path(__file__).parents[1] / "scenarios" / "one-gpu.yaml"
MOST = 8  # tokens of a proposal
LENGTHS = {  # that everybody may have, by draft; the last is not the scenario's own
    "tiny": (4, 6, 8),
    "code": (4,),
    "maths": (4,),
    "small": (4, 6),
    "large": (4,),
    "prose": (4, 6),
}
DRAFTS = tuple(LENGTHS)
THIRD = (  # the specialist that the scenario does not name
    "models.drafts.prose={shape: llama-68m, weights: 'embedded:prose'}",
    "placement.drafts.prose=gpu0",
    "acceptance.strength.prose=-1.5",
)
TRAINED = "TRAINED"  # where a variant wants the trained file
SPIN = {"name": "spin", "explore": 0.1, "share": "prior", "prior_weight": 2}
ORACLES = ("oracle", "contextual_oracle")
TINY = (  # the family as it was trained: for a CPU
    *(f"models.{name}.dtype=fp32" for name in ("target", *(f"drafts.{draft}" for draft in DRAFTS[:-1]))),
    "live.widen=false",
)


def closed(clients: int) -> str:
    """So many clients, each with one request at a time."""
    return override("workload.arrivals", {"process": "closed", "concurrency": clients})


def workload(clients: int, requests: int, tokens: int, most: int) -> list[str]:
    """Requests of mixed domains, answers of ``tokens``, prompts of about a hundred; at most ``clients``."""
    return [
        closed(clients),
        f"workload.requests={requests}",
        f"workload.output_tokens={{distribution: fixed, value: {tokens}}}",
        "workload.prompt_tokens={distribution: lognormal, median: 96, sigma: 0.3, min: 48, max: 160}",
        f"limits.batch={clients}",
        f"limits.max_length={most}",
    ]


def variants(most: int, fixed: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
    """Overrides by name. Selectors that decide no lengths have the longest that a fixed draft has."""

    def chosen(selector: Mapping[str, Any], length: Mapping[str, Any]) -> list[str]:
        return [override("policies.selector", dict(selector)), override("policies.length", dict(length))]

    alike = {"name": "fixed", "tokens": most}
    found = {
        f"{draft} {tokens}": chosen({"name": "fixed", "draft": draft}, {"name": "fixed", "tokens": tokens})
        for draft, lengths in fixed.items()
        for tokens in lengths
    }
    planned = {"name": "planned"}
    contextual = {
        "name": "contextual",
        "trained": TRAINED,
        "longest": {"small": 4, "large": 4},
        "hold": 4,
        "temper": 1.0,
        "explore": 0.5,
    }
    return found | {
        "spin": chosen(SPIN, alike),
        "joint": chosen({"name": "joint"}, alike),
        "planned": chosen(planned, planned),
        "contextual": chosen(contextual, planned),
        "oracle": chosen({"name": "oracle"}, alike),
        "contextual_oracle": chosen({"name": "contextual_oracle", "trained": TRAINED}, planned),
    }
