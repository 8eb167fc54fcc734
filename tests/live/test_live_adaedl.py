"""AdaEDL live: proposals end by the models' own entropy, or by that of a given field as simulated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spinsim.engine.records import Records
from spinsim.errors import InputError
from spinsim.live.deployment import deploy
from spinsim.live.live_run import run_scenario
from spinsim.live.prompts import materialise
from spinsim.recording import load_trace, save_trace
from spinsim.scenario_file import LoadedScenario, load
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.replay import replay
from spinsim.studies.run import run
from spinsim.studies.trace import record_workload
from spinsim.workload.for_scenario import build_workload
from tests.live.test_live_head import by_request, mixed
from tests.validation.tiny_models import tiny_scenario

EDL = {"selector": {"name": "round_robin"}, "length": {"name": "adaedl"}}


def test_a_recording_without_entropies_is_refused(tmp_path: Path) -> None:
    loaded = mixed(tmp_path, policies=EDL)
    made = load_trace(tmp_path / "recorded.npz")
    drafts = {name: replace(draft, entropies=None) for name, draft in made.drafts.items()}
    save_trace(replace(made, drafts=drafts), tmp_path / "recorded.npz")
    with pytest.raises(InputError, match="keeps no entropies") as caught:
        simulate_scenario(loaded.scenario, loaded.base_dir)
    assert caught.value.key == "policies.length.name"
    with pytest.raises(InputError, match="keeps no entropies"):
        run_scenario(loaded.scenario, loaded.base_dir, deploy(loaded.scenario, loaded.base_dir))


@pytest.mark.parametrize("entropies", ["recorded", "modelled"])
def test_given_acceptance_ends_proposals_alike_in_both_worlds(tmp_path: Path, entropies: str) -> None:
    gentle = "policies.length={name: adaedl, start: 0.1}"
    asked = [gentle] if entropies == "recorded" else []  # random models are unsure of everything
    loaded = load(mixed(tmp_path, policies=EDL).path, [*asked, f"acceptance.entropies={entropies}"])
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


def test_recorded_entropies_end_proposals_where_the_models_do(tmp_path: Path) -> None:
    """A small model, and a lookup, which is never stopped. The threshold stays: both worlds commit alike.

    Only behind a refused token may a proposal end elsewhere: what the draft went on with was not recorded.
    """
    path = Path(__file__).parents[2] / "scenarios" / "family-cpu.yaml"
    common = [
        "models.drafts={tiny: {shape: llama-68m, weights: 'embedded:tiny', dtype: fp32}, "
        "ngram: {kind: ngram}}",
        "placement.drafts={tiny: cpu}",
        "workload={requests: 3, arrivals: {process: closed, concurrency: 2}, "
        "prompt_tokens: {distribution: fixed, value: 48}, output_tokens: {distribution: fixed, value: 40}}",
        "policies.length={name: adaedl, start: 0.6, step: 0.0}",
        "acceptance={model: constant, probability: 0.6}",
    ]
    loaded = load(path, common)
    deployment = deploy(loaded.scenario, loaded.base_dir)
    prompted = materialise(
        loaded.scenario, build_workload(loaded.scenario, loaded.base_dir), deployment.models.target
    )
    save_trace(record_workload(loaded.scenario, deployment, prompted)[0], tmp_path / "made.npz")
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    assert ran.error is None
    given = load(path, [*common, f"acceptance={{model: trace, path: {tmp_path / 'made.npz'}}}"])
    simulated = simulate_scenario(given.scenario, given.base_dir).records
    live, made = rounds_of(ran.records), rounds_of(simulated)
    assert [row[:4] for row in live] == [row[:4] for row in made]
    ended = [one[4] == other[4] for one, other in zip(live, made, strict=True) if one[3] == one[4]]
    assert len(ended) > 20
    assert all(ended)
    models = [row for row in live if row[2] == 0]
    assert {row[4] for row in models} > {1, 4}
    assert {row[4] for row in live if row[2] == 1} >= {4}


def rounds_of(records: Records) -> list[tuple[int, int, int, int, int]]:
    """(request, position, draft, accepted, drafted), by request and position."""
    r = records.rounds
    return sorted(zip(r.request, r.position, r.draft, r.accepted, r.drafted, strict=True))


def test_models_that_were_deployed_for_another_policy_are_refused(tmp_path: Path) -> None:
    loaded = live(tmp_path)
    other = load(loaded.path, ["policies.length={name: fixed, tokens: 3}"])
    deployment = deploy(other.scenario, other.base_dir)
    with pytest.raises(InputError, match="deployed for a policy that reads none"):
        run_scenario(loaded.scenario, loaded.base_dir, deployment)
