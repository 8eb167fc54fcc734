"""Real models on the CPU through the same engine: lossless, replayable, and honest when it fails."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.generation import greedy_outputs
from spinsim.cli import app
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.lanes import LaneError
from spinsim.live.live_run import Ran, run_scenario
from spinsim.runner.eager import ModelRunner
from spinsim.scenario_file import LoadedScenario, load
from spinsim.studies.replay import replay
from spinsim.studies.run import run

TARGET = {
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
DRAFT = {
    **TARGET,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


def scenario_file(folder: Path, **sections: object) -> LoadedScenario:
    """A scenario of two tiny drafts; ``b`` shares the target's weights half of the way (same seed)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "target.json").write_text(json.dumps(TARGET))
    (folder / "draft.json").write_text(json.dumps(DRAFT))
    content: dict[str, object] = {
        "name": "tiny",
        "seed": 1,
        "workload": {
            "requests": 10,
            "arrivals": {"process": "poisson", "rate_per_s": 40},
            "prompt_tokens": {"distribution": "uniform", "min": 2, "max": 40},
            "output_tokens": {"distribution": "uniform", "min": 1, "max": 24},
        },
        "models": {
            "target": {"shape": "target.json", "dtype": "fp32"},
            "drafts": {
                "a": {"shape": "draft.json", "dtype": "fp32"},
                "b": {"shape": "target.json", "dtype": "fp32"},
            },
        },
        "devices": {"cpu": {"hardware": "cpu"}},
        "placement": {"target": ["cpu"], "drafts": {"a": "cpu", "b": "cpu"}},
        "costs": {"model": "roofline"},
        "acceptance": {"model": "constant", "probability": 0.5},
        "policies": {
            "selector": {"name": "random"},
            "length": {"name": "fixed", "tokens": 3},
            "packing": {"name": "padded"},
            "pipeline": {"name": "fixed", "micro_batches": 2},
        },
        "limits": {"batch": 4, "context_tokens": 96, "prefill_chunk_tokens": 32},
    }
    content |= sections
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return load(folder / "tiny.yaml")


def serve(loaded: LoadedScenario) -> tuple[Ran, Deployment]:
    deployment = deploy(loaded.scenario, loaded.base_dir)
    return run_scenario(loaded.scenario, loaded.base_dir, deployment), deployment


@pytest.mark.parametrize("packing", ["padded", "decomposed", "ragged"])
@pytest.mark.parametrize("selector", ["random", "spin", "hedgespec"])
def test_greedy_outputs_are_those_of_generate(tmp_path: Path, packing: str, selector: str) -> None:
    policies = {
        "selector": {"name": selector},
        "length": {"name": "fixed", "tokens": 3},
        "packing": {"name": packing},
        "pipeline": {"name": "fixed", "micro_batches": 2},
        "switching": "overlapped" if selector == "spin" else "blocking",
    }
    loaded = scenario_file(tmp_path, policies=policies)
    ran, deployment = serve(loaded)
    assert ran.error is None
    assert {record.status for record in ran.records.requests.values()} == {"completed"}
    assert ran.outputs == greedy_outputs(loaded, deployment)


def test_a_perfect_draft_is_always_accepted(tmp_path: Path) -> None:
    """The target drafts for itself: every proposal stands, so the caches are right in every round."""
    loaded = scenario_file(tmp_path, policies={"length": {"name": "fixed", "tokens": 4}})
    deployment = deploy(loaded.scenario, loaded.base_dir)
    twin = ModelRunner(deployment.target.decoder, _twin_cache(deployment))
    deployment = replace(deployment, drafts=(twin, deployment.drafts[1]))
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    rounds = ran.records.rounds
    left = [
        ran.records.requests[r].output_tokens - p
        for r, p in zip(rounds.request, rounds.position, strict=True)
    ]
    assert list(rounds.accepted) == [min(k, n) for k, n in zip(rounds.drafted, left, strict=True)]
    assert sum(rounds.drafted) > 0


def _twin_cache(deployment: Deployment) -> object:
    from spinsim.runner.kv import SlotCache

    cache = deployment.target.cache
    return SlotCache(
        cache.layers,
        cache.slots,
        cache.slot_tokens,
        cache.kv_heads,
        cache.head_dim,
        page_tokens=cache.page_tokens,
        pages=cache.pages,
    )


