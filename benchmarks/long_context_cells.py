"""Live cells that start in mid-flight: prompts carry the contexts of a steady state, outputs are short."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.policies import depth, fixed, packing
from spinsim.engine.records import COMPLETED, Records
from spinsim.engine.world import NS
from spinsim.operations import KINDS
from spinsim.scenario_file import LoadedScenario, load

Content = dict[str, Any]
Figures = dict[str, float]

FAST, MIDDLE, LARGE = "fast", "middle", "large"
# One token is accepted with these probabilities, which are ours: 2.0, 2.5 and 3.2 tokens a round of 4.
ACCEPTED = {FAST: 0.53, MIDDLE: 0.65, LARGE: 0.78}
SHAPES = {"target": "llama-3-8b", FAST: "llama-3-117m", MIDDLE: "llama-3-330m", LARGE: "llama-3-1b"}
ROUND_ROBIN, SERIAL = "policies.selector={name: round_robin}", "policies.pipeline={name: serial}"
LENGTH = "policies.length={name: fixed, tokens: 4}"

SECTIONS: dict[str, dict[str, list[str]]] = {
    "no speculation": {"autoregressive": [fixed("none"), "policies.length={name: none}"]},
    # the same draft, serial: the packings alone differ
    "decomposition": {
        "padded": [fixed(FAST), LENGTH, packing("padded"), SERIAL],
        "decomposed": [fixed(FAST), LENGTH, packing("decomposed"), SERIAL],
        "ragged": [fixed(FAST), LENGTH, packing("ragged"), SERIAL],
    },
    # the same draft, ragged: the number of micro-batches alone differs
    "pipelining": {
        "serial": [fixed(LARGE), LENGTH, packing("ragged"), SERIAL],
        "two micro-batches": [fixed(LARGE), LENGTH, packing("ragged"), depth(2)],
    },
    # every draft has a third of the rows in every round: whether they take turns alone differs
    "lanes": {
        "drafts in turn": [ROUND_ROBIN, LENGTH, "placement.draft_lanes=shared"],
        "a lane for each": [ROUND_ROBIN, LENGTH, "placement.draft_lanes=own"],
    },
}
OVER = {  # each figure of a section that is a ratio: (cell, the cell that it is held against)
    "decomposition": (("decomposed", "padded"), ("ragged", "padded")),
    "pipelining": (("two micro-batches", "serial"),),
    "lanes": (("a lane for each", "drafts in turn"),),
}
TINY_CONFIG: Content = {
    "model_type": "llama",
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True)
class Size:
    """``contexts``: prompts of a cell are 0.4 to 1.6 times as long. A cell has at most ``rows`` requests, and
    no more than hold ``kv_tokens`` in all. ``outputs``: the shortest and the longest.
    """

    contexts: tuple[int, ...]
    rows: int
    kv_tokens: int
    outputs: tuple[int, int]
    chunk: int
    block: int

    def rows_of(self, context: int) -> int:
        """Requests of a cell."""
        return max(2, min(self.rows, self.kv_tokens // context))

    @property
    def longest(self) -> int:
        """Tokens of the longest request of any cell, in whole blocks."""
        most = int(1.6 * max(self.contexts)) + self.outputs[1] + 8
        return -(-most // self.block) * self.block


FULL = Size((512, 2048, 8192, 16384), 48, 200_000, (250, 300), 8192, 64)
QUICK = Size((24, 48), 4, 1000, (12, 16), 64, 16)


def write_scenario(folder: Path, size: Size, hardware: str, gpus: int, costs: Content) -> Path:
    """The scenario that every cell varies. Drafts are on the last device. ``hardware`` cpu: tiny models."""
    shapes, dtype = dict(SHAPES), "bf16"
    if hardware == "cpu":
        (folder / "tiny.json").write_text(json.dumps(TINY_CONFIG))
        (folder / "target.json").write_text(json.dumps(TINY_CONFIG | {"num_hidden_layers": 2}))
        shapes = {name: "target.json" if name == "target" else "tiny.json" for name in SHAPES}
        dtype = "fp32"
    models = {name: {"shape": shape, "dtype": dtype} for name, shape in shapes.items()}
    target = models.pop("target")
    devices = [f"gpu{number}" for number in range(gpus)]
    shortest, longest = size.outputs
    content = {
        "name": "long-contexts",
        "seed": 1,
        "workload": {
            "arrivals": {"process": "at_once"},
            "requests": size.rows,
            "prompt_tokens": {"distribution": "fixed", "value": size.contexts[0]},
            "output_tokens": {"distribution": "uniform", "min": shortest, "max": longest},
        },
        "models": {"target": target, "drafts": models},
        "devices": {device: {"hardware": hardware} for device in devices},
        "placement": {"target": devices[:1], "drafts": dict.fromkeys(models, devices[-1])},
        "costs": costs,
        "acceptance": {"model": "constant", "probability": ACCEPTED},
        "policies": {"packing": {"name": "ragged"}, "pipeline": {"name": "serial"}},
        "limits": {
            "batch": size.rows,
            "context_tokens": size.longest,
            "prefill_chunk_tokens": size.chunk,
            "max_length": 4,
        },
        "kv": {"reserve": "grow", "block_tokens": size.block},
        "live": {"acceptance": "field"},
    }
    path = folder / "long-contexts.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def cell_of(path: Path, size: Size, context: int, overrides: Sequence[str]) -> LoadedScenario:
    """The scenario as one cell has it."""
    low, high = int(0.4 * context), int(1.6 * context)
    prompts = f"workload.prompt_tokens={{distribution: uniform, min: {low}, max: {high}}}"
    return load(path, [f"workload.requests={size.rows_of(context)}", prompts, *overrides])


def figures(records: Records) -> Figures:
    """What a cell came to, in both worlds alike.

    ``tokens_per_s`` is of the whole run, prefill included. ``decode_tokens_per_s`` and ``rows_per_s`` (rows
    verified) are of the stretch in which every request decodes: from the end of the last prefill to the first
    request's end. Means of operations are of that stretch, too, in seconds. A stretch that is empty has none.
    """
    operations, rounds = records.operations, records.rounds
    kinds = np.asarray(operations.kind)
    began, ended = np.asarray(operations.started_ns), np.asarray(operations.finished_ns)
    first = int(ended[kinds == KINDS.index("prefill")].max(initial=0))
    requests = records.requests.values()
    last = min((r.finished_ns for r in requests if r.status == COMPLETED), default=0)
    found: Figures = {
        "run_s": records.ended_ns / NS,
        "tokens_per_s": sum(r.output_tokens for r in requests) * NS / max(records.ended_ns, 1),
        "completed": sum(r.status == COMPLETED for r in requests),
        "preemptions": sum(r.preemptions for r in requests),
        "stretch_s": max(0.0, (last - first) / NS),
    }
    committed_ns, sizes = np.asarray(rounds.committed_ns), np.asarray(rounds.size)
    within = (committed_ns > first) & (committed_ns <= last)
    if within.any():
        tokens = np.asarray(rounds.committed)[np.repeat(within, sizes)].sum()
        found["decode_tokens_per_s"] = float(tokens) * NS / (last - first)
        found["rows_per_s"] = float(sizes[within].sum()) * NS / (last - first)
        spent = committed_ns - np.asarray(rounds.assigned_ns)
        found["round_s"] = float(spent[within].mean()) / NS
    for number, kind in enumerate(KINDS):
        chosen = (kinds == number) & (ended > (0 if kind == "prefill" else first)) & (ended <= last)
        if chosen.any():
            found[f"{kind}_s"] = float((ended - began)[chosen].mean()) / NS
    return found
