"""Reports of capacities and searches: one offline page each."""

from __future__ import annotations

from html import escape

from spinsim.lab.statistics import Interval
from spinsim.pages import shell, study_figures
from spinsim.pages.run_terminal import NOTHING, duration, number, percent
from spinsim.pages.study_parts import (
    changed,
    changed_spread,
    failed_section,
    head,
    provenance_note,
    shown,
    spread,
)
from spinsim.results.metrics import Metric
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


def capacity_report(c: Capacity) -> str:
    """The page of a capacity search: the answer, the curve, every rate."""
    wanted = f"{percent(c.attainment)} of requests with {objectives_text(dict(c.objectives))}"
    stats = []
    if c.rate is not None:
        stats.append(shell.stat(f"{number(c.rate.estimate, 4)} req/s", "capacity", bounds_text(c.rate)))
        held = [p.rate for p in c.curve if p.rate <= c.rate.estimate and p.mean >= c.attainment]
        if held:
            stats.append(
                shell.stat(
                    f"{number(max(held), 4)} req/s", "highest rate simulated that held", "mean of its seeds"
                )
            )
    notes = "".join(f'<p class="note">{escape(note)}.</p>' for note in c.notes)
    span = None
    if c.rate is not None:
        span = study_figures.Span("capacity", c.rate.estimate, c.rate.low, c.rate.high)
    svg = study_figures.attainment(
        [p.rate for p in c.curve],
        [p.attainments for p in c.curve],
        [p.fitted for p in c.curve],
        c.attainment,
        span,
        "requests per second",
    )
    text = (
        "Dots are simulations, one a seed; the line is the decreasing fit to their means. Dashed, the wanted "
        "attainment; upright, the capacity, its 95 % bootstrap interval shaded."
    )
    rows = [
        [number(p.rate, 4), percent(p.mean), percent(min(p.attainments)), percent(max(p.attainments)),
         percent(p.fitted), str(len(p.attainments))]
        for p in c.curve
    ]  # fmt: skip
    header = ["requests/s", "attainment", "lowest", "highest", "fit", "seeds"]
    body = [
        head("capacity", c.scenario, wanted),
        provenance_note(c.rows),
        f'<div class="headline">{"".join(stats)}</div>{notes}',
        shell.section("Attainment by arrival rate", shell.figure(svg, text), shell.table(header, rows)),
        failed_section(c.rows),
    ]
    return shell.page(f"capacity of {c.scenario}", [part for part in body if part])


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


