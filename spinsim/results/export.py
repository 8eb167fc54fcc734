"""The tables of a results folder as CSV and Markdown, whatever wrote it: runs, experiments, validations."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from spinsim.errors import InputError, reason_of
from spinsim.results.metrics import flatten

MARKDOWN_ROWS = 1000  # longer tables are CSV alone: nobody reads them, and pages choke
SUMMARIES = ("summary.json", "validation.json")
_LEFT_OUT = ("definitions",)  # prose

Rows = Iterator[Sequence[Any]]


@dataclass(frozen=True)
class Table:
    """A table by name: its columns, its rows, and how many there are."""

    name: str
    columns: tuple[str, ...]
    rows: Rows
    count: int


def export(folder: Path, out: Path) -> list[Path]:
    """Every table of ``folder`` into ``out``, as NAME.csv and, up to 1,000 rows, NAME.md; the files.

    Parquet tables keep their names. Of the summary, each mapping of mappings (latencies, drafts, devices) and
    each list of mappings (failed cells, metrics of a comparison) is a table, and the single numbers are one.
    Raises InputError for a folder without results, or whose files cannot be read.
    """
    tables = list(_tables(folder))
    if not tables:
        raise InputError("holds no results; a folder that a command wrote", file=str(folder))
    out.mkdir(parents=True, exist_ok=True)
    return [path for table in tables for path in _write(table, out)]


def _tables(folder: Path) -> Iterator[Table]:
    for name in SUMMARIES:
        if (folder / name).is_file():
            try:
                content = json.loads((folder / name).read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError(f"not JSON: {error}; results", file=str(folder / name)) from None
            stem = name.removesuffix(".json")
            yield _single(stem, content)
            yield from _within(stem, content)
            if str(content.get("schema", "")).startswith("spinsim.sweep/"):
                yield from _combinations(folder / "sweep.parquet", content["axes"], content["metrics"])
    for path in sorted(folder.glob("*.parquet")):
        yield _parquet(path)


def _single(name: str, content: Mapping[str, Any]) -> Table:
    """Every single value of a summary by its dotted path."""
    kept = {key: value for key, value in content.items() if key not in _LEFT_OUT}
    rows = [(path, value) for path, value in flatten(kept) if not isinstance(value, list | Mapping)]
    return Table(name, ("key", "value"), iter(rows), len(rows))


def _within(name: str, value: object) -> Iterator[Table]:
    """The tables in a JSON value: mappings and lists of mappings, at any depth."""
    if not isinstance(value, Mapping):
        return
    for key, inner in value.items():
        if key in _LEFT_OUT:
            continue
        title = f"{name}-{key}"
        nested = isinstance(inner, Mapping) and all(isinstance(v, Mapping) for v in inner.values())
        if nested and inner:
            yield _records(title, [{"name": label, **flat(row)} for label, row in inner.items()])
        elif isinstance(inner, list) and inner and all(isinstance(v, Mapping) for v in inner):
            yield _records(title, [flat(row) for row in inner])
        else:
            yield from _within(title, inner)


def _combinations(path: Path, axes: Sequence[str], metrics: Sequence[str]) -> Iterator[Table]:
    """Of a sweep: a row each combination, the mean of every metric over its seeds, the least and the most."""
    if not path.is_file():
        return
    table = _parquet(path)
    groups: dict[str, list[dict[str, Any]]] = {}
    for values in table.rows:
        row = dict(zip(table.columns, values, strict=True))
        groups.setdefault(json.dumps([row[axis] for axis in axes], default=str), []).append(row)
    records = []
    for rows in groups.values():
        ended = [row for row in rows if not row.get("error")]
        record = {axis: rows[0][axis] for axis in axes} | {"seeds": len(ended)}
        for metric in metrics:
            found = [value for row in ended if (value := row.get(metric)) is not None]
            record[metric] = sum(found) / len(found) if found else None
            record |= {
                f"{metric}.least": min(found, default=None),
                f"{metric}.most": max(found, default=None),
            }
        records.append(record)
    yield _records("combinations", records)


def flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A mapping without mappings in it: inner ones by dotted path."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _records(name: str, records: Sequence[Mapping[str, Any]]) -> Table:
    columns = tuple(dict.fromkeys(key for record in records for key in record))
    return Table(name, columns, ([r.get(c) for c in columns] for r in records), len(records))


def _parquet(path: Path) -> Table:
    try:
        file = pq.ParquetFile(path)
        count = file.metadata.num_rows
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {reason_of(error)}; a Parquet table", file=str(path)) from None

    def rows() -> Rows:
        for batch in file.iter_batches():
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    return Table(path.stem, tuple(file.schema_arrow.names), rows(), count)


def _write(table: Table, out: Path) -> list[Path]:
    stem = re.sub(r"[^A-Za-z0-9_.+-]+", "-", table.name)
    short = table.count <= MARKDOWN_ROWS
    rows: Rows | list[Sequence[Any]] = list(table.rows) if short else table.rows
    paths = [out / f"{stem}.csv"]
    with paths[0].open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows([_text(cell) for cell in row] for row in rows)
    if short:
        paths.append(out / f"{stem}.md")
        head = [f"| {' | '.join(map(_escaped, table.columns))} |", "|" + "---|" * len(table.columns)]
        lines = [f"| {' | '.join(_escaped(_text(cell)) for cell in row)} |" for row in rows]
        paths[1].write_text("\n".join([*head, *lines, ""]), encoding="utf-8")
    return paths


def _text(cell: object) -> str:
    """Nothing for nothing, numbers in full, lists as JSON, bytes in hexadecimal."""
    if cell is None:
        return ""
    if isinstance(cell, bytes):
        return cell.hex()
    return json.dumps(cell, default=bytes.hex) if isinstance(cell, list | bool | Mapping) else str(cell)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\r", " ").replace("\n", "<br>")
