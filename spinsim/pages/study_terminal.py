"""Comparisons, sweeps, capacities and searches on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spinsim.lab.rows import Row
from spinsim.pages.run_terminal import NOTHING, WIDTH, number, percent, print_uncut
from spinsim.pages.scenario_text import value_text
from spinsim.pages.search import gain_text, rate_text, wanted_text
from spinsim.pages.study_parts import (
    changed,
    changed_spread,
    grouped,
    mean_shown,
    provenance,
    shortcomings,
    shown,
)
from spinsim.results.metrics import Metric
from spinsim.studies.capacity import Capacity
from spinsim.studies.compare import Comparison
from spinsim.studies.sweep import Sweep
from spinsim.studies.tuning.tune import Tuning

MOST_ROWS = 40
LEAST_METRICS, MOST_METRICS = 3, 5  # of a sweep, as they fit
NAMES, HEADERS = 28, 17  # columns of names and of figures are at most so wide
SWEPT = 13  # columns of figures beside many columns of names
_COLOURS = {"better": "green", "worse": "red"}


def _table(*texts: str, figures: Sequence[str], most: int = HEADERS) -> Table:
    """Columns of names, which are folded where they are long, then columns of figures, which never are."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for i, column in enumerate(texts):
        first = not i
        table.add_column(
            column if first else _folded(column),
            style="bold" if first else "",
            justify="left" if first else "right",
            overflow="fold",
            max_width=NAMES,
        )
    for column in figures:
        table.add_column(_folded(column, most), justify="right", no_wrap=True)
    return table


def _folded(header: str, most: int = HEADERS) -> str:
    """In lines of at most ``most``, which break at spaces and behind the dots of a key."""
    lines = wrap(header.replace(".", ". "), most)
    return "\n".join(line.replace(". ", ".") for line in lines)


def _print(console: Console, *parts: Table | Text) -> None:
    for part in parts:
        print_uncut(console, part, below=0)


def _behind(console: Console, rows: Sequence[Row]) -> None:
    """What stands behind the figures, and what is amiss with that."""
    for text in shortcomings(rows):
        _print(console, Text(text, style="yellow"))
    _print(console, Text(provenance(rows), style="dim"))


def print_comparison(c: Comparison, console: Console) -> None:
    """A table for the metric asked about, and one of the others' differences."""
    names = list(c.effects)
    first = _table(c.metrics[0].title, figures=("mean", "difference", "95 % interval", "verdict"))
    for name in names:
        effect = c.effects[name][0]
        said = "baseline" if name == c.baseline else effect.verdict or NOTHING
        first.add_row(
            name,
            shown(effect.metric, effect.mean.estimate),
            changed(effect) if name != c.baseline else "",
            changed_spread(effect) if name != c.baseline else "",
            Text(said, style=_COLOURS.get(said, "dim")),
        )
    _print(console, Text.assemble((f"{len(c.seeds)} seeds, paired; against {c.baseline}", "dim")), first)
    _print_others(c, console)
    for note in c.notes:
        _print(console, Text(note, style="yellow"))
    _behind(console, c.rows)


