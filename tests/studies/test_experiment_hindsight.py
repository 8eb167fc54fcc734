"""Choices in hindsight: what is known of every draft, and what follows from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinsim.pages.run import write_report
from spinsim.results import hindsight as module
from spinsim.results.hindsight import hindsight, of_recording
from spinsim.scenario_file import LoadedScenario, load
from spinsim.serving import lay_out
from spinsim.simulated.simulation import Simulated, simulate_scenario
from spinsim.studies.simulate import simulate

SPECIALISTS = Path(__file__).parents[2] / "scenarios" / "specialists.yaml"
QUICKSTART = SPECIALISTS.with_name("quickstart.yaml")
CONSTANT = ("acceptance={model: constant, probability: 1.0}", "costs={model: constant, verify_s: 0.01}")


def loaded(*overrides: str) -> LoadedScenario:
    return load(SPECIALISTS, ["workload.requests=12", *overrides])


def run(*overrides: str) -> tuple[LoadedScenario, Simulated]:
    scenario = loaded(*overrides)
    return scenario, simulate_scenario(scenario.scenario, scenario.base_dir)


def known(scenario: LoadedScenario, done: Simulated) -> dict[str, Any]:
    return {
        "outputs": {request.id: request.output_tokens for request in done.workload.requests},
        "field": done.field,
        "predictor": done.predictor,
        "remote": lay_out(scenario.scenario).remote,
        "allow_none": scenario.scenario.policies.allow_none,
    }


def told(*overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
    scenario, done = run(*overrides)
    return hindsight(done.records, **known(scenario, done))


@pytest.mark.parametrize("selector", ["ucb1", "random"])
def test_the_chosen_arm_gains_what_the_run_committed(selector: str) -> None:
    scenario, done = run(f"policies.selector={{name: {selector}}}", "policies.allow_none=true")
    rows = module._rows(done.records, **known(scenario, done))
    rounds = done.records.rounds
    order = np.lexsort((rounds.position, rounds.request))
    gained = rows.gain[np.arange(rows.chosen.size), rows.chosen]
    assert np.array_equal(gained, np.asarray(rounds.committed)[order])
    assert (rows.chosen == len(done.records.drafts)).any() == (min(rounds.draft) < 0)


def test_losses_are_ordered() -> None:
    summary, curves = told()
    lost, share = summary["lost_per_round_s"], summary["share_of_oracle"]
    assert 0 < lost["best_per_request"] <= lost["best_fixed"] < lost["random"]
    assert lost["best_per_request"] < lost["selector"]
    assert all(0 < value < 1 for value in share.values())
    assert sorted(share, key=share.__getitem__) == sorted(lost, key=lambda name: -lost[name])
    for name in ("selector", *module.OTHERS):
        assert np.all(np.diff(curves["by_round"][name]) >= 0)
        assert len(curves["over_run"][name]) == module.BINS


def test_one_draft_for_everyone_is_its_own_line() -> None:
    best = told()[0]["best_fixed"]
    summary, curves = told(f"policies.selector={{name: fixed, draft: {best}}}")
    if summary["best_fixed"] == best:
        assert summary["lost_per_round_s"]["selector"] == summary["lost_per_round_s"]["best_fixed"]
        assert curves["by_round"]["selector"] == curves["by_round"]["best_fixed"]


def test_the_oracle_loses_least() -> None:
    oracle, spin = (
        told(f"policies.selector={{name: {name}}}", "workload.arrivals={process: closed, concurrency: 1}")[0]
        for name in ("oracle", "spin")
    )
    assert oracle["share_of_oracle"]["selector"] > 0.95 > spin["share_of_oracle"]["selector"]


def test_drafts_that_are_alike_cost_nothing() -> None:
    summary, _ = told(*CONSTANT)
    assert set(summary["lost_per_round_s"].values()) == {0.0}
    assert set(summary["share_of_oracle"].values()) == {1.0}


def test_many_requests_are_sampled_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE", 5)
    summary, _ = told()
    assert (summary["requests"], summary["requests_of"]) == (5, 12)


def test_the_folder_has_the_curves_and_the_page_draws_them(tmp_path: Path) -> None:
    summary = simulate(loaded(), tmp_path / "run", report=write_report)
    assert summary["regret"]["known"]
    assert json.loads((tmp_path / "run" / "regret.json").read_text())["schema"] == "spinsim.regret/1"
    html = (tmp_path / "run" / "report.html").read_text()
    assert "Regret against the oracle" in html
    assert "best draft for each request" in html
    simulate(loaded(), tmp_path / "again", report=write_report)
    for name in ("regret.json", "summary.json", "report.html"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_without_drafts_there_is_nothing_to_regret(tmp_path: Path) -> None:
    overrides = ("policies.selector={name: fixed, draft: none}", "policies.length={name: none}")
    alone = (
        "devices={gpu0: {hardware: h200}}",
        "models.drafts={}",
        "placement.drafts={}",
        "acceptance={model: constant, probability: 0.5}",
    )
    summary = simulate(loaded(*overrides, *alone), tmp_path / "run", report=write_report)
    assert not summary["regret"]["known"]
    assert not (tmp_path / "run" / "regret.json").exists()
    assert "Regret" not in (tmp_path / "run" / "report.html").read_text()


def test_a_live_run_is_looked_back_on_where_its_scenario_names_a_recording(tmp_path: Path) -> None:
    scenario = load(QUICKSTART, ["workload.requests=6"])
    done = simulate_scenario(scenario.scenario, scenario.base_dir)
    found = of_recording(scenario.scenario, scenario.base_dir, done.records, done.workload, done.predictor)
    assert found == hindsight(done.records, **known(scenario, done))
    assert found[0]["known"]
    assert found[0]["agreement"] == 1

    def why(overridden: LoadedScenario) -> str:
        summary, curves = of_recording(
            overridden.scenario, scenario.base_dir, done.records, done.workload, done.predictor
        )
        assert not summary["known"]
        assert curves == {}
        return str(summary["why"])

    synthetic = "acceptance={model: constant, probability: 0.5}"
    assert "drafts that were chosen" in why(load(QUICKSTART, ["workload.requests=6", synthetic]))
    sampled = load(QUICKSTART, ["workload.requests=6", "sampling={temperature: 1.0}"])
    assert "recorded at 0" in why(sampled)
    for i, drafted in enumerate(done.records.rounds.drafted):
        done.records.rounds.committed[i] = 1 + drafted  # as if it had gone otherwise
    assert "no more than" in why(scenario)
