"""``spinsim models``: list, train, inspect, widen, evaluate. Torch is imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spinsim.cli import options
from spinsim.cli.support import exit_codes, print_json
from spinsim.cli.usage import Commands
from spinsim.errors import InputError
from spinsim.family.family import CHECKPOINTS

app = typer.Typer(
    help="The embedded family of small models.", cls=Commands, no_args_is_help=True, add_completion=False
)

Family = Annotated[Path, typer.Option("--family", help="Folder of the family's checkpoints.")]


@app.command("list")
@exit_codes
def list_members(family: Family = CHECKPOINTS) -> None:
    """The family: shapes, training mixes, and whether the weights are here."""
    from rich.console import Console
    from rich.table import Table

    from spinsim.api import models

    table = Table("model", "hidden x layers", "heads (kv)", "trained on", "stands for", "weights")
    for one in models.members(family).checkpoints:
        m, size = one.member, "missing" if one.megabytes is None else f"{one.megabytes:.1f} MB"
        shape, heads = f"{m.hidden} x {m.layers}", f"{m.heads} ({m.kv_heads})"
        table.add_row(m.name, shape, heads, m.mix, m.stands_for, size)
    Console().print(table)


@app.command()
@exit_codes
def train(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for corpus, states and checkpoints.")],
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
    ] = 0.6,
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
    from spinsim.api import models

    manifest = models.train(
        out,
        minutes=minutes,
        steps=steps,
        device=device,
        jobs=jobs,
        batch=batch,
        rows=rows,
        target_share=target_share,
        distill=distill,
        seed=seed,
        compile=compile,
        resume=resume,
        part_mib=part_mib,
        tiny=tiny,
    )
    print_json({"manifest": str(manifest)})


@app.command()
@exit_codes
def inspect(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A family member, or the folder of a checkpoint.")
    ],
    family: Family = CHECKPOINTS,
) -> None:
    """What a checkpoint is: its config, checksum and training; cost stand-ins say what they stand in for."""
    from spinsim.api import models

    print_json(models.inspect(model, family).as_dict())


@app.command()
@exit_codes
def widen(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A family member, or the folder of a LLaMA checkpoint.")
    ],
    shape: Annotated[
        str,
        typer.Argument(metavar="SHAPE", help="A known shape (llama-7b, llama-3-8b, ...) or a config.json."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the widened checkpoint.")],
    dtype: Annotated[str, typer.Option(help="bf16 or fp32.")] = "bf16",
    device: Annotated[str, typer.Option(help="Where it is built: cpu or cuda.")] = "cpu",
    seed: int = 0,
    family: Family = CHECKPOINTS,
) -> None:
    """Write a cost stand-in: the same outputs at the cost of a larger LLaMA shape."""
    from spinsim.api import models

    made = models.widen(model, shape, out, dtype=dtype, device=device, seed=seed, family=family)
    print_json({"out": str(out), "shape": shape, "parameters": made.parameters, "cost_stand_in": True})


@app.command()
@exit_codes
def evaluate(
    family: Family = CHECKPOINTS,
    requests: Annotated[int, typer.Option(min=1, help="Held-out requests per domain.")] = 20,
    output_tokens: Annotated[int, typer.Option(min=2)] = 64,
    length: Annotated[int, typer.Option(min=1, help="Draft tokens per round.")] = 4,
    step_ms: Annotated[
        list[str] | None,
        typer.Option(metavar="DRAFT=MS", help="Milliseconds of a step; repeatable."),
    ] = None,
    verify_ms: Annotated[float, typer.Option(min=0, help="Milliseconds of a verification.")] = 8.0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: int = 0,
    batch: Annotated[int, typer.Option(min=1, help="Requests recorded at once.")] = 32,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also keep the recording as an acceptance trace.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Tokens per round by domain and draft, and the share of requests each draft is best for."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from spinsim.api import models

    found = models.evaluate(
        family=family,
        requests=requests,
        output_tokens=output_tokens,
        length=length,
        step_ms=dict(_milliseconds(item) for item in step_ms or ()),
        verify_ms=verify_ms,
        device=device,
        seed=seed,
        batch=batch,
        save=save,
    ).result
    if as_json:
        print_json(asdict(found))
        return
    drafts = list(found.best)
    table = Table(
        "domain", *drafts, title=f"Greedy tokens per round, {length} draft tokens, held-out prompts"
    )
    for domain, row in found.tokens_per_round.items():
        table.add_row(domain, *(f"{row[name]:.2f}" for name in drafts))
    table.add_section()
    table.add_row("best for", *(f"{found.best[name]:.0%}" for name in drafts))
    Console().print(table)


def _milliseconds(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    try:
        return name, float(amount)
    except ValueError:
        raise InputError(
            f"{text!r} is no draft=milliseconds; allowed: such as tiny=0.2", key="--step-ms"
        ) from None
