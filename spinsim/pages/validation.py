"""The page of a validation: live beside simulated, and which operations the difference sits in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spinsim.pages.fidelity_terminal import (
    OPERATION_HEAD,
    beyond_of,
    cause_of,
    compared_metrics,
    elsewhere_note,
    error_of,
    given_note,
    inside_of,
    left_out_note,
    moved_clocks_note,
    operation_cells,
    percent,
    short_names,
    short_of_cpus_note,
    signed,
)
from spinsim.pages.figures import validation as figures
from spinsim.pages.render import Drawn, Stat, page
from spinsim.results.metrics import Metric

Numbers = Mapping[str, Any]

MOST_BARS = 18
CAUSES = ("inside intervals", "costs by sheets", "largest cause of its difference")
NOTES = (given_note, elsewhere_note, moved_clocks_note, short_of_cpus_note, left_out_note)
KIND_SHADES = {"prefill": "s3", "catch_up": "s1", "propose": "s2", "verify": "s0", "host": "none"}


def validation_report(done: Numbers) -> str:
    """The page of a ``validation.json``."""
    metrics = compared_metrics(done)
    labels = [metric.label for metric in metrics]
    names = short_names([cell["name"] for cell in done["cells"]])
    return page(
        "validation.html",
        title="validation",
        kicker="validation",
        heading="Live beside simulated",
        lede=f"{len(done['cells'])} cells, each run live {done['options']['repetitions']} times, "
        "and simulated with the same requests. "
        "Error = (simulated - live) / live; live is the median of the repetitions.",
        stats=stats_of(done),
        behind=(),
        notes=tuple(filter(None, (note(done) for note in NOTES))),
        failed=(),
        scenarios=(),
        done=done,
        agreement=agreement_of(done),
        effects=_effects(done),
        operations=(OPERATION_HEAD, [operation_cells(row) for row in done["operations"]]),
        cells=(
            ["cell", "live, tokens/s", "spread", *labels, "decisions alike", *CAUSES],
            [_row(name, cell, metrics) for name, cell in zip(names, done["cells"], strict=True)],
        ),
        signed=signed,
    )


def stats_of(done: Numbers) -> list[Stat]:
    errors, ranking, coverage = done["errors"], done["ranking"], done["intervals"]
    stats = [
        Stat(
            percent(errors[metric.measure]["mean"]),
            f"mean error of {metric.label}",
            f"worst {percent(errors[metric.measure]['worst'])}",
        )
        for metric in compared_metrics(done)
    ]
    if ranking["pairs"]:
        detail = "pairs of policies that differ by more than their spread"
        stats.append(Stat(f"{ranking['alike']} of {ranking['pairs']}", "ordered alike", detail))
    if coverage["checked"]:
        width = f"median width {percent(coverage['median_width'])}"
        covered = percent(coverage["covered"] / coverage["checked"], 0)
        stats.append(Stat(covered, "inside their interval", width))
    return stats


def agreement_of(done: Numbers) -> Drawn | None:
    """Every compared metric of every cell; None where nothing was compared."""
    panels = []
    for metric in compared_metrics(done):
        cells = [cell for cell in done["cells"] if metric.measure in cell["metrics"]]
        panels.append((metric.title, [_pair(cell, metric) for cell in cells]))
    legend = [("closed loop", "s0"), ("Poisson arrivals", "s1")]
    used = {pair.shade for _, pairs in panels for pair in pairs}
    seen = [(name, shade) for name, shade in legend if shade in used]
    return Drawn(figures.agreement(panels), seen) if panels else None


def _pair(cell: Numbers, metric: Metric) -> figures.Pair:
    row, scale = cell["metrics"][metric.measure], metric.scale
    found = (cell["intervals"] or {}).get("metrics", {}).get(metric.path)
    return figures.Pair(
        scale * row["live"],
        [scale * value for value in row["repetitions"]],
        scale * row["simulated"],
        None if found is None else (scale * found["low"], scale * found["high"]),
        "s1" if cell["open_loop"] else "s0",
    )


def _effects(done: Numbers) -> Drawn:
    """What adds most to the difference: an operation, or the host's time before one."""
    effects: dict[tuple[str, str], float] = {}
    for row in done["operations"]:
        own, host = (row["kind"], row["model"]), ("host", f"to {row['kind']}")
        for key, effect in ((own, row["effect"]), (host, row["handover"]["effect"])):
            if effect is not None:
                effects[key] = effects.get(key, 0.0) + effect
    ranked = sorted(effects.items(), key=lambda item: -abs(item[1]))[:MOST_BARS]
    rows = [(f"{kind} {what}", effect, KIND_SHADES[kind]) for (kind, what), effect in ranked]
    return Drawn(figures.effects(rows))


def _row(name: str, cell: Numbers, metrics: list[Metric]) -> list[str]:
    goodput = cell["metrics"]["goodput_tokens_per_s"]
    errors = [error_of(cell, metric) for metric in metrics]
    alike = percent(cell["identical_requests"], 0)
    causes = [inside_of(cell), beyond_of(cell), cause_of(cell)]
    return [name, f"{goodput['live']:,.0f}", percent(goodput["spread"]), *errors, alike, *causes]
