"""The paper's ladder, live: every step side by side in one process, on models that are loaded once.

    python benchmarks/ladder.py scenarios/h200-ladder.yaml --repetitions 3 --out results/ladder.json

Steps: autoregressive in this engine; vanilla (one fixed smallest draft, padded, serial: our reading of
the paper's baseline); the best fixed draft, chosen on another workload (the next seed); + selection;
+ decomposition; + pipeline; + ragged; then fixed numbers of micro-batches. Repetitions go round
robin over the steps, so that a drifting machine drifts for all. Results are written as they come.
``--soak N`` then serves N requests with random arrivals and impatient clients. ``--generate``
times transformers' own generate at the same batch, and assisted generation at batch 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from spinsim.experiments.run import run_scenario
from spinsim.live.deployment import Deployment, deploy
from spinsim.live.prompts import materialise
from spinsim.reporting.metrics import summarise
from spinsim.reporting.timeline import write_timeline
from spinsim.scenario_file import LoadedScenario, load
from spinsim.workload.build import build_workload

Variant = Callable[[Sequence[str]], LoadedScenario]  # the scenario with further overrides

SERIAL = "policies.pipeline={name: serial}"
SPIN = "policies.selector={name: spin, explore: 0.1, share: prior, prior_weight: 2}"
SPIN_PIPELINE = "policies.pipeline={name: spin}"


def fixed(draft: str) -> str:
    return f"policies.selector={{name: fixed, draft: {draft}}}"


def packing(name: str) -> str:
    return f"policies.packing={{name: {name}}}"


def ladder(smallest: str, best: str) -> dict[str, list[str]]:
    """Overrides of the scenario, step by step."""
    steps = {
        "autoregressive": [fixed("none"), "policies.length={name: none}", packing("ragged"), SERIAL],
        "vanilla": [fixed(smallest), packing("padded"), SERIAL],
        f"best fixed ({best})": [fixed(best), packing("padded"), SERIAL],
        "+ selection": [SPIN, packing("padded"), SERIAL],
        "+ decomposition": [SPIN, packing("decomposed"), SERIAL],
        "+ pipeline": [SPIN, packing("decomposed"), SPIN_PIPELINE],
        "+ ragged": [SPIN, packing("ragged"), SPIN_PIPELINE],
        f"best fixed ({best}), ragged": [fixed(best), packing("ragged"), SERIAL],
        "ragged, serial": [SPIN, packing("ragged"), SERIAL],
    }
    for depth in (2, 3, 4, 6):
        steps[f"ragged, {depth} micro-batches"] = [
            SPIN,
            packing("ragged"),
            f"policies.pipeline={{name: fixed, micro_batches: {depth}}}",
        ]
    return steps


def measure(loaded: LoadedScenario, deployment: Deployment, timeline: Path | None = None) -> dict[str, Any]:
    """One live run of a scenario, as the figures we compare."""
    began = time.perf_counter()
    ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    if ran.error is not None:
        raise ran.error
    summary = summarise(ran.records, loaded.scenario, mode="live", acceptance_source="models")
    if timeline is not None:
        write_timeline(timeline, ran.records, cap=6000)
    rounds = len(ran.records.rounds.size)
    latency = summary["latency"]
    return {
        "goodput_tokens_per_s": summary["goodput_tokens_per_s"],
        "ttft_p50_s": latency["ttft_s"]["p50"],
        "tpot_p50_s": latency["tpot_s"]["p50"],
        "tpot_p99_s": latency["tpot_s"]["p99"],
        "e2e_p50_s": latency["e2e_s"]["p50"],
        "acceptance_length": summary["speculation"]["acceptance_length"],
        "per_draft_share": {name: row["share"] for name, row in summary["speculation"]["per_draft"].items()},
        "padding_fraction": summary["verification"]["padding_fraction"],
        "devices": {name: row["busy_fraction"] for name, row in summary["devices"].items()},
        "rounds": rounds,
        "idle_caused_ms_per_round": 1e3 * summary["host"]["idle_caused_s"] / max(rounds, 1),
        "requests": summary["requests"],
        "slots_held": ran.slots_held,
        "wall_s": time.perf_counter() - began,
    }


def best_fixed(variant: Variant, deployment: Deployment) -> tuple[str, dict[str, float]]:
    """The draft with the highest goodput on another workload than the one that is measured."""
    scenario = variant([]).scenario
    goodput = {}
    for draft in scenario.models.drafts:
        loaded = variant([f"seed={scenario.seed + 1}", fixed(draft), packing("padded"), SERIAL])
        goodput[draft] = float(measure(loaded, deployment)["goodput_tokens_per_s"])
    return max(goodput, key=lambda draft: goodput[draft]), goodput


def soak(variant: Variant, deployment: Deployment, requests: int) -> dict[str, Any]:
    """Random arrivals, random lengths, impatient clients: is everybody accounted for, is memory flat?"""
    loaded = variant(
        [
            f"workload.requests={requests}",
            "workload.arrivals={process: gamma, rate_per_s: 150, cv: 2}",
            "workload.output_tokens={distribution: uniform, min: 1, max: 96}",
            "workload.patience_s={distribution: uniform, min: 0.2, max: 6}",
            "policies.pipeline={name: fixed, micro_batches: 2}",
        ],
    )
    before = memory()
    figures = measure(loaded, deployment)
    figures["device_memory_before_bytes"] = before
    figures["device_memory_after_bytes"] = memory()
    return figures


def memory() -> list[int]:
    return [torch.cuda.memory_allocated(i) for i in range(torch.cuda.device_count())]


def generate(loaded: LoadedScenario, deployment: Deployment) -> dict[str, Any]:
    """transformers' generate on the same target: tokens per second at the batch, and assisted at batch 1."""
    models = deployment.models
    target, scenario = models.target.module, loaded.scenario
    prompted = materialise(scenario, build_workload(scenario, loaded.base_dir), models.target)
    assert prompted.workload.concurrency is not None
    requests = prompted.workload.requests[: prompted.workload.concurrency]
    longest = max(request.prompt_tokens for request in requests)
    new = 64
    ids = torch.zeros(len(requests), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, request in enumerate(requests):
        ids[row, longest - request.prompt_tokens :] = torch.tensor(prompted.prompts[request.id])
        mask[row, longest - request.prompt_tokens :] = 1
    ids, mask = ids.to(target.device), mask.to(target.device)
    target.set_attn_implementation("sdpa")
    options: dict[str, Any] = {
        "max_new_tokens": new,
        "min_new_tokens": new,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 0,
    }

    def timed(**more: Any) -> float:
        begin = time.perf_counter()
        target.generate(**options, **more)
        return time.perf_counter() - begin

    timed(input_ids=ids[:, -8:], attention_mask=mask[:, -8:])
    figures: dict[str, Any] = {"batch": len(requests), "new_tokens": new}
    figures["generate_tokens_per_s"] = len(requests) * new / timed(input_ids=ids, attention_mask=mask)
    one = {"input_ids": ids[:1, -longest:], "attention_mask": mask[:1, -longest:]}
    figures["generate_batch_1_tokens_per_s"] = new / timed(**one)
    assistant = next(iter(models.drafts.values())).module
    assistant.to(target.device).set_attn_implementation("sdpa")
    figures["assisted_batch_1_tokens_per_s"] = new / timed(**one, assistant_model=assistant)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--device", choices=("cpu", "cuda"))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no repetition after this")
    parser.add_argument("--soak", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--generate", action="store_true")
    parser.add_argument("--timelines", type=Path, help="folder for Perfetto timelines of two steps")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    began = time.perf_counter()

    def variant(overrides: Sequence[str]) -> LoadedScenario:
        return load(options.scenario, [*options.overrides, *overrides], options.device)

    loaded = variant([])
    deployment = deploy(loaded.scenario, loaded.base_dir, packings=("padded", "decomposed", "ragged"))
    result: dict[str, Any] = {
        "command": "benchmarks/ladder.py",
        "scenario": loaded.scenario.name,
        "models": deployment.models.notes,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "deploy_s": time.perf_counter() - began,
        "kv_slots": deployment.kv_slots,
        "steps": {},
    }

    def write() -> None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    print(f"deployed in {result['deploy_s']:.1f} s", flush=True)
    smallest = next(iter(loaded.scenario.models.drafts))
    best, on_other = best_fixed(variant, deployment)
    result["best_fixed"] = {"draft": best, "goodput_on_the_other_workload": on_other}
    steps = ladder(smallest, best)
    if options.soak:
        result["soak"] = soak(variant, deployment, options.soak)
        print(f"soak: {result['soak']}", flush=True)
        write()
    for repetition in range(options.repetitions):
        for name, changes in steps.items():
            if time.perf_counter() - began > options.seconds:
                break
            timeline = None
            if repetition == 0 and options.timelines and name in ("+ ragged", "ragged, 3 micro-batches"):
                options.timelines.mkdir(parents=True, exist_ok=True)
                timeline = options.timelines / f"timeline-{name.replace(' ', '').strip('+')}.json"
            figures = measure(variant(changes), deployment, timeline)
            result["steps"].setdefault(name, []).append(figures)
            write()
            print(f"{repetition} {name:32s} {figures['goodput_tokens_per_s']:9.1f} tokens/s", flush=True)
    if options.generate:
        result["transformers"] = generate(loaded, deployment)
        print(f"transformers: {result['transformers']}", flush=True)
    write()
    report(result)


def report(result: dict[str, Any]) -> None:
    """Medians with their spread, and the ratio to vanilla and to the best fixed draft."""
    medians = {
        name: statistics.median(row["goodput_tokens_per_s"] for row in rows)
        for name, rows in result["steps"].items()
    }
    base = medians.get("vanilla")
    best = next((value for name, value in medians.items() if name.endswith(")") and "best" in name), None)
    heads = ("tokens/s", "min", "max", "x vanilla", "x best", "length")
    print(f"{'step':34s} " + " ".join(f"{head:>9s}" for head in heads))
    for name, rows in result["steps"].items():
        values = [row["goodput_tokens_per_s"] for row in rows]
        length = rows[0]["acceptance_length"]
        print(
            f"{name:34s} {medians[name]:9.1f} {min(values):9.1f} {max(values):9.1f} "
            f"{medians[name] / base if base else float('nan'):9.2f} "
            f"{medians[name] / best if best else float('nan'):9.2f} {length if length else 1:9.2f}"
        )


if __name__ == "__main__":
    main()
