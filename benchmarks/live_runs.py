"""Single live runs of a deployment as the figures that benchmarks compare."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from spinsim.live.deployment import Deployment
from spinsim.live.live_run import Ran, run_scenario
from spinsim.results.summary import summarise
from spinsim.results.timeline import write_timeline
from spinsim.scenario_file import LoadedScenario

Variant = Callable[[Sequence[str]], LoadedScenario]  # the scenario with further overrides
Figures = dict[str, Any]


def measure(loaded: LoadedScenario, deployment: Deployment, timeline: Path | None = None) -> Figures:
    """One live run. Raises what ended it."""
    began = time.perf_counter()
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    if ran.error is not None:
        raise ran.error
    if timeline is not None:
        timeline.parent.mkdir(parents=True, exist_ok=True)
        write_timeline(timeline, ran.records, cap=6000)
    return figures(ran, loaded) | {"wall_s": time.perf_counter() - began}


def figures(ran: Ran, loaded: LoadedScenario) -> Figures:
    """What a finished run came to."""
    summary = summarise(ran.records, loaded.scenario, mode="live", acceptance_source=ran.acceptance_source)
    rounds = len(ran.records.rounds.size)
    latency = summary["latency"]
    return {
        "goodput_tokens_per_s": summary["goodput_tokens_per_s"],
        "ttft_p50_s": latency["ttft_s"]["p50"],
        "tpot_p50_s": latency["tpot_s"]["p50"],
        "tpot_p99_s": latency["tpot_s"]["p99"],
        "e2e_mean_s": latency["e2e_s"]["mean"],
        "e2e_p50_s": latency["e2e_s"]["p50"],
        "acceptance_length": summary["speculation"]["acceptance_length"],
        "per_draft_share": {name: row["share"] for name, row in summary["speculation"]["per_draft"].items()},
        "padding_fraction": summary["verification"]["padding_fraction"],
        "devices": {name: row["busy_fraction"] for name, row in summary["devices"].items()},
        "lanes": {name: row["busy_fraction"] for name, row in summary["lanes"].items()},
        "rounds": rounds,
        "idle_caused_ms_per_round": 1e3 * summary["host"]["idle_caused_s"] / max(rounds, 1),
        "duration_s": summary["run"]["duration_s"],
        "requests": summary["requests"],
        "slots_held": ran.slots_held,
    }


def held(deployment: Deployment) -> Figures:
    """What a deployment holds now: graphs of each model, device memory of each GPU, memory of the process."""
    runners = {
        "target": deployment.target,
        **dict(zip(deployment.models.drafts, deployment.drafts, strict=True)),
    }
    recorders = {name: getattr(runner, "recorder", None) for name, runner in runners.items()}
    gpus = range(torch.cuda.device_count())
    return {
        "graphs": {name: recorder.captured if recorder else 0 for name, recorder in recorders.items()},
        "device_allocated_bytes": [torch.cuda.memory_allocated(i) for i in gpus],
        "device_reserved_bytes": [torch.cuda.memory_reserved(i) for i in gpus],
        "process_bytes": resident_bytes(),
    }


def resident_bytes() -> int | None:
    """Of this process, in main memory; None where the system does not say."""
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        return None
    return int(statm.read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")
