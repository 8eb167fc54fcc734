"""Where the parts of :mod:`benchmarks.sharded` run, and how they keep what they measure."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from spinsim.runner.sharded.summed_norm_trial import InOne

RANKS = 2
Figures = dict[str, Any]


class Kept:
    """Rows of a part, in its file as they are measured."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows, self.begun = path, [], time.perf_counter()  # type: ignore[var-annotated]
        self.machine: Figures = {"torch": torch.__version__, "device": device_name()}

    def add(self, **row: Any) -> None:
        """Keep, save and print a row."""
        self.rows.append(row)
        whole = {"schema": 1, "machine": self.machine, "rows": self.rows}
        self.path.write_text(json.dumps(whole, indent=1) + "\n")
        said = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print(f"[{time.perf_counter() - self.begun:5.1f} s] {self.path.stem}: {said}", flush=True)


def on_gpus() -> bool:
    """Are there as many GPUs as ranks?"""
    return torch.cuda.is_available() and torch.cuda.device_count() >= RANKS


def device_name() -> str:
    """Of the first GPU, or "cpu"."""
    return torch.cuda.get_device_name(0) if on_gpus() else "cpu"


def devices() -> list[torch.device]:
    """Of the ranks."""
    return [torch.device("cuda", rank) if on_gpus() else torch.device("cpu") for rank in range(RANKS)]


def sums_in_one(collectives: Any) -> InOne:
    """What the ranks found of the kernel of sum, residual and norm."""
    found: InOne = getattr(collectives, "in_one", InOne(why_not="not on GPUs"))
    return found
