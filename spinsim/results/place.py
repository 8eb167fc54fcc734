"""Where a run's results go: partial ones never take the place of complete ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spinsim.files import followed


def place_of(out: Path, summary: Mapping[str, Any]) -> Path:
    """The folder of a run's results, before they are written and after.

    It is ``out``. But where a run was interrupted, as its ``summary`` says, and ``out`` holds complete
    results, it is :func:`beside` them.
    """
    return beside(out) if summary.get("interrupted") and _is_complete(out) else out


def beside(out: Path) -> Path:
    """Where partial results are kept while complete ones are in ``out``."""
    out = followed(out)
    return out.with_name(f"{out.name}.partial-results")


def _is_complete(folder: Path) -> bool:
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(summary, dict) and not summary.get("interrupted")
