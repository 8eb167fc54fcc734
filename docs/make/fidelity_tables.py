"""The tables of fidelity.md: ``python docs/make/fidelity_tables.py FOLDER/validation.json``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from spinsim.pages.fidelity_terminal import (
    OPERATION_HEAD,
    operation_cells,
    percent,
    short_names,
    signed,
)

Numbers = dict[str, Any]

# metric, its head, and the aims of closed loops and of Poisson arrivals at 50 and 80 %
METRICS = (
    ("goodput_tokens_per_s", "goodput", "3 %, worst 6 %", "", ""),
    ("tpot_p50_s", "TPOT p50", "4 %", "6 %", "6 %"),
    ("e2e_p50_s", "E2E p50", "4 %", "6 %", "6 %"),
    ("ttft_p50_s", "TTFT p50", "", "8 %", "15 %"),
    ("ttft_p99_s", "TTFT p99", "", "", ""),
    ("tpot_p99_s", "TPOT p99", "", "", ""),
)
MOST = 20


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def cells(found: Sequence[Numbers], names: Sequence[str]) -> str:
    """A row a cell."""
    head = ["cell", "live, tokens/s", "spread", *(title for _, title, *_ in METRICS), "decisions alike"]
    rows = []
    for cell, name in zip(found, names, strict=True):
        goodput = cell["metrics"]["goodput_tokens_per_s"]
        rows.append(
            [
                name,
                f"{goodput['live']:,.0f}",
                percent(goodput["spread"]),
                *(signed(error(cell, metric)) for metric, *_ in METRICS),
                percent(cell["identical_requests"], 0),
            ]
        )
    return table(head, rows)


def error(cell: Numbers, metric: str) -> float | None:
    """A metric's error; None where the cell has none."""
    found: float | None = cell["metrics"].get(metric, {}).get("error")
    return found


def means(found: Sequence[Numbers]) -> str:
    """Mean and worst absolute errors of closed loops and of each load, beside what is aimed for."""
    groups: list[tuple[str, Callable[[Numbers], bool], int]] = [
        ("closed loops", lambda cell: not cell["open_loop"], 0),
        ("Poisson, 50 %", lambda cell: cell["labels"].get("load") == 0.5, 1),
        ("Poisson, 80 %", lambda cell: cell["labels"].get("load") == 0.8, 2),
    ]
    rows = []
    for title, belongs, aim in groups:
        chosen = [cell for cell in found if belongs(cell)]
        for metric, name, *aims in METRICS:
            errors = [abs(e) for cell in chosen if (e := error(cell, metric)) is not None]
            if errors:
                mean, worst = sum(errors) / len(errors), max(errors)
                rows.append([title, str(len(errors)), name, percent(mean), percent(worst), aims[aim]])
    return table(["load", "cells", "metric", "mean error", "worst", "aim (mean)"], rows)


def by_axis(found: Sequence[Numbers]) -> str:
    """Mean absolute errors of closed loops by each value of each axis: policy, workload, clients, depth."""
    closed = [cell for cell in found if not cell["open_loop"]]
    rows = []
    for axis in dict.fromkeys(axis for cell in closed for axis in cell["labels"]):
        values = dict.fromkeys(cell["labels"][axis] for cell in closed if axis in cell["labels"])
        for value in values if len(values) > 1 else ():
            chosen = [cell for cell in closed if cell["labels"].get(axis) == value]
            row = [axis, str(value), str(len(chosen))]
            for metric, *_ in METRICS:
                errors = [abs(e) for cell in chosen if (e := error(cell, metric)) is not None]
                row.append(percent(sum(errors) / len(errors)) if errors else "-")
            rows.append(row)
    return table(["axis", "value", "cells", *(title for _, title, *_ in METRICS)], rows)


def operations(rows: Sequence[Numbers]) -> str:
    """The groups of operations that do most to a run's length."""
    worst = sorted(rows, key=lambda row: -max(abs(row["effect"] or 0), abs(row["handover"]["effect"] or 0)))
    return table(OPERATION_HEAD, map(operation_cells, sorted(worst[:MOST], key=rows.index)))


def main(path: str) -> None:
    """Print everything that the page has of one validation."""
    done: Numbers = json.loads(Path(path).read_text(encoding="utf-8"))
    found = done["cells"]
    names = short_names([cell["name"] for cell in found])
    for title, part in (("Closed loops", False), ("Poisson arrivals", True)):
        chosen = [(cell, name) for cell, name in zip(found, names, strict=True) if cell["open_loop"] == part]
        if chosen:
            print(f"\n## {title}\n\n{cells([c for c, _ in chosen], [n for _, n in chosen])}")
    print(f"## In the mean\n\n{means(found)}")
    print(f"## Closed loops by axis, mean of the absolute errors\n\n{by_axis(found)}")
    print(f"## Where the error sits\n\n{operations(done['operations'])}")
    ranking, coverage = done["ranking"], done["intervals"]
    print(f"Ranking: {ranking['alike']} of {ranking['pairs']} alike, {ranking['undecided']} undecided.")
    for pair in ranking["differing"]:
        print(f"- {' / '.join(pair['cells'])}: live {pair['live']}, simulated {pair['simulated']}")
    if coverage["checked"]:
        share, width = percent(coverage["covered"] / coverage["checked"]), percent(coverage["median_width"])
        print(f"Intervals: {share} of {coverage['checked']} inside, median width {width}.")
        print(f"Outside, by metric: {coverage['outside']}")
    print(f"Decisions: {percent(done['identical_requests'])} of requests alike.")
    print(f"Speed: {done['speedup']['median']:.0f} times real time, at least {done['speedup']['worst']:.0f}.")
    print(f"Wall time, s: {', '.join(f'{k} {v:.0f}' for k, v in done['wall_s'].items())}.")
    for point in done["drift"]:
        print(f"Drift: {point['operation']} {point['model']} {signed(point['factor'] - 1)}.")
    for cell in done["failed"]:
        print(f"Failed: {cell['name']}: {cell['error']}")


if __name__ == "__main__":
    main(sys.argv[1])
