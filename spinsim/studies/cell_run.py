"""A cell of a study as a run of its own: simulated once more, with everything that a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

from spinsim.errors import InputError
from spinsim.scenario import Scenario
from spinsim.scenario_file import LoadedScenario, Places
from spinsim.studies.simulate import simulate_and_publish

RUNS = "runs"


def simulate_cell(folder: Path, key: str, root: Path = Path("/")) -> Path:
    """Simulate the cell whose key begins with ``key`` into ``folder``/runs/KEY, unless it is there; its path.

    ``root``: the folder at which relative paths of cells start, as those of a study's folder do. Raises
    InputError where none or several begin so, or what the cell reads is gone.
    """
    found = sorted((folder / "cells").glob("*.json"))
    chosen = [path for path in found if path.stem.startswith(key)]
    if len(chosen) != 1:
        which = f"{len(chosen)} cells begin so" if chosen else "no cell begins so"
        raise InputError(f"{key!r}: {which}; the cells are in {folder / 'cells'}", key="--cell")
    out = folder / RUNS / chosen[0].stem
    if (out / "summary.json").is_file():
        return out
    scenario = json.loads(chosen[0].read_text(encoding="utf-8")).get("scenario")
    if scenario is None:
        raise InputError(
            "holds no scenario: it is of an earlier version; the study's command with --force makes it again",
            file=str(chosen[0]),
        )
    simulate_and_publish(LoadedScenario(Scenario.model_validate(scenario), root, root, Places({})), out)
    return out


def opened(folder: Path) -> frozenset[str]:
    """Keys of the cells that have been simulated as runs."""
    return frozenset(path.parent.name for path in (folder / RUNS).glob("*/summary.json"))
