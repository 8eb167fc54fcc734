"""The page of a sweep."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from spinsim.lab.rows import Row
from spinsim.pages.figures import studies
from spinsim.pages.figures.trade_off import Point, trade_off
from spinsim.pages.palette import shade
from spinsim.pages.render import Cell, Drawn, Stat, page
from spinsim.pages.scenario_text import value_text
from spinsim.pages.study_parts import (
    against,
    behind,
    grouped,
    is_share,
    mean_shown,
    shown,
    trade_off_of,
    values_of,
)
from spinsim.results.metrics import Metric
from spinsim.studies.sweep import Sweep

MOST_LINES, MOST_BARS = 8, 24
MOST_ROWS = 400
MOST_COLUMNS = 5
MOST_POINTS = 60
MOST_NAMED = 12
GIVEN = ("workload", "acceptance", "sampling", "costs", "noise", "slo", "seed")  # not the server's to choose


def sweep_report(s: Sweep, opened: Collection[str] = ()) -> str:
    """The page of a sweep: a figure of the metrics, and every combination.

    ``opened``: keys of the cells that have a run's page in ``runs/``, to which the table leads.
    """
    good = [row for row in s.rows if row.summary is not None]
    seeds = len({row.seed for row in s.rows})
    lede = f"{len(s.rows):,} simulations: {', '.join(s.axes)}"
    return page(
        "sweep.html",
        **behind(s.rows, s.scenarios),
        title=f"sweep of {s.scenario}",
        kicker="sweep",
        heading=s.scenario,
        lede=lede + (f", {seeds} seeds each" if seeds > 1 else ""),
        stats=(),
        notes=(),
        best=best_and_worst(s, good)[:MOST_NAMED],
        **figures_of(s, good),
        **_trade_off(s, good),
        **_table(s, good, opened),
    )


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def x_axis(axes: Sequence[str], rows: Sequence[Row]) -> str | None:
    """The numeric axis with most values, which the figures have for x."""
    seen = {name: {row.labels[name] for row in rows} for name in axes}
    numeric = [name for name in axes if _numeric(list(seen[name])) and len(seen[name]) > 1]
    return max(numeric, key=lambda name: len(seen[name]), default=None)


def figures_of(s: Sweep, rows: Sequence[Row]) -> dict[str, Any]:
    """The figure of the metrics and its caption: lines over a numeric axis, or bars; neither for too many."""
    x = x_axis(s.axes, rows)
    rest = [name for name in s.axes if name != x]
    groups = grouped(rows, rest)
    if x is not None and len(groups) <= MOST_LINES:
        return _lines(s, rows, x, {_named(rest, key): group for key, group in groups.items()})
    every = grouped(rows, s.axes)
    over = "seeds"
    if len(every) <= MOST_BARS:
        rest, groups = list(s.axes), every
    elif x is not None:
        over = f"{x.rpartition('.')[2]} and seeds"
    if not rows or len(groups) > MOST_BARS:
        return {"metrics": None}
    panels = []
    for metric in s.metrics[:3]:
        spans = []
        for i, (key, group) in enumerate(groups.items()):
            found = values_of(group, metric) or [float("nan")]
            mean = sum(found) / len(found)
            spans.append(studies.Span(_named(rest, key), mean, min(found), max(found), shade(i)))
        panels.append((metric.title, spans))
    drawn = Drawn(studies.bars("metrics", panels))
    return {"metrics": drawn, "metrics_text": f"Means over {over}, with their range."}


def _lines(s: Sweep, rows: Sequence[Row], x: str, groups: dict[str, list[Row]]) -> dict[str, Any]:
    xs = sorted({row.labels[x] for row in rows})
    panels = []
    for metric in s.metrics[:6]:
        lines = []
        for name, group in groups.items():
            values = [values_of([row for row in group if row.labels[x] == at], metric) for at in xs]
            lines.append(studies.Series(name, xs, values))
        log = bool(xs[0] > 0 and xs[-1] / xs[0] >= 30)
        panels.append(studies.Panel(metric.title, lines, log=log, share=is_share(metric)))
    seeds = len({row.seed for row in rows})
    text = f"Means over {seeds} seeds; their range is shaded." if seeds > 1 else "One seed each."
    if len(groups) > 1:
        text += " Lines that coincide are drawn inside one another."
    legend = [(name, shade(i)) for i, name in enumerate(groups)] if len(groups) > 1 else []
    return {"metrics": Drawn(studies.lines("metrics", panels, x), legend), "metrics_text": text}


def _named(axes: Sequence[str], key: Sequence[Any]) -> str:
    """``batch 4, tokens 3``: the last part of each axis, and its value."""
    return ", ".join(
        f"{axis.rpartition('.')[2]} {value_text(label)}" for axis, label in zip(axes, key, strict=True)
    )


def best_and_worst(s: Sweep, rows: Sequence[Row]) -> list[Stat]:
    """The best combination by the first metric, and the worst; nothing where there is but one.

    Where the sweep varies what a server is given (``GIVEN``), such as the load: the best choice for each.
    """
    given = [axis for axis in s.axes if axis.partition(".")[0] in GIVEN]
    chosen = [axis for axis in s.axes if axis not in given]
    metric = s.metrics[0]
    if not given:
        ranked = _ranked(metric, rows, s.axes)
        ends = (("best", ranked[0]), ("worst", ranked[-1])) if len(ranked) > 1 else ()
        return [Stat(value, f"{what} {metric.title}", _named(s.axes, key)) for what, (key, value) in ends]
    found = []
    for key, group in grouped(rows, given).items():
        ranked = _ranked(metric, group, chosen)
        if len(ranked) > 1:
            best, value = ranked[0]
            found.append(Stat(value, f"best {metric.title}: {_named(given, key)}", _named(chosen, best)))
    return found


def _ranked(metric: Metric, rows: Sequence[Row], axes: Sequence[str]) -> list[tuple[tuple[Any, ...], str]]:
    """Combinations with their means as texts, the best first."""
    means = {
        key: sum(found) / len(found)
        for key, group in grouped(rows, axes).items()
        if (found := values_of(group, metric))
    }
    ranked = sorted(means, key=lambda key: means[key], reverse=not metric.lower)
    return [(key, shown(metric, means[key] / metric.scale)) for key in ranked]


def _trade_off(s: Sweep, rows: Sequence[Row]) -> dict[str, Any]:
    found = trade_off_of(s.metrics)
    groups = grouped(rows, s.axes)
    if found is None or not 2 <= len(groups) <= MOST_POINTS:
        return {"trade_off": None}
    x = x_axis(s.axes, rows)
    rest = [name for name in s.axes if name != x]
    families = list(grouped(rows, rest))
    points = []
    for key, group in groups.items():
        across, up = (_span(group, s.metrics[i]) for i in found)
        if across is not None and up is not None:
            family = tuple(group[0].labels[name] for name in rest)
            points.append(Point(_named(s.axes, key), across, up, shade(families.index(family))))
    titles = [s.metrics[i].title for i in found]
    svg = trade_off("trade-off", points, *titles, names=len(points) <= MOST_NAMED)
    legend = [(_named(rest, key), shade(i)) for i, key in enumerate(families)]
    drawn = Drawn(svg, legend if 1 < len(legend) <= MOST_LINES else [])
    return {"trade_off": drawn, "trade_off_title": against(titles[1], titles[0])}


def _span(rows: Sequence[Row], metric: Metric) -> studies.Span | None:
    found = values_of(rows, metric)
    return studies.Span("", sum(found) / len(found), min(found), max(found)) if found else None


def _table(s: Sweep, rows: Sequence[Row], opened: Collection[str]) -> dict[str, Any]:
    """Every combination, up to ``MOST_ROWS``."""
    metrics = s.metrics[:MOST_COLUMNS]
    groups = list(grouped(rows, s.axes).items())
    return {
        "header": [*(name.removeprefix("policies.") for name in s.axes), *(m.title for m in metrics), "cell"],
        "rows": [
            [
                *map(value_text, key),
                *(mean_shown(metric, group) for metric in metrics),
                _cell(group[0].key, opened),
            ]
            for key, group in groups[:MOST_ROWS]
        ],
        "more": max(len(groups) - MOST_ROWS, 0),
    }


def _cell(key: str, opened: Collection[str]) -> Cell:
    """The beginning of a cell's key, which ``report --cell`` takes; a link where its run is there."""
    return Cell(key[:8], title=key, href=f"runs/{key}/report.html" if key in opened else "")
