"""A recording with token ids, and scenarios over it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from spinsim.recording import Ragged, Recording, Trace, save_trace
from spinsim.scenario_file import LoadedScenario, load

LOOK: dict[str, Any] = {"kind": "ngram", "max_size": 3, "min_size": 1}


def repetitive(seed: int, count: int) -> list[int]:
    """Tokens that repeat themselves."""
    draw = random.Random(seed)
    words = [[draw.randrange(50) for _ in range(draw.randint(2, 6))] for _ in range(4)]
    return [token for _ in range(count) for token in draw.choice(words)][:count]


def recorded(folder: Path, requests: int = 12, *, outputs: bool = True) -> Trace:
    """Requests of 20 prompt and 40 output tokens, with a recorded draft called ``small``."""
    texts = [repetitive(number, 60) for number in range(requests)]
    runs = [[(7 * number + position) % 4 for position in range(40)] for number in range(requests)]
    trace = Trace(
        target="t",
        keys=tuple(f"r{number}" for number in range(requests)),
        prompt_tokens=(20,) * requests,
        drafts={"small": Recording.of_runs(runs)},
        prompts=Ragged.of([text[:20] for text in texts], np.uint32),
        outputs=Ragged.of([text[20:] for text in texts], np.uint32) if outputs else None,
    )
    save_trace(trace, folder / "trace.npz")
    return trace


def scenario_over(folder: Path, drafts: dict[str, Any], *overrides: str, **sections: Any) -> LoadedScenario:
    """Closed loop of four clients over ``trace.npz``."""
    placed = {name: "gpu" for name, spec in drafts.items() if spec.get("kind", "model") == "model"}
    content: dict[str, Any] = {
        "name": "mixed",
        "seed": 2,
        "workload": {
            "arrivals": {"process": "closed", "concurrency": 4},
            "source": {"format": "spinsim", "path": "trace.npz"},
        },
        "models": {"target": {"shape": "llama-7b"}, "drafts": drafts},
        "devices": {"gpu": {"hardware": "h100"}},
        "placement": {"target": ["gpu"], "drafts": placed},
        "costs": {"model": "roofline"},
        "acceptance": {"model": "trace", "path": "trace.npz"},
        "policies": {"selector": {"name": "random"}, "length": {"name": "fixed", "tokens": 3}},
        "limits": {"batch": 4, "context_tokens": 128},
    }
    content |= sections
    (folder / "mixed.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return load(folder / "mixed.yaml", overrides)
