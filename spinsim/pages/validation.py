"""The report of a validation: live beside simulated, and which operations the difference sits in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from spinsim.pages import shell
from spinsim.pages.fidelity_terminal import (
    OPERATION_HEAD,
    compared_metrics,
    error_of,
    given_note,
    operation_cells,
    percent,
    short_names,
    signed,
)
from spinsim.pages.figures import colour, drawing, panels
from spinsim.results.metrics import Metric

Numbers = Mapping[str, Any]

MOST_BARS = 18
KIND_SHADES = {"prefill": "s3", "catch_up": "s1", "propose": "s2", "verify": "s0", "host": "none"}


def validation_report(done: Numbers) -> str:
    """The page of a ``validation.json``."""
    return shell.page(
        "validation", [_head(done), _agreement(done), _operations(done), _cells(done), _method(done)]
    )


def _head(done: Numbers) -> str:
    errors, ranking, coverage = done["errors"], done["ranking"], done["intervals"]
    stats = [
        shell.stat(
            percent(errors[metric.measure]["mean"]),
            f"mean error of {metric.label}",
            f"worst {percent(errors[metric.measure]['worst'])}",
        )
        for metric in compared_metrics(done)
    ]
    if ranking["pairs"]:
        detail = "pairs of policies that differ by more than their spread"
        stats.append(shell.stat(f"{ranking['alike']} of {ranking['pairs']}", "ordered alike", detail))
    if coverage["checked"]:
        width = f"median width {percent(coverage['median_width'])}"
        stats.append(
            shell.stat(percent(coverage["covered"] / coverage["checked"], 0), "inside their interval", width)
        )
    lede = (
        f"{len(done['cells'])} cells, each run live {done['options']['repetitions']} times, and simulated "
        "with the same requests. Error = (simulated - live) / live; live is the median of the repetitions."
    )
    lede = " ".join(filter(None, (lede, given_note(done))))
    return (
        f'<header><p class="kicker">validation</p><h1>Live beside simulated</h1>'
        f'<p class="lede">{escape(lede)}</p></header><div class="headline">{"".join(stats)}</div>'
    )


def _agreement(done: Numbers) -> str:
    """Live across, simulated up, with the repetitions' range."""
    compared = compared_metrics(done)
    if not compared:
        return ""

    def draw(axes: list[Axes]) -> None:
        for ax, metric in zip(axes, compared, strict=True):
            name, scale = metric.measure, metric.scale
            ax.set_title(f"{metric.title}: simulated over live")
            ax.grid(axis="both")
            found = [cell["metrics"][name] for cell in done["cells"] if name in cell["metrics"]]
            for row, cell in zip(found, (c for c in done["cells"] if name in c["metrics"]), strict=True):
                ink = colour("s1" if cell["open_loop"] else "s0")
                live = [scale * value for value in row["repetitions"]]
                at = scale * row["simulated"]
                ax.plot([min(live), max(live)], [at, at], color=ink, linewidth=1)
                ax.plot([scale * row["live"]], [at], "o", color=ink, markersize=3.2)
                if interval := _interval(cell, metric):
                    across = scale * row["live"]
                    ax.plot([across] * 2, [scale * v for v in interval], color=ink, linewidth=0.6, alpha=0.6)
            values = [scale * v for row in found for v in (row["live"], row["simulated"]) if v > 0]
            if values:
                ends = 0.9 * min(values), 1.1 * max(values)
                ax.plot(ends, ends, color=colour("muted"), linewidth=0.8, zorder=0)
                if ends[1] > 8 * ends[0]:
                    ax.set_xscale("log")
                    ax.set_yscale("log")
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
                axis.set_minor_formatter(FuncFormatter(lambda *_: ""))

    caption = (
        "A point a cell, live across and simulated up: on the line they are equal. Horizontal: range of the "
        "live repetitions; vertical: 90 % interval of the prediction."
    )
    svg = panels("agreement", draw, len(compared), columns=2, height=2.5)
    keys = shell.legend([("closed loop", "s0"), ("Poisson arrivals", "s1")])
    return shell.section("Agreement", shell.figure(svg + keys, caption))


