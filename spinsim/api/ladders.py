"""The ladder of one's own scenario."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from spinsim.api import options, reports
from spinsim.api.common import Where, at_least, imported, lab, overrides, texts, whole
from spinsim.api.frames import frame
from spinsim.api.options import Argument, Option, PathLike, Texts

if TYPE_CHECKING:
    import pandas as pd

    from spinsim.studies.ladder import ladder as _ladder


@dataclass(frozen=True, repr=False)
class Ladder:
    """``result.steps`` in order, from autoregressive to the oracle."""

    result: _ladder.Ladder
    summary: dict[str, Any]

    def __repr__(self) -> str:
        ran = [step for step in self.result.steps if step.goodput]
        return f"Ladder({self.result.scenario}: {len(ran)} of {len(self.result.steps)} steps)"

    def _repr_html_(self) -> str:
        from spinsim.api.notebook import shown
        from spinsim.pages.ladder_terminal import HEADER, cells

        return shown(repr(self), list(HEADER), [cells(step) for step in self.result.steps], self.result.notes)

    @cached_property
    def steps(self) -> pd.DataFrame:
        """A row for each step: goodput, goodput per GPU, ratios, latencies, what binds."""
        rows = []
        for step in self.summary["steps"]:
            flat = {key: value for key, value in step.items() if not isinstance(value, dict)}
            for name in ("ttft_s", "tpot_s"):
                flat |= {f"{name}_{part}": value for part, value in step[name].items()}
            rows.append(flat)
        return frame(rows)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each simulation of a step, with every number of its summary."""
        from spinsim.lab.rows import records

        return frame(records(self.result.rows))


def ladder(
    scenario: Annotated[PathLike, Argument("The scenario's YAML.", metavar="SCENARIO")],
    *,
    steps: Annotated[
        Texts,
        Option("vanilla, planned, ...: one of the steps [all]; repeatable.", flag="--step", metavar="NAME"),
    ] = (),
    set: options.Set = (),
    seeds: Annotated[int, Option("Simulations of each step.", min=1)] = 3,
    seed: options.FirstSeed = None,
    tokens: Annotated[int, Option("Length of the paper's proposals.", min=1)] = 4,
    plugins: options.Plugins = (),
    **where: Unpack[Where],
) -> Ladder:
    """What each mechanism gains on a scenario, and what the same GPUs give when used otherwise.

    The paper's steps propose ``tokens`` each. The best fixed plans are chosen on another seed. ``steps`` are
    some of :data:`spinsim.studies.ladder.steps.ORDER`, all by default. ``where``: see
    :class:`spinsim.api.Where`. Raises InputError before anything runs.
    """
    at_least(1, seeds=seeds, tokens=tokens)
    loaded_plugins = imported(plugins)
    from spinsim.studies.ladder import ladder as _ladder
    from spinsim.studies.ladder.summary import finish_ladder

    plan = _ladder.LadderPlan(
        Path(scenario), overrides(set), seeds, seed, tokens, texts(steps), loaded_plugins
    )
    with lab("ladder", **where) as place:
        result = _ladder.ladder(plan, place)
    summary = finish_ladder(place.store, result, reports.of_ladder)
    return whole(Ladder(result, summary), summary)
