"""What the functions of the API share: how settings are given, and where experiments run.

The modules of the API are read for the command line's options, so ``--help`` imports them: what is heavy is
imported inside their functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from spinsim.api import options
from spinsim.api.options import PathLike, Paths, Progress, ScenarioLike, Settings, Texts
from spinsim.errors import InputError
from spinsim.studies.failed import CellsFailed

if TYPE_CHECKING:
    from spinsim.lab.evaluate import Lab
    from spinsim.scenario_file import LoadedScenario


MOST = 1_000_000  # of runs, seeds, trials, clients ...


class Where(TypedDict, total=False):
    """Where an experiment's simulations run, and where they are kept."""

    workers: options.Workers  # processes, one a core by default; 0: this process
    cluster: options.Cluster  # "auto", or HOST:PORT of a Ray cluster, in place of workers
    out: options.Out  # a folder that keeps results as they come; None: in memory
    resume: options.Resume  # go on with the experiment in ``out``
    force: options.Force  # replace it
    progress: Progress | None


def overrides(settings: Settings) -> tuple[str, ...]:
    """``settings`` as ``key.path=value`` texts."""
    if isinstance(settings, Mapping):
        from spinsim.scenario_file.variants import override

        return tuple(override(key, value) for key, value in settings.items())
    return texts(settings)


def texts(given: Texts) -> tuple[str, ...]:
    """One text or several, as several."""
    return (given,) if isinstance(given, str) else tuple(given)


def paths(given: Paths) -> tuple[Path, ...]:
    """One path or several, as several."""
    several = (given,) if isinstance(given, str | Path) else given
    return tuple(Path(path) for path in several)


def imported(plugins: Paths) -> tuple[str, ...]:
    """The plugins' absolute paths, once what they register exists. Raises InputError."""
    from spinsim.policies.plugins import load_plugins

    return load_plugins(paths(plugins))


def at_least(least: int, **counts: int | None) -> None:
    """Raise InputError for a number of the caller's, by its name, that is too small or too large."""
    for name, count in counts.items():
        if count is not None and count < least:
            raise InputError(f"{count} is not allowed; {least} or more", key=f"--{name}")
        if count is not None and count > MOST:
            raise InputError(f"{count} is not allowed; at most {MOST:,}", key=f"--{name}")


def several(**counts: int) -> None:
    """Raise InputError for a single run where runs are to be compared with each other; 0 asks for none."""
    at_least(0, **counts)
    for name, count in counts.items():
        if count == 1:
            raise InputError("1 run has no interval; 0 for none, or 2 and more", key=f"--{name}")


def loaded(
    scenario: ScenarioLike,
    settings: Settings,
    seed: int | None,
    device: str | None = None,
    plugins: Paths = (),
) -> LoadedScenario:
    """A valid scenario with what is overridden. Raises InputError with a line per problem."""
    from spinsim.scenario_file import load

    imported(plugins)
    seeds = () if seed is None else (f"seed={seed}",)
    return load(scenario, [*overrides(settings), *seeds], device)


R = TypeVar("R")


def whole(result: R, summary: dict[str, Any]) -> R:
    """``result``. Raises CellsFailed, which has it, where cells of the experiment failed."""
    if summary["failed"]:
        raise CellsFailed(result, summary)
    return result


@contextmanager
def lab(
    kind: str,
    *,
    workers: int | None = None,
    cluster: str | None = None,
    out: PathLike | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    engine: str = "auto",
) -> Iterator[Lab]:
    """Workers and a store for an experiment of ``kind``; see :class:`Where`. ``engine`` plays its cells."""
    from spinsim.lab.evaluate import Lab
    from spinsim.lab.pool import open_pool
    from spinsim.lab.store import Store, open_store

    store = Store() if out is None else open_store(Path(out), kind, resume=resume, force=force)
    with open_pool(workers, cluster) as pool:
        yield Lab(pool, store, progress, engine=engine)
