"""A cell: one simulation of an experiment. It depends on nothing but its own contents.

So it may run in any process of any machine, and gives the same bytes in each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

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


def cell_of(loaded: LoadedScenario, plugins: Sequence[str] = ()) -> Cell:
    """The cell that simulates ``loaded``. Raises InputError for a file that cannot be read.

    Two scenarios that differ in name or description alone are two cells: a summary holds the name.
    """
    values = loaded.scenario.model_dump(mode="json")
    base = loaded.base_dir.resolve()
    files: list[str] = []
    for section, key in (
        (values["workload"]["source"], "workload.source.path"),
        (values["costs"], "costs.path"),
        (values["acceptance"], "acceptance.path"),
    ):
        if section and section.get("path"):
            path = resolve(section["path"], base, key)
            section["path"] = str(path)
            if path.exists():  # what is missing is reported by the part that reads it, with its key
                files.extend(str(p) for p in _files(path))
    for model in (values["models"]["target"], *values["models"]["drafts"].values()):
        if "shape" not in model:  # a draft that is no model
            continue
        path = base / model["shape"]
        if path.exists() and not Path(model["shape"]).is_absolute():
            model["shape"] = str(path)
        if path.exists():
            files.extend(str(p) for p in ([path / "config.json"] if path.is_dir() else [path]) if p.is_file())
    read = [(path, file_digest(path)) for path in sorted(set(files))]
    imported = [(path, file_digest(path)) for path in plugins]
    content = {"scenario": values, "code": code_digest(), "files": read, "plugins": imported}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return Cell(
        key=sha256(text.encode()).hexdigest()[:24],
        scenario=json.dumps(values, ensure_ascii=False),
        code=code_digest(),
        files=(*read, *imported),
        plugins=tuple(plugins),
    )


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


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


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
        done = simulate_scenario(scenario, root, predictor=predictor)
        loaded = LoadedScenario(scenario, root, root, Places({}))
        summary = publish(
            loaded,
            None,
            done.records,
            done.workload,
            mode="simulated",
            acceptance_source=done.acceptance_source,
        )
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


def run_elsewhere(cell: Cell) -> str:
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
    return run_cell(cell)
