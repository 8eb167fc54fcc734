"""Prints where a verification's time goes, by kind of kernel, beside the floor of each.

python docs/make/verification_parts.py docs/measurements/h200-verification-ways.json

The rows ``where`` of ``python -m benchmarks.verification_ways``: a table for each cell and way. Floors are at
the rates that the same command measured; what only moves activations has none in the sum over operators.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from spinsim.costs.operators import PassCosts
from spinsim.costs.sheets.hardware import hardware_of
from spinsim.costs.sheets.shapes import shape_of

SHAPE, NEW = "llama-3-8b", 5  # tokens of a row
PARTS = (  # by the beginning of a kernel's name, the first that fits
    ("matrix products", ("nvjet", "void cublasLt", "void cutlass", "sm90", "void gemm")),
    ("attention", ("_attend_piece",)),
    ("merging parts of rows", ("_merge_pieces",)),
    ("rotary, writing K/V", ("_rotate_and_store",)),
    ("adding, norms", ("_add_rms_norm",)),
    ("silu times up", ("_silu_times",)),
    ("everything else", ("",)),
)


def main(path: Path) -> None:
    """A table for each cell and way."""
    data = json.loads(path.read_text())
    machine = data["machine"]
    rates = {"bandwidth": machine["bandwidth"], "rate": {"bf16": machine["rate"]}}
    sheet = replace(hardware_of("h200"), **rates, ridge=math.inf)
    costs = PassCosts(shape_of(SHAPE), "bf16", sheet, efficiency=1.0)
    passes: dict[tuple[int, int, str], list[dict[str, Any]]] = defaultdict(list)
    for row in data["rows"]:
        if row["section"] == "where":
            passes[row["rows"], row["context"], row.get("way", "as it was")].append(row)
    for (rows, context, way), kernels in passes.items():
        tokens, kv = rows * NEW, rows * (context + NEW - 1)
        floors = {
            "matrix products": costs.body(tokens) + costs.output(tokens),
            "attention": costs.attention.seconds(kv, tokens, kv * NEW),
        }
        spent: dict[str, float] = defaultdict(float)
        count: dict[str, int] = defaultdict(int)
        for row in kernels:
            if row["kernel"] == "all":
                spent["no kernel"] = row["idle_us"]
                continue
            part = next(name for name, begins in PARTS if row["kernel"].startswith(begins))
            spent[part] += row["us"]
            count[part] += row["count"]
        print(f"\n{rows} rows of {context:,} tokens, {way} ({machine['device']}):\n")
        print("| part | kernels | ms | floor, ms | ratio |")
        print("|---|---|---|---|---|")
        for name in (*(name for name, _ in PARTS), "no kernel"):
            floor = floors.get(name)
            beside = f"{1e3 * floor:.2f} | {spent[name] / 1e6 / floor:.2f}" if floor else "- | -"
            print(f"| {name} | {count[name] or '-'} | {spent[name] / 1e3:.2f} | {beside} |")
        total, floor = sum(spent.values()), sum(floors.values())
        print(
            f"| all | {sum(count.values())} | {total / 1e3:.2f} | {1e3 * floor:.2f} "
            f"| {total / 1e6 / floor:.2f} |"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
