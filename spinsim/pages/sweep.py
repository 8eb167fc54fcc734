"""The report of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from spinsim.lab.rows import Row
from spinsim.pages import shell, study_figures
from spinsim.pages.run_terminal import NOTHING
from spinsim.pages.study_parts import (
    failed_section,
    head,
    is_share,
    provenance_note,
    shown,
    trade_off_of,
)
from spinsim.pages.trade_off import Point, trade_off
from spinsim.results.metrics import Metric, value
from spinsim.studies.sweep import Sweep

MOST_LINES = 8
MOST_ROWS = 400
MOST_COLUMNS = 5
MOST_POINTS = 60
MOST_NAMED = 12


def sweep_report(s: Sweep) -> str:
    """The page of a sweep: a figure of the metrics, and every combination."""
    good = [row for row in s.rows if row.summary is not None]
    seeds = len({row.seed for row in s.rows})
    lede = f"{len(s.rows):,} simulations: {', '.join(s.axes)}" + (
        f", {seeds} seeds each" if seeds > 1 else ""
    )
    body = [head("sweep", s.scenario, lede), provenance_note(s.rows)]
    if good:
        body += [_best(s, good), _figures(s, good), _trade_off(s, good), _table(s, good)]
    body += [failed_section(s.rows)]
    return shell.page(f"sweep of {s.scenario}", [part for part in body if part])


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def x_axis(axes: Sequence[str], rows: Sequence[Row]) -> str | None:
    """The numeric axis with most values, which the figures have for x."""
    seen = {name: {row.labels[name] for row in rows} for name in axes}
    numeric = [name for name in axes if _numeric(list(seen[name])) and len(seen[name]) > 1]
    return max(numeric, key=lambda name: len(seen[name]), default=None)


def grouped(rows: Sequence[Row], axes: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their labels on ``axes``, in the order of the sweep."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.labels[name] for name in axes), []).append(row)
    return groups


def _values(rows: Sequence[Row], metric: Metric) -> list[float]:
    found = (value(row.summary or {}, metric) for row in rows)
    return [number * metric.scale for number in found if number is not None]


def mean_shown(metric: Metric, rows: Sequence[Row]) -> str:
    """The mean over rows, in its title's unit."""
    found = _values(rows, metric)
    return shown(metric, sum(found) / len(found) / metric.scale) if found else NOTHING


def _figures(s: Sweep, rows: Sequence[Row]) -> str:
    x = x_axis(s.axes, rows)
    rest = [name for name in s.axes if name != x]
    groups = grouped(rows, rest)
    if x is None or len(groups) > MOST_LINES:
        names = [_named(rest, key) for key in groups]
        if len(names) > 3 * MOST_LINES:
            return ""
        panels = []
        for metric in s.metrics[:3]:
            spans = []
            for i, (name, group) in enumerate(zip(names, groups.values(), strict=True)):
                found = _values(group, metric) or [float("nan")]
                spans.append(
                    study_figures.Span(
                        name, sum(found) / len(found), min(found), max(found), study_figures.shade(i)
                    )
                )
            panels.append((metric.title, spans))
        return shell.section(
            "Metrics",
            shell.figure(
                study_figures.bars("metrics", panels),
                "Means, with the range over seeds.",
            ),
        )
    drawn = []
    xs = sorted({row.labels[x] for row in rows})
    for metric in s.metrics[:6]:
        series = []
        for key, group in groups.items():
            by_x = {at: [row for row in group if row.labels[x] == at] for at in xs}
            series.append(
                study_figures.Series(_named(rest, key), xs, [_values(by_x[at], metric) for at in xs])
            )
        drawn.append(
            study_figures.Panel(
                metric.title, series, log=bool(xs[0] > 0 and xs[-1] / xs[0] >= 30), share=is_share(metric)
            )
        )
    names_ = [(_named(rest, key) or s.scenario, study_figures.shade(i)) for i, key in enumerate(groups)]
    keys = shell.legend(names_) if len(names_) > 1 else ""
    seeds = len({row.seed for row in rows})
    text = f"Means over {seeds} seeds; their range is shaded." if seeds > 1 else "One seed each."
    if len(names_) > 1:
        text += " Lines that coincide are drawn inside one another."
    return shell.section(
        "Metrics", shell.figure(study_figures.lines("metrics", drawn, x) + keys, escape(text))
    )


def _named(axes: Sequence[str], key: Sequence[Any]) -> str:
    """``batch 4, tokens 3``: the last part of each axis, and its value."""
    return ", ".join(f"{axis.rpartition('.')[2]} {label}" for axis, label in zip(axes, key, strict=True))


def _best(s: Sweep, rows: Sequence[Row]) -> str:
    """The best combination by the first metric, and how far the worst is from it."""
    metric = s.metrics[0]
    means = {
        key: sum(found) / len(found)
        for key, group in grouped(rows, s.axes).items()
        if (found := _values(group, metric))
    }
    if len(means) < 2:
        return ""
    ranked = sorted(means, key=lambda key: means[key], reverse=not metric.lower)
    stats = [
        shell.stat(shown(metric, means[key] / metric.scale), f"{what} {metric.title}", _named(s.axes, key))
        for what, key in (("best", ranked[0]), ("worst", ranked[-1]))
    ]
    text = "Chosen on these very seeds, so flattered by chance; <code>compare</code> on others decides."
    return f'<div class="headline">{"".join(stats)}</div><p class="note">{text}</p>'


def _trade_off(s: Sweep, rows: Sequence[Row]) -> str:
    found = trade_off_of(s.metrics)
    groups = grouped(rows, s.axes)
    if found is None or not 2 <= len(groups) <= MOST_POINTS:
        return ""
    x = x_axis(s.axes, rows)
    rest = [name for name in s.axes if name != x]
    families = list(grouped(rows, rest))
    points = []
    for key, group in groups.items():
        across, up = (_span(group, s.metrics[i]) for i in found)
        if across is not None and up is not None:
            family = tuple(group[0].labels[name] for name in rest)
            shade = study_figures.shade(families.index(family))
            points.append(Point(_named(s.axes, key), across, up, shade))
    named = len(points) <= MOST_NAMED
    titles = [s.metrics[i].title for i in found]
    svg = trade_off("trade-off", points, *titles, names=named)
    legend = [(_named(rest, key), study_figures.shade(i)) for i, key in enumerate(families)]
    text = "A point each combination, mean and range over seeds; better is up and to the left."
    heading = f"{titles[1].partition(',')[0]} against {titles[0].partition(',')[0]}"
    return shell.section(
        heading[:1].upper() + heading[1:],
        shell.figure(svg + (shell.legend(legend) if 1 < len(legend) <= MOST_LINES else ""), text),
    )


def _span(rows: Sequence[Row], metric: Metric) -> study_figures.Span | None:
    found = _values(rows, metric)
    return study_figures.Span("", sum(found) / len(found), min(found), max(found)) if found else None


def _table(s: Sweep, rows: Sequence[Row]) -> str:
    lines = []
    groups = grouped(rows, s.axes)
    for key, group in list(groups.items())[:MOST_ROWS]:
        means = []
        for metric in s.metrics[:MOST_COLUMNS]:
            means.append(mean_shown(metric, group))
        lines.append([*(escape(str(label)) for label in key), *means])
    header = [escape(name.removeprefix("policies.")) for name in s.axes]
    header += [escape(metric.title) for metric in s.metrics[:MOST_COLUMNS]]
    more = len(groups) - len(lines)
    note = f'<p class="note">{more:,} more in sweep.parquet.</p>' if more else ""
    return shell.section("Every combination", shell.table(header, lines), note)
