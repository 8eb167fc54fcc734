"""Live runs in pages: lossless though requests are preempted, and verification's time within a run."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.generation import greedy_outputs
from benchmarks.kernel_session import Session
from spinsim.live.deployment import deploy
from spinsim.live.live_run import Ran, run_scenario
from spinsim.operations import KINDS
from spinsim.scenario import PolicyChoice, Scenario
from spinsim.scenario_file import LoadedScenario, load

PACKINGS = ("ragged", "padded", "decomposed")
VERIFY = KINDS.index("verify")
Content = dict[str, Any]
# A target for a CPU, and a draft of the 8B shape's vocabulary whose K/V take next to no memory.
_TINY: Content = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": 256,
}
_DRAFT: Content = {
    "vocab_size": 128256,
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 2,
    "num_attention_heads": 16,
    "head_dim": 64,
    "max_position_embeddings": 16384,
}


def scenario_of(content: Content) -> LoadedScenario:
    """The content as a scenario, through a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "paged.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return load(path)


def placed(device: torch.device, drafts: list[str]) -> Content:
    """One device for all models."""
    hardware = "h200" if device.type == "cuda" else "cpu"
    return {
        "devices": {"here": {"hardware": hardware}},
        "placement": {"target": ["here"], "drafts": dict.fromkeys(drafts, "here")},
        "costs": {"model": "roofline"},
        "acceptance": {"model": "constant", "probability": 0.5},
    }


def lossless(device: torch.device) -> Iterator[Content]:
    """The embedded family in fp32, in memory for half of its contexts: outputs against ``generate``.

    With every packing. Raises AssertionError where they differ, nobody was preempted, or a slot is held.
    """
    shapes = {"target": "llama-3-8b", "tiny": "llama-68m", "small": "llama-265m"}
    models = {
        name: {"shape": shape, "weights": f"embedded:{name}", "dtype": "fp32"}
        for name, shape in shapes.items()
    }
    target = models.pop("target")
    loaded = scenario_of(
        {
            "name": "preempted",
            "seed": 1,
            "workload": {
                "requests": 16,
                "arrivals": {"process": "closed", "concurrency": 8},
                "prompt_tokens": {"distribution": "uniform", "min": 20, "max": 120},
                "output_tokens": {"distribution": "uniform", "min": 40, "max": 100},
            },
            "models": {"target": target, "drafts": models},
            **placed(device, list(models)),
            "policies": {
                "selector": {"name": "random"},
                "length": {"name": "fixed", "tokens": 4},
                "pipeline": {"name": "fixed", "micro_batches": 2},
                "switching": "overlapped",
            },
            "limits": {
                "batch": 8,
                "context_tokens": 256,
                "prefill_chunk_tokens": 128,
                "max_length": 4,
            },
            "kv": {"reserve": "grow", "block_tokens": 16, "target_tokens": 896, "draft_tokens": 800},
            "sampling": {"stop_at_end_of_text": False},
            "live": {"widen": False},
        }
    )
    deployment = deploy(loaded.scenario, loaded.base_dir, packings=PACKINGS)
    runs = {
        packing: run_scenario(packed(loaded, packing), loaded.base_dir, deployment) for packing in PACKINGS
    }
    deployment.models.target.module.to("cpu")
    wanted = greedy_outputs(loaded, deployment)
    for packing, ran in runs.items():
        found = {
            "packing": packing,
            "requests": len(wanted),
            "alike": sum(ran.outputs[request] == tokens for request, tokens in wanted.items()),
            "preempted": sum(record.preemptions for record in ran.records.requests.values()),
            "slots_held": ran.slots_held,
            "error": str(ran.error or ""),
        }
        yield found
        if found["error"] or found["alike"] < len(wanted) or not found["preempted"] or ran.slots_held:
            raise AssertionError(str(found))


def packed(loaded: LoadedScenario, packing: str) -> Scenario:
    """The scenario with another packing."""
    policies = loaded.scenario.policies.model_copy(update={"packing": PolicyChoice(name=packing)})
    return loaded.scenario.model_copy(update={"policies": policies})


