"""The page of a capacity search: the answer, the curve, every rate."""

from __future__ import annotations

from spinsim.pages.figures import studies
from spinsim.pages.palette import shade
from spinsim.pages.render import Drawn, Stat, page
from spinsim.pages.run_terminal import number
from spinsim.pages.search import bounds_text, wanted_text
from spinsim.pages.study_parts import behind, grouped, values_of
from spinsim.results.metrics import metric
from spinsim.studies.capacity import Capacity

PANELS = (  # title, and (name, path) of its lines
    ("TTFT, ms", (("median", "latency.ttft_s.p50"), ("99th percentile", "latency.ttft_s.p99"))),
    ("TPOT, ms", (("median", "latency.tpot_s.p50"), ("99th percentile", "latency.tpot_s.p99"))),
    ("goodput, tokens/s", (("all", "goodput_tokens_per_s"),)),
    ("goodput within SLO, requests/s", (("within SLO", "slo.goodput_requests_per_s"),)),
)


def capacity_report(c: Capacity) -> str:
    """The page of a capacity search."""
    return page(
        "capacity.html",
        **behind(c.rows, c.scenarios),
        title=f"capacity of {c.scenario}",
        kicker="capacity",
        heading=c.scenario,
        lede=wanted_text(c),
        stats=stats_of(c),
        notes=c.notes,
        attainment=attainment_of(c),
        by_rate=_by_rate(c),
        curve=c.curve,
    )


def stats_of(c: Capacity) -> list[Stat]:
    if c.rate is None:
        return []
    stats = [Stat(f"{number(c.rate.estimate, 4)} req/s", "capacity", bounds_text(c.rate))]
    held = [p.rate for p in c.curve if p.rate <= c.rate.estimate and p.mean >= c.attainment]
    if held:
        highest = f"{number(max(held), 4)} req/s"
        stats.append(Stat(highest, "highest rate simulated that held", "mean of its seeds"))
    return stats


def _by_rate(c: Capacity) -> Drawn | None:
    """Latencies and goodput of every rate; None where every simulation failed."""
    groups = grouped([row for row in c.rows if row.summary is not None], ["rate"])
    rates = sorted(key[0] for key in groups)
    panels = []
    for title, metrics in PANELS:
        lines = [
            studies.Series(name, rates, [values_of(groups[rate,], metric(path)) for rate in rates])
            for name, path in metrics
        ]
        panels.append(studies.Panel(title, [line for line in lines if any(line.values)], mark=_rate(c)))
    panels = [panel for panel in panels if panel.series]
    if not rates or not panels:
        return None
    legend = [(name, shade(i)) for i, (name, _) in enumerate(PANELS[0][1])]
    return Drawn(studies.lines("by-rate", panels, "requests per second"), legend)


def _rate(c: Capacity) -> float | None:
    return None if c.rate is None else c.rate.estimate


def attainment_of(c: Capacity) -> Drawn:
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
