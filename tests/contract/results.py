"""What shipped scenarios give: numbers that no rearrangement of the code may change.

Floats are compared at six significant digits. Another numpy, BLAS or processor may change the last bits of
a float, and a change of behaviour moves far more than the sixth digit. Integers, nanoseconds among them,
and text are compared exactly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spinsim import api

ROOT = Path(__file__).parents[2]
SCENARIOS = ROOT / "scenarios"
LIVE_RUN = Path(__file__).parent / "live-run"
DIGITS = 6
TABLES = ("requests", "rounds", "inputs", "decisions")

# one seed of each: recorded acceptance and profiled costs, synthetic acceptance and roofline, the paper's
# three parts together, and one CPU that target and drafts share
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "quickstart": ("quickstart.yaml", {}),
    "specialists": ("specialists.yaml", {}),
    "spin-paper": ("spin-paper/spin.yaml", {}),
    "family-cpu": (
        "family-cpu.yaml",
        {"costs": {"model": "profile", "path": "../profiles/family-cpu-cpu.json"}},
    ),
}
# Keys of a summary that are not compared: what the wall clock says ...
MEASURED = {"host.orchestrator_s"}
# ... and prose, which may improve
PROSE = {"definitions", "note", "method"}


def simulate(name: str, out: Path) -> Path:
    """The results folder of one of ``RUNS``, written to ``out``."""
    scenario, settings = RUNS[name]
    api.simulate(SCENARIOS / scenario, set=settings, out=out)
    return out


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a JSON value by its dotted path; lists are leaves."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from flat(each, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def rounded(value: Any) -> Any:
    """The value with every float at ``DIGITS`` significant digits; what is not there (NaN) is None."""
    if isinstance(value, float):
        if value != value:
            return None
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [rounded(each) for each in value]
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return value


def summary(folder: Path) -> dict[str, Any]:
    """The leaves of ``summary.json`` that the scenario and its seed decide."""
    content = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return {
        path: rounded(value)
        for path, value in flat(content)
        if path not in MEASURED and not PROSE & set(path.split("."))
    }


def columns(path: Path) -> dict[str, str]:
    """A digest of every column of a Parquet file."""
    table = pq.read_table(path)
    return {name: _digest(table[name].to_pylist()) for name in table.column_names}


def _digest(values: list[Any]) -> str:
    text = json.dumps(rounded(values), default=lambda value: value.hex())  # bytes
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def types(path: Path) -> dict[str, str]:
    """The type of every column of a Parquet file."""
    schema: pa.Schema = pq.read_schema(path)
    return {field.name: str(field.type) for field in schema}


def run_results(folder: Path) -> dict[str, Any]:
    """All that is held of one run."""
    return {
        "summary": summary(folder),
        "columns": {name: columns(folder / f"{name}.parquet") for name in TABLES},
    }


def sweep_results(out: Path) -> list[list[Any]]:
    """The cells of ``validate-cpu.yaml`` as a sweep: labels and numbers, in order.

    A cell's digest follows the code, so its column is there and empty.
    """
    swept = api.sweep(SCENARIOS / "validate-cpu.yaml", workers=0, out=out)
    kept = swept.frame.drop(columns=[name for name in swept.frame if name in MEASURED]).astype(object)
    kept["cell"] = ""
    return [list(kept.columns), *(rounded(list(row)) for row in kept.itertuples(index=False))]


def replayed() -> dict[str, Any]:
    """What a replay of the recorded live run counts; ``difference`` is empty where all was the same."""
    done = api.replay(LIVE_RUN)
    return {
        "inputs": done.inputs,
        "rounds": done.rounds,
        "decisions": done.decisions,
        "difference": done.difference,
    }


def measure(folder: Path) -> dict[str, Any]:
    """Everything that ``results.json`` holds. ``folder`` is an empty one to work in."""
    runs = {name: run_results(simulate(name, folder / name)) for name in RUNS}
    return {"runs": runs, "sweep": sweep_results(folder / "sweep"), "replay": replayed()}