def test_replay_repeats_every_decision(tmp_path: Path) -> None:
    loaded = scenario_file(
        tmp_path,
        policies={
            "selector": {"name": "spin"},
            "length": {"name": "goodput"},
            "packing": {"name": "decomposed"},
            "pipeline": {"name": "spin"},
            "composition": {"name": "balanced"},
            "switching": "overlapped",
        },
    )
    run(loaded, tmp_path / "out")
    replayed = replay(tmp_path / "out")
    assert replayed.difference == ""
    assert replayed.decisions > 50
    result = CliRunner().invoke(app, ["replay", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert "bit for bit" in result.output


def test_replay_tells_a_changed_policy_apart(tmp_path: Path) -> None:
    run(scenario_file(tmp_path), tmp_path / "out")
    written = yaml.safe_load((tmp_path / "out" / "scenario.yaml").read_text())
    written["policies"]["length"]["tokens"] = 2
    (tmp_path / "out" / "scenario.yaml").write_text(yaml.safe_dump(written))
    assert replay(tmp_path / "out").difference
    assert CliRunner().invoke(app, ["replay", str(tmp_path / "out")]).exit_code == 1


def test_a_failing_worker_ends_the_run_and_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    verify = ModelRunner.verify

    def failing(self: ModelRunner, *args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise RuntimeError("the device fell off the bus")
        return verify(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(ModelRunner, "verify", failing)
    loaded = scenario_file(tmp_path)
    with pytest.raises(
        LaneError, match=r"lane cpu/target: verify: RuntimeError: the device fell off the bus"
    ):
        run(loaded, tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "the device fell off the bus" in summary["interrupted"]
    assert pq.read_table(tmp_path / "out" / "rounds.parquet").num_rows >= 1  # in the window or not
    result = CliRunner().invoke(app, ["run", str(loaded.path), "--out", str(tmp_path / "out"), "--force"])
    assert result.exit_code == 0  # the failing call is behind us
    calls = 0
    result = CliRunner().invoke(app, ["run", str(loaded.path), "--out", str(tmp_path / "out"), "--force"])
    assert result.exit_code == 1
    assert "lane cpu/target" in result.output


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_after_the_run_waits_for_its_results_but_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """The deployment takes a while to end, and whoever has waited for a run wants its results."""
    usual, close = signal.getsignal(signal.SIGINT), Deployment.close

    def slow(self: Deployment) -> None:
        close(self)
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Deployment, "close", slow)
    loaded, out = scenario_file(tmp_path), tmp_path / "out"
    if times == 1:
        run(loaded, out)
        summary = json.loads((out / "summary.json").read_text())
        assert summary["interrupted"] is None
        assert summary["requests"]["completed"] == loaded.scenario.workload.requests
    else:
        with pytest.raises(KeyboardInterrupt):
            run(loaded, out)
        assert not out.exists()
    assert signal.getsignal(signal.SIGINT) is usual


def test_impatient_clients_leave_no_slot_behind(tmp_path: Path) -> None:
    workload = {
        "requests": 40,
        "arrivals": {"process": "gamma", "rate_per_s": 80, "cv": 2.0},
        "prompt_tokens": {"distribution": "uniform", "min": 2, "max": 60},
        "output_tokens": {"distribution": "uniform", "min": 1, "max": 36},
        "patience_s": {"distribution": "uniform", "min": 0.02, "max": 0.4},
    }
    ran, _ = serve(scenario_file(tmp_path, workload=workload))
    assert ran.slots_held == 0
    statuses = [record.status for record in ran.records.requests.values()]
    assert len(statuses) == 40
    assert set(statuses) <= {"completed", "cancelled"}
    assert "cancelled" in statuses


def test_sampled_outputs_do_not_depend_on_the_schedule(tmp_path: Path) -> None:
    """A token's random numbers are its request's and position's own."""
    sampling = {"temperature": 0.8, "top_p": 0.9}
    serial = {"selector": {"name": "fixed", "draft": "a"}, "length": {"name": "fixed", "tokens": 3}}
    piped = {**serial, "pipeline": {"name": "fixed", "micro_batches": 3}, "packing": {"name": "ragged"}}
    first, _ = serve(scenario_file(tmp_path, sampling=sampling, policies=serial))
    second, _ = serve(scenario_file(tmp_path, sampling=sampling, policies=piped))
    assert first.outputs == second.outputs
