"""The live world on a GPU: lanes on one device, captured graphs, every packing; lossless."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.generation import greedy_outputs
from spinsim.buckets import PROMPT_TOKENS
from spinsim.live.clock import LiveEnvironment
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.lanes import Job, WorkerLane
from spinsim.runner.for_model import make_runner
from spinsim.runner.graphs.runner import GraphedRunner
from spinsim.runner.kv import Layout
from spinsim.runner.loading import random_model
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import ChunkRows
from spinsim.runner.selfcheck import relative, tiny_configs
from spinsim.scenario_file import LoadedScenario
from spinsim.studies.replay import replay
from spinsim.studies.run import run
from tests.live.checkpoints import save_checkpoint, serving
from tests.live.test_run import scenario_file, serve
from tests.live.test_run_in_pages import LONG, TIGHT
from tests.live.test_sharded_run import serve as serve_divided

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_gpus(folder: Path, drafts_on: str = "gpu0", **sections: object) -> LoadedScenario:
    devices = {"gpu0": {"hardware": "h200"}}
    if drafts_on != "gpu0":
        devices[drafts_on] = {"hardware": "h200"}
    placement = {"target": ["gpu0"], "drafts": {"a": drafts_on, "b": drafts_on}}
    return scenario_file(folder, devices=devices, placement=placement, **sections)


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "eager"])
@pytest.mark.parametrize("packing", ["padded", "decomposed", "ragged"])
def test_greedy_outputs_are_those_of_generate(tmp_path: Path, packing: str, graphs: bool) -> None:
    policies = {
        "selector": {"name": "random"},
        "length": {"name": "heuristic"},
        "packing": {"name": packing},
        "pipeline": {"name": "fixed", "micro_batches": 2},
        "switching": "overlapped",
    }
    loaded = on_gpus(tmp_path, policies=policies, live={"graphs": graphs})
    ran, deployment = serve(loaded)
    assert ran.error is None
    assert ran.outputs == expected_on_gpu(loaded, deployment)


@pytest.mark.parametrize("packing", ["padded", "decomposed", "ragged"])
def test_outputs_are_those_of_generate_though_requests_are_preempted(tmp_path: Path, packing: str) -> None:
    policies = {
        "selector": {"name": "random"},
        "length": {"name": "fixed", "tokens": 3},
        "packing": {"name": packing},
        "pipeline": {"name": "fixed", "micro_batches": 2},
    }
    loaded = on_gpus(tmp_path, policies=policies, kv=TIGHT, workload=LONG)
    ran, deployment = serve(loaded)
    assert ran.error is None
    assert sum(record.preemptions for record in ran.records.requests.values()) > 3
    assert ran.outputs == expected_on_gpu(loaded, deployment)


def expected_on_gpu(loaded: LoadedScenario, deployment: Deployment) -> dict[int, list[int]]:
    module = deployment.models.target.module
    module.to("cpu")
    try:
        return greedy_outputs(loaded, deployment)
    finally:
        module.to("cuda")


@pytest.mark.parametrize(
    ("dtype", "kernel", "tolerance"),
    [
        (torch.float32, "auto", 1e-4),
        (torch.bfloat16, "auto", 4e-2),
        (torch.bfloat16, "triton", 4e-2),
    ],
    ids=["fp32", "bf16", "bf16-triton"],
)
@pytest.mark.parametrize("limit", [PROMPT_TOKENS, 48], ids=["one pass", "several"])
def test_graphed_prompts_leave_what_eager_ones_do(
    dtype: torch.dtype, kernel: str, tolerance: float, limit: int
) -> None:
    """Replayed at changing lengths, with the kernels of few and of many new tokens."""
    model = random_model(tiny_configs()["llama"], 1, context_tokens=256, dtype=dtype, device="cuda")
    eager, graphed = (
        make_runner(model, Layout(4, 256), RunnerPlan(4, 4, graphs=graphs, kernel=kernel))
        for graphs in (False, True)
    )
    assert isinstance(graphed, GraphedRunner)
    assert graphed.prompts is not None
    graphed.prompts.limit = limit
    calls = [
        ChunkRows([3, 1], [0, 0], [list(range(90)), list(range(40))]),
        ChunkRows([1, 3, 0], [40, 90, 0], [[5, 6, 7], [8], [9, 10]]),
        ChunkRows([0, 2], [2, 0], [list(range(100, 130)), [1]]),
        ChunkRows([3], [91], [list(range(60))]),
    ]
    for _ in range(2):
        for rows in calls:
            for runner in (eager, graphed):
                runner.catch_up(rows, predict=False)
            first = graphed.prefill(rows)
            assert first.shape == (len(rows.slots),)
            if dtype == torch.float32:
                assert first.tolist() == eager.prefill(rows).tolist()
            for slot, start, new in zip(rows.slots, rows.starts, rows.tokens, strict=True):
                end = start + len(new)
                kept = graphed.cache.keys[:, slot, :end], graphed.cache.values[:, slot, :end]
                wanted = eager.cache.keys[:, slot, :end], eager.cache.values[:, slot, :end]
                for ours, theirs in zip(kept, wanted, strict=True):
                    assert relative(ours, theirs.float()) < tolerance


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_drafts_on_the_other_gpu(tmp_path: Path) -> None:
    loaded = on_gpus(tmp_path, "gpu1", policies={"selector": {"name": "round_robin"}})
    ran, deployment = serve(loaded)
    assert ran.error is None
    assert ran.outputs == expected_on_gpu(loaded, deployment)


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "eager"])
@pytest.mark.parametrize(
    "gpus",
    [
        pytest.param(
            count, marks=pytest.mark.skipif(torch.cuda.device_count() < count, reason=f"needs {count} GPUs")
        )
        for count in (2, 4)
    ],
)
def test_a_target_over_gpus_with_drafts_beside_its_shares(tmp_path: Path, gpus: int, graphs: bool) -> None:
    save_checkpoint(tmp_path / "target", hidden_size=64)
    save_checkpoint(tmp_path / "near", hidden_size=64, like=tmp_path / "target")
    save_checkpoint(tmp_path / "far", hidden_size=64, num_hidden_layers=1)
    names = [f"gpu{number}" for number in range(gpus)]
    loaded = serving(
        tmp_path,
        "devices={" + ", ".join(f"{name}: {{hardware: h200}}" for name in names) + "}",
        f"placement={{target: [{', '.join(names)}], drafts: {{near: {names[-1]}, far: gpu0}}}}",
        "policies.pipeline={name: fixed, micro_batches: 2}",
        f"live={{graphs: {str(graphs).lower()}}}",
        drafts=("near", "far"),
    )
    with deploy(loaded.scenario, loaded.base_dir) as deployment:
        serve_divided(loaded, deployment)


def test_replay(tmp_path: Path) -> None:
    run(on_gpus(tmp_path), tmp_path / "out")
    assert replay(tmp_path / "out").difference == ""


START_S = 2e-3  # from handing over an operation to its start, while another lane works for 10 ms


def test_a_lane_does_not_wait_for_what_another_lane_of_its_gpu_does() -> None:
    """A short operation begins, and ends, while the other lane's takes milliseconds."""
    env = LiveEnvironment()
    streams = [torch.cuda.Stream() for _ in range(2)]
    counter = torch.zeros(1, device="cuda")
    torch.cuda.synchronize()

    def on(stream: torch.cuda.Stream, work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            with torch.cuda.stream(stream):
                work()
            stream.synchronize()

        return run

    long = on(streams[0], lambda: torch.cuda._sleep(20_000_000))  # some 10 ms
    short = on(streams[1], lambda: counter.add_(1))
    lanes = [WorkerLane(name, env) for name in ("long", "short")]
    late: list[float] = []
    try:
        for warm_up in (0, 1):  # a kernel's first launch loads its module, which waits for the whole device
            lanes[warm_up].submit(Job(warm_up - 2, "warm-up", (long, short)[warm_up]))
            env.completions.get(timeout=60)
        for turn in range(20):
            lanes[0].submit(Job(2 * turn, "long", long))
            time.sleep(1e-3)  # the long one is at work
            handed_ns = env.wall_ns()
            lanes[1].submit(Job(2 * turn + 1, "short", short))
            ends = [env.completions.get(timeout=60) for _ in range(2)]
            assert [end.operation for end in ends] == [2 * turn + 1, 2 * turn]
            assert ends[0].done is not None
            late.append((ends[0].done.started_ns - handed_ns) * 1e-9)
    finally:
        for lane in lanes:
            lane.close()
    assert counter.item() == len(late) + 1  # and the warm-up's
    assert sorted(late)[len(late) // 2] < START_S
