"""``spinsim models``: list, train, inspect, widen, evaluate. Torch is imported inside the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from spinsim.cli_support import exit_codes
from spinsim.errors import InputError
from spinsim.models.family import CHECKPOINTS, MEMBERS

app = typer.Typer(help="The embedded family of small models.", no_args_is_help=True, add_completion=False)

Family = Annotated[Path, typer.Option("--family", help="Folder of the family's checkpoints.")]


@app.command("list")
@exit_codes
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
@exit_codes
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


@app.command()
@exit_codes
def inspect(
    model: Annotated[str, typer.Argument(help="A family member, or the folder of a checkpoint.")],
    family: Family = CHECKPOINTS,
) -> None:
    """What a checkpoint is: its config, checksum and training; cost stand-ins say what they stand in for."""
    from spinsim.models.export import MANIFEST, sha256
    from spinsim.models.family import folder

    path = folder(model, family) if model in MEMBERS else Path(model)
    if not (path / "config.json").is_file():
        raise InputError(
            f"no config.json under {path}; expected {', '.join(MEMBERS)}, or a checkpoint's folder"
        )
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    report = {
        "folder": str(path),
        "cost_stand_in": bool(config.get("spinsim_cost_stand_in", False)),
        "provenance": config.get("spinsim_provenance"),
        "config": config,
        "sha256": {file.name: sha256(file) for file in sorted(path.glob("*.safetensors"))},
    }
    manifest = family / MANIFEST
    if model in MEMBERS and manifest.is_file():
        known = json.loads(manifest.read_text(encoding="utf-8"))["members"].get(model, {})
        report["manifest"] = known
        report["matches_manifest"] = known.get("sha256") == report["sha256"].get("model.safetensors")
    print(json.dumps(report, indent=1))


@app.command()
@exit_codes
def widen(
    model: Annotated[str, typer.Argument(help="A family member, or the folder of a LLaMA checkpoint.")],
    shape: Annotated[str, typer.Argument(help="A known shape (llama-7b, llama-3-8b, ...) or a config.json.")],
    out: Annotated[Path, typer.Option(help="Folder for the widened checkpoint.")],
    dtype: Annotated[str, typer.Option(help="bf16 or fp32.")] = "bf16",
    device: Annotated[str, typer.Option(help="Where it is built: cpu or cuda.")] = "cpu",
    seed: int = 0,
    family: Family = CHECKPOINTS,
) -> None:
    """Write a cost stand-in: the same outputs at the cost of a larger LLaMA shape."""
    import torch

    from spinsim.costs.shapes import shape_of
    from spinsim.models.family import folder
    from spinsim.models.widen import widen as widened

    dtypes = {"bf16": torch.bfloat16, "fp32": torch.float32}
    if dtype not in dtypes:
        raise InputError(f"unknown dtype {dtype!r}; allowed: {', '.join(dtypes)}")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; allowed: an empty or new folder")
    source = folder(model, family) if model in MEMBERS else Path(model)
    made = widened(source, shape_of(shape), dtype=dtypes[dtype], device=device, out=out, seed=seed)
    parameters = sum(p.numel() for p in made.parameters())
    print(json.dumps({"out": str(out), "shape": shape, "parameters": parameters, "cost_stand_in": True}))


@app.command()
@exit_codes
def evaluate(
    family: Family = CHECKPOINTS,
    requests: Annotated[int, typer.Option(min=1, help="Held-out requests per domain.")] = 20,
    output_tokens: Annotated[int, typer.Option(min=2)] = 64,
    length: Annotated[int, typer.Option(min=1, help="Draft tokens per round.")] = 4,
    step_ms: Annotated[
        list[str] | None, typer.Option(help="draft=milliseconds of a step; repeatable.")
    ] = None,
    verify_ms: Annotated[float, typer.Option(min=0, help="Milliseconds of a verification.")] = 8.0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: int = 0,
    batch: Annotated[int, typer.Option(min=1, help="Requests recorded at once.")] = 32,
    save: Annotated[Path | None, typer.Option(help="Also keep the recording as an acceptance trace.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON to stdout, nothing else.")] = False,
) -> None:
    """Tokens per round by domain and draft, and the share of requests each draft is best for."""
    from dataclasses import asdict

    from rich.console import Console
    from rich.table import Table

    from spinsim.acceptance.trace import save_trace
    from spinsim.models.evaluate import STEP_S, held_out_prompts, judge_trace
    from spinsim.models.family import DRAFTS
    from spinsim.models.record import trace_family

    steps = {draft.name: STEP_S[draft.stands_for] for draft in DRAFTS}
    for item in step_ms or []:
        name, _, value = item.partition("=")
        if name not in steps or not value.replace(".", "", 1).isdigit():
            raise InputError(f"{item!r} is no draft=milliseconds; drafts: {', '.join(steps)}")
        steps[name] = float(value) / 1e3
    chosen = held_out_prompts(requests, seed)
    settings = f"--requests {requests} --output-tokens {output_tokens} --seed {seed} --device {device}"
    trace = trace_family(
        chosen,
        [output_tokens] * len(chosen),
        root=family,
        device=device,
        batch=batch,
        command=f"spinsim models evaluate {settings}",
    )
    if save is not None:
        save_trace(trace, save)
    found = judge_trace(trace, length=length, step_s=steps, verify_s=verify_ms / 1e3)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
        return
    table = Table("domain", *steps, title=f"Greedy tokens per round, {length} draft tokens, held-out prompts")
    for domain, row in found.tokens_per_round.items():
        table.add_row(domain, *(f"{row[name]:.2f}" for name in steps))
    table.add_section()
    table.add_row("best for", *(f"{found.best[name]:.0%}" for name in steps))
    Console().print(table)


def main(arguments: list[str]) -> None:
    """The commands without the rest of spinsim's command line (it needs no more than torch)."""
    app(arguments)
