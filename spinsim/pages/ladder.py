"""The report of a live ladder: what each step gave over its repetitions, from the benchmark's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from spinsim.pages.figures import studies
from spinsim.pages.figures.trade_off import Point, trade_off
from spinsim.pages.render import Drawn, Stat, page
from spinsim.pages.run_terminal import NOTHING, duration, number, percent

BASELINES = ("vanilla", "best fixed")  # how their names begin, of which ratios are taken
HEADLINES = 5
Repetitions = Sequence[Mapping[str, Any]]


def ladder_report(found: Mapping[str, Any]) -> str:
    """The page. ``found``: ``steps`` by name, each a list of repetitions with ``goodput_tokens_per_s``."""
    steps: Mapping[str, Repetitions] = {name: rows for name, rows in found["steps"].items() if rows}
    bases = [base for start in BASELINES if (base := _base(steps, start)) is not None]
    counts = {len(rows) for rows in steps.values()}
    times = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(max(counts, default=0))
    where = f"on {found['device']}" if found.get("device") else ""
    spans = _spans(steps, bases)
    ratios_to = [f"\N{MULTIPLICATION SIGN} {base}" for base in bases]
    return page(
        "ladder.html",
        title=f"ladder of {found.get('scenario', '')}",
        kicker=f"live ladder {where}, {times} repetitions a step",
        heading=str(found.get("scenario", "ladder")),
        lede=_lede(found.get("models") or {}),
        stats=_stats(steps, bases),
        behind=(),
        notes=(),
        failed=(),
        scenarios=(),
        goodput=Drawn(studies.bars("ladder", [("goodput, tokens/s", spans)])),
        steps=(
            ["", "tokens/s", "range", *ratios_to, "TPOT p50", "length", "padding", "runs"],
            [_row(name, steps, bases) for name in steps],
        ),
        against=_against_latency(steps, spans),
        bases=bases,
        models=found.get("models") or {},
    )


def _base(steps: Mapping[str, Repetitions], start: str) -> str | None:
    """The first step whose name begins so."""
    return next((name for name in steps if name.startswith(start)), None)


def _lede(models: Mapping[str, str]) -> str:
    if any("stand-in" in what for what in models.values()):
        return "Models are cost stand-ins: they have the shapes and the costs that they are named for."
    return ""


def _values(rows: Repetitions, key: str) -> list[float]:
    return [float(row[key]) for row in rows if row.get(key) is not None]


def ratios(rows: Repetitions, base: Repetitions) -> list[float]:
    """Goodput over the base's, repetition by repetition where they are numbered or in order."""

    def by_repetition(given: Repetitions) -> dict[int, float]:
        return {row.get("repetition", i): float(row["goodput_tokens_per_s"]) for i, row in enumerate(given)}

    own, others = by_repetition(rows), by_repetition(base)
    return [value / others[i] for i, value in own.items() if others.get(i)]


def _times(values: Sequence[float]) -> str:
    """``0.71 (0.70 to 0.72)``."""
    if not values:
        return NOTHING
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return f"{median(values):.2f}" + (f" ({low} to {high})" if low != high else "")


def _stats(steps: Mapping[str, Repetitions], bases: Sequence[str]) -> list[Stat]:
    if not bases:
        return []
    base = steps[bases[0]]
    found = {name: ratios(rows, base) for name, rows in steps.items() if name != bases[0]}
    return [
        Stat(
            f"{median(values):.2f}\N{MULTIPLICATION SIGN}",
            name,
            f"of {bases[0]}; {min(values):.2f} to {max(values):.2f} over {len(values)} repetitions",
        )
        for name, values in list(found.items())[:HEADLINES]
        if values
    ]


def _spans(steps: Mapping[str, Repetitions], bases: Sequence[str]) -> list[studies.Span]:
    spans = []
    for name, rows in steps.items():
        values = _values(rows, "goodput_tokens_per_s")
        shade = "none" if name in bases else "s0"
        spans.append(studies.Span(name, median(values), min(values), max(values), shade))
    return spans


def _against_latency(steps: Mapping[str, Repetitions], spans: Sequence[studies.Span]) -> Drawn | None:
    """Goodput against TPOT p50; None where fewer than two steps have it."""
    points = []
    for span, rows in zip(spans, steps.values(), strict=True):
        if paces := [1e3 * value for value in _values(rows, "tpot_p50_s")]:
            across = studies.Span("", median(paces), min(paces), max(paces))
            points.append(Point(span.name, across, span, span.shade))
    if len(points) < 2:
        return None
    return Drawn(trade_off("ladder-latency", points, "TPOT p50, ms", "goodput, tokens/s", names=True))


def _row(name: str, steps: Mapping[str, Repetitions], bases: Sequence[str]) -> list[str]:
    rows = steps[name]
    goodput = _values(rows, "goodput_tokens_per_s")
    return [
        name,
        number(median(goodput), 4),
        _range(goodput),
        *("" if name == base else _times(ratios(rows, steps[base])) for base in bases),
        duration(_middle(rows, "tpot_p50_s")),
        number(_middle(rows, "acceptance_length")),
        percent(_middle(rows, "padding_fraction")),
        str(len(rows)),
    ]


def _range(values: Sequence[float]) -> str:
    return f"{number(min(values), 4)}\N{EN DASH}{number(max(values), 4)}" if len(values) > 1 else ""


def _middle(rows: Repetitions, key: str) -> float | None:
    values = _values(rows, key)
    return median(values) if values else None
