"""What an option is, said once: in the type of an API function's parameter.

    def tune(scenario: options.Scenario, *, trials: Annotated[int, Option("Points to try.", min=1)] = 60): ...

The parameter's name, type and default are the option's. :mod:`spinsim.cli.signatures` reads the rest here. A
parameter without an :class:`Option` is none of the command line's: callbacks, and what only Python can say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from spinsim.progress import Progress as Progress

PathLike = str | Path
Settings = Mapping[str, Any] | Sequence[str] | str  # {"key.path": value}, or "key.path=value" texts
Texts = Sequence[str] | str  # several, or one
Paths = Sequence[PathLike] | PathLike
ScenarioLike = PathLike | Mapping[str, Any]  # a file, its YAML as a text with line breaks, or its contents


@dataclass(frozen=True)
class Option:
    """How a parameter stands on the command line.

    ``flag`` where it is not ``--`` and the parameter's name. ``min`` and ``max`` are allowed themselves.
    ``once``: one text, though the parameter takes several. A default of True gets a ``--no-`` beside it.
    """

    help: str = ""
    flag: str = ""
    metavar: str | None = None
    min: float | None = None
    max: float | None = None
    choices: tuple[str, ...] = ()
    once: bool = False


@dataclass(frozen=True)
class Argument(Option):
    """A parameter given by its place."""


# Those that several functions take:
Scenario = Annotated[ScenarioLike, Argument("The scenario's YAML.", metavar="SCENARIO")]
ScenarioFile = Annotated[PathLike, Argument("The scenario's YAML.", metavar="SCENARIO")]
Folder = Annotated[PathLike, Argument("A results folder.", metavar="DIR")]
Set = Annotated[Settings, Option("Overrides a key of the scenario; repeatable.", metavar="KEY.PATH=VALUE")]
Seed = Annotated[int | None, Option("Replaces the scenario's seed.", min=0)]
FirstSeed = Annotated[int | None, Option("The first seed [the scenario's].", min=0)]
Device = Annotated[str | None, Option("Puts every model on the CPU, or on GPUs.", choices=("cpu", "cuda"))]
Plugins = Annotated[
    Paths,
    Option("A Python file that registers policies; repeatable.", flag="--plugin", metavar="FILE"),
]
Out = Annotated[
    PathLike | None, Option("Results folder [below results/, by name and command].", metavar="DIR")
]
OutNeeded = Annotated[
    PathLike, Option("Results folder [below results/, by name and command].", metavar="DIR")
]
Force = Annotated[bool, Option("Replaces what an earlier run left in the folder.")]
Resume = Annotated[bool, Option("Goes on with the folder's experiment.")]
ForceFile = Annotated[bool, Option("Replaces an existing file.")]
Metrics = Annotated[
    Texts,
    Option("goodput, p99_tpot, ..., or a path of summary.json; repeatable.", flag="--metric", metavar="NAME"),
]
Engine = Annotated[
    str,
    Option(
        "What plays a simulation: C, Python, or C where it covers it; results are the same.",
        choices=("auto", "python", "native"),
    ),
]
Workers = Annotated[int | None, Option("Processes [one a core]; 0 runs in this one.", min=0)]
Cluster = Annotated[str | None, Option("Runs on a Ray cluster instead.", metavar="auto|HOST:PORT")]
Grid = Annotated[
    Mapping[str, Any] | Texts | None,
    Option("Varies a key of the scenario; repeatable.", metavar="KEY.PATH=V1,V2,..."),
]
