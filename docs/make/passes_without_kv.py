"""Prints what a verification takes beside reading K/V, by the points of a profile, beside its floor.

    cd docs/measurements/as-profiled
    python ../../make/passes_without_kv.py 2026-11-28-h100-1-profile.json 2026-11-28-h100-1.json

Of each shape with points at several contexts: the line through the two ends, at no context, and the rate at
which it reads K/V. The floor is the sum over the other operators of max(bytes / bandwidth, flops / rate), at
the rates that ``python -m benchmarks.as_profiled`` measured before (the second file).
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

from spinsim.costs.operators import PassCosts
from spinsim.costs.profiled.profile import read_profile
from spinsim.costs.sheets.hardware import hardware_of


def main(path: Path, session: Path) -> None:
    """A row for each number of rows and new tokens of the ragged packing."""
    profile, machine = read_profile(path), json.loads(session.read_text())["machine"]
    print("| rows x new tokens | without K/V, ms | its floor, ms | ratio | K/V read at, TB/s |")
    print("|---|---|---|---|---|")
    for name, model in profile.models.items():
        sheet = hardware_of(model.hardware)
        rates = {"bandwidth": machine["bandwidth"], "rate": {model.dtype: machine["rate"]}}
        sheet = replace(sheet, **rates, ridge=math.inf)
        costs = PassCosts(model.shape, model.dtype, sheet, efficiency=1.0)
        shapes: dict[tuple[int, int], list[tuple[float, float]]] = {}
        for point in profile.of("verify", name, "ragged"):
            rows, queries = (int(point.features[key]) for key in ("rows", "query_tokens"))
            shapes.setdefault((rows, queries), []).append((point.features["kv_tokens"], point.seconds))
        for (rows, queries), points in sorted(shapes.items()):
            if len(points) < 2:
                continue
            (few, short), (many, long) = min(points), max(points)
            a_token = (long - short) / (many - few)
            rest, floor = short - few * a_token, costs.body(queries) + costs.output(queries)
            read = model.shape.kv_bytes_per_token(model.dtype) / a_token / 1e12
            print(
                f"| {rows} x {queries // rows} | {1e3 * rest:.2f} | {1e3 * floor:.2f} | {rest / floor:.2f} "
                f"| {read:.2f} |"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
