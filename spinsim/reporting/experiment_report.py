"""Reports of comparisons and sweeps: one offline page each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from spinsim.experiments.compare import Comparison, Effect
from spinsim.experiments.metrics import Metric, value
from spinsim.experiments.rows import Row, failures
from spinsim.experiments.statistics import Interval
from spinsim.experiments.sweep import Sweep
from spinsim.reporting import experiment_figures as figures
from spinsim.reporting import page
from spinsim.reporting.terminal import NOTHING, number

MOST_LINES = 8
MOST_ROWS = 400
MOST_PANELS = 9
MOST_COLUMNS = 5


def shown(metric: Metric, amount: float | None) -> str:
    """A value in its title's unit."""
    return number(None if amount is None or amount != amount else amount * metric.scale, 4)


def spread(interval: Interval, metric: Metric) -> str:
    """``low to high``; a dash for none."""
    if interval.low is None or interval.high is None:
        return NOTHING
    return f"{shown(metric, interval.low)} to {shown(metric, interval.high)}"


def signed(share: Interval | float | None) -> str:
    """A relative difference, or the estimate of an interval, in percent."""
    share = share.estimate if isinstance(share, Interval) else share
    return NOTHING if share is None or share != share else f"{100 * share:+.1f} %"


def signed_spread(interval: Interval | None) -> str:
    """Its interval."""
    if interval is None or interval.low is None:
        return NOTHING
    return f"{signed(interval.low)} to {signed(interval.high)}"


def head(kicker: str, title: str, lede: str) -> str:
    """The top of an experiment's page."""
    return (
        f'<header><p class="kicker">{escape(kicker)}</p><h1>{escape(title)}</h1>'
        f'<p class="lede">{escape(lede)}</p></header>'
    )


def failed_section(rows: Sequence[Row]) -> str:
    """What failed, if anything did."""
    failed = failures(rows)
    if not failed:
        return ""
    lines = [
        [escape(", ".join(f"{k} {v}" for k, v in f["labels"].items())), str(f["seed"]),
         f'<td class="text">{escape(f["error"])}</td>']
        for f in failed[:50]
    ]  # fmt: skip
    text = f'<p class="partial">{len(failed)} of {len(rows)} cells failed and are left out above.</p>'
    return page.section("Failed", text, page.table(["cell", "seed", "<th></th>"], lines))


def comparison_report(c: Comparison) -> str:
    """The page of a comparison."""
    names = list(c.effects)
    first = c.metrics[0]
    lede = (
        f"Each alternative met the same {len(c.seeds)} seeds: the same arrivals, lengths and acceptances. "
        f"Differences are of pairs, against {c.baseline}."
    )
    others = [name for name in names if name != c.baseline]
    body = [
        head(f"comparison over seeds {c.seeds[0]} to {c.seeds[-1]}", " / ".join(names[:4]), lede),
        _verdicts(c, others),
        page.section(
            first.title[:1].upper() + first.title[1:],
            page.figure(
                figures.bars("means", [("", _means(c, names, 0))]),
                "Means over the seeds, with 95 % bootstrap intervals.",
            ),
            _metric_table(c, names, 0),
        ),
        page.section(
            "Differences",
            page.figure(
                figures.differences("differences", _panels(c, others)),
                f"Relative to {escape(c.baseline)}, paired by seed. "
                "An interval that crosses 0 decides nothing.",
            ),
            *(_metric_table(c, names, i) for i in range(1, len(c.metrics))),
        ),
        failed_section(c.rows),
        _method(c),
    ]
    return page.page(f"comparison: {', '.join(names)}", [part for part in body if part])


def _means(c: Comparison, names: Sequence[str], metric: int) -> list[figures.Span]:
    spans = []
    for i, name in enumerate(names):
        effect = c.effects[name][metric]
        scale, mean = effect.metric.scale, effect.mean
        spans.append(
            figures.Span(
                name,
                mean.estimate * scale,
                _times(mean.low, scale),
                _times(mean.high, scale),
                figures.shade(i),
            )
        )
    return spans


def _times(bound: float | None, scale: float) -> float | None:
    return None if bound is None else bound * scale


def _panels(c: Comparison, others: Sequence[str]) -> list[tuple[str, list[figures.Span]]]:
    panels = []
    names = list(c.effects)
    for i, metric in enumerate(c.metrics[:MOST_PANELS]):
        spans = []
        for name in others:
            relative = c.effects[name][i].relative
            ink = figures.shade(names.index(name))
            if relative is None or relative.estimate != relative.estimate:
                spans.append(figures.Span(name, float("nan"), None, None, ink))
            else:
                spans.append(figures.Span(name, relative.estimate, relative.low, relative.high, ink))
        panels.append((metric.title.rpartition(",")[0] or metric.title, spans))
    return panels


def _verdicts(c: Comparison, others: Sequence[str]) -> str:
    stats = []
    for name in others:
        effect = c.effects[name][0]
        relative = effect.relative
        detail = f"{name}, {effect.metric.title}; interval {signed_spread(relative)}"
        stats.append(page.stat(signed(relative), effect.verdict or "no pairs", detail))
    notes = "".join(f'<p class="note">{escape(note)}.</p>' for note in c.notes)
    return f'<div class="headline">{"".join(stats)}</div>{notes}'


