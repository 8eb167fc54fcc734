"""``live.acceptance: field``: the scenario's acceptance over real kernels, decisions as with models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from spinsim.acceptance.for_scenario import build_field
from spinsim.cli import app
from spinsim.engine.inputs import COMPLETION
from spinsim.engine.records import Records
from spinsim.errors import InputError
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.executor import TorchExecutor
from spinsim.live.field import repeated_acceptance
from spinsim.live.live_run import Ran, run_scenario
from spinsim.operations import Verify
from spinsim.pages.run import write_report
from spinsim.pages.validation import validation_report
from spinsim.policies.selectors.blind import RoundRobin
from spinsim.recording import load_trace
from spinsim.scenario_file import LoadedScenario
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.replay import replay
from spinsim.studies.run import run
from spinsim.studies.trace import trace
from spinsim.studies.validation.plan import Options, plan
from spinsim.studies.validation.validate import validate
from spinsim.workload.for_scenario import build_workload
from tests.validation.tiny_models import tiny_scenario

TIME_BLIND = {"selector": {"name": "round_robin"}, "length": {"name": "fixed", "tokens": 3}}
GREEDY, SAMPLED = {"temperature": 0.0}, {"temperature": 1.5, "top_p": 0.95}
# Memory so tight that requests are preempted (the context is 64 tokens, three requests at once).
GROW = {"reserve": "grow", "block_tokens": 4, "target_tokens": 72, "draft_tokens": 72}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of what the tiny models accept, greedy and sampled."""
    made = tmp_path_factory.mktemp("field")
    for name, sampling in (("greedy", GREEDY), ("sampled", SAMPLED)):
        trace(scenario(made, "models", sampling=sampling, acceptance=CONSTANT), made / f"{name}.npz")
    return made


CONSTANT = {"model": "constant", "probability": 0.5}


def scenario(folder: Path, deciding: str, **sections: Any) -> LoadedScenario:
    given = {
        "acceptance": {"model": "trace", "path": "greedy.npz"},
        "policies": TIME_BLIND | {"packing": {"name": sections.pop("packing", "ragged")}},
        "live": {"acceptance": deciding},
    }
    return tiny_scenario(folder, **(given | sections))


def decisions(records: Records) -> dict[str, list[Any]]:
    """All that was decided, in order: every column of a round but its times."""
    r = records.rounds
    names = ("micro_batch", "size", "packing", "rows", "piece", "query_tokens", "kv_tokens", "request")
    names += ("position", "draft", "drafted", "accepted", "committed", "catch_up_tokens")
    return {name: list(getattr(r, name)) for name in names}


def ran(loaded: LoadedScenario, deployment: Deployment | None = None) -> Ran:
    deployment = deployment or deploy(loaded.scenario, loaded.base_dir)
    done = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    assert done.error is None
    assert done.slots_held == 0
    return done


@pytest.mark.parametrize("packing", ["padded", "decomposed", "ragged"])
@pytest.mark.parametrize("kv", [{"reserve": "full"}, GROW], ids=["full", "grow"])
def test_a_recorded_run_decides_alike_in_both_modes(folder: Path, packing: str, kv: dict[str, Any]) -> None:
    models, field = (
        ran(scenario(folder, deciding, packing=packing, kv=kv)) for deciding in ("models", "field")
    )
    assert decisions(models.records) == decisions(field.records)
    assert sum(models.records.rounds.accepted) > 0
    if kv is GROW:
        assert sum(r.preemptions for r in field.records.requests.values()) > 0
    loaded = scenario(folder, "field", packing=packing, kv=kv)
    simulated = by_request(simulate_scenario(loaded.scenario, loaded.base_dir).records)
    assert by_request(field.records) == simulated


def by_request(records: Records) -> dict[int, list[tuple[int, int, int]]]:
    """(draft, drafted, accepted) of each request, round by round."""
    r = records.rounds
    found: dict[int, list[tuple[int, int, int]]] = {}
    for row in zip(r.request, r.draft, r.drafted, r.accepted, strict=True):
        found.setdefault(row[0], []).append(row[1:])
    return found


