"""How the embedded family of small models is printed. The API imports torch where it needs it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from spinsim.cli.command import Shown
from spinsim.cli.support import print_json

if TYPE_CHECKING:
    from spinsim.api.models import Evaluated, Family, Inspection, Widened


def show_members(family: Family, shown: Shown) -> None:
    """A row a member."""
    from rich.table import Table

    from spinsim.pages.stdout import stdout_console

    table = Table("model", "hidden x layers", "heads (kv)", "trained on", "stands for", "weights")
    for one in family.checkpoints:
        m, size = one.member, "missing" if one.megabytes is None else f"{one.megabytes:.1f} MB"
        shape, heads = f"{m.hidden} x {m.layers}", f"{m.heads} ({m.kv_heads})"
        table.add_row(m.name, shape, heads, m.mix, m.stands_for, size)
    stdout_console().print(table)


def show_trained(manifest: Path, shown: Shown) -> None:
    """Where the manifest is."""
    print_json({"manifest": str(manifest)})


def show_inspection(found: Inspection, shown: Shown) -> None:
    """Everything, as JSON."""
    print_json(found.as_dict())


def show_widened(made: Widened, shown: Shown) -> None:
    """What was written."""
    said = {"out": str(made.out), "shape": made.shape, "parameters": made.parameters}
    print_json(said | {"cost_stand_in": True})


def show_evaluation(evaluated: Evaluated, shown: Shown) -> None:
    """Tokens per round: a row a domain, a column a draft."""
    found = evaluated.result
    if shown.json:
        print_json(asdict(found))
        return
    from rich.table import Table

    from spinsim.pages.stdout import stdout_console

    drafts = list(found.best)
    title = f"Greedy tokens per round, {shown.given['length']} draft tokens, held-out prompts"
    table = Table("domain", *drafts, title=title)
    for domain, row in found.tokens_per_round.items():
        table.add_row(domain, *(f"{row[name]:.2f}" for name in drafts))
    table.add_section()
    table.add_row("best for", *(f"{found.best[name]:.0%}" for name in drafts))
    stdout_console().print(table)