def _print_others(c: Comparison, console: Console) -> None:
    """The other metrics' differences: a column each alternative, or a row where these are many."""
    others = [name for name in c.effects if name != c.baseline]
    metrics = list(enumerate(c.metrics))[1:]
    room = max(1, (min(WIDTH, console.width) - NAMES) // (HEADERS + 3))
    if not metrics:
        return
    if room < len(others) and len(metrics) <= room:
        table = _table("", figures=[metric.title for _, metric in metrics])
        for name in c.effects:
            table.add_row(name, *(_other(c, name, i) for i, _ in metrics))
        _print(console, table)
        return
    for some in (others[i : i + room] for i in range(0, len(others), room)):
        table = _table("", figures=(c.baseline, *some))
        for i, metric in metrics:
            table.add_row(metric.title, *(_other(c, name, i) for name in (c.baseline, *some)))
        _print(console, table)


def _other(c: Comparison, name: str, i: int) -> Text:
    """The mean of metric ``i`` of the baseline, or another's difference to it."""
    effect = c.effects[name][i]
    if name == c.baseline:
        return Text(shown(effect.metric, effect.mean.estimate))
    return Text(changed(effect), style=_COLOURS.get(effect.verdict or "", "dim"))


def print_sweep(s: Sweep, console: Console) -> None:
    """Metrics of every combination, means over seeds, and the best by the first of them."""
    from spinsim.pages.sweep import best_and_worst  # draws: heavy

    groups = grouped([row for row in s.rows if row.summary is not None], s.axes)
    room = min(WIDTH, console.width) - 2
    metrics = s.metrics[:MOST_METRICS]
    while (table := _combinations(s, groups, metrics)) and len(metrics) > LEAST_METRICS:
        if console.measure(table, options=console.options.update(width=10 * WIDTH)).maximum <= room:
            break
        metrics = metrics[:-1]
    _print(console, table)
    if len(groups) > MOST_ROWS:
        _print(console, Text(f"and {len(groups) - MOST_ROWS:,} more, in sweep.parquet", style="dim"))
    stats = best_and_worst(s, [row for row in s.rows if row.summary is not None])
    said = []
    for best in (stat for stat in stats[:MOST_ROWS] if not stat.label.startswith("worst")):
        label = best.label[:1].upper() + best.label[1:]
        said.append(Text.assemble(label, (f"  {best.value}", "bold green"), f"   {best.detail}"))
    if said:
        _print(console, Text("\n").join(said))
    _behind(console, s.rows)


def _combinations(s: Sweep, groups: Mapping[tuple[Any, ...], list[Row]], metrics: Sequence[Metric]) -> Table:
    """A row each combination, up to ``MOST_ROWS``."""
    table = _table(*_short(s.axes), figures=[metric.title for metric in metrics], most=SWEPT)
    for key, rows in list(groups.items())[:MOST_ROWS]:
        cells = [mean_shown(metric, rows) for metric in metrics]
        table.add_row(*(value_text(label) for label in key), *cells)
    return table


def _short(axes: Sequence[str]) -> list[str]:
    """The last words of keys, where they tell the keys apart."""
    last = [axis.rpartition(".")[2] for axis in axes]
    return last if len({*last}) == len(last) else list(axes)


def print_capacity(c: Capacity, console: Console) -> None:
    """The capacity and the curve."""
    found = Text.assemble(
        (rate_text(c.rate), "bold green" if c.rate else "bold red"), (f"   {wanted_text(c)}", "dim")
    )
    table = _table("requests/s", figures=("attainment", "lowest", "highest", "seeds"))
    for point in c.curve:
        low, high = min(point.attainments), max(point.attainments)
        cells = [percent(point.mean), percent(low), percent(high), str(len(point.attainments))]
        style = "" if point.mean >= c.attainment else "dim"
        table.add_row(number(point.rate, 4), *cells, style=style)
    notes = (Text(note, style="yellow") for note in c.notes)
    _print(console, found, table, *notes)
    _behind(console, c.rows)


def print_tuning(t: Tuning, console: Console) -> None:
    """Gains on what tuning did not see, and the parameters behind them."""
    states = [trial.state for trial in t.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    _print(console, Text(f"{len(t.trials)} trials: {counts}; over {', '.join(t.keys)}", style="dim"))
    titles = [title for m in t.objectives for title in (m.title, "gain", "95 % interval")]
    table = _table(f"on {t.held_out}", figures=(*titles, "verdict"))
    cells = [cell for effect in t.baseline for cell in (shown(effect.metric, effect.mean.estimate), "", "")]
    table.add_row("as written", *cells, "")
    for winner in t.winners:
        cells = []
        for effect in winner.gain:
            cells += [shown(effect.metric, effect.mean.estimate), changed(effect)]
            cells.append(changed_spread(effect))
        said = winner.gain[0].verdict or NOTHING
        table.add_row(winner.name, *cells, Text(said, style=_COLOURS.get(said, "dim")))
    _print(console, table)
    for winner in t.winners:
        parameters = ", ".join(
            f"{key.removeprefix('policies.')} {value:.4g}"
            if isinstance(value, float)
            else f"{key.removeprefix('policies.')} {value}"
            for key, value in winner.trial.parameters.items()
        )
        _print(console, Text.assemble((f"{winner.name}.yaml  ", "bold"), parameters))
    if len(t.winners) == 1:
        _print(console, Text(gain_text(t, t.winners[0])))
    _print(console, *(Text(note, style="yellow") for note in t.notes))
