"""A ladder on the terminal: a row for each step."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from spinsim.lab.statistics import Interval
from spinsim.pages.run_terminal import NOTHING, number
from spinsim.studies.ladder.ladder import Ladder


def print_ladder(result: Ladder, console: Console) -> None:
    """Goodput of every step with its ratios; why a step could not run, and the notes, stand below."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    table.add_column("step", style="bold", no_wrap=True)
    for name in ("GPUs", "goodput, tokens/s", "to vanilla", "to best fixed plan", "to best alternative"):
        table.add_column(name, justify="right")
    for step in result.steps:
        goodput = NOTHING if step.goodput is None else number(step.goodput.estimate, 4)
        ratios = (step.to_vanilla, step.to_best_serial, step.to_best_alternative)
        table.add_row(step.name, str(step.gpus), goodput, *map(_times, ratios))
    console.print(table)
    for step in result.steps:
        if step.why:
            console.print(f"{step.name}: {step.why}", highlight=False, markup=False, soft_wrap=True)
    for note in result.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def _times(ratio: Interval | None) -> str:
    return NOTHING if ratio is None else f"{ratio.estimate:.2f}"
