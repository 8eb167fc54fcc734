"""A results folder: the same files for simulated and live runs, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spinsim.engine.inputs import InputLog
from spinsim.engine.records import Records
from spinsim.errors import InputError
from spinsim.files import replace_folder, unfinished
from spinsim.results import arrow
from spinsim.results.environment import environment
from spinsim.results.place import place_of
from spinsim.results.tables import write_tables
from spinsim.results.timeline import CAP, write_timeline


@dataclass(frozen=True)
class Additions:
    """What a results folder holds beside what is made of the records.

    ``log``: the inputs of a live run, for replay. ``documents``: further JSON files, and ``tables`` further
    Parquet files, by name. ``report`` writes report.html into the folder that it is given.
    """

    log: InputLog | None = None
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    report: Callable[[Path], object] | None = None


NOTHING_MORE = Additions()


def write_results(
    out: Path,
    records: Records,
    summary: Mapping[str, Any],
    resolved_yaml: str,
    additions: Additions = NOTHING_MORE,
    *,
    force: bool = False,
) -> Path:
    """Write every file of a results folder; returns where it is.

    They go to a hidden sibling first, which then takes the place of ``out``: a reader never meets
    half a folder. Should writing itself fail, what was written is moved into place nevertheless,
    its summary says so under ``interrupted``, and the error is raised. What is interrupted does not take
    the place of complete results: it goes beside them (:func:`spinsim.results.place.place_of`). Raises
    InputError where ``out`` holds anything and ``force`` is not given.
    """
    if out.exists() and not force and (not out.is_dir() or any(out.iterdir())):
        raise InputError("is not empty; allowed is a new or an empty folder", file=str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = unfinished(out)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _write_json(partial / "summary.json", summary)
        (partial / "scenario.yaml").write_text(resolved_yaml, encoding="utf-8")
        _write_json(partial / "environment.json", environment())
        for name, content in additions.documents.items():
            _write_json(partial / name, content)
        write_tables(partial, records, additions.log)
        for name, table in additions.tables.items():
            pq.write_table(table, partial / name, compression=arrow.COMPRESSION)
        write_timeline(partial / "timeline.json", records, cap=CAP)
        if additions.report is not None:
            additions.report(partial)
    except BaseException as error:
        cause = f"writing the results failed: {type(error).__name__}: {error}".rstrip(": ")
        said = summary.get("interrupted")
        summary = {**summary, "interrupted": f"{said}; {cause}" if said else cause}
        _write_json(partial / "summary.json", summary)
        replace_folder(place_of(out, summary), partial)
        raise
    place = place_of(out, summary)
    replace_folder(place, partial)
    return place


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
