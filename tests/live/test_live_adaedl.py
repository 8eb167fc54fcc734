"""AdaEDL live: proposals end by the models' own entropy, or by that of a given field as simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spinsim.errors import InputError
from spinsim.live.deployment import deploy
from spinsim.scenario_file import LoadedScenario, load
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.replay import replay
from spinsim.studies.run import run, run_scenario
from tests.live.test_live_head import by_request, mixed
from tests.validation.tiny_models import tiny_scenario

EDL = {"selector": {"name": "round_robin"}, "length": {"name": "adaedl"}}


def test_a_recording_without_entropies_is_refused(tmp_path: Path) -> None:
    loaded = mixed(tmp_path, policies=EDL)
    with pytest.raises(InputError, match="keeps no entropies") as caught:
        simulate_scenario(loaded.scenario, loaded.base_dir)
    assert caught.value.key == "policies.length.name"
    with pytest.raises(InputError, match="keeps no entropies"):
        run_scenario(loaded.scenario, loaded.base_dir, deploy(loaded.scenario, loaded.base_dir))


def test_given_acceptance_ends_proposals_alike_in_both_worlds(tmp_path: Path) -> None:
    loaded = load(mixed(tmp_path, policies=EDL).path, ["acceptance.entropies=modelled"])
    ran = run_scenario(loaded.scenario, loaded.base_dir, deploy(loaded.scenario, loaded.base_dir))
    assert ran.error is None
    simulated = simulate_scenario(loaded.scenario, loaded.base_dir)
    assert by_request(ran.records) == by_request(simulated.records)
    models = [
        n for n, draft in zip(ran.records.rounds.drafted, ran.records.rounds.draft, strict=True) if draft != 1
    ]
    assert {1, 3} <= set(models)


def live(folder: Path, **sections: Any) -> LoadedScenario:
    return tiny_scenario(folder, policies={**EDL, "packing": {"name": "ragged"}}, **sections)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_live_run_stops_by_the_models_own_entropy(tmp_path: Path, temperature: float) -> None:
    """Random models are unsure of everything: one token is left of every proposal, and replays agree."""
    run(live(tmp_path, sampling={"temperature": temperature}), tmp_path / "out")
    assert replay(tmp_path / "out").difference == ""
    sure = load(tmp_path / "tiny.yaml", ["policies.length={name: adaedl, start: -1.0, step: 0.0}"])
    deployment = deploy(sure.scenario, sure.base_dir)
    whole = run_scenario(sure.scenario, sure.base_dir, deployment).records.rounds.drafted
    unsure = load(tmp_path / "tiny.yaml", ["policies.length={name: adaedl, start: 0.9, step: 0.0}"])
    cut = run_scenario(unsure.scenario, unsure.base_dir, deployment).records.rounds.drafted
    assert set(cut) == {1}
    assert max(whole) == 3


def test_models_that_were_deployed_for_another_policy_are_refused(tmp_path: Path) -> None:
    loaded = live(tmp_path)
    other = load(loaded.path, ["policies.length={name: fixed, tokens: 3}"])
    deployment = deploy(other.scenario, other.base_dir)
    with pytest.raises(InputError, match="deployed for a policy that reads none"):
        run_scenario(loaded.scenario, loaded.base_dir, deployment)
