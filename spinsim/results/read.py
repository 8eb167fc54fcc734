"""A results folder as columns, for its report. Tables of rounds and operations are read in blocks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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


class Table(Mapping[str, Column]):
    """A Parquet file's columns: one of them whole by its name, or several in blocks of rows.

    Those of names are codes. ``labels`` says of which, and grows as blocks are read.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._file = pq.ParquetFile(path)
        self._names = tuple(names)
        self.labels: dict[str, list[str]] = {}
        if missing := set(names) - set(self._file.schema_arrow.names):
            raise KeyError(f"{path.name} lacks {min(missing)}")
        for field in self._file.schema_arrow:
            if field.name in self._names and pa.types.is_dictionary(field.type):
                self.labels[field.name] = []

    def __getitem__(self, name: str) -> Column:
        if name not in self._names:
            raise KeyError(name)
        parts = [part for (part,) in self.blocks(name)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def groups(self) -> int:
        """Blocks that the file has."""
        return int(self._file.num_row_groups)

    def blocks(self, *names: str) -> Iterator[tuple[Column, ...]]:
        """Columns ``names``, a block of rows at a time."""
        return (self.block(number, *names) for number in range(self.groups))

    def block(self, number: int, *names: str) -> tuple[Column, ...]:
        """One of them."""
        return tuple(self._column(number, name) for name in names)  # one at a time: half the memory

    def bounds(self, number: int, name: str) -> tuple[float, float]:
        """The least and the largest number of a block's column; infinities where the file does not say."""
        group = self._file.metadata.row_group(number)
        known = group.column(self._file.schema_arrow.get_field_index(name)).statistics
        return (known.min, known.max) if known is not None and known.has_min_max else (-np.inf, np.inf)

    def _column(self, number: int, name: str) -> Column:
        column = self._file.read_row_group(number, columns=[name], use_threads=False)[name].combine_chunks()
        if name not in self.labels:
            return arrow.values(column)
        labels, own = self.labels[name], column.dictionary.to_pylist()
        labels += [label for label in own if label not in labels]
        codes = arrow.values(column.indices)
        place = np.array([labels.index(label) for label in own], dtype=codes.dtype)
        return codes if np.array_equal(place, np.arange(place.size)) else place[codes]


@dataclass(frozen=True)
class RunFolder:
    """What the report shows. Tables of requests are columns by name; those of names hold codes."""

    summary: dict[str, Any]
    scenario: dict[str, Any]
    requests: dict[str, Column]
    rounds: Table
    decisions: Table
    operations: Table
    labels: dict[str, list[str]]  # of coded columns of requests and load: "requests.status" and so on
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

    def bins(self, moments: Column) -> Column:
        """In which of ``BINS`` equal parts of the run each moment (in seconds) lies."""
        ended = max(self.summary["run"]["duration_s"], 1e-9)
        bins: Column = np.clip(moments / ended * BINS, 0, BINS - 1).astype(np.int16)
        return bins


def read_folder(folder: Path) -> RunFolder:
    """Read a results folder. Raises InputError where it is none, or a part of it is missing or unreadable."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        scenario = yaml.safe_load((folder / "scenario.yaml").read_text(encoding="utf-8"))
        labels: dict[str, list[str]] = {}
        requests = _whole(folder / "requests.parquet", _REQUESTS, labels)
        rounds = Table(folder / "rounds.parquet", _ROUNDS)
        decisions = Table(folder / "decisions.parquet", _DECISIONS)
        operations = Table(folder / "inputs.parquet", _INPUTS)
        kept = folder / "load.parquet"
        load = _whole(kept, _LOAD, labels) if kept.is_file() else {}
        curves = folder / "regret.json"
        regret = json.loads(curves.read_text(encoding="utf-8")) if curves.is_file() else {}
    except (OSError, ValueError, KeyError, yaml.YAMLError) as error:
        what = Path(error.filename).name if isinstance(error, OSError) and error.filename else ""
        said = ": ".join(filter(None, (what, reason_of(error))))
        raise InputError(
            f"is no complete results folder ({said}); allowed is one that a command wrote", file=str(folder)
        ) from error
    return RunFolder(summary, scenario, requests, rounds, decisions, operations, labels, regret, load)


def _whole(path: Path, names: tuple[str, ...], labels: dict[str, list[str]]) -> dict[str, Column]:
    table = Table(path, names)
    columns = dict(table)
    labels.update({f"{path.stem}.{name}": found for name, found in table.labels.items()})
    return columns
