"""A cell: one simulation of an experiment. It depends on nothing but its own contents.

So it may run in any process of any machine, and gives the same bytes in each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spinsim.errors import InputError
from spinsim.lab.fingerprint import code_digest, file_digest
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario, Places
from spinsim.workload.source import resolve

if TYPE_CHECKING:
    from spinsim.drafters.costs import KnownPredictors


@dataclass(frozen=True, slots=True)
class Cell:
    """``scenario`` is JSON with absolute paths; ``key`` a hash of all that decides the result."""

    key: str
    scenario: str
    code: str  # digest of the package that planned it
    files: tuple[tuple[str, str], ...]  # (path, digest) of what the scenario reads
    plugins: tuple[str, ...] = ()
    engine: str = "auto"  # that plays it; the result is the same


def cell_of(loaded: LoadedScenario, plugins: Sequence[str] = ()) -> Cell:
    """The cell that simulates ``loaded``. Raises InputError for a file that cannot be read.

    Two scenarios that differ in name or description alone are two cells: a summary holds the name. Where
    files lie makes no difference: the key holds their names and contents, so that another checkout has the
    same.
    """
    values = loaded.scenario.model_dump(mode="json")
    named = _with_absolute_paths(values, loaded.base_dir.resolve())
    roots = {str(path): file_names(path) for path in named}
    names = {str(file): name for files in roots.values() for file, name in files.items()}
    read = [(file, file_digest(file)) for file in sorted(names)]
    imported = [(path, file_digest(path)) for path in plugins]
    content = {
        "scenario": _without_places(values, roots),
        "code": code_digest(),
        "files": sorted([names[file], digest] for file, digest in read),
        "plugins": [[Path(path).name, digest] for path, digest in imported],
    }
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return Cell(
        key=sha256(text.encode()).hexdigest()[:24],
        scenario=json.dumps(values, ensure_ascii=False),
        code=code_digest(),
        files=(*read, *imported),
        plugins=tuple(plugins),
    )


def files_read(scenario: Mapping[str, Any]) -> list[Path]:
    """The files that a cell's scenario (plain values, every path absolute) reads, those in folders too."""
    found = _with_absolute_paths(deepcopy(dict(scenario)), Path("/"))
    return sorted({file for path in found for file in file_names(path)})


def _with_absolute_paths(values: dict[str, Any], base: Path) -> list[Path]:
    """Make every path in a scenario's plain ``values`` absolute; those that exist.

    What is missing is reported by the part that reads it, with its key.
    """
    found: list[Path] = []
    for section, key in (
        (values["workload"]["source"], "workload.source.path"),
        (values["costs"], "costs.path"),
        (values["acceptance"], "acceptance.path"),
    ):
        if section and section.get("path"):
            path = resolve(section["path"], base, key)
            section["path"] = str(path)
            found.append(path)
    for model in (values["models"]["target"], *values["models"]["drafts"].values()):
        if "shape" not in model:  # a draft that is no model
            continue
        path = base / model["shape"]
        if path.exists():
            model["shape"] = str(path)
            found.append(path)
    return [path for path in found if path.exists()]


def _without_places(values: Any, roots: Mapping[str, object]) -> Any:
    """``values`` with the bare names of the files and folders ``roots``."""
    if isinstance(values, dict):
        return {key: _without_places(value, roots) for key, value in values.items()}
    if isinstance(values, list):
        return [_without_places(value, roots) for value in values]
    return Path(values).name if isinstance(values, str) and values in roots else values


def check_files(loaded: LoadedScenario) -> None:
    """Raise InputError where a file that the scenario names does not exist: before many cells fail of it."""
    scenario = loaded.scenario
    for section, key in (
        (scenario.workload.source, "workload.source.path"),
        (scenario.costs, "costs.path"),
        (scenario.acceptance, "acceptance.path"),
    ):
        if named := getattr(section, "path", None):
            path = resolve(named, loaded.base_dir, key)
            if not path.exists():
                raise loaded.places.error(key, f"{path} does not exist; give the path of a file")


def check_fits(loaded: LoadedScenario) -> None:
    """:func:`check_files`, and that the models fit on their devices. Raises InputError."""
    from spinsim.drafters.memory import kv_capacity

    check_files(loaded)
    try:
        kv_capacity(loaded.scenario, loaded.base_dir)
    except InputError as error:
        raise loaded.places.locate(error) from None


def file_names(path: Path) -> dict[Path, str]:
    """The files at ``path``, a file or a folder, with their names from its parent.

    Of a model's folder the ``config.json`` alone, where it has one: a simulation reads no weights.
    """
    if path.is_dir() and (path / "config.json").is_file():
        return {path / "config.json": f"{path.name}/config.json"}
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {file: file.relative_to(path.parent).as_posix() for file in files}


def run_cell(cell: Cell, predictors: KnownPredictors | None = None) -> str:
    """Simulate a cell; its summary as JSON text. Cells that cost alike share one of ``predictors``.

    Raises InputError for what the scenario asks and cannot have.
    """
    from spinsim.policies.plugins import load_plugins, place_in_plugin
    from spinsim.results.publish import publish  # heavy: not for those who only plan
    from spinsim.simulated.simulation import simulate_scenario

    load_plugins(cell.plugins)
    scenario = Scenario.model_validate_json(cell.scenario)
    root = Path("/")  # every path in a cell is absolute
    try:
        predictor = predictors.of(scenario, root, cell.files) if predictors is not None else None
        done = simulate_scenario(scenario, root, predictor=predictor, engine=cell.engine)
        loaded = LoadedScenario(scenario, root, root, Places({}))
        summary = publish(loaded, None, done, mode="simulated")
    except InputError:
        raise
    except Exception as error:
        if place := place_in_plugin(error):  # another process sees no traceback
            error.add_note(f"at {place}")
        raise
    if summary.get("interrupted"):
        raise KeyboardInterrupt
    del summary["definitions"]  # the same text in each
    return json.dumps(summary, ensure_ascii=False, allow_nan=False)


def run_elsewhere(cell: Cell, predictors: KnownPredictors | None = None) -> str:
    """:func:`run_cell` on another machine. Raises RuntimeError where that one has other code or
    other files than the cell was planned with."""
    if code_digest() != cell.code:
        raise RuntimeError("this process has another version of spinsim than the one that planned the cell")
    for path, digest in cell.files:
        try:
            same = file_digest(path) == digest
        except InputError as error:
            raise RuntimeError(str(error)) from None
        if not same:
            raise RuntimeError(f"{path} is not the file that the cell was planned with")
    return run_cell(cell, predictors)
