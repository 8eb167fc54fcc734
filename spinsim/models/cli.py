"""``spinsim models``: list, train, inspect, widen, evaluate. Torch is imported inside the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from spinsim.models.family import CHECKPOINTS, MEMBERS

app = typer.Typer(help="The embedded family of small models.", no_args_is_help=True, add_completion=False)

Family = Annotated[Path, typer.Option("--family", help="Folder of the family's checkpoints.")]


@app.command("list")
def list_members(family: Family = CHECKPOINTS) -> None:
    """The family: shapes, training mixes, and whether the weights are here."""
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "hidden x layers", "heads (kv)", "trained on", "stands for", "weights")
    for name, m in MEMBERS.items():
        weights = family / name / "model.safetensors"
        size = f"{weights.stat().st_size / 1e6:.1f} MB" if weights.is_file() else "missing"
        table.add_row(
            name, f"{m.hidden} x {m.layers}", f"{m.heads} ({m.kv_heads})", m.mix, m.stands_for, size
        )
    Console().print(table)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder for corpus, states and checkpoints.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Wall time for everything.")] = 5.0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps per member, instead of a time: repeatable.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")] = "auto",
    jobs: Annotated[int, typer.Option(min=1, help="Drafts trained at once.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Rows of 512 tokens per step.")] = 64,
    rows: Annotated[int, typer.Option(min=1, help="Corpus rows per domain.")] = 20_000,
    target_share: Annotated[
        float, typer.Option(min=0.05, max=0.95, help="Share of the time for the target.")
    ] = 0.55,
    distill: Annotated[
        float, typer.Option(min=0, max=1, help="Weight of the target's probabilities; 0: text alone.")
    ] = 0.9,
    seed: int = 0,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile the training step.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in the folder.")] = False,
    part_mib: Annotated[
        float | None, typer.Option(help="Also write tar parts of at most this many MiB.")
    ] = None,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="A trial of seconds: 2 steps each on a small corpus.")
    ] = False,
) -> None:
    """Train the whole family: the target first, then the drafts from its probabilities."""
    from spinsim.models.train import Options, train_family

    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    budget = f"--steps {steps}" if steps else f"--minutes {minutes:g}"
    rest = f"--device {device} --batch {batch} --rows {rows} --distill {distill:g} --seed {seed}"
    command = f"spinsim models train --out DIR {'--tiny' if tiny else f'{budget} {rest}'}"
    options = Options(
        out=out,
        minutes=None if steps or tiny else minutes,
        steps=2 if tiny else steps,
        device=device,
        jobs=jobs,
        batch=4 if tiny else batch,
        rows_per_domain=16 if tiny else rows,
        target_share=target_share,
        distill=distill,
        seed=seed,
        compile=compile,
        resume=resume,
        part_mib=part_mib,
        command=command,
    )
    print(json.dumps({"manifest": str(train_family(options))}))
