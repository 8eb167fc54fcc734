"""A target over several CPUs: the same text, and an end with a cause when a rank dies."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from spinsim.cli import app
from spinsim.errors import InputError
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.live_run import Ran, run_scenario
from spinsim.live.prompts import materialise
from spinsim.runner.rows import ChunkRows, DraftRows
from spinsim.runner.sharded.hosted import HostedRunner
from spinsim.runner.sharded.leader import ShardedRunner
from spinsim.scenario_file import LoadedScenario
from spinsim.studies import run as studies_run
from spinsim.studies.recorder import Recorder
from spinsim.studies.trace import trace
from spinsim.workload.for_scenario import build_workload
from tests.live.checkpoints import generated, save_checkpoint, serving

PACKINGS = ("padded", "decomposed", "ragged")


def settings(ranks: str, *overrides: str) -> list[str]:
    """Served over devices named by the letters of ``ranks``; one draft is on the last of them, one apart."""
    return [
        "devices={" + ", ".join(f"{name}: {{hardware: cpu}}" for name in (*ranks, "x")) + "}",
        f"placement.target=[{', '.join(ranks)}]",
        f"placement.drafts={{near: {ranks[-1]}, far: x}}",
        "policies.pipeline={name: fixed, micro_batches: 2}",
        "workload.output_tokens={distribution: fixed, value: 14}",
        *overrides,
    ]


def scenario(folder: Path, ranks: str, *overrides: str) -> LoadedScenario:
    return serving(folder, *settings(ranks, *overrides), drafts=("near", "far"))


def serve(loaded: LoadedScenario, deployment: Deployment) -> Ran:
    prompted = materialise(
        loaded.scenario, build_workload(loaded.scenario, loaded.base_dir), deployment.models.target
    )
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment, prompted=prompted)
    assert ran.error is None
    assert ran.slots_held == ran.blocks_held == 0
    if ran.given is None:
        expected = generated(loaded, prompted)
        said = {request: tokens[: len(ran.outputs[request])] for request, tokens in expected.items()}
        assert ran.outputs == said
        assert sum(ran.records.rounds.accepted) > 10
    return ran


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target whose vocabulary and MLP leave remainders over two and four devices."""
    folder = tmp_path_factory.mktemp("sharded")
    save_checkpoint(folder / "target", intermediate_size=49)
    save_checkpoint(folder / "near", intermediate_size=49, like=folder / "target")
    save_checkpoint(folder / "far", num_hidden_layers=1)
    return folder


@pytest.fixture(scope="module")
def two(folder: Path) -> Iterator[Deployment]:
    """Its drafts say how sure they are: AdaEDL reads that, and other policies may."""
    loaded = scenario(folder, "ab", "policies.length={name: adaedl}")
    with deploy(loaded.scenario, loaded.base_dir, packings=PACKINGS) as deployment:
        yield deployment


@pytest.mark.parametrize("packing", PACKINGS)
def test_greedy_output_is_that_of_generate(folder: Path, two: Deployment, packing: str) -> None:
    """With drafts that switch at random, and two micro-batches."""
    serve(scenario(folder, "ab", f"policies.packing={{name: {packing}}}"), two)
    (told,) = two.ranks().values()
    assert told["calls"] > 20
    assert 0 < told["p50_s"] <= told["p99_s"] < 10


def test_a_draft_says_how_sure_it_is_from_another_process(folder: Path, two: Deployment) -> None:
    """Entropies of every proposed token, by the checkpoint as transformers reads it."""
    prompt, length = [5, 9, 31, 2, 17], 4
    near = two.drafts[0]
    assert isinstance(near, HostedRunner)
    near.apart()
    near.catch_up(ChunkRows([0], [0], [prompt[:-1]]), predict=False)
    made = near.propose(DraftRows([0], [prompt[-2]], [prompt[-1]], [len(prompt)], [length]))
    assert made.entropies is not None
    module = AutoModelForCausalLM.from_pretrained(folder / "near", dtype=torch.float32)
    logits = module(torch.tensor([[*prompt, *made.tokens[0].tolist()]])).logits[0, len(prompt) - 1 : -1]
    assert made.tokens[0].tolist() == logits.argmax(-1).tolist()
    expected = torch.distributions.Categorical(logits=logits).entropy().detach().numpy()
    assert made.entropies[0] == pytest.approx(expected, rel=1e-4)


