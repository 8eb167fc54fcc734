"""How a GPU's clock settles, of fidelity.md: ``python docs/make/clock_table.py [ARCHIVE]``.

The archive is one of docs/measurements/evidence that ran with ``--clocks``. By series: medians within 50 ms
of its beginning, and from half a second on.
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

EVIDENCE = Path(__file__).parents[1] / "measurements" / "evidence"
ARCHIVE = EVIDENCE / "2026-11-28-h100-1-run3-live.tgz"
SPANS = ((0.0, 0.05), (0.5, 9.0))  # seconds


def kept(archive: Path) -> dict[str, Any]:
    """What ``benchmarks.clock_settling`` left in an archive. Raises KeyError where it left nothing."""
    with tarfile.open(archive) as tar:
        name = next((name for name in tar.getnames() if name.endswith("/clocks-1.json")), None)
        if name is None:
            raise KeyError(f"{archive}: it ran without --clocks")
        found = tar.extractfile(name)
        assert found is not None
        content: dict[str, Any] = json.load(found)
        return content


def medians(points: Sequence[Sequence[float]]) -> list[float]:
    """Of (seconds, value) in each of :data:`SPANS`; NaN where there is none."""
    return [
        float(np.median(v)) if (v := [b for a, b in points if low <= a < high]) else np.nan
        for low, high in SPANS
    ]


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    print("| series | rows, context | clock, MHz | operations, ms |\n|---|---|---|---|")
    for series in kept(Path(arguments[0]) if arguments else ARCHIVE)["series"]:
        times: dict[str, list[tuple[float, float]]] = {}
        for kind, at, took in series["operations"]:
            times.setdefault(kind, []).append((at, 1e3 * took))
        early, late = medians(series["mhz"])
        shown = ", ".join(f"{kind} {a:.3f} → {b:.3f}" for kind in times for a, b in [medians(times[kind])])
        clock = f"{early:,.0f} → {late:,.0f}" if early == early else f"{late:,.0f}"
        print(f"| {series['name']} | {series['rows']}, {series['context']:,} | {clock} | {shown} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
