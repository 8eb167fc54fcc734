"""An experiment's cells as rows: what was varied, the seed, and every number of the summary."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spinsim.errors import InputError
from spinsim.files import followed, unfinished
from spinsim.lab.cell import Cell, cell_of
from spinsim.lab.store import Outcome
from spinsim.results.metrics import flatten
from spinsim.scenario_file import LoadedScenario, load

_SKIPPED = ("schema", "seed", "window.rule", "window.note", "interrupted")


@dataclass(frozen=True, slots=True)
class Planned:
    """A cell and what it stands for: the label of each thing that was varied, and the seed."""

    labels: Mapping[str, Any]
    seed: int
    cell: Cell


@dataclass(frozen=True, slots=True)
class Row:
    """A planned cell that has ended. ``summary`` is None where it failed, and ``error`` says why."""

    labels: Mapping[str, Any]
    seed: int
    key: str
    summary: Mapping[str, Any] | None
    error: str = ""


def plan(
    path: Path, overrides: Sequence[str], labels: Mapping[str, Any], plugins: Sequence[str] = ()
) -> Planned:
    """One cell. Raises InputError as loading its scenario does."""
    loaded = load(path, overrides)
    return Planned(labels, loaded.scenario.seed, planned_cell(loaded, plugins))


def planned_cell(loaded: LoadedScenario, plugins: Sequence[str] = ()) -> Cell:
    """The cell of a loaded scenario; errors point at its lines."""
    try:
        return cell_of(loaded, plugins)
    except InputError as error:
        raise loaded.places.locate(error) from None


def rows_of(planned: Sequence[Planned], outcomes: Mapping[str, Outcome]) -> list[Row]:
    """In the order of the plan, whatever order they ended in."""
    return [
        Row(p.labels, p.seed, p.cell.key, outcomes[p.cell.key].summary, outcomes[p.cell.key].error)
        for p in planned
    ]


def failures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What failed and why, for a summary."""
    return [
        {"labels": dict(row.labels), "seed": row.seed, "error": row.error}
        for row in rows
        if row.summary is None
    ]


def records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A flat mapping for each row: labels, seed, cell, error, then the summary by dotted paths."""
    return [
        {
            **row.labels,
            "seed": row.seed,
            "cell": row.key,
            "error": row.error or None,
            **{
                name: value
                for name, value in flatten(row.summary or {})
                if name not in _SKIPPED and name not in row.labels
            },
        }
        for row in rows
    ]


def table(rows: Sequence[Row]) -> pa.Table:
    """One row a cell; a column that holds both text and numbers becomes text."""
    flat = records(rows)
    columns = dict.fromkeys(name for record in flat for name in record)
    arrays = [_array([record.get(name) for record in flat]) for name in columns]
    return pa.table(dict(zip(columns, arrays, strict=True)))


def _array(values: Sequence[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        values = [None if value is None else float(value) for value in values]
    elif len(kinds) > 1:
        values = [None if value is None else str(value) for value in values]
    return pa.array(values, from_pandas=False)


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """As Parquet; the same rows give the same bytes."""
    path = followed(path)
    partial = unfinished(path)
    pq.write_table(table(rows), partial, compression="zstd")
    os.replace(partial, path)
