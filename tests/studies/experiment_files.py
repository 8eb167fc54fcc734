"""Small scenarios whose answers are known, and plugins that misbehave."""

from __future__ import annotations

from pathlib import Path

import yaml

from spinsim.lab.cell import Cell, cell_of
from spinsim.scenario_file import load

SCENARIO = {
    "name": "small",
    "seed": 1,
    "workload": {
        "requests": 12,
        "arrivals": {"process": "closed", "concurrency": 4},
        "prompt_tokens": {"distribution": "fixed", "value": 16},
        "output_tokens": {"distribution": "uniform", "min": 8, "max": 24},
    },
    "models": {
        "target": {"shape": "llama-7b"},
        "drafts": {"tiny": {"shape": "llama-68m"}, "large": {"shape": "llama-1.1b"}},
    },
    "devices": {"gpu0": {"hardware": "h200"}, "gpu1": {"hardware": "h200"}},
    "placement": {"target": ["gpu0"], "drafts": {"tiny": "gpu1", "large": "gpu1"}},
    "costs": {"model": "constant", "verify_s": 0.01, "draft_step_s": {"tiny": 0.0005, "large": 0.002}},
    "acceptance": {"model": "constant", "probability": {"tiny": 0.6, "large": 0.9}},
    "policies": {
        "selector": {"name": "fixed", "draft": "large"},
        "length": {"name": "fixed", "tokens": 1},
    },
    "limits": {"batch": 4, "context_tokens": 512, "max_length": 8},
}

# Request 13 of a seed does not exist: the plugin looks at the seed, which policies are told.
MISBEHAVING = '''
import os, signal
from dataclasses import dataclass
from pathlib import Path
from spinsim.policies.registry import SELECTORS
from spinsim.policies.selectors.arms import PerRequest

MARKS = Path({marks!r})

@SELECTORS.register({name!r})
class Misbehaving(PerRequest["Misbehaving.Params"]):
    """Fails by seed: 2 raises, 3 raises once, 4 kills its process, 5 kills it once."""

    @dataclass(frozen=True)
    class Params:
        pass

    def __init__(self, params, context):
        super().__init__(params, context)
        first = self._first(context.seed)
        if context.seed == 2 or (context.seed == 3 and first):
            raise ValueError("this seed is bad")
        if context.seed == 4 or (context.seed == 5 and first):
            os.kill(os.getpid(), signal.SIGKILL)

    def _first(self, seed):
        try:
            (MARKS / str(seed)).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def choose(self, view, arms):
        return arms[0]
'''


def write_scenario(folder: Path, name: str = "small", **changes: object) -> Path:
    """The small scenario in a file, some of its sections replaced."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, "name": name, **changes}, sort_keys=False), encoding="utf-8")
    return path


def write_plugin(folder: Path, name: str) -> Path:
    """The misbehaving selector in a file, registered as ``name`` (once a process)."""
    marks = folder / "marks"
    marks.mkdir()
    path = folder / "misbehaving.py"
    path.write_text(MISBEHAVING.format(marks=str(marks), name=name), encoding="utf-8")
    return path


def cells(path: Path, seeds: range, *overrides: str) -> list[Cell]:
    """A cell a seed."""
    return [cell_of(load(path, [*overrides, f"seed={seed}"])) for seed in seeds]
