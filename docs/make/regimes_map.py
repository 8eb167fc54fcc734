"""Simulates the map of docs/regimes.md, writes its tables there, and draws docs/figures/regimes.svg.

    python docs/make/regimes_map.py                    # the cells that are missing
    python docs/make/regimes_map.py --cells 3          # no more than three of those
    python docs/make/regimes_map.py --only price       # those of an axis, or of a name
    python docs/make/regimes_map.py --cells 0          # the tables and the figure alone
    python docs/make/regimes_map.py --cells 0 --planner   # and the planner anew, where it was mended

A cell is a ladder (``regimes_cells`` has the scenarios), two runs of ``joint``, four in which one mechanism
alone differs, as in ``benchmarks.long_contexts``, and the planner beside the best fixed plans on further
seeds. docs/measurements/regimes-map.json keeps each as it ends, so that the command can be resumed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.make.regimes_cells import TOKENS, Cell, cells
from docs.make.regimes_figure import draw
from docs.make.regimes_tables import write_tables
from spinsim import api
from spinsim.errors import InputError
from spinsim.lab.store import write_atomically
from spinsim.results.columns import RequestColumns
from spinsim.results.decoding import decode_bound
from spinsim.results.metrics import Run
from spinsim.results.speculation import RoundRows
from spinsim.results.summary import summarise
from spinsim.results.window import window_of
from spinsim.scenario_file import load
from spinsim.scenario_file.variants import override
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.ladder.result import measured, rate_of
from spinsim.studies.ladder.steps import FixedPlan, planned_steps, policies

ROOT = Path(__file__).parents[2]
MAP = ROOT / "docs" / "measurements" / "regimes-map.json"
RESULTS = ROOT / "results" / "regimes"
STEPS = (
    "vanilla", "+ selection", "+ decomposition", "+ pipeline", "best fixed serial", "best fixed", "replicas",
    "sharded", "planned",
)  # fmt: skip
SEEDS = range(1, 7)  # of the planner beside the best fixed plans
ALONE_ON_ONE_KIND = ("replicas", "sharded")  # steps that take all devices for alike
Row = dict[str, Any]


def simulate(cell: Cell) -> Row:
    """One cell: goodput by step in tokens/s, the plans that were chosen, and mechanisms alone."""
    path = written(cell)
    steps = [step for step in STEPS if cell.draft_gpu == "h100" or step not in ALONE_ON_ONE_KIND]
    shorter = [override("workload", {**cell.workload(TOKENS // 4)})]
    found = api.ladder(
        path, steps=steps, seeds=1, tuning=shorter, workers=0, out=RESULTS / cell.name, resume=True
    )
    row: Row = {"axis": cell.axis, "name": cell.name, "context": cell.context, "clients": cell.clients}
    row |= {"target": cell.target, "target_gpus": cell.target_gpus, "draft_gpu": cell.draft_gpu}
    row |= {"price": cell.price, "differs": cell.differs, "rates": {}, "what": {}, "why": {}, "errors": {}}
    for step in found.result.steps:
        if step.goodput is None:
            row["why"][step.name] = step.why
            continue
        row["rates"][step.name] = round(step.goodput.estimate, 1)
        row["what"][step.name] = step.what
        row["errors"][step.name] = standard_error(step.summaries[0], found.result.measured)
    row["rounds"] = found.result.steps[-1].summaries[0]["speculation"]["verifications"]
    row["errors"]["planned"] = planned(cell)[1]  # in mid-flight, too, where summaries do not tell
    row["rates"] |= {name: rate(path, given) for name, given in others(cell).items()}
    row["over best"] = over_best(cell, row)
    return row


def others(cell: Cell) -> dict[str, tuple[str, ...]]:
    """Runs beside the ladder's: ``joint``, and pairs that differ in one mechanism."""
    first, *_, last = [*cell.drafts] * 2
    length, serial = {"name": "fixed", "tokens": 4}, {"name": "serial"}
    joint = {"name": "joint"}
    return {
        "joint": policies(joint, length, "ragged", serial),
        "joint, SPIN's pipeline": policies(joint, length, "ragged", {"name": "spin"}),
        "alone: padded": FixedPlan(first, 4, "padded").overrides(),
        "alone: decomposed": FixedPlan(first, 4, "decomposed").overrides(),
        "alone: serial": FixedPlan(last, 4, "ragged").overrides(),
        "alone: two micro-batches": FixedPlan(last, 4, "ragged", 2).overrides(),
    }


