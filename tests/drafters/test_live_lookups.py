"""Drafts that look proposals up, live on the CPU: lossless, replayable, and as their text says."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers")

from benchmarks.generation import greedy_outputs
from spinsim.live.deployment import deploy
from spinsim.live.live_run import run_scenario
from spinsim.scenario_file import LoadedScenario, load
from spinsim.studies.replay import replay
from spinsim.studies.run import run
from spinsim.studies.simulate import simulate_scenario
from spinsim.studies.trace import trace
from tests.live.test_run import scenario_file

MIXED = {
    "target": {"shape": "target.json", "dtype": "fp32"},
    "drafts": {
        "look": {"kind": "ngram", "max_size": 3, "min_size": 1},
        "b": {"shape": "target.json", "dtype": "fp32"},
        "suffix": {"kind": "suffix", "min_size": 1, "earlier": 3},
    },
}
PLACED = {"target": ["cpu"], "drafts": {"b": "cpu"}}


def mixed(
    folder: Path, packing: str = "ragged", selector: str = "random", **sections: object
) -> LoadedScenario:
    policies = {
        "selector": {"name": selector},
        "length": {"name": "fixed", "tokens": 4},
        "packing": {"name": packing},
        "pipeline": {"name": "fixed", "micro_batches": 2},
        "allow_none": selector == "random",
    }
    return scenario_file(folder, models=MIXED, placement=PLACED, policies=policies, **sections)


@pytest.mark.parametrize("packing", ["padded", "decomposed", "ragged"])
def test_mixed_drafts_give_what_generate_does(tmp_path: Path, packing: str) -> None:
    loaded = mixed(tmp_path, packing)
    deployment = deploy(loaded.scenario, loaded.base_dir)
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    assert ran.error is None
    assert ran.slots_held == 0
    used = set(ran.records.rounds.draft)
    assert used == {-1, 0, 1, 2}, "every draft, and none"
    looked_up = [
        n
        for n, draft in zip(ran.records.rounds.drafted, ran.records.rounds.draft, strict=True)
        if draft in (0, 2)
    ]
    assert 0 in looked_up, "nothing found at times"
    assert max(looked_up) == 4
    assert ran.outputs == greedy_outputs(loaded, deployment)


def test_a_replay_of_the_inputs_is_bit_equal(tmp_path: Path) -> None:
    loaded = mixed(tmp_path)
    run(loaded, tmp_path / "out")
    again = replay(tmp_path / "out")
    assert again.difference == ""
    assert again.decisions > 50


def test_full_information_scores_what_is_looked_up(tmp_path: Path) -> None:
    loaded = mixed(tmp_path, selector="hedgespec")
    run(loaded, tmp_path / "out")
    assert replay(tmp_path / "out").difference == ""


def test_a_run_that_looks_before_it_chooses_is_replayed(tmp_path: Path) -> None:
    """The engine looks in the text that the models write."""
    loaded = mixed(tmp_path, selector="contextual")
    run(loaded, tmp_path / "out")
    assert (tmp_path / "out" / "lookups.parquet").exists()
    assert replay(tmp_path / "out").difference == ""


def test_sampled_outputs_complete(tmp_path: Path) -> None:
    loaded = mixed(tmp_path, sampling={"temperature": 0.8})
    deployment = deploy(loaded.scenario, loaded.base_dir)
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    assert ran.error is None
    assert {record.status for record in ran.records.requests.values()} == {"completed"}


def test_simulated_and_live_agree_in_every_round(tmp_path: Path) -> None:
    """With recorded token ids and a policy that does not look at the clock, to the last proposed token."""
    policies = {
        "selector": {"name": "round_robin"},
        "length": {"name": "fixed", "tokens": 4},
        "pipeline": {"name": "serial"},
    }
    models = {**MIXED, "drafts": {name: MIXED["drafts"][name] for name in ("look", "b")}}  # type: ignore[index]
    arrivals = {"process": "at_once"}
    workload = {
        "requests": 4,
        "arrivals": arrivals,
        "prompt_tokens": {"distribution": "uniform", "min": 2, "max": 40},
        "output_tokens": {"distribution": "uniform", "min": 8, "max": 40},
    }
    loaded = scenario_file(tmp_path, models=models, placement=PLACED, policies=policies, workload=workload)
    recorded = trace(loaded, tmp_path / "trace.npz").trace
    assert recorded.outputs is not None
    assert list(recorded.drafts) == ["look", "b"]
    deployment = deploy(loaded.scenario, loaded.base_dir)
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    on_trace = load(loaded.path, ["acceptance={model: trace, path: trace.npz}"])
    made = simulate_scenario(on_trace.scenario, on_trace.base_dir)

    def rounds(records: object) -> list[tuple[int, ...]]:
        r = records.rounds  # type: ignore[attr-defined]
        return sorted(zip(r.request, r.position, r.draft, r.drafted, r.accepted, strict=True))

    assert rounds(made.records) == rounds(ran.records)
    assert any(drafted for _, _, draft, drafted, _ in rounds(ran.records) if draft == 0)
