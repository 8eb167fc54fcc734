"""The page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spinsim.pages.figures import studies
from spinsim.pages.figures.trade_off import Point, trade_off
from spinsim.pages.palette import shade
from spinsim.pages.render import Drawn, Stat, page
from spinsim.pages.run_terminal import NOTHING
from spinsim.pages.study_parts import (
    against,
    bare,
    behind,
    capitalised,
    changed,
    changed_spread,
    is_share,
    shown,
    spread,
    trade_off_of,
)
from spinsim.studies.compare import Comparison, Effect

MOST_PANELS = 9
MOST_NAMED = 12
MOST_TITLED = 4


def comparison_report(c: Comparison) -> str:
    """The page of a comparison."""
    names = list(c.effects)
    others = [name for name in names if name != c.baseline]
    lede = (
        f"Each alternative met the same {len(c.seeds)} seeds: the same arrivals, lengths and acceptances. "
        f"Differences are of pairs, against {c.baseline}."
    )
    return page(
        "comparison.html",
        **behind(c.rows, c.scenarios),
        title=f"comparison: {', '.join(names)}",
        kicker=f"comparison over seeds {c.seeds[0]} to {c.seeds[-1]}",
        heading=_title(names),
        lede=lede,
        stats=verdicts(c, others),
        notes=c.notes,
        first=capitalised(c.metrics[0].title),
        means=Drawn(studies.bars("means", [(c.metrics[0].title, means_of(c, names, 0))])),
        tables=[
            (metric.title, [_cells(name, c.effects[name][i], name == c.baseline) for name in names])
            for i, metric in enumerate(c.metrics)
        ],
        differences=Drawn(studies.differences("differences", _panels(c, others))),
        seeds=len(c.seeds),
        baseline=c.baseline,
        alternatives=max(1, len(c.effects) - 1),
        **_trade_off(c, names),
    )


def _title(names: Sequence[str]) -> str:
    more = len(names) - MOST_TITLED
    return " / ".join(names[:MOST_TITLED]) + (f" and {more} more" if more > 0 else "")


def _trade_off(c: Comparison, names: Sequence[str]) -> dict[str, Any]:
    """Its figure, None where there are no two metrics for it, and its title."""
    found = trade_off_of(c.metrics)
    if found is None:
        return {"trade_off": None}
    points = [
        Point(name, x, y, x.shade)
        for name, x, y in zip(names, *(means_of(c, names, i) for i in found), strict=True)
    ]
    across, up = (c.metrics[i].title for i in found)
    few = len(points) <= MOST_NAMED
    svg = trade_off("trade-off", points, across, up, names=few)
    legend = [] if few else [(point.name, point.shade) for point in points]
    return {"trade_off": Drawn(svg, legend), "trade_off_title": against(up, across)}


def means_of(c: Comparison, names: Sequence[str], metric: int) -> list[studies.Span]:
    spans = []
    for i, name in enumerate(names):
        effect = c.effects[name][metric]
        scale, mean = effect.metric.scale, effect.mean
        spans.append(
            studies.Span(
                name,
                mean.estimate * scale,
                _times(mean.low, scale),
                _times(mean.high, scale),
                shade(i),
            )
        )
    return spans


def _times(bound: float | None, scale: float) -> float | None:
    return None if bound is None else bound * scale


def _panels(c: Comparison, others: Sequence[str]) -> list[tuple[str, list[studies.Span]]]:
    panels = []
    names = list(c.effects)
    for i, metric in enumerate(c.metrics[:MOST_PANELS]):
        spans = []
        for name in others:
            effect = c.effects[name][i]
            relative = effect.difference if is_share(metric) else effect.relative
            ink = shade(names.index(name))
            if relative is None or relative.estimate != relative.estimate:
                spans.append(studies.Span(name, float("nan"), None, None, ink))
            else:
                spans.append(studies.Span(name, relative.estimate, relative.low, relative.high, ink))
        title = bare(metric)
        panels.append((f"{title}{studies.POINTS}" if is_share(metric) else title, spans))
    return panels


def verdicts(c: Comparison, others: Sequence[str]) -> list[Stat]:
    stats = []
    for name in others:
        effect = c.effects[name][0]
        detail = f"{bare(effect.metric)} against {c.baseline}; {changed_spread(effect)}"
        stats.append(Stat(changed(effect), f"{name}: {effect.verdict or 'no pairs'}", detail))
    return stats


def _cells(name: str, effect: Effect, own: bool) -> list[str]:
    compared = (
        ["", "", "baseline"] if own else [changed(effect), changed_spread(effect), effect.verdict or NOTHING]
    )
    return [name, shown(effect.metric, effect.mean.estimate), spread(effect.mean, effect.metric), *compared]
