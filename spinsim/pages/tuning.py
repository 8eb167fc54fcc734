"""The page of a search: what was gained, the trials, the winners."""

from __future__ import annotations

from spinsim.pages.figures import parallel, studies
from spinsim.pages.render import Cell, Drawn, Stat, page
from spinsim.pages.run_terminal import NOTHING
from spinsim.pages.scenario_text import value_text as words
from spinsim.pages.search import gain_text, trials_text
from spinsim.pages.study_parts import bare, behind, changed, changed_spread, shown, spread
from spinsim.studies.tuning.tune import Tuning, Winner

MOST_TRIALS = 400
MOST_PARAMETERS = 8  # in figures


def tuning_report(t: Tuning) -> str:
    """The page of a search."""
    return page(
        "tuning.html",
        **behind(t.rows, t.scenarios),
        title=f"tuning of {t.scenario}",
        kicker="tuning",
        heading=t.scenario,
        lede=trials_text(t),
        stats=gains(t),
        notes=t.notes,
        samples=t.baseline[0].mean.samples,
        held_out=held_out_rows(t),
        search=_single(t) if len(t.objectives) == 1 else _front(t),
        better=[("left" if m.lower else "right", "down" if m.lower else "up") for m in t.objectives],
        importances=_importances(t),
        parallel=_parallel(t),
        winners=[
            (winner, [(key, value_text(v)) for key, v in winner.trial.parameters.items()])
            for winner in t.winners
        ],
        trials=_trials(t),
    )


def gains(t: Tuning) -> list[Stat]:
    """The headline: what each of the first winners gained."""
    return [Stat(changed(winner.gain[0]), _label(t, winner), _detail(t, winner)) for winner in t.winners[:6]]


def _detail(t: Tuning, winner: Winner) -> str:
    """Under a winner's headline: the gain in words, or in the other objectives."""
    if len(t.objectives) == 1:
        return f"on {t.held_out}: {gain_text(t, winner)}"
    gains = (f"{bare(effect.metric)} {changed(effect)}" for effect in winner.gain[1:])
    return f"and {', '.join(gains)}, on {t.held_out}"


def _label(t: Tuning, winner: Winner) -> str:
    """A winner's name and, where there are several objectives, the one that its headline is about."""
    return winner.name if len(t.objectives) == 1 else f"{winner.name}: {bare(t.objectives[0])}"


def held_out_rows(t: Tuning) -> list[list[str]]:
    """By objective, the scenario as written and every winner."""
    rows = []
    for i, base in enumerate(t.baseline):
        metric = base.metric
        mean = shown(metric, base.mean.estimate)
        rows.append([metric.title, "as written", mean, spread(base.mean, metric), "", "", ""])
        for winner in t.winners:
            effect = winner.gain[i]
            rows.append([
                "", winner.name, shown(metric, effect.mean.estimate), spread(effect.mean, metric),
                changed(effect), changed_spread(effect), effect.verdict or NOTHING,
            ])  # fmt: skip
    return rows


def _single(t: Tuning) -> Drawn:
    """One objective by trial, and the best so far."""
    (metric,) = t.objectives
    values, best = [], []
    known: float | None = None
    for trial in t.trials:
        found = trial.values or trial.short
        values.append(found[0] * metric.scale if found else None)
        if trial.values and trial.feasible:
            value = trial.values[0] * metric.scale
            known = value if known is None else min(known, value) if metric.lower else max(known, value)
        best.append(known)
    stopped = [trial.values is None for trial in t.trials]
    return Drawn(studies.search(values, stopped, best, metric.title))


def _front(t: Tuning) -> Drawn:
    """The first two objectives of every trial, and the chosen members of the Pareto front."""
    x, y = t.objectives[:2]
    chosen = {winner.trial.number for winner in t.winners}
    points = [
        (trial.values[0] * x.scale, trial.values[1] * y.scale, "s1" if trial.number in chosen else "s0")
        for trial in t.trials
        if trial.values
    ]
    front = [(across, up) for across, up, colour in points if colour == "s1"]
    return Drawn(studies.front(points, front, x.title, y.title))


def _importances(t: Tuning) -> Drawn | None:
    """What explains the trials' differences, a panel an objective; None where Optuna could not tell."""
    if not t.importances:
        return None
    panels = []
    for i, metric in enumerate(t.objectives):
        ranked = sorted(t.importances.items(), key=lambda item: -item[1][i])[:MOST_PARAMETERS]
        spans = [studies.Span(key.removeprefix("policies."), 100 * s[i], None, None) for key, s in ranked]
        panels.append((f"{metric.title}: % explained", spans))
    return Drawn(studies.bars("importances", panels))


def _parallel(t: Tuning) -> Drawn | None:
    """Every full trial as a line through its parameters and objectives; None for fewer than two."""
    done = [trial for trial in t.trials if trial.values]
    axes = [key for key in t.keys if len({str(trial.parameters.get(key)) for trial in done}) > 1]
    if len(done) < 2 or not axes:
        return None
    chosen = {winner.trial.number for winner in t.winners}
    lines = [
        parallel.Line(
            [
                *(trial.parameters.get(key) for key in axes[:MOST_PARAMETERS]),
                *(v * m.scale for v, m in zip(trial.values or (), t.objectives, strict=True)),
            ],
            trial.number in chosen,
        )
        for trial in done
    ]
    names = [*(key.rpartition(".")[2] for key in axes[:MOST_PARAMETERS]), *(m.title for m in t.objectives)]
    return Drawn(parallel.parallel(names, lines), [("trials", "none"), ("chosen", "s1")])


def _trials(t: Tuning) -> tuple[list[str], list[list[str | Cell]]]:
    """The head and the rows of the table of trials."""
    keys = list(dict.fromkeys(key for trial in t.trials for key in trial.parameters))
    rows: list[list[str | Cell]] = []
    for trial in t.trials[:MOST_TRIALS]:
        values = trial.values or (None,) * len(t.objectives)
        rows.append([
            str(trial.number),
            *(value_text(trial.parameters.get(key)) for key in keys),
            *(shown(metric, value) for metric, value in zip(t.objectives, values, strict=True)),
            Cell(trial.error or trial.state, css="text"),
        ])  # fmt: skip
    titles = [metric.title for metric in t.objectives]
    return ["trial", *(key.removeprefix("policies.") for key in keys), *titles, ""], rows


def value_text(value: object) -> str:
    """A parameter's value; a dash for none."""
    return NOTHING if value is None else f"{value:.4g}" if isinstance(value, float) else words(value)