def tuning_report(t: Tuning) -> str:
    """The page of a search: what was gained, the trials, the winners."""
    states = [trial.state for trial in t.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    lede = f"{len(t.trials)} trials ({counts}) over {', '.join(t.keys)}"
    stats = [
        shell.stat(changed(winner.gain[0]), _label(t, winner), _detail(t, winner)) for winner in t.winners[:6]
    ]
    notes = "".join(f'<p class="note">{escape(note)}.</p>' for note in t.notes)
    body = [
        head("tuning", t.scenario, lede),
        f'<div class="headline">{"".join(stats)}</div>{notes}',
        _held_out(t),
        _search(t),
        *(_winner(winner) for winner in t.winners),
        _trials(t),
        failed_section(t.rows),
    ]
    return shell.page(f"tuning of {t.scenario}", [part for part in body if part])


def _detail(t: Tuning, winner: Winner) -> str:
    """Under a winner's headline: the gain in words, or in the other objectives."""
    if len(t.objectives) == 1:
        return f"on {t.held_out}: {gain_text(t, winner)}"
    gains = (f"{_short(effect.metric)} {changed(effect)}" for effect in winner.gain[1:])
    return f"and {', '.join(gains)}, on {t.held_out}"


def _label(t: Tuning, winner: Winner) -> str:
    """A winner's name and, where there are several objectives, the one that its headline is about."""
    return winner.name if len(t.objectives) == 1 else f"{winner.name}: {_short(t.objectives[0])}"


def _short(metric: Metric) -> str:
    return metric.title.rpartition(",")[0] or metric.title


def _held_out(t: Tuning) -> str:
    rows = []
    for metric_index, base in enumerate(t.baseline):
        metric = base.metric
        rows.append(
            [
                escape(metric.title),
                "as written",
                shown(metric, base.mean.estimate),
                spread(base.mean, metric),
                "",
                "",
                "",
            ]
        )
        for winner in t.winners:
            effect = winner.gain[metric_index]
            rows.append(
                ["", escape(winner.name), shown(metric, effect.mean.estimate), spread(effect.mean, metric),
                 changed(effect), changed_spread(effect), effect.verdict or NOTHING]
            )  # fmt: skip
    header = ["", "<th></th>", "mean", "95 % interval", "gain", "interval", "verdict"]
    text = (
        f"Measured on {t.baseline[0].mean.samples} fresh seeds that tuning never used, in pairs with the "
        "scenario as written. Intervals of gains cover all winners at once at 95 %."
    )
    return shell.section("On what tuning did not see", f"<p>{text}</p>", shell.table(header, rows))


def _search(t: Tuning) -> str:
    if len(t.objectives) == 1:
        metric = t.objectives[0]
        values = [
            trial.values[0] * metric.scale
            if trial.values
            else (trial.short[0] * metric.scale if trial.short else None)
            for trial in t.trials
        ]
        best: list[float | None] = []
        pick = min if metric.lower else max
        for trial in t.trials:
            known = [b for b in best[-1:] if b is not None]
            if trial.values and trial.feasible:
                known.append(trial.values[0] * metric.scale)
            best.append(pick(known) if known else None)
        svg = study_figures.search(values, [trial.values is None for trial in t.trials], best, metric.title)
        text = (
            "Each dot a trial: full simulations, or, hollow, the short one after which it was stopped. "
            "Line: the best so far."
        )
        return shell.section("The search", shell.figure(svg, text))
    x, y = t.objectives[:2]
    chosen = {winner.trial.number for winner in t.winners}
    points = [
        (trial.values[0] * x.scale, trial.values[1] * y.scale, "s1" if trial.number in chosen else "s0")
        for trial in t.trials
        if trial.values
    ]
    front = [(p[0], p[1]) for p in points if p[2] == "s1"]
    svg = study_figures.front(points, front, x.title, y.title)
    ways = ("left" if x.lower else "right", "down" if y.lower else "up")
    text = (
        "Each dot a trial; joined, the chosen members of the Pareto front. "
        f"Better is {ways[1]} and to the {ways[0]}."
    )
    return shell.section("The search", shell.figure(svg, text))


def _winner(winner: Winner) -> str:
    pairs = [
        (key, f"{value:.4g}" if isinstance(value, float) else str(value))
        for key, value in winner.trial.parameters.items()
    ]
    return shell.section(
        f"{winner.name}.yaml",
        shell.definitions(pairs),
        f"<details><summary>The whole scenario</summary><pre>{escape(winner.yaml)}</pre></details>",
    )


def _trials(t: Tuning) -> str:
    keys = list(dict.fromkeys(key for trial in t.trials for key in trial.parameters))
    rows = []
    for trial in t.trials[:400]:
        parameters = [_cell(trial.parameters.get(key)) for key in keys]
        values = [
            shown(m, v)
            for m, v in zip(t.objectives, trial.values or (None,) * len(t.objectives), strict=True)
        ]
        rows.append([str(trial.number), *parameters, *values, escape(trial.error or trial.state)])
    header = [
        "trial",
        *(escape(key.removeprefix("policies.")) for key in keys),
        *(escape(m.title) for m in t.objectives),
        "",
    ]
    return shell.section("Every trial", shell.table(header, rows))


def _cell(value: object) -> str:
    return NOTHING if value is None else f"{value:.4g}" if isinstance(value, float) else escape(str(value))
