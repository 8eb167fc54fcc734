"""Writes a run's summary and results folder from its records, in both worlds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from spinsim.engine.records import Records
from spinsim.errors import InputError
from spinsim.files import check_writable
from spinsim.progress import Progress as Progress
from spinsim.results.folder import NOTHING_MORE, Additions, write_results
from spinsim.results.summary import summarise
from spinsim.scenario_file import LoadedScenario, resolved_yaml
from spinsim.workload.request import Workload

Summary = dict[str, Any]


class FinishedRun(Protocol):
    """A run of either world that has come to its end, or as far as it got."""

    @property
    def records(self) -> Records: ...

    @property
    def workload(self) -> Workload: ...

    @property
    def acceptance_source(self) -> str:
        """Where acceptances came from."""
        ...


def publish(
    loaded: LoadedScenario,
    out: Path | None,
    run: FinishedRun,
    *,
    mode: Literal["simulated", "live"],
    progress: Progress | None = None,
    notes: Mapping[str, Any] | None = None,
    additions: Additions = NOTHING_MORE,
) -> Summary:
    """Summarise a run and, with ``out``, write its folder; returns the summary.

    ``notes`` are further keys of the summary. :func:`check_out` said beforehand that ``out`` may be written.
    """
    source = run.acceptance_source
    summary = summarise(run.records, loaded.scenario, mode=mode, acceptance_source=source)
    workload = run.workload
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
        write_results(out, run.records, summary, resolved_yaml(loaded), additions, force=True)
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
