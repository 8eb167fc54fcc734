"""Options that several commands take, each said once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Device(StrEnum):
    """Where all models go."""

    CPU = "cpu"
    CUDA = "cuda"


Scenario = Annotated[Path, typer.Argument(metavar="SCENARIO", help="The scenario's YAML.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A results folder.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY.PATH=VALUE", help="Overrides a key of the scenario; repeatable."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Replaces the scenario's seed.")]
FirstSeed = Annotated[
    int | None, typer.Option("--seed", min=0, help="The first seed [the scenario's].", show_default=False)
]
DeviceOption = Annotated[
    Device | None, typer.Option("--device", help="Puts every model on the CPU, or on GPUs.")
]
Plugin = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file that registers policies; repeatable."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Results folder [below results/, by name and command]."),
]
Force = Annotated[bool, typer.Option("--force", help="Replaces what an earlier run left in the folder.")]
Resume = Annotated[bool, typer.Option("--resume", help="Goes on with the folder's experiment.")]
ForceFile = Annotated[bool, typer.Option("--force", help="Replaces an existing file.")]
Metric = Annotated[
    list[str] | None,
    typer.Option(
        "--metric", metavar="NAME", help="goodput, p99_tpot, ..., or a path of summary.json; repeatable."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", min=0, help="Processes [one a core]; 0 runs in this one.", show_default=False),
]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", metavar="auto|HOST:PORT", help="Runs on a Ray cluster instead."),
]
Json = Annotated[bool, typer.Option("--json", help="Prints the summary as JSON, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Prints errors only.")]
Grid = Annotated[
    list[str] | None,
    typer.Option("--grid", metavar="KEY.PATH=V1,V2,...", help="Varies a key of the scenario; repeatable."),
]
