"""A results folder: the same files for simulated and live runs, whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

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
from spinsim.scenario import Scenario


def write_results(
    out: Path,
    records: Records,
    scenario: Scenario,
    summary: Mapping[str, Any],
    *,
    resolved_yaml: str,
    mode: Literal["simulated", "live"],
    full_timeline: bool = False,
    force: bool = False,
    command: Sequence[str] | None = None,
    log: InputLog | None = None,
    extras: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    tables: Mapping[str, pa.Table] = MappingProxyType({}),
    report: Callable[[Path], object] | None = None,
) -> Path:
    """Write every file of a results folder; returns where it is.

    They go to a hidden sibling first, which then takes the place of ``out``: a reader never meets
    half a folder. Should writing itself fail, what was written is moved into place nevertheless,
    its summary says so under ``interrupted``, and the error is raised. What is interrupted does not take
    the place of complete results: it goes beside them (:func:`spinsim.results.place.place_of`). ``log``
    holds the inputs of a live run, for replay; ``extras`` are further JSON files, ``tables`` further Parquet
    ones; ``report`` writes report.html into the folder that it is given. Raises InputError where ``out``
    holds anything and ``force`` is not given.
    """
    if (summary["mode"], summary["scenario"]) != (mode, scenario.name):
        raise ValueError(f"the summary is of {summary['mode']} {summary['scenario']!r}, not of this run")
    if out.exists() and not force and (not out.is_dir() or any(out.iterdir())):
        raise InputError("is not empty; allowed is a new or an empty folder", file=str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = unfinished(out)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _write_json(partial / "summary.json", summary)
        (partial / "scenario.yaml").write_text(resolved_yaml, encoding="utf-8")
        _write_json(partial / "environment.json", environment(command))
        for name, content in extras.items():
            _write_json(partial / name, content)
        write_tables(partial, records, log)
        for name, table in tables.items():
            pq.write_table(table, partial / name, compression=arrow.COMPRESSION)
        write_timeline(partial / "timeline.json", records, cap=None if full_timeline else CAP)
        if report is not None:
            report(partial)
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
