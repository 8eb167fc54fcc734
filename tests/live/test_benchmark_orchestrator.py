"""The benchmark of the engine's thread serves a scenario as a live run does, without models."""

from __future__ import annotations

from pathlib import Path

from benchmarks.orchestrator import Answers, served
from spinsim.scenario_file import load

REASONING = Path(__file__).parents[2] / "scenarios" / "reasoning.yaml"


def test_every_round_of_a_scenario_is_served_by_models_that_only_take_time() -> None:
    few = ["live={acceptance: field}", "workload.requests=3", "limits.batch=3"]
    few.append("workload.output_tokens={distribution: fixed, value: 24}")
    found = served(load(REASONING, few), Answers(0.0, 0.0))
    assert found.rounds >= 23 / 4  # after the first token a round commits three proposals and one at most
    assert 1 <= found.requests <= 3
    assert found.operations > 1
    assert found.cpu_ms > 0
    assert found.orchestrator_ms <= found.round_ms
