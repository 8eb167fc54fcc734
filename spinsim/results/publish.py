"""Writes a run's summary and results folder from its records, in both worlds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from spinsim.engine.inputs import InputLog
from spinsim.engine.records import Records
from spinsim.errors import InputError
from spinsim.files import check_writable
from spinsim.progress import Progress as Progress
from spinsim.results.folder import write_results
from spinsim.results.summary import summarise
from spinsim.scenario_file import LoadedScenario, resolved_yaml
from spinsim.workload.request import Workload

Summary = dict[str, Any]


def publish(
    loaded: LoadedScenario,
    out: Path | None,
    records: Records,
    workload: Workload,
    *,
    mode: Literal["simulated", "live"],
    acceptance_source: str,
    progress: Progress | None = None,
    log: InputLog | None = None,
    notes: dict[str, Any] | None = None,
    extras: Mapping[str, Mapping[str, Any]] | None = None,
    tables: Mapping[str, pa.Table] | None = None,
    report: Callable[[Path], object] | None = None,
) -> Summary:
    """Summarise a run and, with ``out``, write its folder. ``notes`` are further keys of the summary,
    ``extras`` further JSON files and ``tables`` further Parquet files by name, and ``report`` writes
    report.html into a folder.

    :func:`check_out` said beforehand that ``out`` may be written.
    """
    summary = summarise(records, loaded.scenario, mode=mode, acceptance_source=acceptance_source)
    if workload.malformed:
        summary["workload"] = {
            "rows_read": workload.rows_read,
            "malformed_rows": len(workload.malformed),
            "first": [f"{row.file}:{row.line}: {row.problem}" for row in workload.malformed[:5]],
        }
    summary.update(notes or {})
    if out is not None:
        if progress is not None:
            progress("write", 0, 1)
        write_results(
            out,
            records,
            loaded.scenario,
            summary,
            resolved_yaml=resolved_yaml(loaded),
            mode=mode,
            force=True,
            log=log,
            extras=extras or {},
            tables=tables or {},
            report=report,
        )
        if progress is not None:
            progress("write", 1, 1)
    return summary


def check_out(out: Path, *, force: bool) -> None:
    """Raise InputError unless results may be written to ``out``, before any work begins.

    ``force`` lets them replace earlier results, and nothing else.
    """
    check_writable(out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / "summary.json").is_file() or not (out / "scenario.yaml").is_file():
        raise InputError(
            "holds something else than results; --out takes a new or empty folder", file=str(out)
        )
    if not force:
        raise InputError(
            "already holds results; --force replaces them, --out names another folder", file=str(out)
        )