def _metric_table(c: Comparison, names: Sequence[str], i: int) -> str:
    metric = c.metrics[i]
    rows = [_cells(name, c.effects[name][i], name == c.baseline) for name in names]
    title = f'<th style="color:var(--ink)">{escape(metric.title) if i else ""}</th>'
    return page.table([title, "mean", "95 % interval", "difference", "interval", "verdict"], rows)


def _cells(name: str, effect: Effect, own: bool) -> list[str]:
    if own:
        return [
            escape(name),
            shown(effect.metric, effect.mean.estimate),
            spread(effect.mean, effect.metric),
            "",
            "",
            "baseline",
        ]
    relative = effect.relative
    return [
        escape(name),
        shown(effect.metric, effect.mean.estimate),
        spread(effect.mean, effect.metric),
        signed(relative),
        signed_spread(relative),
        effect.verdict or NOTHING,
    ]


def _method(c: Comparison) -> str:
    text = (
        "Means and differences carry BCa bootstrap intervals (9,999 resamples of seeds; pairs stay pairs). "
        f"The intervals of differences cover all {max(1, len(c.effects) - 1)} alternatives at once at 95 % "
        "(Bonferroni). A verdict is given where the interval of the paired difference excludes 0 and rests "
        "on at least five pairs; each metric is judged by itself."
    )
    return page.section("How to read this", f"<p>{text}</p>")


def sweep_report(s: Sweep) -> str:
    """The page of a sweep: a figure of the metrics, and every combination."""
    good = [row for row in s.rows if row.summary is not None]
    seeds = len({row.seed for row in s.rows})
    lede = f"{len(s.rows):,} simulations: {', '.join(s.axes)}" + (
        f", {seeds} seeds each" if seeds > 1 else ""
    )
    body = [head("sweep", s.scenario, lede)]
    if good:
        body += [_sweep_figures(s, good), _sweep_table(s, good)]
    body += [failed_section(s.rows)]
    return page.page(f"sweep of {s.scenario}", [part for part in body if part])


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


def _sweep_figures(s: Sweep, rows: Sequence[Row]) -> str:
    x = x_axis(s.axes, rows)
    rest = [name for name in s.axes if name != x]
    groups = grouped(rows, rest)
    if x is None or len(groups) > MOST_LINES:
        names = [", ".join(map(str, key)) for key in groups]
        if len(names) > 3 * MOST_LINES:
            return ""
        panels = []
        for metric in s.metrics[:3]:
            spans = []
            for i, (name, group) in enumerate(zip(names, groups.values(), strict=True)):
                found = _values(group, metric) or [float("nan")]
                spans.append(
                    figures.Span(name, sum(found) / len(found), min(found), max(found), figures.shade(i))
                )
            panels.append((metric.title, spans))
        return page.section(
            "Metrics",
            page.figure(
                figures.bars("metrics", panels),
                "Means, with the range over seeds and over what is not named.",
            ),
        )
    drawn = []
    xs = sorted({row.labels[x] for row in rows})
    for metric in s.metrics[:6]:
        series = []
        for key, group in groups.items():
            by_x = {at: [row for row in group if row.labels[x] == at] for at in xs}
            series.append(
                figures.Series(", ".join(map(str, key)), xs, [_values(by_x[at], metric) for at in xs])
            )
        drawn.append(figures.Panel(metric.title, series, log=bool(xs[0] > 0 and xs[-1] / xs[0] >= 30)))
    names_ = [(", ".join(map(str, key)) or s.scenario, figures.shade(i)) for i, key in enumerate(groups)]
    keys = page.legend(names_) if len(names_) > 1 else ""
    text = "Means over seeds; the range of the seeds is shaded." if len({r.seed for r in rows}) > 1 else ""
    return page.section("Metrics", page.figure(figures.lines("metrics", drawn, x), keys + escape(text)))


def _sweep_table(s: Sweep, rows: Sequence[Row]) -> str:
    lines = []
    groups = grouped(rows, s.axes)
    for key, group in list(groups.items())[:MOST_ROWS]:
        means = []
        for metric in s.metrics[:MOST_COLUMNS]:
            found = _values(group, metric)
            means.append(number(sum(found) / len(found), 4) if found else NOTHING)
        lines.append([*(escape(str(label)) for label in key), *means])
    header = [escape(name.removeprefix("policies.")) for name in s.axes]
    header += [escape(metric.title) for metric in s.metrics[:MOST_COLUMNS]]
    more = len(groups) - len(lines)
    note = f'<p class="note">{more:,} more in sweep.parquet.</p>' if more else ""
    return page.section("Every combination", page.table(header, lines), note)


def labels_text(labels: Mapping[str, Any]) -> str:
    """``key value, key value``."""
    return ", ".join(f"{key} {value}" for key, value in labels.items())
