"""Whether what was promised is still there. More than that is no fault: extending is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REWRITE = "on purpose? python -m tests.contract"


def golden(name: str) -> dict[str, Any]:
    """What ``python -m tests.contract`` wrote to ``NAME.json``."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
    return found


def lost(promised: Any, found: Any, path: str = "") -> list[str]:
    """What of ``promised`` is gone from ``found`` or another there, a line each.

    Objects may have further keys. Lists of keys may have further ones, other lists are compared as they are.
    """
    if isinstance(promised, dict) and isinstance(found, dict):
        lines = []
        for key, each in promised.items():
            here = f"{path} > {key}" if path else key
            lines += lost(each, found[key], here) if key in found else [f"{here}: gone"]
        return lines
    if _names(promised) and _names(found):
        return [f"{path} > {name}: gone" for name in promised if name not in found]
    return [] if promised == found else [f"{path}: was {promised!r}, is {found!r}"]


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
