"""Comparisons, sweeps, capacities and searches on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from spinsim.experiments.capacity import Capacity
from spinsim.experiments.compare import Comparison
from spinsim.experiments.pages.parts import changed, changed_spread, provenance, shown
from spinsim.experiments.pages.search import gain_text, objectives_text, rate_text
from spinsim.experiments.pages.sweep import grouped, mean_shown
from spinsim.experiments.sweep import Sweep
from spinsim.experiments.tune import Tuning
from spinsim.reporting.terminal import NOTHING, WIDTH, number, percent

MOST_ROWS = 40
_COLOURS = {"better": "green", "worse": "red"}


def _table(first: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column(first, style="bold", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _print(console: Console, *parts: Table | Text) -> None:
    for part in parts:
        console.print(Padding(part, (1, 1, 0, 1)), width=min(WIDTH, console.width))


def print_comparison(c: Comparison, console: Console) -> None:
    """A table for the metric asked about, and one of the others' differences."""
    names = list(c.effects)
    first = _table(c.metrics[0].title, "mean", "difference", "95 % interval", "verdict")
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
    others = [name for name in names if name != c.baseline]
    if len(c.metrics) > 1:
        rest = _table("", c.baseline, *others)
        for i, metric in enumerate(c.metrics[1:], 1):
            cells = [shown(metric, c.effects[c.baseline][i].mean.estimate)]
            for name in others:
                effect = c.effects[name][i]
                style = _COLOURS.get(effect.verdict or "", "dim")
                text = Text(changed(effect), style=style)
                cells.append(text)  # type: ignore[arg-type]  # rich takes both
            rest.add_row(metric.title, *cells)
        _print(console, rest)
    for note in c.notes:
        _print(console, Text(note, style="yellow"))
    _print(console, Text(provenance(c.rows), style="dim"))


def print_sweep(s: Sweep, console: Console) -> None:
    """The first three metrics of every combination, means over seeds."""
    table = _table(s.axes[0], *s.axes[1:], *(metric.title for metric in s.metrics[:3]))
    groups = grouped([row for row in s.rows if row.summary is not None], s.axes)
    for key, rows in list(groups.items())[:MOST_ROWS]:
        cells = []
        for metric in s.metrics[:3]:
            cells.append(mean_shown(metric, rows))
        table.add_row(*map(str, key), *cells)
    _print(console, table)
    if len(groups) > MOST_ROWS:
        _print(console, Text(f"and {len(groups) - MOST_ROWS:,} more, in sweep.parquet", style="dim"))
    _print(console, Text(provenance(s.rows), style="dim"))


def print_capacity(c: Capacity, console: Console) -> None:
    """The capacity and the curve."""
    wanted = f"{percent(c.attainment)} of requests with {objectives_text(dict(c.objectives))}"
    found = Text.assemble(
        (rate_text(c.rate), "bold green" if c.rate else "bold red"), (f"   {wanted}", "dim")
    )
    table = _table("requests/s", "attainment", "lowest", "highest", "seeds")
    for point in c.curve:
        low, high = min(point.attainments), max(point.attainments)
        cells = [percent(point.mean), percent(low), percent(high), str(len(point.attainments))]
        style = "" if point.mean >= c.attainment else "dim"
        table.add_row(number(point.rate, 4), *cells, style=style)
    notes = (Text(note, style="yellow") for note in c.notes)
    _print(console, found, table, *notes, Text(provenance(c.rows), style="dim"))


def print_tuning(t: Tuning, console: Console) -> None:
    """Gains on what tuning did not see, and the parameters behind them."""
    states = [trial.state for trial in t.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    _print(console, Text(f"{len(t.trials)} trials: {counts}; over {', '.join(t.keys)}", style="dim"))
    titles = [title for m in t.objectives for title in (m.title, "gain", "95 % interval")]
    table = _table(f"on {t.held_out}", *titles, "verdict")
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
