"""A study of several parts on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from spinsim.pages.study_index import found_in

MOST = 4  # numbers of a part


def print_study(folder: Path, summary: Mapping[str, Any], console: Console) -> None:
    """For every part: its title and state, and the numbers that its page begins with."""
    for name, part in summary["parts"].items():
        done = part["state"] == "done"
        state = Text(part["state"], style="dim" if done else "yellow")
        head = Text.assemble((part["title"], "bold"), f"   {part['command']}  ", state)
        console.print(head, soft_wrap=True)
        if part["error"]:
            console.print(Text(f"  {part['error']}", style="red"), soft_wrap=True)
        stats = found_in(folder / name).stats if done else ()
        for stat in stats[:MOST]:
            detail = f"   {stat.detail}" if stat.detail else ""
            said = Text.assemble(f"  {stat.value}  {stat.label}", (detail, "dim"))
            console.print(said, soft_wrap=True)
        if len(stats) > MOST:
            console.print(Text(f"  and {len(stats) - MOST} more on its page", style="dim"))
