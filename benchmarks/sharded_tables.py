"""What benchmarks.sharded_cells found, for people: python -m benchmarks.sharded_tables FOLDER."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from spinsim.costs.profiled.profile import Profile, read_profile

VANILLA = "ladder: vanilla"
Row = dict[str, Any]


def shown(folder: Path) -> str:
    """Every part of the folder, in the order of their names."""
    parts = [path for path in sorted(folder.glob("*.json")) if not path.name.endswith(".profile.json")]
    lines: list[str] = []
    for path in parts:
        data = json.loads(path.read_text(encoding="utf-8"))
        lines += ["", f"== {data['part']}", *floors(data), *cells(data), *ladder(data), *errors(data)]
        profile = path.with_name(f"{path.stem}.profile.json")
        if profile.exists():
            lines += sharing(read_profile(profile))
        lines += [f"left out: {what}" for what in data["left_out"]]
    return "\n".join(lines)


def floors(data: Row) -> Iterator[str]:
    """Verifications beside what bytes, flops and collectives ask for."""
    for row in data["floors"]:
        yield (
            f"verification of {row['rows']:2d} x 5, {row['model']} over {row['devices']}: "
            f"{1e3 * row['seconds']:7.3f} ms, floor {1e3 * row['floor_s']:7.3f} ms, {row['ratio']:.2f} times"
        )


def live(data: Row, name: str = "goodput_tokens_per_s") -> dict[str, float]:
    """Medians by cell."""
    found: dict[str, list[float]] = {}
    for row in data["runs"]:
        if row[name] is not None:
            found.setdefault(row["cell"], []).append(row[name])
    return {cell: statistics.median(values) for cell, values in found.items()}


def told(data: Row, costs: str, name: str = "goodput_tokens_per_s") -> dict[str, float]:
    """What was simulated, by cell."""
    rows = [row for row in data["told"] if row["costs"] == costs and row[name] is not None]
    return {row["cell"]: row[name] for row in rows}


def cells(data: Row) -> Iterator[str]:
    """A line for each cell: live, and how far each prediction was off."""
    names = ("goodput_tokens_per_s", "tpot_p50_s")
    found = {name: live(data, name) for name in names}
    sources = list(dict.fromkeys(row["costs"] for row in data["told"]))
    for cell in found[names[0]]:
        line = f"{cell:36s} {found[names[0]][cell]:9,.0f} tokens/s"
        line += f", TPOT {1e3 * found[names[1]][cell]:6.2f} ms"
        for costs in sources:
            off = [told(data, costs, name)[cell] / found[name][cell] - 1 for name in names]
            line += f"; by {costs} " + " / ".join(f"{100 * value:+.1f} %" for value in off)
        yield line


def ladder(data: Row) -> Iterator[str]:
    """Steps over vanilla; of copies, the goodput of all of them."""
    steps = {name: value for name, value in live(data).items() if name.startswith("ladder: ")}
    for name, value in steps.items():
        over = f", {value / steps[VANILLA]:.2f} of vanilla" if VANILLA in steps else ""
        every = f" = {value * data['copies']:,.0f} of {data['copies']} copies" if data["copies"] > 1 else ""
        yield f"{name}: {value:,.0f} tokens/s{every}{over}"
    for name, kept in data["plans"].items():
        yield f"{name}: {kept['plan']}"


def errors(data: Row) -> Iterator[str]:
    """Of all cells: the mean and the worst error of goodput, and how many pairs are ordered alike."""
    measured = live(data)
    for costs in dict.fromkeys(row["costs"] for row in data["told"]):
        said = told(data, costs)
        both = [cell for cell in measured if cell in said]
        if not both:
            continue
        off = [said[cell] / measured[cell] - 1 for cell in both]
        pairs = list(combinations(both, 2))
        alike = sum((said[a] < said[b]) == (measured[a] < measured[b]) for a, b in pairs)
        mean, worst = 100 * statistics.fmean(map(abs, off)), 100 * max(off, key=abs)
        yield (
            f"goodput by {costs}: {mean:.1f} % off in the mean of {len(both)} cells, worst {worst:+.1f} %; "
            f"{alike} of {len(pairs)} pairs ordered alike"
        )


def sharing(profile: Profile) -> Iterator[str]:
    """What every lane takes beside others of its GPUs, over what it takes alone."""
    groups: dict[float, list[str]] = {}
    for point in profile.points:
        if point.operation != "beside":
            continue
        alone = point.features["alone_s"]
        said = f"{point.model.split('/')[0]} {1e3 * alone:.2f} -> {1e3 * point.seconds:.2f} ms"
        said += f" ({point.seconds / alone:.2f}), {point.features['rows']:.0f} rows"
        groups.setdefault(point.features["group"], []).append(said)
    for lanes in groups.values():
        yield "beside each other: " + "; ".join(lanes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the folder's tables."""
    (folder,) = sys.argv[1:] if arguments is None else arguments
    print(shown(Path(folder)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