def test_recorded_tokens_are_fed_and_the_kernels_judge_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the text is the models' own, what their kernels say is what the field replaces it with."""
    said: list[list[int]] = []
    replaced: list[Sequence[int]] = []
    verify = TorchExecutor.verify

    def heard(self: TorchExecutor, operation: Verify, last: Any, proposed: Any, verdict: Any = None) -> Any:
        said.append(verify(self, operation, last, proposed)[0])
        replaced.append(verdict)
        return verify(self, operation, last, proposed, verdict)

    monkeypatch.setattr(TorchExecutor, "verify", heard)
    assert load_trace(folder / "greedy.npz").outputs is not None
    ran(scenario(folder, "field"))
    assert said == [list(verdict) for verdict in replaced]
    assert len({count for verdict in replaced for count in verdict}) > 1


@pytest.mark.parametrize("switching", ["blocking", "overlapped"])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_verdicts_are_the_fields(folder: Path, sampling: dict[str, Any], switching: str) -> None:
    """Also where no model would agree, and when sampling: the verdict is the field's at the position."""
    policies = TIME_BLIND | {"packing": {"name": "ragged"}, "switching": switching}
    loaded = scenario(folder, "field", sampling=sampling, policies=policies, acceptance=CONSTANT)
    done = ran(loaded)
    assert done.acceptance_source == "synthetic"
    assert done.outputs == {}
    known = build_field(loaded.scenario, build_workload(loaded.scenario, folder), folder)
    r = done.records.rounds
    lengths = {request.id: request.output_tokens for request in done.workload.requests}
    for request, position, draft, drafted, accepted in zip(
        r.request, r.position, r.draft, r.drafted, r.accepted, strict=True
    ):
        run = known.runs(request, draft)[position]
        assert accepted == min(run, drafted, lengths[request] - position)


def test_a_sampled_recording_is_replayed(folder: Path) -> None:
    loaded = scenario(folder, "field", sampling=SAMPLED, acceptance={"model": "trace", "path": "sampled.npz"})
    simulated = simulate_scenario(loaded.scenario, folder).records
    assert by_request(ran(loaded).records) == by_request(simulated)


def test_selectors_with_full_information_learn_from_the_field(folder: Path) -> None:
    policies = {"selector": {"name": "hedgespec"}, "length": {"name": "fixed", "tokens": 3}}
    heard: dict[str, list[bytes]] = {}
    for deciding in ("models", "field"):
        done = ran(scenario(folder, deciding, policies=policies))
        outcomes = (entry.completed().outcome for entry in done.log.inputs if entry.kind == COMPLETION)
        heard[deciding] = [hit for o in outcomes if hasattr(o, "hits") for hit in o.hits]
    assert heard["models"] == heard["field"]
    assert any(any(hit) for hit in heard["field"])


def hits_of(done: Ran) -> list[bytes]:
    """What drafts said of tokens that they read, in the order of the requests."""
    outcomes = (entry.completed().outcome for entry in done.log.inputs if entry.kind == COMPLETION)
    return sorted(hit for o in outcomes if hasattr(o, "hits") for hit in o.hits)


