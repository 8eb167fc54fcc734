"""Requests met in mid-flight are those that a steady state holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spinsim.scenario import Scenario
from spinsim.scenario_file import load
from spinsim.workload.for_scenario import build_workload
from spinsim.workload.mid_flight import meet

SCENARIOS = Path(__file__).parents[2] / "scenarios"
LONG = ["reasoning", "reasoning-two-gpus", "long-context", "long-context-two-gpus"]
CELL = [
    "workload.arrivals={process: at_once}",
    "workload.mid_flight={distribution: uniform, min: 200, max: 300}",
]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(0, 2**32))
def test_something_is_still_to_come(outputs: list[int], seed: int) -> None:
    met = meet(outputs, seed)
    assert len(met) == len(outputs)
    assert all(0 <= one.said < outputs[one.request] for one in met)
    assert met == meet(outputs, seed)


def test_nobody_meets_nobody() -> None:
    assert meet([], 1) == []


def test_contexts_are_those_of_the_inspection_paradox() -> None:
    """Outputs are met in proportion to their length, in their middle: E[l^2] / 2 E[l] tokens are said."""
    lengths = np.tile([10, 100, 1000], 20_000)
    met = meet(lengths.tolist(), 3)
    drawn = lengths[[one.request for one in met]]
    for length in (10, 100, 1000):
        assert (drawn == length).mean() == pytest.approx(length / 1110, abs=0.01)
    said = np.mean([one.said for one in met])
    assert said == pytest.approx((lengths**2).mean() / lengths.mean() / 2, rel=0.02)


@pytest.mark.parametrize("name", LONG)
def test_shipped_cells_begin_where_a_long_run_is(name: str) -> None:
    path = SCENARIOS / f"{name}.yaml"
    whole, cell = load(path).scenario, load(path, CELL).scenario
    assert whole.live.acceptance == "field"
    assert whole.kv.reserve == "grow"
    requests = build_workload(cell, SCENARIOS).requests
    assert all(200 <= request.output_tokens <= 300 for request in requests)
    fresh = build_workload(whole, SCENARIOS).requests
    prompts, outputs = (
        np.array([getattr(request, name) for request in fresh]) for name in ("prompt_tokens", "output_tokens")
    )
    held = (outputs * (prompts + outputs / 2)).sum() / outputs.sum()
    assert np.mean([request.prompt_tokens for request in requests]) == pytest.approx(held, rel=0.2)
    assert all(request.prompt_tokens + request.output_tokens <= context(cell) for request in requests)


def context(scenario: Scenario) -> int:
    return scenario.limits.context_tokens


def test_what_a_source_says_is_no_longer_the_prompt(tmp_path: Path) -> None:
    """Its text and token ids end where the prompt ended: what was said since is not in them."""
    rows = "\n".join(f'{{"prompt": {8 + i}, "out": {20 * (i + 1)}}}' for i in range(6))
    (tmp_path / "own.jsonl").write_text(rows + "\n")
    source = f"{{format: jsonl, path: {tmp_path}/own.jsonl, columns: {{prompt: prompt, output: out}}}}"
    changed = [f"workload.source={source}", "workload.requests=null", "workload.prompt_tokens=null"]
    loaded = load(SCENARIOS / "reasoning.yaml", [*CELL, *changed, "workload.output_tokens=null"])
    requests = build_workload(loaded.scenario, tmp_path).requests
    assert len(requests) == 6
    assert all(request.prompt is None and request.text is None for request in requests)
    assert all(request.output_tokens >= 200 for request in requests)
