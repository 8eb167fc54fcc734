"""``spinsim validate``: the same cells live, with repetitions, and simulated; and how far apart they are.

Two halves. The live one needs the devices; it leaves a folder. The simulated one needs that folder alone, so
that a mended cost model or another profile is judged by the same live runs, on any machine (:func:`again`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from spinsim.costs.profiled.elsewhere import Machine, laid_elsewhere, profile_elsewhere
from spinsim.costs.profiled.profile import read_profile
from spinsim.errors import InputError
from spinsim.files import write_atomically
from spinsim.progress import Progress
from spinsim.results.environment import environment
from spinsim.scenario import ProfileCosts, RooflineCosts
from spinsim.studies.validation.agreement import overall
from spinsim.studies.validation.folder import Folder
from spinsim.studies.validation.operations import largest_cause, operation_errors
from spinsim.studies.validation.plan import Cell, Options
from spinsim.studies.validation.simulated_cells import Replacement, simulate_cells
from spinsim.workload.source import resolve

Numbers = dict[str, Any]

SCHEMA = "spinsim.validation/2"


def validate(
    cells: Sequence[Cell],
    out: Path,
    options: Options,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    report: Callable[[Numbers], str] | None = None,
) -> Numbers:
    """Every cell in both worlds: all live runs first, then all simulations. ``resume`` keeps finished live
    cells.

    Returns what is saved as ``validation.json`` in ``out``; ``report`` makes its page. Raises InputError as
    runs and simulations do.
    """
    live_half(cells, out, options, resume=resume, force=force, progress=progress)
    return again(
        out,
        intervals=options.intervals,
        workers=options.workers,
        plugins=options.plugins,
        progress=progress,
        report=report,
    )


def live_half(
    cells: Sequence[Cell],
    out: Path,
    options: Options,
    *,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> None:
    """The live runs alone, kept in ``out`` for :func:`again`. Raises InputError as runs do."""
    from spinsim.studies.validation.live_cells import run_live  # torch

    run_live(cells, Folder(out, resume=resume, force=force), options, progress)


def again(
    out: Path,
    *,
    profile: Path | None = None,
    roofline: bool = False,
    allow_roofline: bool = False,
    intervals: int = 20,
    workers: int | None = 0,
    plugins: Sequence[str] = (),
    progress: Progress | None = None,
    report: Callable[[Numbers], str] | None = None,
) -> Numbers:
    """The simulated half of the validation in ``out``, of the cells whose live runs are finished.

    ``profile`` replaces the one that the live half was planned with: policies believe in it too, so that a
    policy that asks the predictor may decide otherwise than it did live. ``roofline``: as if there were none,
    by hardware sheets. ``allow_roofline``: they answer beyond ``profile``. ``validation.json`` and, with
    ``report``, the page that it makes are replaced. Raises InputError where ``out`` holds no live runs.
    """
    if not out.is_dir():
        raise InputError("no such folder; one that `spinsim validate` wrote", file=str(out))
    if profile is not None and not profile.is_file():
        raise InputError("no such file; a profile", file=str(profile))
    folder = Folder(out, resume=True)
    plan = folder.plan()
    found = simulate_cells(
        out,
        plan["cells"],
        intervals,
        _replacement(profile, roofline, allow_roofline),
        workers,
        plugins,
        progress,
    )
    done = [cell | {"cause": largest_cause(cell)} for cell in found if "error" not in cell]
    failed = [*plan.get("failed", ()), *(cell for cell in found if "error" in cell)]
    if found and not done:
        raise InputError(found[0]["error"], file=str(out))
    by = "roofline" if roofline else None if profile is None else profile.name
    result = _result(folder, plan, done, failed, intervals=intervals, profile=by)
    if elsewhere := _elsewhere(folder, plan, profile, roofline):
        result["profile_elsewhere"] = elsewhere
    if report is not None:
        write_atomically(out / "report.html", report(result))
    folder.finish(result)
    return result


def _result(
    folder: Folder,
    plan: Numbers,
    done: Sequence[Numbers],
    failed: Sequence[Numbers],
    *,
    intervals: int,
    profile: str | None,
) -> Numbers:
    """The content of ``validation.json``, of cells that were compared, and of those that failed."""
    options = asdict(replace(Options(**plan["options"]), intervals=intervals))
    del options["workers"], options["plugins"]
    return {
        "schema": SCHEMA,
        "options": options,
        "acceptance": _decided_by(folder, plan["cells"]),
        "profile": profile,
        "drift": [point for deployed in plan["deployments"] for point in deployed["drift"]],
        "wall_s": _sums([deployed["wall_s"] for deployed in plan["deployments"]]),
        **overall(done),
        "operations": operation_errors(done),
        "cells": done,
        "failed": failed,
        "environment": environment(),
    }


def _decided_by(folder: Folder, keys: Sequence[str]) -> str:
    """What the live runs took acceptance from: ``models`` or ``field``; the plan lets no two mix."""
    cells = (folder.get(key) for key in keys)
    return next((cell.scenario.live.acceptance for cell in cells if cell is not None), "models")


def _elsewhere(folder: Folder, plan: Numbers, profile: Path | None, roofline: bool) -> str:
    """Whether the profile that predicts is of another machine than the live runs, or of K/V laid otherwise.

    As far as both say.
    """
    machines = [deployed["machine"] for deployed in plan["deployments"] if "machine" in deployed]
    cells = (folder.get(key) for key in plan["cells"][:1])
    first = next((cell.scenario for cell in cells if cell is not None), None)
    if profile is None and first is not None and isinstance(first.costs, ProfileCosts):
        profile = resolve(first.costs.path, folder.root, "costs.path")
    if roofline or profile is None or not profile.is_file():
        return ""
    known = read_profile(profile)
    machine = profile_elsewhere(known, Machine(**machines[0])) if machines else ""
    laid = laid_elsewhere(known, first.kv.paged_by) if first is not None else ""
    return "; ".join(filter(None, (machine, laid)))


def _replacement(profile: Path | None, roofline: bool, allow_roofline: bool) -> Replacement:
    if roofline:
        return RooflineCosts(model="roofline")
    if profile is None:
        return None
    return ProfileCosts(model="profile", path=str(profile.resolve()), allow_roofline=allow_roofline)


def _sums(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


__all__ = ["Options", "again", "live_half", "validate"]
