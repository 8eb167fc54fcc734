"""The page of a capacity search: the answer, the curve, every rate."""

from __future__ import annotations

from spinsim.pages.figures import studies
from spinsim.pages.render import Drawn, Stat, page
from spinsim.pages.run_terminal import number
from spinsim.pages.search import bounds_text, wanted_text
from spinsim.pages.study_parts import behind
from spinsim.studies.capacity import Capacity


def capacity_report(c: Capacity) -> str:
    """The page of a capacity search."""
    return page(
        "capacity.html",
        **behind(c.rows),
        title=f"capacity of {c.scenario}",
        kicker="capacity",
        heading=c.scenario,
        lede=wanted_text(c),
        stats=_stats(c),
        notes=c.notes,
        attainment=_attainment(c),
        curve=c.curve,
    )


def _stats(c: Capacity) -> list[Stat]:
    if c.rate is None:
        return []
    stats = [Stat(f"{number(c.rate.estimate, 4)} req/s", "capacity", bounds_text(c.rate))]
    held = [p.rate for p in c.curve if p.rate <= c.rate.estimate and p.mean >= c.attainment]
    if held:
        highest = f"{number(max(held), 4)} req/s"
        stats.append(Stat(highest, "highest rate simulated that held", "mean of its seeds"))
    return stats


def _attainment(c: Capacity) -> Drawn:
    span = None if c.rate is None else studies.Span("capacity", c.rate.estimate, c.rate.low, c.rate.high)
    svg = studies.attainment(
        [p.rate for p in c.curve],
        [p.attainments for p in c.curve],
        [p.fitted for p in c.curve],
        c.attainment,
        span,
        "requests per second",
    )
    return Drawn(svg)
