"""Parts of :mod:`benchmarks.sharded` that run whole scenarios: outputs against ``generate``, and a soak."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from benchmarks.generation import greedy_outputs
from benchmarks.paged_live import PACKINGS, packed, scenario_of
from benchmarks.sharded_machine import RANKS, Figures, Kept, device_name, on_gpus, sums_in_one
from spinsim.costs.sheets.hardware import sheet_of_device
from spinsim.family import family
from spinsim.live.deployment import deploy
from spinsim.live.live_run import run_scenario
from spinsim.scenario_file import LoadedScenario


def scenario(kv: Figures, requests: int, concurrency: int) -> LoadedScenario:
    """The embedded family in fp32: the target over both devices, a draft on each of them."""
    names = [f"gpu{rank}" for rank in range(RANKS)]
    sheet = (sheet_of_device(device_name()) or "h100") if on_gpus() else "cpu"
    shapes = {"target": "llama-3-8b", "tiny": "llama-68m", "small": "llama-265m"}
    models = {
        name: {"shape": shape, "weights": f"embedded:{name}", "dtype": "fp32"}
        for name, shape in shapes.items()
    }
    target = models.pop("target")
    return scenario_of(
        {
            "name": "sharded",
            "seed": 1,
            "workload": {
                "requests": requests,
                "arrivals": {"process": "closed", "concurrency": concurrency},
                "prompt_tokens": {"distribution": "uniform", "min": 20, "max": 120},
                "output_tokens": {"distribution": "uniform", "min": 20, "max": 60},
            },
            "models": {"target": target, "drafts": models},
            "devices": {name: {"hardware": sheet} for name in names},
            "placement": {"target": names, "drafts": dict(zip(models, names, strict=True))},
            "costs": {"model": "roofline"},
            "acceptance": {"model": "constant", "probability": 0.5},
            "policies": {
                "selector": {"name": "random"},
                "length": {"name": "fixed", "tokens": 4},
                "pipeline": {"name": "fixed", "micro_batches": 2},
                "switching": "overlapped",
            },
            "limits": {"batch": 8, "context_tokens": 256, "prefill_chunk_tokens": 128, "max_length": 4},
            "kv": kv,
            "sampling": {"stop_at_end_of_text": False},
            "live": {"widen": False},
        }
    )


def correct(path: Path, tiny: bool) -> None:
    """Outputs against ``generate``, with every packing, in whole slots."""
    against_generate(Kept(path), {"reserve": "full"}, 4 if tiny else 16)


def pages(path: Path, tiny: bool) -> None:
    """Likewise in pages that are preempted."""
    kv = {"reserve": "grow", "block_tokens": 16, "target_tokens": 400, "draft_tokens": 384}
    kept = Kept(path)
    against_generate(kept, kv, 6 if tiny else 16)
    if not any(row.get("preempted") for row in kept.rows):
        raise SystemExit("no request was preempted")


def against_generate(kept: Kept, kv: Figures, requests: int) -> None:
    """A row for every packing. Raises SystemExit where outputs differ."""
    loaded = scenario(kv, requests, 8)
    begun = time.perf_counter()
    with deploy(loaded.scenario, loaded.base_dir, packings=PACKINGS) as deployment:
        kept.add(deployed_s=time.perf_counter() - begun)
        begun = time.perf_counter()
        torch.set_num_threads(1)  # matrices are small: several threads wait for one that others hold up
        wanted = greedy_outputs(loaded, deployment, family.load("target", dtype=torch.float32))
        kept.add(generated_s=time.perf_counter() - begun)
        for packing in PACKINGS:
            ran = run_scenario(packed(loaded, packing), loaded.base_dir, deployment)
            kept.add(
                packing=packing,
                in_one=bool(sums_in_one(getattr(deployment.target, "collectives", None)).measured),
                requests=len(wanted),
                alike=sum(ran.outputs.get(request) == tokens for request, tokens in wanted.items()),
                accepted=sum(ran.records.rounds.accepted),
                preempted=sum(record.preemptions for record in ran.records.requests.values()),
                slots_held=ran.slots_held,
                error=str(ran.error or ""),
                hops=deployment.ranks() if ran.error is None else {},
            )
    if any(row["alike"] < row["requests"] or row["error"] for row in kept.rows if "alike" in row):
        raise SystemExit("outputs differ")


def soak(path: Path, tiny: bool) -> None:
    """Drafts of both GPUs propose while the target verifies on both: no deadlock, and none is lost."""
    kept = Kept(path)
    requests = 12 if tiny else 400
    loaded = scenario({"reserve": "grow", "block_tokens": 16}, requests, 8)
    with deploy(loaded.scenario, loaded.base_dir) as deployment:
        begun = time.perf_counter()
        ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
        statuses = [record.status for record in ran.records.requests.values()]
        kept.add(
            requests=requests,
            completed=statuses.count("completed"),
            wall_s=time.perf_counter() - begun,
            tokens=sum(map(len, ran.outputs.values())),
            verifications=len(ran.records.rounds.size),
            slots_held=ran.slots_held,
            error=str(ran.error or ""),
            hops=deployment.ranks() if ran.error is None else {},
        )
    if kept.rows[-1]["completed"] < requests:
        raise SystemExit("requests were lost")
