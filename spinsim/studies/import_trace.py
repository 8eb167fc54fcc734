"""``spinsim trace --import``: acceptance that others recorded, as a trace of ours; without a model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spinsim.acceptance.chains import LengthSchedule
from spinsim.acceptance.importers import IMPORTERS
from spinsim.acceptance.importers.base import ImportOptions, merge
from spinsim.errors import InputError, reason_of
from spinsim.recording import Trace, save_trace
from spinsim.results.environment import command_line
from spinsim.scenario.messages import one_of
from spinsim.workload.formats import READERS
from spinsim.workload.formats.row import Row


@dataclass(frozen=True)
class ImportedTrace:
    """The trace, its file, and what the importer says about it; no request is skipped for its length."""

    trace: Trace
    path: Path
    notes: tuple[str, ...]
    skipped: int = 0


def import_trace(
    format: str,
    files: Sequence[Path],
    out: Path | None = None,
    *,
    force: bool = False,
    schedule: str | None = None,
    prompts: Path | None = None,
) -> ImportedTrace:
    """Read files of one format and save them as one trace (traces/NAME.npz, after the first file).

    Several files mix, each a domain named after its file (:func:`spinsim.acceptance.importers.base.merge`).
    ``schedule``: the lengths of a chain's proposals, where the format has none (:class:`LengthSchedule`).
    ``prompts``: Spec-Bench's questions, for the lengths of prompts that the format leaves out.

    Raises:
        InputError: an unknown format, a file that is not of it, or ``out`` exists and ``force`` is not given.
    """
    if format not in IMPORTERS:
        raise InputError(f"no format {format!r}; {one_of(sorted(IMPORTERS))}", key="--import")
    if not files:
        raise InputError(f"no file; {IMPORTERS[format].expected}", key="--import")
    path = out or Path("traces") / f"{files[0].stem}.npz"
    if path.exists() and not force:
        raise InputError("exists already; --force replaces it, --out names another file", file=str(path))
    options = ImportOptions(_schedule(schedule), _prompt_tokens(prompts))
    parts = [(file.stem, IMPORTERS[format].read(file, options)) for file in files]
    trace = merge(parts, " ".join(command_line(sys.argv)))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_trace(trace, path)
    several = len(parts) > 1
    notes = [f"{name}: {note}" if several else note for name, part in parts for note in part.notes]
    return ImportedTrace(trace, path, tuple(notes))


def _schedule(text: str | None) -> LengthSchedule | None:
    try:
        return None if text is None else LengthSchedule.of(text)
    except ValueError as error:
        raise InputError(str(error), key="--schedule") from None


def _prompt_tokens(path: Path | None) -> dict[str, int] | None:
    """Tokens of Spec-Bench's questions by their number, estimated from their text."""
    if path is None:
        return None
    try:
        rows = [row for row in READERS["spec_bench"].read(path) if isinstance(row, Row)]
    except OSError as error:
        raise InputError(f"cannot be read: {reason_of(error)}", file=str(path)) from error
    if not rows:
        raise InputError(f"holds no question; {READERS['spec_bench'].expected}", file=str(path))
    return {row.key: row.prompt_tokens for row in rows}
