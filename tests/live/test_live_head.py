"""A head live: its kernels run, what is accepted is given, and it mixes with lookups, models and none."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from spinsim.drafters.acceptance import build_field
from spinsim.errors import InputError
from spinsim.live.deployment import deploy
from spinsim.live.live_run import run_scenario
from spinsim.runner.head import HeadRunner
from spinsim.scenario_file import LoadedScenario, load
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.replay import replay
from spinsim.studies.run import run
from spinsim.studies.trace import trace
from tests.validation.tiny_models import tiny_scenario

MODEL = {"shape": "draft.json", "dtype": "fp32"}
TARGET = {"shape": "target.json", "dtype": "fp32"}
KEPT = {
    "full": {"reserve": "full"},
    "grow": {"reserve": "grow", "block_tokens": 4, "target_tokens": 72, "draft_tokens": 72},
}


@cache
def recording() -> bytes:
    """What two tiny models accept, with token ids."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "recorded.npz"
        trace(tiny_scenario(Path(folder), "models"), path)
        return path.read_bytes()


def mixed(folder: Path, steps: str = "sequential", **sections: Any) -> LoadedScenario:
    """Head, n-gram lookup, model and none in turn, accepted as recorded from two models."""
    (folder / "recorded.npz").write_bytes(recording())
    drafts = {
        "head": {"kind": "head", "steps": steps},
        "ngram": {"kind": "ngram", "max_size": 2, "min_size": 1},
        "a": MODEL,
    }
    given = {
        "models": {"target": TARGET, "drafts": drafts},
        "placement": {"target": ["cpu"], "drafts": {"a": "cpu"}},
        "acceptance": {"model": "trace", "path": "recorded.npz", "drafts": {"head": "b"}},
        "policies": {
            "selector": {"name": "random"},
            "length": {"name": "fixed", "tokens": 3},
            "allow_none": True,
        },
        "live": {"acceptance": "field"},
        "workload": {
            "source": {"format": "spinsim", "path": "recorded.npz"},
            "arrivals": {"process": "closed", "concurrency": 3},
        },
    }
    return tiny_scenario(folder, **(given | sections))


def by_request(records: Any) -> list[tuple[int, ...]]:
    r = records.rounds
    return sorted(zip(r.request, r.position, r.draft, r.drafted, r.accepted, strict=True))


@pytest.mark.parametrize("kv", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("steps", ["sequential", "parallel"])
def test_a_head_mixes_and_decides_as_simulated(tmp_path: Path, steps: str, kv: dict[str, Any]) -> None:
    serial = {"selector": {"name": "round_robin"}, "length": {"name": "fixed", "tokens": 3}}
    loaded = mixed(tmp_path, steps, kv=kv, policies=serial)
    deployment = deploy(loaded.scenario, loaded.base_dir)
    assert [type(runner) is HeadRunner for runner in deployment.drafts] == [True, False]
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    assert ran.error is None
    assert (ran.slots_held, ran.blocks_held) == (0, 0)
    assert set(ran.records.rounds.draft) == {0, 1, 2}
    simulated = simulate_scenario(loaded.scenario, loaded.base_dir)
    assert by_request(ran.records) == by_request(simulated.records)


def test_a_replay_of_a_mixed_run_is_bit_equal(tmp_path: Path) -> None:
    loaded = mixed(tmp_path)
    summary = run(loaded, tmp_path / "out")
    assert "random weights" in summary["models"]["head"]
    again = replay(tmp_path / "out")
    assert again.difference == ""
    assert again.decisions > 20


CONTEXTUAL = {"selector": {"name": "contextual"}, "length": {"name": "planned"}, "allow_none": True}


def test_what_lookups_find_is_known_before_a_round(tmp_path: Path) -> None:
    """A live run looks in its own tokens; where they are recorded ones, it finds what the field says."""
    loaded = mixed(tmp_path, policies=CONTEXTUAL)
    deployment = deploy(loaded.scenario, loaded.base_dir)
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    assert ran.error is None
    assert ran.looked is not None
    known = build_field(loaded.scenario, ran.workload, loaded.base_dir).lookups
    assert known is not None
    rounds = ran.records.rounds
    assert len(ran.looked.said) == len(rounds.request)
    for request, position, committed in zip(rounds.request, rounds.position, rounds.committed, strict=True):
        matched, offered, agreed = ran.looked.said[request, position]
        assert (matched, offered) == known.at(request, position)
        assert agreed == known.agreed(request, position, committed)
    assert any(found.matched[1] > 0 for found in ran.looked.said.values())


def test_what_was_found_is_replayed(tmp_path: Path) -> None:
    run(mixed(tmp_path, policies=CONTEXTUAL), tmp_path / "out")
    again = replay(tmp_path / "out")
    assert again.difference == ""
    assert again.decisions > 20


@pytest.mark.parametrize("matches", ["unknown", "modelled"])
def test_a_lookup_over_modelled_acceptance_proposes_as_simulated(tmp_path: Path, matches: str) -> None:
    """Its text means nothing: how much there is to propose is the field's word."""
    path = mixed(tmp_path, policies=CONTEXTUAL).path
    constant = f"acceptance={{model: constant, probability: 0.5, matches: {matches}}}"
    turns = ["policies.selector={name: round_robin}", "policies.length={name: fixed, tokens: 3}"]
    loaded = load(path, [constant, *turns])
    ran = run_scenario(loaded.scenario, loaded.base_dir, deploy(loaded.scenario, loaded.base_dir))
    assert ran.error is None
    simulated = simulate_scenario(loaded.scenario, loaded.base_dir)
    assert by_request(ran.records) == by_request(simulated.records)
    run(load(path, [constant]), tmp_path / "out")
    assert replay(tmp_path / "out").difference == ""


def test_looking_takes_the_hosts_time(tmp_path: Path) -> None:
    """Once a request and round, whoever drafts then; a policy that does not read it looks nothing up."""
    path = mixed(tmp_path, policies=CONTEXTUAL).path

    def host_s(*overrides: str) -> tuple[float, int]:
        loaded = load(path, overrides)
        records = simulate_scenario(loaded.scenario, loaded.base_dir).records
        return records.orchestrator_s, len(records.rounds.request)

    dear, unread = "models.drafts.ngram.cost={row_s: 1.0}", "policies.length={name: fixed, tokens: 3}"
    seconds, rounds = host_s(dear)
    assert seconds == pytest.approx(rounds, abs=0.1)
    fixed = "policies.selector={name: fixed, draft: a}"
    assert host_s(unread, fixed, dear) == host_s(unread, fixed)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("live.acceptance=models", "live.acceptance: field alone"),
        ("sampling.temperature=0.8", "temperature 0"),
        ("models.drafts.head={kind: head, vocabulary: 99}", "at most so many"),
    ],
)
def test_what_a_head_cannot_do_live_is_said_before_anything_runs(
    tmp_path: Path, override: str, said: str
) -> None:
    path = mixed(tmp_path).path
    loaded = load(path, [override, "acceptance={model: constant, probability: 0.5}"])
    with pytest.raises(InputError, match=said) as caught:
        deploy(loaded.scenario, loaded.base_dir)
    assert str(caught.value.key).startswith("models.drafts.head")


def test_nothing_is_recorded_of_a_head(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to record") as caught:
        trace(mixed(tmp_path), tmp_path / "t.npz")
    assert caught.value.key == "models.drafts.head"
