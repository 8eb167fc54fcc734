"""Pages of results. Each is imported when it is asked for, since matplotlib takes half a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinsim.studies.capacity import Capacity
    from spinsim.studies.compare import Comparison
    from spinsim.studies.sweep import Sweep
    from spinsim.studies.tuning.tune import Tuning


def of_run(folder: Path) -> Path:
    """Write the report.html of a run's folder; its path."""
    from spinsim.pages.run import write_report

    return write_report(folder)


def of_comparison(found: Comparison) -> str:
    """A comparison's page."""
    from spinsim.pages.comparison import comparison_report

    return comparison_report(found)


def of_sweep(found: Sweep) -> str:
    """A sweep's page."""
    from spinsim.pages.sweep import sweep_report

    return sweep_report(found)


def of_capacity(found: Capacity) -> str:
    """The page of a capacity search."""
    from spinsim.pages.capacity import capacity_report

    return capacity_report(found)


def of_tuning(found: Tuning) -> str:
    """The page of a search for parameters."""
    from spinsim.pages.tuning import tuning_report

    return tuning_report(found)


def of_validation(found: Mapping[str, Any]) -> str:
    """A validation's page."""
    from spinsim.pages.validation import validation_report

    return validation_report(found)


def of_study(folder: Path) -> Path:
    """Write the report.html of a folder of parts; its path."""
    from spinsim.pages.study_index import write_study_index

    return write_study_index(folder)


def of_ladder(summary: dict[str, Any], scenario: str) -> str:
    """The page of a ladder, from its summary and its scenario as resolved YAML."""
    from spinsim.pages.simulated_ladder import simulated_ladder_report

    return simulated_ladder_report(summary, scenario)


def figures(folder: Path, out: Path | None = None) -> list[Path]:
    """Write the figures of the page in ``folder`` into ``out`` [folder/figures] as SVG; the files."""
    from spinsim.pages.figures.files import write_figures

    page = folder / "report.html"
    return write_figures(page.read_text("utf-8"), out or folder / "figures") if page.is_file() else []
