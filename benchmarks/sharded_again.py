"""Cells of :mod:`benchmarks.sharded_cells` that ran live, predicted anew by today's code. No GPU is needed.

    python -m benchmarks.sharded_again docs/measurements/h200-x2-13b-all-cells.json --hardware h200

The last columns are errors of goodput and of the median TPOT, by the sheet and by ``--profile``. ``--apart``:
of cells that ran before a layer's sums went in one kernel with residual and norm, as the sheet then had it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.sharded_deployments import PARTS, Overrides, Part, Size, loaded, written
from benchmarks.sharded_tables import live
from benchmarks.sharded_told import CLIMBING, TOKENS, Predictors
from spinsim.costs.sheets.hardware import hardware_of
from spinsim.scenario import Scenario
from spinsim.studies.ladder.steps import AUTOREGRESSIVE, paper_steps

APART = ("ring", "one_shot", "two_shot")
METRICS = ("goodput_tokens_per_s", "tpot_p50_s")


def cells_of(part: Part, scenario: Scenario, data: Mapping[str, Any]) -> dict[str, Overrides]:
    """Those that ran, by name, as they were asked for then."""
    few = CLIMBING.format(max(4, 64 // part.copies))
    steps = paper_steps(scenario, next(iter(scenario.models.drafts)), TOKENS)
    known = dict(part.cells)
    known |= {f"ladder: {name}": (few, *step) for name, step in steps.items() if name != AUTOREGRESSIVE}
    known |= {f"ladder: {name}": (few, *kept["overrides"]) for name, kept in data["plans"].items()}
    return {name: known[name] for name in live(data)}


def sheet_of(name: str, apart: bool) -> str | dict[str, Any]:
    """The shipped sheet, or what it says without the kernel of sum and norm."""
    if not apart:
        return name
    laws = {
        one.algorithm: {"latency_s": one.latency_s, "efficiency": one.efficiency}
        for one in hardware_of(name).collectives
        if one.algorithm in APART
    }
    return {"base": name, "collectives": laws}


def errors_of(
    data: Mapping[str, Any], hardware: str | dict[str, Any], costs: Sequence[str], only: Sequence[str] = ()
) -> dict[str, list[float]]:
    """By cell, relative errors of :data:`METRICS` with these ``costs``."""
    ran = data["part"], data["copies"]
    part = next(each for parts in PARTS.values() for each in parts if (each.name, each.copies) == ran)
    measured = [live(dict(data), name) for name in METRICS]
    predictors, found = Predictors(), {}
    with TemporaryDirectory() as scratch:
        path = written(part, Path(scratch), hardware)
        for name, overrides in cells_of(part, loaded(path, part, Size()).scenario, data).items():
            if only and name not in only:
                continue
            told = predictors.figures(loaded(path, part, Size(), [*costs, *overrides]))
            found[name] = [told[key] / seen[name] - 1 for key, seen in zip(METRICS, measured, strict=True)]
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each cell, and the mean."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharded_again", description=__doc__)
    parser.add_argument("file", type=Path, help="a part's results")
    parser.add_argument("--hardware", required=True, help="the sheet of the GPUs that it ran on")
    parser.add_argument("--profile", type=Path, help="of the same deployment")
    parser.add_argument("--cells", nargs="*", default=[], help="these alone")
    parser.add_argument("--apart", action="store_true", help="sums went by themselves then")
    asked = parser.parse_args(arguments)
    hardware = sheet_of(asked.hardware, asked.apart)
    data = json.loads(asked.file.read_text(encoding="utf-8"))
    costs = {"sheet": ["costs={model: roofline}"]}
    if asked.profile:
        given = f"{{model: profile, path: {asked.profile.resolve()}, allow_roofline: true}}"
        costs["profile"] = [f"costs={given}"]
    errors = {source: errors_of(data, hardware, one, asked.cells) for source, one in costs.items()}
    for cell, goodput in live(data).items():
        if cell in errors["sheet"]:
            off = [" / ".join(f"{100 * e:+.1f} %" for e in found[cell]) for found in errors.values()]
            print(f"{cell:32s} {goodput:8,.1f} tokens/s  {'  '.join(off)}")
    for source, found in errors.items():
        goodputs = [abs(both[0]) for both in found.values()]
        mean, worst = 100 * fmean(goodputs), 100 * max(goodputs)
        print(f"by {source}: goodput {mean:.1f} % off in the mean, {worst:.1f} at worst")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
