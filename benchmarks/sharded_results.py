"""A part's file: what :mod:`benchmarks.sharded_cells` found, as it is found."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any, Literal

from benchmarks.gpu_state import gpu_states
from benchmarks.sharded_deployments import Part
from spinsim.costs.for_scenario import TARGET
from spinsim.engine.records import Records
from spinsim.engine.world import NS
from spinsim.files import write_atomically
from spinsim.operations import KINDS
from spinsim.results.environment import environment
from spinsim.results.summary import summarise
from spinsim.scenario_file import LoadedScenario

SCHEMA = "spinsim.sharded-cells/1"
Row = dict[str, Any]
Mode = Literal["simulated", "live"]


class Results:
    """A part's file in the making; ``told`` and ``runs`` have a row for each cell (and repetition)."""

    def __init__(self, folder: Path, part: Part) -> None:
        name = part.name.replace(",", "").replace(" ", "-")
        self.path, self.profile = folder / f"{name}.json", folder / f"{name}.profile.json"
        self.data: Row = {"schema": SCHEMA, "part": part.name, "copies": part.copies, "sessions": []}
        self.data |= {"floors": [], "plans": {}, "told": [], "runs": [], "left_out": []}
        if self.path.exists():
            self.data = json.loads(self.path.read_text(encoding="utf-8"))
        self.data["left_out"] = []
        self.data["sessions"].append({"environment": environment(), "clocks": [gpu_states()]})

    def write(self) -> None:
        """Replace the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(self.data, indent=1) + "\n")

    def add(self, kind: str, row: Row) -> None:
        """Keep a row, and print it."""
        self.data[kind].append(row)
        self.write()
        print(f"{kind:6s} " + " ".join(f"{key}={_brief(value)}" for key, value in row.items()), flush=True)

    def done(self, cell: str) -> int:
        """Repetitions of a cell."""
        return sum(row["cell"] == cell for row in self.data["runs"])


def _brief(value: object) -> str:
    if isinstance(value, list | dict):
        return f"[{len(value)}]"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def figures(records: Records, cell: LoadedScenario, mode: Mode, source: str) -> Row:
    """What a run came to, in both worlds alike. ``operations``: their means by kind, model and rows."""
    found = summarise(records, cell.scenario, mode=mode, acceptance_source=source)
    latency = found["latency"]
    return {
        "goodput_tokens_per_s": found["goodput_tokens_per_s"],
        "ttft_p50_s": latency["ttft_s"]["p50"],
        "tpot_p50_s": latency["tpot_s"]["p50"],
        "acceptance_length": found["speculation"]["acceptance_length"],
        "duration_s": found["run"]["duration_s"],
        "lanes": {name: row["busy_fraction"] for name, row in found["lanes"].items()},
        "operations": operations(records),
    }


def operations(records: Records) -> dict[str, float]:
    """Mean seconds by kind and model: what lanes that share a GPU make of them is in it."""
    done = records.operations
    spans: dict[str, list[int]] = {}
    for kind, draft, began, end in zip(done.kind, done.model, done.started_ns, done.finished_ns, strict=True):
        model = records.drafts[draft] if draft >= 0 else TARGET
        if end >= 0:
            spans.setdefault(f"{KINDS[kind]} {model}", []).append(end - began)
    return {name: statistics.fmean(found) / NS for name, found in sorted(spans.items())}
