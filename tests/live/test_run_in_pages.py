"""Live runs whose contexts grow in blocks: preempted, recomputed, evicted from drafts, and still lossless."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.generation import greedy_outputs
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.live_run import Ran, run_scenario
from spinsim.studies.replay import replay
from spinsim.studies.run import run
from spinsim.studies.simulate import simulate
from spinsim.studies.trace import trace
from tests.live.test_run import scenario_file

# Four requests of up to 66 tokens: their prompts fit, their outputs do not.
TIGHT = {"reserve": "grow", "block_tokens": 8, "target_tokens": 136, "draft_tokens": 120}

LONG = {
    "requests": 12,
    "arrivals": {"process": "closed", "concurrency": 4},
    "prompt_tokens": {"distribution": "uniform", "min": 2, "max": 36},
    "output_tokens": {"distribution": "uniform", "min": 20, "max": 30},
}


def served(loaded: Any) -> tuple[Ran, Deployment]:
    deployment = deploy(loaded.scenario, loaded.base_dir)
    return run_scenario(loaded.scenario, loaded.base_dir, deployment), deployment


def preempted(ran: Ran) -> int:
    return sum(record.preemptions for record in ran.records.requests.values())


@pytest.mark.parametrize("switching", ["blocking", "overlapped"])
@pytest.mark.parametrize("packing", ["padded", "decomposed", "ragged"])
def test_outputs_are_those_of_generate_though_requests_are_preempted(
    tmp_path: Path, packing: str, switching: str
) -> None:
    policies = {
        "selector": {"name": "random" if switching == "blocking" else "hedgespec"},
        "length": {"name": "fixed", "tokens": 3},
        "packing": {"name": packing},
        "pipeline": {"name": "fixed", "micro_batches": 2},
        "switching": switching,
    }
    loaded = scenario_file(tmp_path, policies=policies, kv=TIGHT, workload=LONG)
    ran, deployment = served(loaded)
    assert ran.error is None
    assert {record.status for record in ran.records.requests.values()} == {"completed"}
    assert preempted(ran) > 3
    assert ran.slots_held == 0
    assert ran.outputs == greedy_outputs(loaded, deployment)


@pytest.mark.parametrize("depth", [1, 2])
def test_preempted_as_often_as_simulated_and_replayed_bit_for_bit(tmp_path: Path, depth: int) -> None:
    """The simulation is given what the models accept, and a cost that nothing was measured for."""
    workload = LONG | {"requests": 40, "output_tokens": {"distribution": "uniform", "min": 20, "max": 40}}
    policies = {
        "selector": {"name": "round_robin"},
        "length": {"name": "fixed", "tokens": 3},
        "packing": {"name": "ragged"},
        "pipeline": {"name": "fixed", "micro_batches": depth},
    }
    loaded = scenario_file(tmp_path, policies=policies, kv=TIGHT, workload=workload)
    recorded = trace(loaded, tmp_path / "trace.npz").path
    summary = run(loaded, tmp_path / "out")
    live = summary["requests"]["preempted"]
    assert summary["requests"]["completed"] == 40
    assert summary["kv_slots_held"] == 0
    assert replay(tmp_path / "out").difference == ""
    replayed = scenario_file(
        tmp_path / "simulated",
        policies=policies,
        kv=TIGHT,
        workload=workload,
        acceptance={"model": "trace", "path": str(recorded)},
    )
    simulated = simulate(replayed, None)["requests"]["preempted"]
    assert simulated == pytest.approx(live, rel=0.2)
    assert live > 20
