"""The report of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from spinsim.pages import shell, study_figures
from spinsim.pages.run_terminal import NOTHING
from spinsim.pages.study_parts import (
    changed,
    changed_spread,
    failed_section,
    head,
    is_share,
    provenance_note,
    shown,
    spread,
    trade_off_of,
)
from spinsim.pages.trade_off import Point, trade_off
from spinsim.studies.compare import Comparison, Effect

MOST_PANELS = 9
MOST_NAMED = 12
MOST_TITLED = 4


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
        head(f"comparison over seeds {c.seeds[0]} to {c.seeds[-1]}", _title(names), lede),
        provenance_note(c.rows),
        _verdicts(c, others),
        shell.section(
            first.title[:1].upper() + first.title[1:],
            shell.figure(
                study_figures.bars("means", [(first.title, _means(c, names, 0))]),
                f"Means over the {len(c.seeds)} seeds, with 95 % bootstrap intervals; "
                "whether two differ is decided by their paired difference below, not by these.",
            ),
            _metric_table(c, names, 0),
        ),
        _trade_off(c, names),
        shell.section(
            "Differences",
            shell.figure(
                study_figures.differences("differences", _panels(c, others)),
                f"Relative to {escape(c.baseline)}, of shares in percentage points, paired by seed. "
                "An interval that crosses 0 decides nothing.",
            ),
            *(_metric_table(c, names, i) for i in range(1, len(c.metrics))),
        ),
        failed_section(c.rows),
        _method(c),
    ]
    return shell.page(f"comparison: {', '.join(names)}", [part for part in body if part])


def _title(names: Sequence[str]) -> str:
    more = len(names) - MOST_TITLED
    return " / ".join(names[:MOST_TITLED]) + (f" and {more} more" if more > 0 else "")


def _trade_off(c: Comparison, names: Sequence[str]) -> str:
    found = trade_off_of(c.metrics)
    if found is None:
        return ""
    xs, ys = (_means(c, names, i) for i in found)
    points = [Point(name, x, y, x.shade) for name, x, y in zip(names, xs, ys, strict=True)]
    titles = [c.metrics[i].title for i in found]
    svg = trade_off("trade-off", points, *titles, names=len(points) <= MOST_NAMED)
    legend = "" if len(points) <= MOST_NAMED else shell.legend((p.name, p.shade) for p in points)
    text = "Means over the seeds with 95 % bootstrap intervals both ways; better is up and to the left."
    heading = f"{titles[1].partition(',')[0]} against {titles[0].partition(',')[0]}"
    return shell.section(heading[:1].upper() + heading[1:], shell.figure(svg + legend, text))


def _means(c: Comparison, names: Sequence[str], metric: int) -> list[study_figures.Span]:
    spans = []
    for i, name in enumerate(names):
        effect = c.effects[name][metric]
        scale, mean = effect.metric.scale, effect.mean
        spans.append(
            study_figures.Span(
                name,
                mean.estimate * scale,
                _times(mean.low, scale),
                _times(mean.high, scale),
                study_figures.shade(i),
            )
        )
    return spans


def _times(bound: float | None, scale: float) -> float | None:
    return None if bound is None else bound * scale


def _panels(c: Comparison, others: Sequence[str]) -> list[tuple[str, list[study_figures.Span]]]:
    panels = []
    names = list(c.effects)
    for i, metric in enumerate(c.metrics[:MOST_PANELS]):
        spans = []
        for name in others:
            effect = c.effects[name][i]
            relative = effect.difference if is_share(metric) else effect.relative
            ink = study_figures.shade(names.index(name))
            if relative is None or relative.estimate != relative.estimate:
                spans.append(study_figures.Span(name, float("nan"), None, None, ink))
            else:
                spans.append(study_figures.Span(name, relative.estimate, relative.low, relative.high, ink))
        title = metric.title.rpartition(",")[0] or metric.title
        panels.append((f"{title}{study_figures.POINTS}" if is_share(metric) else title, spans))
    return panels


def _verdicts(c: Comparison, others: Sequence[str]) -> str:
    stats = []
    for name in others:
        effect = c.effects[name][0]
        title = effect.metric.title.rpartition(",")[0] or effect.metric.title
        detail = f"{title} against {c.baseline}; {changed_spread(effect)}"
        stats.append(shell.stat(changed(effect), f"{name}: {effect.verdict or 'no pairs'}", detail))
    notes = "".join(f'<p class="note">{escape(note)}.</p>' for note in c.notes)
    return f'<div class="headline">{"".join(stats)}</div>{notes}'


def _metric_table(c: Comparison, names: Sequence[str], i: int) -> str:
    metric = c.metrics[i]
    rows = [_cells(name, c.effects[name][i], name == c.baseline) for name in names]
    title = f'<th style="color:var(--ink)">{escape(metric.title) if i else ""}</th>'
    return shell.table([title, "mean", "95 % interval", "difference", "interval", "verdict"], rows)


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
    return [
        escape(name),
        shown(effect.metric, effect.mean.estimate),
        spread(effect.mean, effect.metric),
        changed(effect),
        changed_spread(effect),
        effect.verdict or NOTHING,
    ]


def _method(c: Comparison) -> str:
    text = (
        "Means and differences carry BCa bootstrap intervals (9,999 resamples of seeds; pairs stay pairs). "
        f"The intervals of differences cover all {max(1, len(c.effects) - 1)} alternatives at once at 95 % "
        "(Bonferroni). A verdict is given where the interval of the paired difference excludes 0 and rests "
        "on at least five pairs; each metric is judged by itself."
    )
    return shell.section("How to read this", f"<p>{text}</p>")
