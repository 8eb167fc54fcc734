"""A deployment small enough for a test: three tiny random models on the CPU, which agree now and then."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from spinsim.scenario_file import LoadedScenario, load

TARGET = {
    "model_type": "llama",
    "vocab_size": 16,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
DRAFT = {**TARGET, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}


def tiny_scenario(folder: Path, name: str = "tiny", **sections: object) -> LoadedScenario:
    """Two drafts of different shape, a closed loop of three clients, everything in fp32."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "target.json").write_text(json.dumps(TARGET))
    (folder / "draft.json").write_text(json.dumps(DRAFT))
    content: dict[str, object] = {
        "name": name,
        "seed": 1,
        "workload": {
            "requests": 9,
            "arrivals": {"process": "closed", "concurrency": 3},
            "prompt_tokens": {"distribution": "uniform", "min": 2, "max": 24},
            "output_tokens": {"distribution": "uniform", "min": 1, "max": 20},
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
            "selector": {"name": "round_robin"},
            "length": {"name": "fixed", "tokens": 3},
            "packing": {"name": "padded"},
        },
        "limits": {"batch": 3, "context_tokens": 64, "prefill_chunk_tokens": 16, "max_length": 3},
    }
    content |= sections
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load(path)
