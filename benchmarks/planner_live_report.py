"""What ``benchmarks.planner_live`` foretells and measures, in lines and ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from benchmarks.planner_live_cases import JOINT
from spinsim.lab.statistics import Interval, mean_interval, relative_difference
from spinsim.studies.ladder.steps import ORACLE, PLANNED, VANILLA

Numbers = dict[str, Any]
Rates = Mapping[str, Mapping[int, float]]  # tokens/s by plan and seed


def bounds(foretold: Numbers) -> None:
    """Prints what is foretold: of each case the oracle's bound first, then every plan."""
    seeds = foretold["seeds"]
    for name, case in foretold["cases"].items():
        rates = {plan: dict(zip(seeds, values, strict=True)) for plan, values in case["rates"].items()}
        best = best_of(rates, case["fixed"])
        print(f"{name}:")
        for plan in (ORACLE, *(plan for plan in rates if plan != ORACLE)):
            what, mean = "bound" if plan == ORACLE else "foretold", fmean(rates[plan].values())
            over = mean / fmean(rates[best].values())
            print(f"  {what:8} {mean:7,.0f} tokens/s, {over:.3f} of the best fixed plan  {plan}")
        for to, ratio in ratios(rates, case["fixed"]).items():
            print(f"  foretold {PLANNED} / {to}: {said(ratio)}", flush=True)


def best_of(rates: Rates, fixed: Sequence[str]) -> str:
    """The fixed plan that made the most, of those that ran."""
    return max((plan for plan in fixed if rates[plan]), key=lambda plan: fmean(rates[plan].values()))


def ratios(rates: Rates, fixed: Sequence[str]) -> dict[str, Interval]:
    """The planner's rate over that of each other plan, in pairs of seeds that both have run."""
    found = {}
    for to in (*fixed, JOINT, VANILLA):
        pairs = [(rates[to][seed], rate) for seed, rate in rates[PLANNED].items() if seed in rates[to]]
        if pairs:
            one = relative_difference([a for a, _ in pairs], [b for _, b in pairs])
            low, high = (None if end is None else 1 + end for end in (one.low, one.high))
            found[to] = Interval(1 + one.estimate, low, high, one.confidence, one.samples)
    return found


def report(foretold: Numbers, runs: Sequence[Numbers]) -> Numbers:
    """Prints a line a plan, and the planner's ratios; returns them by case."""
    found: Numbers = {}
    for name, case in foretold["cases"].items():
        ran = [run for run in runs if run["case"] == name and "error" not in run]
        rates: dict[str, dict[int, float]] = {plan: {} for plan in case["rates"] if plan != ORACLE}
        for run in ran:
            rates[run["plan"]][run["seed"]] = run["tokens_per_s"]
        print(f"{name}, live:")
        plans = {}
        for plan, values in rates.items():
            own = [run for run in ran if run["plan"] == plan]
            if own:
                told = dict(zip(foretold["seeds"], case["rates"][plan], strict=True))
                plans[plan] = _of_plan(plan, own, values, fmean(told[seed] for seed in values))
        paired = ratios(rates, case["fixed"])
        for to, ratio in paired.items():
            print(f"  {PLANNED} / {to}: {said(ratio)}", flush=True)
        found[name] = {"plans": plans, "ratios": {to: asdict(ratio) for to, ratio in paired.items()}}
    return found


def said(ratio: Interval) -> str:
    """The estimate, and its interval where there is one."""
    if ratio.low is None:
        return f"{ratio.estimate:.3f} (one pair)"
    return f"{ratio.estimate:.3f} ({ratio.low:.3f} to {ratio.high:.3f}, {ratio.samples} pairs)"


def _of_plan(plan: str, runs: Sequence[Numbers], rates: Mapping[int, float], foretold: float) -> Numbers:
    rate = mean_interval(list(rates.values()))
    found: Numbers = {
        "tokens_per_s": asdict(rate),
        "foretold": foretold,
        "error": foretold / rate.estimate - 1,
        "host_ms_per_round": fmean(run["host_ms_per_round"] for run in runs),
        "idle_ms_per_round": fmean(run["idle_ms_per_round"] for run in runs),
        "round": {key: fmean(run["round"][key] for run in runs) for key in runs[0]["round"] or ()},
    }
    line = (
        f"  {rate.estimate:7,.0f} tokens/s in {len(runs)} runs, "
        f"foretold {foretold:,.0f} ({found['error']:+.1%}), "
        f"host {found['host_ms_per_round']:.2f} ms a round  {plan}"
    )
    timed = [run["planner"] for run in runs if run["planner"]]
    for what in timed[0] if timed else ():
        found[what] = {key: fmean(one[what][key] for one in timed) for key in timed[0][what]}
        line += f", {what} {found[what]['ms_per_round']:.3f} (p99 {found[what]['call_p99_ms']:.2f})"
    print(line)
    return found