def test_the_last_tokens_of_a_catch_up_are_asked_about_in_both_worlds(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels that score, a field over kernels and a simulation say the same of the same tokens."""
    monkeypatch.setattr(RoundRobin, "choose", lambda self, view, arms: arms[view.rounds // 4 % len(arms)])
    monkeypatch.setattr(RoundRobin, "reads_catch_ups", 4, raising=False)
    heard: list[bytes] = []
    monkeypatch.setattr(RoundRobin, "observe_hits", lambda self, request, draft, hits: heard.append(hits))
    live = [hits_of(ran(scenario(folder, deciding))) for deciding in ("models", "field")]
    assert live[0] == live[1]
    assert max(map(len, live[0])) == 4
    assert len({bit for hit in live[0] for bit in hit}) == 2
    heard.clear()
    loaded = scenario(folder, "field")
    simulate_scenario(loaded.scenario, folder)
    assert sorted(heard) == [hit for hit in live[0] if hit]


def test_drafts_are_not_asked_about_tokens_that_were_drawn(folder: Path) -> None:
    planned = {kind: {"name": "planned"} for kind in ("length", "pipeline", "composition")}
    policies = {"selector": {"name": "planned", "reads": 8}, "packing": {"name": "ragged"}, **planned}
    with pytest.raises(InputError, match="greedy outputs"):
        ran(scenario(folder, "models", sampling=SAMPLED, policies=policies))
    assert ran(scenario(folder, "models", sampling=GREEDY, policies=policies)).error is None


@pytest.mark.parametrize("selector", ["round_robin", "ucb1", "oracle"])
def test_a_replay_gives_the_decisions(folder: Path, tmp_path: Path, selector: str) -> None:
    policies = {"selector": {"name": selector}, "length": {"name": "fixed", "tokens": 3}}
    loaded = scenario(folder, "field", policies=policies, kv=GROW)
    summary = run(loaded, tmp_path / "out")
    assert replay(tmp_path / "out").difference == ""
    assert summary["acceptance"] == {"source": "trace", "decided_by": "field"}
    assert summary["not_read"] == {}
    assert summary["regret"]["known"]
    assert "recorded acceptance, given to real kernels" in write_report(tmp_path / "out").read_text()
    assert pq.read_table(tmp_path / "out" / "decisions.parquet").num_rows > 0


def test_models_are_said_to_decide_where_they_do(folder: Path, tmp_path: Path) -> None:
    summary = run(scenario(folder, "models"), tmp_path / "out")
    assert summary["acceptance"] == {"source": "models", "decided_by": "models"}
    assert "acceptance by the models themselves" in write_report(tmp_path / "out").read_text()


def test_the_terminal_says_that_acceptance_was_given(folder: Path, tmp_path: Path) -> None:
    scenario(folder, "field")
    result = CliRunner().invoke(app, ["run", str(folder / "tiny.yaml"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "recorded acceptance, given to real kernels" in " ".join(result.output.split())


@pytest.mark.parametrize(
    "acceptance", [CONSTANT, {"model": "trace", "path": "greedy.npz"}], ids=["constant", "trace"]
)
def test_a_validation_gives_both_worlds_the_same_acceptance(
    folder: Path, tmp_path: Path, acceptance: dict[str, Any]
) -> None:
    loaded = scenario(folder, "field", acceptance=acceptance)
    done = validate(plan([loaded.path], [], [], None), tmp_path / "out", Options(repetitions=1, intervals=0))
    assert done["acceptance"] == "field"
    assert done["identical_requests"] == 1
    assert "acceptance was given" in validation_report(done).lower()
    assert not list((tmp_path / "out").glob("trace-*.npz"))  # nothing had to be recorded


def test_models_and_field_are_not_validated_together(folder: Path) -> None:
    loaded = scenario(folder, "field")
    with pytest.raises(InputError, match="models in some cells, field in others"):
        plan([loaded.path], ["live.acceptance=models,field"], [], None)


def test_a_rehearsal_accepts_what_the_scenario_says(folder: Path) -> None:
    """Its requests are not the scenario's own, and may be longer than any recording."""
    for acceptance in (CONSTANT, {"model": "trace", "path": "greedy.npz"}):
        loaded = scenario(folder, "field", acceptance=acceptance)
        given = repeated_acceptance(loaded.scenario, folder, 40)
        assert given is not None
        runs = [given.field.runs(request, draft) for request in (0, 12) for draft in (0, 1)]
        assert all(len(each) >= 40 for each in runs)
        assert any(any(each) for each in runs)
    assert repeated_acceptance(scenario(folder, "models").scenario, folder, 40) is None


def test_a_recording_of_another_vocabulary_is_refused(folder: Path) -> None:
    loaded = scenario(folder, "field")
    for name in ("target.json", "draft.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"vocab_size": 16', '"vocab_size": 8'))
    with pytest.raises(InputError, match=r"token \d+ was recorded, and the target's vocabulary has 8"):
        ran(loaded)
