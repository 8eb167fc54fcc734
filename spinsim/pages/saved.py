"""Pages of what was written as JSON: a validation, or a live ladder."""

from __future__ import annotations

import json
from pathlib import Path

from spinsim.errors import InputError


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
            f"is no ladder and no validation ({said}); allowed is what `benchmarks.ladder --out` or "
            "`spinsim validate` wrote",
            file=str(source),
        ) from error
    target.write_text(text, encoding="utf-8")
    return target
