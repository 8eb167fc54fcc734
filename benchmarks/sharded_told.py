"""The cells of a part, with those of the ladder, and what simulations say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.sharded_deployments import Overrides, Part, Size, loaded
from benchmarks.sharded_results import Results, Row, figures
from spinsim.costs.base import Predictor
from spinsim.costs.for_scenario import priced_alike
from spinsim.drafters.costs import build_predictor
from spinsim.scenario_file import LoadedScenario
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.ladder.best import best_fixed
from spinsim.studies.ladder.steps import AUTOREGRESSIVE, BEST, FixedPlan, paper_steps

CLIMBING = "workload.requests={}"
TOKENS = 4  # of a proposal in the ladder


class Predictors:
    """By what a scenario's costs depend on: fitting a profile takes a second."""

    def __init__(self) -> None:
        self._known: dict[str, Predictor] = {}

    def of(self, cell: LoadedScenario) -> Predictor:
        """The predictor of its costs."""
        key = priced_alike(cell.scenario)
        if key not in self._known:
            self._known[key] = build_predictor(cell.scenario, cell.base_dir)
        return self._known[key]

    def figures(self, cell: LoadedScenario) -> Row:
        """Of the cell, simulated."""
        done = simulate_scenario(cell.scenario, cell.base_dir, predictor=self.of(cell))
        return figures(done.records, cell, "simulated", done.acceptance_source)


def plan_cells(
    results: Results, part: Part, path: Path, size: Size, costs: Sequence[str], predictors: Predictors
) -> dict[str, Overrides]:
    """The part's cells, and those of the ladder. The best fixed plan is chosen once, and kept."""
    cells = dict(part.cells)
    if not part.climbs:
        return cells
    scenario = loaded(path, part, size).scenario
    few = CLIMBING.format(max(4, 64 // part.copies))
    if part.copies == 1:
        smallest = next(iter(scenario.models.drafts))
        steps = paper_steps(scenario, smallest, TOKENS)
        cells |= {f"ladder: {name}": (few, *step) for name, step in steps.items() if name != AUTOREGRESSIVE}
    kept = results.data["plans"].get(BEST)
    if kept is None:
        seed = f"seed={scenario.seed + 1}"  # plans are chosen on requests that no cell serves

        def rates(plans: Sequence[FixedPlan]) -> dict[FixedPlan, float]:
            found = {}
            for plan in plans:
                cell = loaded(path, part, size, [few, *costs, *plan.overrides(), seed])
                found[plan] = float(predictors.figures(cell)["goodput_tokens_per_s"] or 0.0)
            return found

        drafts = list(scenario.models.drafts)
        plan, _ = best_fixed(rates, drafts, scenario.limits.max_length, depths=(1, 2))
        kept = results.data["plans"][BEST] = {"plan": str(plan), "overrides": list(plan.overrides())}
        results.write()
    cells[f"ladder: {BEST}"] = (few, *kept["overrides"])
    return cells


def tell(
    results: Results,
    part: Part,
    path: Path,
    size: Size,
    cells: Mapping[str, Overrides],
    costs: Mapping[str, Sequence[str]],
    predictors: Predictors,
) -> None:
    """Simulate every cell by every one of ``costs``, unless it was."""
    known = {(row["cell"], row["costs"]) for row in results.data["told"]}
    for name, overrides in cells.items():
        for source, given in costs.items():
            if (name, source) not in known:
                found = predictors.figures(loaded(path, part, size, [*given, *overrides]))
                results.add("told", {"cell": name, "costs": source, **found})
