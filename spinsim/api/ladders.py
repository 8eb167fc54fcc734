"""The ladder of one's own scenario."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from spinsim.api import options, reports
from spinsim.api.common import Where, at_least, imported, lab, overrides, texts, whole
from spinsim.api.frames import frame
from spinsim.api.options import Argument, Option, PathLike, Settings, Texts
from spinsim.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from spinsim.studies.ladder import result as _result


@dataclass(frozen=True, repr=False)
class Ladder:
    """``result.steps`` in order, from autoregressive to the oracle; live ones where it ran live."""

    result: _result.Ladder
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
    live: Annotated[bool, Option("Runs the steps on real devices, once they are predicted.")] = False,
    seeds: Annotated[int, Option("Simulations of each step; with --live also its runs.", min=1)] = 3,
    seed: options.FirstSeed = None,
    tokens: Annotated[int, Option("Length of the paper's proposals.", min=1)] = 4,
    seconds: Annotated[
        float | None, Option("Cuts the workload to runs of vanilla of about so long.", min=0.1)
    ] = None,
    minutes: Annotated[
        float | None, Option("With --live: bounds the runs and the loading; --resume goes on.", min=0.1)
    ] = None,
    predicted: Annotated[
        PathLike | None,
        Option(
            "With --live: a prediction.json; its steps run as it says, and are not simulated.", metavar="FILE"
        ),
    ] = None,
    tuning: Annotated[
        Settings,
        Option("Overrides for the runs that choose fixed plans; repeatable.", metavar="KEY.PATH=VALUE"),
    ] = (),
    device: options.Device = None,
    plugins: options.Plugins = (),
    **where: Unpack[Where],
) -> Ladder:
    """What each mechanism gains on a scenario, and what the same GPUs give when used otherwise.

    The paper's steps propose ``tokens`` each. The best fixed plans are chosen on another seed. ``steps`` are
    some of :data:`spinsim.studies.ladder.steps.ORDER`, all by default. With ``live`` the steps then run on
    real devices, in turn, once for each seed; what was predicted is kept in ``prediction.json`` before.
    ``tuning`` overrides the scenario of the runs that choose fixed plans, which may be shorter.
    ``predicted`` names such a file from elsewhere: its fixed plans, seeds, overrides and workload are run
    without being simulated anew. What would say them otherwise is refused; ``steps`` chooses among its steps.
    ``seconds`` cuts the workload: requests are left out, or start in mid-flight. ``minutes`` bound what is
    live, and ``resume`` goes on with it. ``where``: see :class:`spinsim.api.Where`. Raises InputError before
    anything runs.
    """
    at_least(1, seeds=seeds, tokens=tokens)
    for name, value in (("seconds", seconds), ("minutes", minutes)):
        if value is not None and not 0 < value < inf:
            raise InputError(f"{value} is not allowed; above 0", key=f"--{name}")
    for name, bounds_live in (("minutes", minutes), ("predicted", predicted)):
        if bounds_live is not None and not live:
            raise InputError("is for live runs; give --live as well", key=f"--{name}")
    if predicted is not None and (set or tuning or seconds is not None or seed is not None):
        raise InputError("says what runs; leave out --set, --tuning, --seconds and --seed", key="--predicted")
    loaded_plugins = imported(plugins)
    from spinsim.studies.ladder import foretold as _foretold
    from spinsim.studies.ladder import ladder as _ladder
    from spinsim.studies.ladder import summary as _summary

    plan = _ladder.LadderPlan(
        Path(scenario),
        overrides(set),
        seeds,
        seed,
        tokens,
        texts(steps),
        loaded_plugins,
        device,
        overrides(tuning),
    )
    with lab("ladder", **where) as place:
        if predicted is not None:
            plan, ready, foretold = _foretold.read_prediction(Path(predicted), plan)
            place.store.write_manifest("ladder", _ladder.manifest(plan, ready.seeds))
            _foretold.write_prediction(place.store, foretold)
        else:
            notes: tuple[str, ...] = ()
            if seconds is not None:
                from spinsim.studies.ladder.shorter import shortened

                plan, note = shortened(plan, seconds, place)
                notes = (note,) if note else ()
            ready = _ladder.prepared(plan, place)
            result = replace(found := _ladder.simulated(ready, place), notes=(*found.notes, *notes))
            foretold = _foretold.keep_prediction(place.store, result, plan, ready)
            if not live:
                summary = _summary.finish_ladder(place.store, result, reports.of_ladder)
                return whole(Ladder(result, summary), summary)
        from spinsim.studies.ladder.live import run_ladder

        result, about = run_ladder(plan, ready, foretold, place, minutes)
    summary = _summary.live_summary(result, foretold, about)
    _summary.finish_live(place.store, result, summary, reports.of_ladder)
    return whole(Ladder(result, summary), summary)
