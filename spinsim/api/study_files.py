"""A paper's work in one file: its parts are the other functions of this API, with their own options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from spinsim.api import options, reports
from spinsim.api.common import loaded, overrides, paths, texts, whole
from spinsim.api.options import Argument, Option, PathLike, Progress, Texts
from spinsim.api.signatures import REQUIRED, Parameter, parameters
from spinsim.errors import InputError

if TYPE_CHECKING:
    from spinsim.bundles.check import StudyCheck
    from spinsim.bundles.plan import Key, PartCommand

StudyFile = Annotated[PathLike, Argument("The study's YAML.", metavar="FILE")]
Only = Annotated[Texts, Option("This part alone; repeatable.", metavar="PART")]

OF_THE_STUDY = ("out", "resume", "force", "workers", "cluster")  # options that no part has for itself
CELLS = "spinsim.api.grids", "spinsim.api.search", "spinsim.api.ladders"
# What a part may be, and where it is: those of CELLS run many simulations that are kept one by one.
COMMANDS = {
    "simulate": "spinsim.api.runs",
    "compare": "spinsim.api.grids",
    "sweep": "spinsim.api.grids",
    "tune": "spinsim.api.search",
    "capacity": "spinsim.api.search",
    "ladder": "spinsim.api.ladders",
    "validate": "spinsim.api.fidelity",
}


@dataclass(frozen=True, repr=False)
class Study:
    """``summary`` has every part's; ``folder`` their results, the page ``report.html`` and manifest.json."""

    folder: Path
    summary: dict[str, Any]

    def __repr__(self) -> str:
        states = [part["state"] for part in self.summary["parts"].values()]
        said = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        return f"Study({self.summary['study']}: {said})"

    def _repr_html_(self) -> str:
        from spinsim.api.notebook import shown

        rows = [[name, part["command"], part["state"]] for name, part in self.summary["parts"].items()]
        return shown(repr(self), ["part", "command", "state"], rows)


def study(
    file: StudyFile,
    out: options.OutNeeded,
    *,
    only: Only = (),
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    force: options.Force = False,
    progress: Progress | None = None,
) -> Study:
    """Run a paper's work: comparisons, sweeps, ladders, ... of one file, into one folder with one page.

    Each part has a folder in ``out``, as its command leaves it; manifest.json has versions, seeds and the
    SHA-256 of every file. Called again it goes on: finished parts are kept, and so are the simulations of an
    interrupted one. ``only`` runs these parts; ``force`` makes them anew. ``workers`` and ``cluster`` as for
    :class:`spinsim.api.Where`. Raises InputError before anything runs, and CellsFailed where simulations or
    parts failed, whose others are there.
    """
    from spinsim.bundles.plan import read_study
    from spinsim.bundles.run import run_study

    known = part_commands()
    plan = read_study(Path(file), known)
    summary = run_study(
        plan,
        Path(out),
        known,
        only=texts(only),
        force=force,
        progress=progress,
        report=reports.of_study,
        figures=reports.figures,
        workers=workers,
        cluster=cluster,
    )
    return whole(Study(Path(out), summary), summary)


def check_study(
    file: StudyFile,
    bundle: Annotated[
        PathLike,
        Option("Runs the study once more and compares results with DIR.", flag="--check", metavar="DIR"),
    ],
    *,
    out: options.Out = None,
    only: Only = (),
    workers: options.Workers = None,
    cluster: options.Cluster = None,
    progress: Progress | None = None,
) -> StudyCheck:
    """Run a study once more and compare its results with those in the folder ``bundle``, byte for byte.

    They are run into ``out``, or into a folder that goes afterwards. Live parts, and what else differs by
    itself, are named in ``left_out`` and not compared. Raises InputError where ``bundle`` is none.
    """
    from spinsim.bundles import check
    from spinsim.bundles.plan import read_study
    from spinsim.bundles.run import run_study

    known = part_commands()
    plan = read_study(Path(file), known)
    theirs = check.manifest_of(Path(bundle))
    wanted = [plan.part(name).name for name in texts(only)] or [part.name for part in plan.parts]
    chosen = [name for name in check.comparable(theirs) if name in wanted]
    if not chosen:
        raise InputError("holds no finished part that could be compared", file=str(bundle))
    with TemporaryDirectory(prefix="spinsim-study-") as scratch:
        fresh = Path(scratch) / "fresh" if out is None else Path(out)
        run_study(
            plan,
            fresh,
            known,
            only=chosen,
            progress=progress,
            report=reports.of_study,
            figures=reports.figures,
            workers=workers,
            cluster=cluster,
        )
        return check.compared(Path(bundle), fresh, chosen, wanted)


def part_commands() -> dict[str, PartCommand]:
    """What a part may be, from the signatures of the functions."""
    from spinsim.bundles.plan import PartCommand

    found = {}
    for name, module in COMMANDS.items():
        function = getattr(import_module(module), name)
        takes = parameters(function)
        keys = {each.name: _key(each) for each in takes.values() if each.name not in OF_THE_STUDY}
        check = _stopped(function) if module in CELLS else _checks[name]
        found[name] = PartCommand(keys, partial(_run, function, takes), check, live=name == "validate")
    return found


def _key(given: Parameter) -> Key:
    from spinsim.bundles.plan import Key

    option = given.option
    return Key(
        given.name,
        given.flag,
        given.kind,
        several=given.several or option.once,
        mapping=given.mapping,
        required=given.default is REQUIRED,
        least=option.min,
        most=option.max,
        choices=option.choices,
    )


def _run(
    function: Callable[..., Any],
    takes: Mapping[str, Parameter],
    *,
    out: Path,
    goes_on: bool,
    progress: Progress | None,
    where: Mapping[str, Any],
    **given: Any,
) -> Mapping[str, Any]:
    """A part's results into ``out``. ``goes_on``: an interrupted one may have left some there.

    Raises KeyboardInterrupt for a run that was interrupted, which ends early by itself.
    """
    given |= {key: value for key, value in where.items() if key in takes}
    if goes_on:
        given["resume" if "resume" in takes else "force"] = True
    done = function(**given, out=out, progress=progress)
    if done.summary.get("interrupted"):
        raise KeyboardInterrupt
    summary: Mapping[str, Any] = done.summary
    return summary


class _Planned(Exception):
    """Everything was checked, and the first simulation would begin now."""


def _stopped(function: Callable[..., Any]) -> Callable[..., None]:
    """``function`` up to its first simulation. Raises InputError as it does."""

    def stop(phase: str, done: float, total: float) -> NoReturn:
        raise _Planned

    def check(**given: Any) -> None:
        with suppress(_Planned):
            function(**given, workers=0, progress=stop)

    return check


def _check_simulate(
    *, scenario: PathLike, set: Any = (), seed: int | None = None, device: str | None = None,
    plugins: Any = (), **given: Any,
) -> None:  # fmt: skip
    loaded(scenario, set, seed, device, plugins)


def _check_validate(
    *, scenarios: Any, set: Any = (), seed: int | None = None, device: str | None = None,
    plugins: Any = (), **given: Any,
) -> None:  # fmt: skip
    """Of what needs no device: the scenarios, sweeps and selections of them."""
    from spinsim.api.common import imported
    from spinsim.studies.validation.plan import plan

    imported(plugins)
    plan(paths(scenarios), (), [*overrides(set), *([] if seed is None else [f"seed={seed}"])], device)


_checks: Mapping[str, Callable[..., None]] = {"simulate": _check_simulate, "validate": _check_validate}
