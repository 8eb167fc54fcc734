"""Policies ask the cost model for no shape that the scenario does not allow: a profile ends where it does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spinsim.costs.base import CONSTANT, Estimate
from spinsim.costs.constant import ConstantPredictor
from spinsim.operations import Packing
from spinsim.policies.build import KINDS
from spinsim.results.hindsight import hindsight
from spinsim.scenario import Scenario
from spinsim.simulated.simulation import simulate_scenario
from tests.policies.policy_world import context

LIMIT, LENGTH, BATCH = 90, 6, 5  # no multiple of a bucket, and far below a typical context
ALIGN = 16  # pieces of the decomposed packing are multiples of it


class Strict(ConstantPredictor):
    """Raises where a shape lies outside the scenario's limits."""

    def __init__(self) -> None:
        super().__init__(
            verify_s=0.01, draft_step_s=[0.001, 0.002], prefill_s=0.002, catch_up_s=0.001, transfer_s=0.0,
            orchestrator_s=0.0, hop_s=0.0, slowdown=1.0,
        )  # fmt: skip

    def catch_up(self, draft: int, tokens: Sequence[int], starts: Sequence[int]) -> Estimate:
        assert len(tokens) <= BATCH
        assert all(t + s < LIMIT for t, s in zip(tokens, starts, strict=True))
        return super().catch_up(draft, tokens, starts)

    def propose(self, draft: int, lengths: Sequence[int], contexts: Sequence[int]) -> Estimate:
        assert len(lengths) <= BATCH
        assert max(lengths) <= LENGTH
        assert all(k + c <= LIMIT for k, c in zip(lengths, contexts, strict=True))
        return super().propose(draft, lengths, contexts)

    def verify(self, packing: Packing) -> Estimate:
        longest = -(-LIMIT // ALIGN) * ALIGN if packing.kind == "decomposed" else LIMIT
        assert packing.kv_tokens <= packing.rows * longest
        assert packing.real_kv_tokens <= BATCH * LIMIT
        assert packing.real_query_tokens <= BATCH * (LENGTH + 1)
        # by the tokens that are read, so that searches have something to find
        return Estimate(0.01 + 1e-6 * packing.kv_tokens, CONSTANT)


def scenario(**policies: Any) -> Scenario:
    """Requests that fill the whole context."""
    return Scenario.model_validate(
        {
            "name": "shapes",
            "seed": 1,
            "workload": {
                "requests": 10,
                "arrivals": {"process": "at_once"},
                "prompt_tokens": {"distribution": "empirical", "values": [10, 50, 60]},
                "output_tokens": {"distribution": "fixed", "value": 30},
            },
            "models": {
                "target": {"shape": "llama-7b"},
                "drafts": {"a": {"shape": "llama-68m"}, "b": {"shape": "llama-265m"}},
            },
            "devices": {"gpu0": {"hardware": "h100"}},
            "placement": {"target": ["gpu0"], "drafts": {"a": "gpu0", "b": "gpu0"}},
            "costs": {"model": "constant", "verify_s": 0.01, "draft_step_s": 0.001},
            "acceptance": {"model": "constant", "probability": 0.7},
            "limits": {"batch": BATCH, "context_tokens": LIMIT, "max_length": LENGTH},
            "policies": policies,
        }
    )


CHOICES = [
    *((kind, {"name": name}) for kind, registry in KINDS.items() for name in registry.names()),
    *(
        ("selector", {"name": name, "reward": reward})
        for name, reward in (
            ("hedgespec", "tokens_per_round_second"),
            ("exp3spec", "tokens_per_round_second"),
            ("ucb1", "tokens_per_draft_second"),
            ("spin", "tokens_per_draft_second"),
        )
    ),
]


@pytest.mark.parametrize(("kind", "choice"), CHOICES, ids=lambda part: str(part))
def test_a_run_within_tight_limits_asks_for_nothing_outside(kind: str, choice: dict[str, Any]) -> None:
    choices: dict[str, Any] = {"selector": {"name": "random"}, "length": {"name": "fixed"}, kind: choice}
    if "planned" in choice["name"]:
        choices["selector"] = {"name": choice["name"] if kind == "selector" else "planned"}
    if choices["length"]["name"] == "none":
        choices["selector"] = {"name": "fixed", "draft": "none"}
    given, strict = scenario(**choices), Strict()
    done = simulate_scenario(given, Path(), predictor=strict)
    assert {record.status for record in done.records.requests.values()} == {"completed"}
    outputs = {request.id: request.output_tokens for request in done.workload.requests}
    regret, _ = hindsight(
        done.records,
        outputs,
        done.field,
        strict,
        remote=(False, False),
        allow_none=False,
        context_tokens=LIMIT,
    )
    assert "known" in regret


def test_without_a_limit_a_context_stays() -> None:
    assert context().within(512, 8) == 512
    assert context(context_tokens=2048).within(512, 8) == 512
    assert context(context_tokens=475).within(512, 8) == 467