def _interval(cell: Numbers, metric: Metric) -> tuple[float, float] | None:
    found = (cell["intervals"] or {}).get("metrics", {}).get(metric.path)
    return None if found is None else (found["low"], found["high"])


def _operations(done: Numbers) -> str:
    rows = done["operations"]
    effects: dict[tuple[str, str], float] = {}
    for row in rows:
        _add(effects, (row["kind"], row["model"]), row["effect"])
        _add(effects, ("host", f"to {row['kind']}"), row["handover"]["effect"])
    ranked = sorted(effects.items(), key=lambda item: -abs(item[1]))[:MOST_BARS]

    def draw(axes: list[Axes]) -> None:
        (ax,) = axes
        ax.grid(axis="x")
        places = np.arange(len(ranked))[::-1]
        for place, ((kind, _), effect) in zip(places, ranked, strict=True):
            ax.barh(place, 100 * effect, height=0.6, color=colour(KIND_SHADES[kind]), linewidth=0)
        ax.axvline(0, color=colour("muted"), linewidth=0.8)
        ax.set_yticks(places, [f"{kind} {model}" for (kind, model), _ in ranked])
        ax.set_xlabel("simulated minus live, % of the live runs' seconds")
        ax.xaxis.set_major_locator(MaxNLocator(7))
        ax.figure.subplots_adjust(left=0.2)

    caption = (
        "What each operation, and the host's time before one that finds its lane idle, adds to the "
        "difference of a run in which nothing overlaps: simulated minus live mean, as often as the live runs "
        "had it, over their seconds."
    )
    figure = shell.figure(drawing("effects", draw, height=0.7 + 0.2 * max(len(ranked), 1)), caption)
    cells = ([escape(cell) for cell in operation_cells(row)] for row in rows)
    table = shell.table(OPERATION_HEAD, cells)
    return shell.section(
        "Where the error sits", figure, f"<details><summary>By number of rows</summary>{table}</details>"
    )


def _add(effects: dict[tuple[str, str], float], key: tuple[str, str], effect: float | None) -> None:
    if effect is not None:
        effects[key] = effects.get(key, 0.0) + effect


def _cells(done: Numbers) -> str:
    compared = compared_metrics(done)
    labels = [metric.label for metric in compared]
    header = ["cell", "live, tokens/s", "spread", *labels, "decisions alike"]
    names = short_names([cell["name"] for cell in done["cells"]])
    rows = [_cell_row(name, cell, compared) for name, cell in zip(names, done["cells"], strict=True)]
    return shell.section("Cells", shell.table(header, rows))


def _cell_row(name: str, cell: Numbers, compared: Sequence[Metric]) -> Sequence[str]:
    metrics = cell["metrics"]
    goodput = metrics["goodput_tokens_per_s"]
    errors = [error_of(cell, metric) for metric in compared]
    alike = percent(cell["identical_requests"], 0)
    return [escape(name), f"{goodput['live']:,.0f}", percent(goodput["spread"]), *errors, alike]


def _method(done: Numbers) -> str:
    pairs = [(name, f"{seconds:.1f} s") for name, seconds in done["wall_s"].items()]
    differing = [
        (" / ".join(pair["cells"]), f"live {_two(pair['live'])}, simulated {_two(pair['simulated'])}")
        for pair in done["ranking"]["differing"]
    ]
    parts = [shell.definitions(pairs)]
    if differing:
        parts += [
            "<p>Pairs that the simulator orders otherwise than the live runs:</p>",
            shell.definitions(differing),
        ]
    if moved := [point for point in done["drift"] if point["moved"]]:
        said = (
            (f"{p['operation']} {p['model']}", f"{signed(p['factor'] - 1)} of its profile") for p in moved
        )
        parts += [
            "<p>Points of the profile that measured otherwise before the runs:</p>",
            shell.definitions(said),
        ]
    if done["failed"]:
        said = ((cell["name"], cell["error"]) for cell in done["failed"])
        parts += ["<p>Cells that failed:</p>", shell.definitions(said)]
    return shell.section("What it took", *parts)


def _two(values: Iterable[float]) -> str:
    return " and ".join(f"{value:,.4g}" for value in values)
