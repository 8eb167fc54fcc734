"""Pages made again from what was kept: a study, a validation, or a live ladder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spinsim.errors import InputError
from spinsim.lab.store import experiment_kind
from spinsim.studies.capacity import Capacity
from spinsim.studies.cell_run import opened
from spinsim.studies.compare import Comparison
from spinsim.studies.kept import read_result
from spinsim.studies.sweep import Sweep
from spinsim.studies.tuning.tune import Tuning


def is_saved(path: Path) -> bool:
    """Is this such a file, or the folder of a validation? (A run's folder is not.)"""
    return path.is_file() or (path / "validation.json").is_file()


def write_saved(path: Path) -> Path:
    """Write the page beside a file, or as the report.html of a folder; its path.

    Same file in, same bytes out. Raises InputError for anything else.
    """
    source, target = path, path.with_suffix(".html")
    if not path.is_file():
        source, target = path / "validation.json", path / "report.html"
    from spinsim.pages.ladder import ladder_report  # matplotlib: half a second
    from spinsim.pages.validation import validation_report

    try:
        found = json.loads(source.read_text(encoding="utf-8"))
        text = ladder_report(found) if "steps" in found else validation_report(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(
            f"is no ladder and no validation ({said}); allowed is what `spinsim validate` wrote, or "
            "the file of a live ladder",
            file=str(source),
        ) from error
    target.write_text(text, encoding="utf-8")
    return target


def write_study(folder: Path) -> Path:
    """Write the report.html of a comparison, sweep, capacity search, tuning or ladder again; its path.

    Raises InputError where ``folder`` holds no finished one.
    """
    from spinsim.pages.capacity import capacity_report  # matplotlib: half a second
    from spinsim.pages.comparison import comparison_report
    from spinsim.pages.simulated_ladder import simulated_ladder_report
    from spinsim.pages.sweep import sweep_report
    from spinsim.pages.tuning import tuning_report

    target = folder / "report.html"
    if experiment_kind(folder) == "ladder":
        target.write_text(simulated_ladder_report(*_ladder(folder)), encoding="utf-8")
        return target
    study = read_result(folder)
    match study:
        case Comparison():
            text = comparison_report(study)
        case Sweep():
            text = sweep_report(study, opened(folder))
        case Capacity():
            text = capacity_report(study)
        case Tuning():
            text = tuning_report(study)
    target.write_text(text, encoding="utf-8")
    return target


def _ladder(folder: Path) -> tuple[dict[str, Any], str]:
    """A ladder's summary, and its scenario, which older folders lack."""
    scenario = folder / "scenario.yaml"
    try:
        found: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        text = scenario.read_text(encoding="utf-8") if scenario.is_file() else ""
    except (OSError, ValueError):
        raise InputError(
            "holds no finished ladder; `spinsim ladder` with --resume finishes it", file=str(folder)
        ) from None
    return found, text