def test_proposals_end_by_the_entropy_of_a_draft_in_another_process(folder: Path, two: Deployment) -> None:
    unsure = "policies.length={name: adaedl, start: 0.9, step: 0.0}"
    ran = serve(scenario(folder, "ab", "policies.selector={name: fixed, draft: near}", unsure), two)
    drafted = np.asarray(ran.records.rounds.drafted)
    assert (drafted == 1).sum() > len(ran.outputs)  # a request's last proposal is short without that


def test_acceptance_may_be_given(folder: Path, two: Deployment) -> None:
    ran = serve(scenario(folder, "ab", "live={acceptance: field}"), two)
    assert ran.given is not None
    r = ran.records.rounds
    left = [ran.workload.requests[request].output_tokens for request in r.request]
    for request, draft, position, drafted, accepted, tokens in zip(
        r.request, r.draft, r.position, r.drafted, r.accepted, left, strict=True
    ):
        run = ran.given.field.runs(request, draft)[position]
        assert accepted == min(run, drafted, tokens - position)
    assert len(set(r.accepted)) > 2


def test_acceptance_is_recorded_of_drafts_in_both_processes(folder: Path, two: Deployment) -> None:
    """One beside a share says its most likely tokens, one here has logits."""
    prompts = [[5, 9, 31, 2], [17, 8, 8, 30, 13, 6, 29]]
    recorded = Recorder(two).record(prompts, [9, 5], [0, 1])
    for name in ("near", "far"):
        module = AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32)
        for prompt, output, said in zip(prompts, recorded.outputs, recorded.accepted[name], strict=True):
            text = torch.tensor([[*prompt, *output]])
            best = module(text).logits[0, len(prompt) - 1 : -1].argmax(-1)
            assert said.tolist() == (best.numpy() == output).tolist()
    assert 0 < np.concatenate(recorded.accepted["near"]).mean() < 1


def test_sampled_acceptance_is_refused_before_anything_is_loaded(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sampled acceptance is recorded"):
        trace(scenario(folder, "ab", "sampling.temperature=1"), tmp_path / "trace.npz")


@contextmanager
def killing(at: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The rank that was started last is killed before verification ``at``."""
    calls, verify = 0, ShardedRunner.verify

    def deadly(self: ShardedRunner, *args: object, **keys: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at:
            last = max(multiprocessing.active_children(), key=lambda child: child.name)
            assert last.pid is not None
            os.kill(last.pid, signal.SIGKILL)
        return verify(self, *args, **keys)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(ShardedRunner, "verify", deadly)
        yield


def test_four_ranks_and_the_death_of_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two K/V heads over four ranks, in pages that are preempted; then a rank is killed within a run."""
    overrides = ("kv={reserve: grow, block_tokens: 16, target_tokens: 144}",)
    loaded = scenario(folder, "abcd", *overrides)
    with deploy(loaded.scenario, loaded.base_dir) as deployment:
        serve(loaded, deployment)
        monkeypatch.setattr(studies_run, "deploy", lambda *_: deployment)
        arguments = ["run", str(loaded.path), "--out", str(tmp_path / "out")]
        devices = [f"--set={setting}" for setting in settings("abcd", *overrides)]
        with killing(4, monkeypatch):
            result = CliRunner().invoke(app, [*arguments, *devices])
    assert result.exit_code == 1, result.output
    assert "rank 3 (d) was killed by signal 9" in result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "rank 3 (d) was killed by signal 9" in summary["interrupted"]
    assert 3 <= summary["speculation"]["verifications"] < 8
    assert summary["requests"]["completed"] < 5
    left = {child.name for child in multiprocessing.active_children()}
    assert left.isdisjoint({"spinsim rank 2 (c)", "spinsim rank 3 (d)"})


def test_refuses_what_cannot_be_divided(folder: Path) -> None:
    with pytest.raises(InputError, match=r"4 attention heads .* over 3 devices; .* evenly: 1, 2, 4"):
        scenario(folder, "abc")
    with pytest.raises(InputError, match="tensor parallel over cpu or h100; all devices must be alike"):
        deploy(scenario(folder, "ab", "devices.b={hardware: h100}").scenario, folder)
