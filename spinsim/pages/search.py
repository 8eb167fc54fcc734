"""Capacities and searches in words, for the terminal, notebooks and pages."""

from __future__ import annotations

from spinsim.lab.statistics import Interval
from spinsim.pages.run_terminal import duration, number, percent
from spinsim.pages.study_parts import changed, changed_spread
from spinsim.studies.capacity import Capacity
from spinsim.studies.tuning.tune import Tuning, Winner


def objectives_text(objectives: dict[str, float | None]) -> str:
    """``TTFT within 0.5 s and TPOT within 30 ms``."""
    names = {"ttft_s": "TTFT", "tpot_s": "TPOT"}
    return " and ".join(
        f"{names[key]} within {duration(limit)}" for key, limit in objectives.items() if limit is not None
    )


def rate_text(rate: Interval | None) -> str:
    """``12.3 requests/s, 95 % interval 11.8 to 12.9``."""
    if rate is None:
        return "not found"
    bounds = bounds_text(rate)
    return f"{number(rate.estimate, 4)} requests/s" + (f", {bounds}" if bounds else "")


def bounds_text(rate: Interval) -> str:
    """``95 % interval 11.8 to 12.9``; empty where there is none."""
    return "" if rate.low is None else f"95 % interval {number(rate.low, 4)} to {number(rate.high, 4)}"


def wanted_text(c: Capacity) -> str:
    """``90 % of requests with TTFT within 0.5 s``."""
    return f"{percent(c.attainment)} of requests with {objectives_text(dict(c.objectives))}"


def trials_text(t: Tuning) -> str:
    """``40 trials (31 complete, 9 pruned) over policies.length.tokens``."""
    states = [trial.state for trial in t.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{len(t.trials)} trials ({counts}) over {', '.join(t.keys)}"


def gain_text(t: Tuning, winner: Winner) -> str:
    """The gain in the first objective, plainly said."""
    effect = winner.gain[0]
    name = effect.metric.title.partition(",")[0]
    if effect.relative is None:
        return f"{name}: no pairs to compare"
    change = f"{name} {changed(effect)} ({changed_spread(effect)})"
    if effect.verdict == "better":
        return f"{change}: an improvement; the interval excludes zero"
    if effect.verdict == "the same":
        return "nothing better than the scenario as written was found"
    if effect.verdict == "worse":
        return f"{change}: worse than the scenario as written on what tuning did not see"
    return f"{change}: no improvement is shown; the interval includes zero"