def within_a_run(session: Session, context: int) -> Content:
    """Verifications of full batches in a live run, each beside the floor of what it read.

    Prompts fill the contexts. One chunk of a prompt is prefilled between two rounds, and random weights
    accept next to nothing: outputs of as many tokens as there are chunks keep the first row until the last
    one has come, and ``rounds`` more are rounds of all rows. Raises RuntimeError where there was none.
    """
    shape, rows = session.plan.targets[0], session.plan.batches[0]
    cuda = session.device.type == "cuda"
    dtype = "bf16" if cuda else "fp32"
    rounds, chunk = (40, 2048) if cuda else (6, 32)
    output = rows * -(-context // chunk) + rounds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.yaml"
        _write_config(Path(folder) / "draft.json", _DRAFT if cuda else _TINY)
        _write_config(Path(folder) / "tiny.json", _TINY)
        content = {
            "name": "run",
            "seed": 1,
            "workload": {
                "requests": rows,
                "arrivals": {"process": "closed", "concurrency": rows},
                "prompt_tokens": {"distribution": "fixed", "value": context},
                "output_tokens": {"distribution": "fixed", "value": output},
            },
            "models": {
                "target": {"shape": shape.name if cuda else "tiny.json", "dtype": dtype},
                "drafts": {"draft": {"shape": "draft.json", "dtype": dtype}},
            },
            **placed(session.device, ["draft"]),
            "policies": {
                "selector": {"name": "fixed", "draft": "draft"},
                "length": {"name": "fixed", "tokens": 4},
                "packing": {"name": "ragged"},
                "pipeline": {"name": "serial"},
            },
            "limits": {
                "batch": rows,
                "context_tokens": context + output + 8,
                "prefill_chunk_tokens": chunk,
                "max_length": 4,
            },
            "kv": {"reserve": "grow", "block_tokens": 64 if cuda else 16},
            "sampling": {"stop_at_end_of_text": False},
            "live": {"prompt_graphs": False},
        }
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        loaded = load(path)
        deployment = deploy(loaded.scenario, loaded.base_dir)
        ran = run_scenario(loaded.scenario, loaded.base_dir, deployment)
    if ran.error is not None:
        raise ran.error
    return {"context": context, **_verified(session, ran, rows)}


def _write_config(path: Path, config: Content) -> None:
    common = {"model_type": "llama", "num_key_value_heads": 2, "tie_word_embeddings": False}
    path.write_text(json.dumps(common | config))


def _verified(session: Session, ran: Ran, rows: int) -> Content:
    """Medians over the rounds of all rows: seconds of the verification, and its ratio to the floor."""
    costs = session.costs(session.plan.targets[0])
    operations, rounds = ran.records.operations, ran.records.rounds
    kinds, sizes = np.asarray(operations.kind), np.asarray(operations.rows)
    spans = np.asarray(operations.finished_ns) - np.asarray(operations.started_ns)
    seconds = spans[kinds == VERIFY] * 1e-9  # one a round, in the rounds' order: the run is serial
    ratios, taken = [], []
    for spent, size, kv, queries in zip(
        seconds, sizes[kinds == VERIFY], rounds.real_kv_tokens, rounds.real_query_tokens, strict=True
    ):
        if size < rows:
            continue
        attention = costs.attention.seconds(kv, queries, kv * queries / size)
        floor = costs.body(queries) + costs.output(queries) + attention
        ratios.append(float(spent / floor))
        taken.append(float(spent))
    if not taken:
        raise RuntimeError(f"no round of {rows} rows in {len(seconds)} rounds; nothing was measured")
    return {
        "rounds": len(ratios),
        "preempted": sum(record.preemptions for record in ran.records.requests.values()),
        "verify_ms": statistics.median(taken) * 1e3,
        "ratio": statistics.median(ratios),
        "worst": max(ratios),
    }