def planned(cell: Cell) -> tuple[float | None, float | None]:
    """The planner's rate in tokens/s, and its standard error, relative; None where it cannot be had."""
    loaded = load(written(cell), planned_steps()["planned"])
    records = simulate_scenario(loaded.scenario, loaded.base_dir).records
    summary = summarise(records, loaded.scenario, mode="simulated", acceptance_source="")
    metric = measured(loaded.scenario)
    if metric == "goodput_tokens_per_s":
        return round(summary[metric], 1), standard_error(summary, metric)
    window = window_of(records, loaded.scenario.metrics.warmup_s)
    bound = decode_bound(Run(records, window, RequestColumns(records), RoundRows(records, window)))
    return round(summary[metric], 1), None if bound is None else _error(
        bound.low, bound.high, summary[metric]
    )


def over_best(cell: Cell, row: Row) -> list[float]:
    """The planner's rate over that of the best fixed plan: the mean of :data:`SEEDS`, and its standard error.

    Of the cell's two best plans, chosen on another seed, the one that is the faster over all seeds.
    """
    path = written(cell)
    plans = {row["what"][step] for step in ("best fixed serial", "best fixed")}
    fixed = [_rates(path, FixedPlan.read(plan).overrides()) for plan in sorted(plans)]
    best = max(fixed, key=fmean)
    found = [a / b for a, b in zip(_rates(path, planned_steps()["planned"]), best, strict=True)]
    return [round(fmean(found), 4), round(stdev(found) / len(found) ** 0.5, 4)]


def _rates(path: Path, overrides: tuple[str, ...]) -> list[float]:
    return [rate(path, (*overrides, f"seed={seed}")) or 0.0 for seed in SEEDS]


def written(cell: Cell) -> Path:
    """The file of a cell's scenario."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{cell.name}.yaml"
    path.write_text(yaml.safe_dump(cell.scenario(), sort_keys=False))
    return path


def rate(path: Path, overrides: tuple[str, ...]) -> float | None:
    """Tokens per second of one run; None where it cannot be had."""
    try:
        done = api.simulate(path, set=overrides)
    except InputError:
        return None
    return round(rate_of(api.load(path).scenario, done.summary), 1)


def standard_error(summary: Row, metric: str) -> float | None:
    """Of a run's rate, relative, by batch means; None where the run does not tell."""
    known = (summary.get("within_run") or {}).get("metrics", {}).get(metric)
    return _error(known.get("low"), known.get("high"), summary[metric]) if known else None


def _error(low: float | None, high: float | None, rate: float) -> float | None:
    """From the two ends of a 90 % interval."""
    return None if low is None or high is None or not rate else round((high - low) / 2 / 1.645 / rate, 4)


def main() -> None:
    """Simulate what is missing, then write what docs show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cells", type=int, help="the most to simulate [all]")
    parser.add_argument("--again", nargs="*", default=[], metavar="NAME", help="cells to forget first")
    parser.add_argument("--only", nargs="*", default=[], metavar="TEXT", help="axes or names of cells [all]")
    parser.add_argument("--planner", action="store_true", help="simulate the planner anew in known cells")
    options = parser.parse_args()
    rows: list[Row] = json.loads(MAP.read_text()) if MAP.exists() else []
    rows = [row for row in rows if row["name"] not in options.again]
    known = {row["name"] for row in rows}
    asked = [cell for cell in cells() if any(text in (cell.axis, cell.name) for text in options.only)]
    missing = [cell for cell in asked or cells() if cell.name not in known]
    for cell in missing[: options.cells]:
        rows.append(row := simulate(cell))
        write_atomically(MAP, json.dumps(rows, indent=1) + "\n")
        print(row["name"], row["rates"], flush=True)
    by_name = {cell.name: cell for cell in cells()}
    for row in rows if options.planner else ():
        row["rates"]["planned"], row["errors"]["planned"] = planned(by_name[row["name"]])
        row["over best"] = over_best(by_name[row["name"]], row)
        write_atomically(MAP, json.dumps(rows, indent=1) + "\n")
        print(row["name"], row["rates"]["planned"], row["over best"], flush=True)
    order = [cell.name for cell in cells()]
    rows.sort(key=lambda row: order.index(row["name"]))
    write_tables(rows, ROOT)
    draw(rows, ROOT)


if __name__ == "__main__":
    main()
