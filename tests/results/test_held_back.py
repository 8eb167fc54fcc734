"""What holds a run back: each holder in a deployment made for it, and the averages by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinsim.results.columns import RequestColumns
from spinsim.results.held_back import occupancy
from spinsim.results.summary import summarise
from spinsim.results.window import Window
from spinsim.scenario import Scenario
from spinsim.simulated.simulation import simulate_scenario

NS = 1_000_000_000
TWO = {"devices": {"gpu0": {"hardware": "h100"}, "gpu1": {"hardware": "h100"}}}


def scenario(**changes: Any) -> Scenario:
    """Closed loop of 4 clients; drafting takes as long as verifying, so that no lane is busy throughout."""
    return Scenario.model_validate(
        {
            "name": "held",
            "workload": {
                "requests": 40,
                "arrivals": {"process": "closed", "concurrency": 4},
                "prompt_tokens": {"distribution": "fixed", "value": 30},
                "output_tokens": {"distribution": "fixed", "value": 20},
            },
            "models": {"target": {"shape": "llama-7b"}, "drafts": {"d": {"shape": "llama-68m"}}},
            "placement": {"target": ["gpu0"], "drafts": {"d": "gpu1"}},
            "costs": {"model": "constant", "verify_s": 0.004, "draft_step_s": 0.001},
            "acceptance": {"model": "constant", "probability": 0.7},
            "limits": {"batch": 32, "context_tokens": 200},
            **TWO,
            **changes,
        }
    )


def summary_of(given: Scenario) -> dict[str, Any]:
    done = simulate_scenario(given, Path())
    return summarise(done.records, given, mode="simulated", acceptance_source="synthetic")


MANY = {"process": "closed", "concurrency": 32}
WORK = scenario().workload.model_dump()
COSTS = {"model": "constant", "verify_s": 0.004, "draft_step_s": 0.001}
HELD = {
    # 1000 KV tokens are 5 slots of 200, or 62 blocks of 16: a request of 50 tokens takes 4
    "kv": (
        {"kv": {"reserve": "full", "target_tokens": 1000}, "workload": {**WORK, "arrivals": MANY}},
        "K/V memory holds 5 of 32 requests: kv.reserve full; grow would hold 15; requests wait for it 100 %",
    ),
    "target": ({"costs": {**COSTS, "verify_s": 0.4}}, "the target: gpu0/target works 99 % of the time"),
    "draft": ({"costs": {**COSTS, "draft_step_s": 0.1}}, "a draft's lane: gpu1/d works 99 %"),
    "host": ({"costs": {**COSTS, "orchestrator_s": 0.01}}, "the host: the orchestrator works "),
    "batch": (
        {"limits": {"batch": 2, "context_tokens": 200}, "workload": {**WORK, "arrivals": MANY}},
        "limits.batch: 2 requests are served at once, and 30.0 more wait on average; the busiest lane, gpu",
    ),
    "clients": ({}, "clients: 4, where limits.batch serves 32 at once; the busiest lane, gpu"),
    "arrivals": (
        {"workload": {**WORK, "arrivals": {"process": "poisson", "rate_per_s": 0.5}}},
        "arrivals: 0.0 of 32 requests are served on average, and nobody waits; the busiest lane, gpu",
    ),
}


@pytest.mark.parametrize("by", list(HELD))
def test_what_holds_a_run_back_is_named_with_figures(by: str) -> None:
    changes, says = HELD[by]
    found = summary_of(scenario(**changes))["held_back"]
    assert (found["by"], found["text"][: len(says)]) == (by, says)


def test_grown_memory_counts_preemptions() -> None:
    kv = {"reserve": "grow", "target_tokens": 600}
    found = summary_of(scenario(kv=kv, workload={**WORK, "arrivals": MANY}))["held_back"]
    assert found["by"] == "kv"
    assert "kv.reserve grow" in found["text"]
    assert found["kv_blocks"] == 37


def test_a_drafts_small_memory_is_told_as_well() -> None:
    """Two slots of 200 tokens for four requests: drafts read their contexts again and again."""
    text = summary_of(scenario(kv={"reserve": "full", "draft_tokens": 400}))["held_back"]["text"]
    assert text.startswith("clients: 4")
    assert text.endswith("; K/V memory of draft d holds 2 of the 4.0 that are served")


def test_averages_by_hand() -> None:
    """0 to 10 s, batch 1: one served from 0 to 4; the next waits from 1 and is served from 4 to 10; a third
    arrives at 5 and gives up at 8. A rejected one counts nowhere."""
    columns = RequestColumns.__new__(RequestColumns)
    columns.status = np.array(["completed", "completed", "cancelled", "rejected"], dtype=object)
    columns.arrival = np.array([0.0, 1.0, 5.0, 6.0])
    columns.admitted = np.array([0.0, 4.0, np.nan, np.nan])
    columns.finished = np.array([4.0, 10.0, 8.0, 6.0])
    window = Window(0, 10 * NS, "", "")
    assert occupancy(columns, window, batch=1) == pytest.approx((1.0, 0.6, 0.0, 0.6))
    assert occupancy(columns, window, batch=2) == pytest.approx((1.0, 0.6, 0.6, 0.0))
    assert occupancy(columns, Window(4 * NS, 8 * NS, "", ""), batch=2) == pytest.approx(
        (1.0, 0.75, 0.75, 0.0)
    )
