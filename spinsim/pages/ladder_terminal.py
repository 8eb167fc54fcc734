"""A ladder in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spinsim.lab.statistics import Interval
from spinsim.pages.run_terminal import NOTHING, number, print_uncut
from spinsim.studies.ladder.result import Ladder, Step
from spinsim.studies.ladder.steps import ORACLE, REPLICAS, SHARDED

HEADER = ("step", "tokens/s", "per\nGPU", "/\nvanilla", "/ best\nserial", "/ other\nuse", "plan")


def print_ladder(found: Ladder, console: Console) -> None:
    """A row for each step; the plans that were chosen, and why a step could not run."""
    live = any(step.predicted for step in found.steps)
    header = (HEADER[0], "predicted", *HEADER[1:]) if live else HEADER
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    rows = []
    for step in found.steps:
        name, *figures = cells(step)
        told = [number(step.predicted.estimate, 4) if step.predicted else NOTHING] if live else []
        rows.append((name, *told, *figures))
    for title, column in zip(header[:-1], zip(*rows, strict=True), strict=False):
        wide = max(map(len, (*title.splitlines(), *column)))
        table.add_column(title, justify="left" if title == HEADER[0] else "right", min_width=wide)
    longest = max(len(word) for row in rows for word in row[-1].split() or [""])
    table.add_column(header[-1], min_width=longest)  # a draft's name stands whole
    for step, row in zip(found.steps, rows, strict=True):
        table.add_row(*row, style="" if step.goodput else "dim")
    print_uncut(console, table, below=0)
    console.print(Text("ratios: to vanilla, to the best fixed serial plan, and", style="dim"), end=" ")
    console.print(
        Text(f"to the best other use of the same GPUs ({found.alternative or 'none'})", style="dim")
    )
    if oracle := _behind(found.steps):
        said = f"oracle sees what will be accepted, one round ahead; it is below {oracle} here, and no bound"
        console.print(Text(said, style="dim"))
    for note in found.notes:
        console.print(Text(note, style="yellow"))


def _behind(steps: Sequence[Step]) -> str:
    """The best of the steps on the same devices as the oracle that are ahead of it; empty where none is."""
    rates = {step.name: step.goodput.estimate for step in steps if step.goodput is not None}
    mine = rates.get(ORACLE, inf)
    ahead = {name: rate for name, rate in rates.items() if rate > mine and name not in (REPLICAS, SHARDED)}
    return max(ahead, key=lambda name: ahead[name], default="")


def cells(step: Step) -> list[str]:
    """A step as the texts of its row."""
    if step.goodput is None:
        return [step.name, *[NOTHING] * 5, step.why]
    return [
        step.name,
        number(step.goodput.estimate, 4),
        number(step.goodput.estimate / step.gpus, 4),
        _ratio(step.to_vanilla),
        _ratio(step.to_best_serial),
        _ratio(step.to_best_alternative),
        step.what,
    ]


def _ratio(ratio: Interval | None) -> str:
    return NOTHING if ratio is None else f"{ratio.estimate:.2f}"
