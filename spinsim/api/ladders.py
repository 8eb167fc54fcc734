"""The ladder of one's own scenario."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from spinsim.api.common import (
    PathLike,
    Paths,
    Settings,
    Texts,
    Where,
    at_least,
    lab,
    overrides,
    paths,
    texts,
    whole,
)
from spinsim.api.frames import frame
from spinsim.lab.rows import records
from spinsim.policies.plugins import load_plugins
from spinsim.studies.ladder import ladder as _ladder
from spinsim.studies.ladder.summary import finish_ladder

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Ladder:
    """``result.steps`` in order, from autoregressive to the oracle."""

    result: _ladder.Ladder
    summary: dict[str, Any]

    def __repr__(self) -> str:
        ran = [step for step in self.result.steps if step.goodput]
        return f"Ladder({self.result.scenario}: {len(ran)} of {len(self.result.steps)} steps)"

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
        return frame(records(self.result.rows))


def ladder(
    scenario: PathLike,
    *,
    set: Settings = (),
    seeds: int = _ladder.SEEDS,
    seed: int | None = None,
    tokens: int = 4,
    steps: Texts = (),
    plugins: Paths = (),
    **where: Unpack[Where],
) -> Ladder:
    """What every mechanism gains on ``scenario``, and what the same GPUs give when put to another use.

    The paper's steps propose ``tokens`` each; the best fixed plans are chosen on another seed. ``steps``:
    some of :data:`spinsim.studies.ladder.steps.ORDER`, all by default. ``where``: see
    :class:`spinsim.api.Where`. Raises InputError before anything runs.
    """
    at_least(1, seeds=seeds, tokens=tokens)
    loaded_plugins = load_plugins(paths(plugins))
    plan = _ladder.LadderPlan(
        Path(scenario), overrides(set), seeds, seed, tokens, texts(steps), loaded_plugins
    )
    with lab("ladder", **where) as place:
        result = _ladder.ladder(plan, place)
    summary = finish_ladder(place.store, result)
    return whole(Ladder(result, summary), summary)
