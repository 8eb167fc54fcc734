"""A ladder in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spinsim.lab.statistics import Interval
from spinsim.pages.run_terminal import NOTHING, number
from spinsim.studies.ladder.result import Ladder, Step

HEADER = ("step", "tokens/s", "per GPU", "/ vanilla", "/ serial", "/ other use", "plan")


def print_ladder(found: Ladder, console: Console) -> None:
    """A row for each step; the plans that were chosen, and why a step could not run."""
    live = any(step.predicted for step in found.steps)
    header = (HEADER[0], "predicted", *HEADER[1:]) if live else HEADER
    table = Table(box=None, pad_edge=False, header_style="dim")
    for at, name in enumerate(header):
        table.add_column(name, justify="left" if at in (0, len(header) - 1) else "right", no_wrap=at == 0)
    for step in found.steps:
        name, *figures = cells(step)
        told = [number(step.predicted.estimate, 4) if step.predicted else NOTHING] if live else []
        table.add_row(name, *told, *figures, style="" if step.goodput else "dim")
    console.print(table)
    console.print(Text("ratios: to vanilla, to the best fixed serial plan, and", style="dim"), end=" ")
    console.print(
        Text(f"to the best other use of the same GPUs ({found.alternative or 'none'})", style="dim")
    )
    for note in found.notes:
        console.print(Text(note, style="yellow"))


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
