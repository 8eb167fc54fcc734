"""A results folder as columns, for its report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from spinsim.errors import InputError, reason_of
from spinsim.results import arrow

Column = NDArray[Any]

BINS = 72  # of figures over time

_REQUESTS = (
    "request", "domain", "status", "arrival_s", "first_token_s", "finished_s", "ttft_s", "tpot_s", "e2e_s",
)  # fmt: skip
_ROUNDS = ("request", "draft", "drafted", "accepted", "committed", "committed_s")
_DECISIONS = ("assigned_ns", "kv_tokens", "real_kv_tokens")
_LOAD = ("time_s", "admitted", "waiting", "reason", "kv_tokens")
_INPUTS = (
    "operation", "lane", "kind", "model", "micro_batch", "rows", "tokens",
    "started_ns", "finished_ns",
)  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """What the report shows. Tables are columns by name; those of names hold (codes, labels)."""

    summary: dict[str, Any]
    scenario: dict[str, Any]
    requests: dict[str, Column]
    rounds: dict[str, Column]
    decisions: dict[str, Column]
    operations: dict[str, Column]
    labels: dict[str, list[str]]  # of coded columns: "rounds.draft" and so on
    regret: dict[str, Any]  # curves; empty where they are unknown
    load: dict[str, Column]  # empty in older folders

    @property
    def arms(self) -> list[str]:
        """Drafts in the scenario's order, and "none" where it was ever used."""
        return list(self.summary["speculation"]["per_draft"])

    @property
    def drafts(self) -> list[str]:
        """Drafts in the scenario's order."""
        return list(self.scenario["models"].get("drafts") or {})

    @property
    def window(self) -> tuple[float, float]:
        """Begin and end of the measured window, in seconds."""
        return self.summary["window"]["start_s"], self.summary["window"]["end_s"]

    @cached_property
    def inside(self) -> Column:
        """Which rows of the rounds committed within the window."""
        at = self.rounds["committed_s"]
        inside: Column = (at >= self.window[0]) & (at <= self.window[1])
        return inside

    def bins(self, moments: Column) -> Column:
        """In which of ``BINS`` equal parts of the run each moment (in seconds) lies."""
        ended = max(self.summary["run"]["duration_s"], 1e-9)
        bins: Column = np.clip(moments / ended * BINS, 0, BINS - 1).astype(np.int16)
        return bins

    @cached_property
    def arm_of_rounds(self) -> Column:
        """For each row of the rounds, the index into :attr:`arms`."""
        labels = self.labels["rounds.draft"]
        none = len(self.arms) - 1
        place = {name: i for i, name in enumerate(self.arms)}
        index = np.array([place.get(name, none) for name in labels], dtype=np.int16)
        arm: Column = index[self.rounds["draft"]] if labels else np.zeros(0, dtype=np.int16)
        return arm


def read_folder(folder: Path) -> RunFolder:
    """Read a results folder. Raises InputError where it is none, or a part of it is missing or unreadable."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        scenario = yaml.safe_load((folder / "scenario.yaml").read_text(encoding="utf-8"))
        labels: dict[str, list[str]] = {}
        requests = _table(folder / "requests.parquet", _REQUESTS, labels)
        rounds = _table(folder / "rounds.parquet", _ROUNDS, labels)
        decisions = _table(folder / "decisions.parquet", _DECISIONS, labels)
        operations = _table(folder / "inputs.parquet", _INPUTS, labels)
        kept = folder / "load.parquet"
        load = _table(kept, _LOAD, labels) if kept.is_file() else {}
        curves = folder / "regret.json"
        regret = json.loads(curves.read_text(encoding="utf-8")) if curves.is_file() else {}
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
        what = Path(error.filename).name if isinstance(error, OSError) and error.filename else ""
        said = ": ".join(filter(None, (what, reason_of(error))))
        raise InputError(
            f"is no complete results folder ({said}); allowed is one that a command wrote", file=str(folder)
        ) from error
    timers = operations["operation"] < 0
    if timers.any():
        operations = {name: column[~timers] for name, column in operations.items()}
    return RunFolder(summary, scenario, requests, rounds, decisions, operations, labels, regret, load)


def _table(path: Path, names: tuple[str, ...], labels: dict[str, list[str]]) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    file = pq.ParquetFile(path)
    for name in names:  # one at a time: half the memory
        column = file.read(columns=[name], use_threads=False).unify_dictionaries()[name].combine_chunks()
        if hasattr(column, "dictionary"):
            labels[f"{path.stem}.{name}"] = column.dictionary.to_pylist()
            column = column.indices
        columns[name] = arrow.values(column)
        del column
        pa.default_memory_pool().release_unused()  # else the pool keeps what decoding took
    return columns
