"""Live runs that are kept as figures beside what was predicted for them then: they are not simulated anew.

Of heads and lookups (``benchmarks.mixed_drafters``), and of targets divided over GPUs
(``benchmarks.sharded_cells``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.estimates.shipped import MEASUREMENTS
from benchmarks.sharded_tables import live, told

MIXED = "spinsim.mixed-drafters/"
DIVIDED = "spinsim.sharded-cells/"
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Kept:
    """A live cell's relative errors of prediction, by costs (``profile``, ``sheets``).

    ``kinds``: of drafters that proposed (head, ngram), ``divided``: over how many GPUs, 0 where it is not.
    """

    name: str
    kinds: frozenset[str] = frozenset()
    divided: int = 0
    tpot: dict[str, float] = field(default_factory=dict)
    goodput: dict[str, float] = field(default_factory=dict)


def kept(root: Path) -> list[Kept]:
    """All of them that ship below ``root``, the project's folder, in the order of their files."""
    found: list[Kept] = []
    for path in sorted((root / MEASUREMENTS).glob("*.json")):
        data: Numbers = json.loads(path.read_text(encoding="utf-8"))
        schema = str(data.get("schema", "")) if isinstance(data, dict) else ""
        if schema.startswith(MIXED):
            found += _mixed(data)
        elif schema.startswith(DIVIDED):
            found += _divided(path.stem, data)
    return found


def _mixed(data: Numbers) -> Iterator[Kept]:
    for name, error in data["errors"].items():
        proposed = data["predicted"][name]["rows"]
        kinds = frozenset(kind for kind, rows in proposed.items() if rows and kind != "none")
        yield Kept(name, kinds, goodput={"profile": error})


def _divided(stem: str, data: Numbers) -> Iterator[Kept]:
    devices = max((row["devices"] for row in data["floors"]), default=0)
    for cell, measured in live(data, "tpot_p50_s").items():
        errors = {
            basis: said[cell] / measured - 1
            for basis, costs in (("profile", "profile"), ("sheets", "sheet"))
            if cell in (said := told(data, costs, "tpot_p50_s"))
        }
        yield Kept(f"{stem}: {cell}", divided=devices, tpot=errors)


def of_kind(found: Sequence[Kept], kind: str) -> list[Kept]:
    """Those in which drafters of a kind proposed."""
    return [one for one in found if kind in one.kinds]
