"""The report of a live ladder: what each step gave over its repetitions, from the benchmark's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from statistics import median
from typing import Any

from spinsim.pages import shell, study_figures
from spinsim.pages.run_terminal import NOTHING, duration, number, percent
from spinsim.pages.study_parts import head
from spinsim.pages.trade_off import Point, trade_off

BASELINES = ("vanilla", "best fixed")  # how their names begin, of which ratios are taken
HEADLINES = 5
Repetitions = Sequence[Mapping[str, Any]]


def ladder_report(found: Mapping[str, Any]) -> str:
    """The shell. ``found``: ``steps`` by name, each a list of repetitions with ``goodput_tokens_per_s``."""
    steps: Mapping[str, Repetitions] = {name: rows for name, rows in found["steps"].items() if rows}
    bases = [base for start in BASELINES if (base := _base(steps, start)) is not None]
    counts = {len(rows) for rows in steps.values()}
    times = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else str(max(counts, default=0))
    where = f"on {found['device']}" if found.get("device") else ""
    kicker = f"live ladder {where}, {times} repetitions a step"
    body = [
        head(kicker, str(found.get("scenario", "ladder")), _lede(found.get("models") or {})),
        _headline(steps, bases),
        shell.section(
            "Goodput by step",
            shell.figure(
                study_figures.bars("ladder", [("goodput, tokens/s", _spans(steps, bases))]),
                "Medians, with the range of the repetitions as whiskers. Grey: what ratios are taken to.",
            ),
            _table(steps, bases),
        ),
        _against_latency(steps, bases),
        _method(bases),
        _models(found.get("models") or {}),
    ]
    return shell.page(f"ladder of {found.get('scenario', '')}", [part for part in body if part])


def _base(steps: Mapping[str, Repetitions], start: str) -> str | None:
    """The first step whose name begins so."""
    return next((name for name in steps if name.startswith(start)), None)


def _lede(models: Mapping[str, str]) -> str:
    if any("stand-in" in what for what in models.values()):
        return "Models are cost stand-ins: they have the shapes and the costs that they are named for."
    return ""


def _models(models: Mapping[str, str]) -> str:
    return shell.section("Models", shell.definitions(models.items())) if models else ""


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


def _headline(steps: Mapping[str, Repetitions], bases: Sequence[str]) -> str:
    if not bases:
        return ""
    base = steps[bases[0]]
    found = {name: ratios(rows, base) for name, rows in steps.items() if name != bases[0]}
    stats = [
        shell.stat(
            f"{median(values):.2f}\N{MULTIPLICATION SIGN}",
            name,
            f"of {bases[0]}; {min(values):.2f} to {max(values):.2f} over {len(values)} repetitions",
        )
        for name, values in list(found.items())[:HEADLINES]
        if values
    ]
    return f'<div class="headline">{"".join(stats)}</div>'


def _spans(steps: Mapping[str, Repetitions], bases: Sequence[str]) -> list[study_figures.Span]:
    spans = []
    for name, rows in steps.items():
        values = _values(rows, "goodput_tokens_per_s")
        shade = "none" if name in bases else "s0"
        spans.append(study_figures.Span(name, median(values), min(values), max(values), shade))
    return spans


def _against_latency(steps: Mapping[str, Repetitions], bases: Sequence[str]) -> str:
    points = []
    for span, rows in zip(_spans(steps, bases), steps.values(), strict=True):
        paces = [1e3 * value for value in _values(rows, "tpot_p50_s")]
        if paces:
            points.append(
                Point(
                    span.name, study_figures.Span("", median(paces), min(paces), max(paces)), span, span.shade
                )
            )
    if len(points) < 2:
        return ""
    svg = trade_off("ladder-latency", points, "TPOT p50, ms", "goodput, tokens/s", names=True)
    text = "Medians and ranges of the repetitions; better is up and to the left."
    return shell.section("Goodput against TPOT p50", shell.figure(svg, text))


def _table(steps: Mapping[str, Repetitions], bases: Sequence[str]) -> str:
    lines = []
    for name, rows in steps.items():
        goodput = _values(rows, "goodput_tokens_per_s")
        lines.append(
            [
                escape(name),
                number(median(goodput), 4),
                _range(goodput),
                *("" if name == base else _times(ratios(rows, steps[base])) for base in bases),
                duration(_middle(rows, "tpot_p50_s")),
                number(_middle(rows, "acceptance_length")),
                percent(_middle(rows, "padding_fraction")),
                str(len(rows)),
            ]
        )
    header = ["", "tokens/s", "range", *(f"\N{MULTIPLICATION SIGN} {escape(base)}" for base in bases)]
    return shell.table([*header, "TPOT p50", "length", "padding", "runs"], lines)


def _range(values: Sequence[float]) -> str:
    return f"{number(min(values), 4)}\N{EN DASH}{number(max(values), 4)}" if len(values) > 1 else ""


def _middle(rows: Repetitions, key: str) -> float | None:
    values = _values(rows, key)
    return median(values) if values else None


def _method(bases: Sequence[str]) -> str:
    if not bases:
        return ""
    text = (
        f"Ratios to {' and to '.join(bases)} are of goodput in the same repetition: median and range. "
        "A range of few repetitions is no confidence interval: it shows what was seen, and the next "
        "run may lie outside it."
    )
    return shell.section("How to read this", f"<p>{escape(text)}</p>")
