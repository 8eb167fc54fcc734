"""The grid of evidence as it is stated: which cells, how many, how long."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import evidence, host_card
from spinsim.costs.sheets.shapes import shape_of
from spinsim.live.random_weights import config_of
from spinsim.studies.validation.plan import Cell, deployments, plan

KINDS = ("h100", "h200")


def names(cells: Sequence[Cell]) -> list[str]:
    return [name for cell in cells for name in (cell.name, *(f"{cell.name} {load}" for load in cell.loads))]


def test_there_are_sixty_cells_with_those_of_the_host_cards() -> None:
    by_field = [name for kind in KINDS for name in names(evidence.cells_of(2, kind))]
    by_models = [cell.name for _ in KINDS for cell in plan([host_card.CELLS], [], [], None)]
    assert len(by_field) + len(by_models) == 60


def test_the_axes_are_those_that_are_stated() -> None:
    cells = evidence.cells_of(2, "h200")
    assert {cell.labels.get("target", evidence.GROUPED) for cell in cells} == {
        "8B grouped",
        "7B multi-head",
        "Qwen3 14B",
    }
    assert {cell.labels["context"] for cell in cells} == {"0.5k", "2k", "8k", "16k"}
    assert {cell.loaded.scenario.live.acceptance for cell in cells} == {"field"}
    assert {len(cell.loaded.scenario.devices) for cell in cells} == {1, 2}
    assert any(cell.loads for cell in cells)
    assert {d.hardware for cell in cells for d in cell.loaded.scenario.devices.values()} == {"h200"}
    assert len(deployments(cells)) == 5


def test_every_model_has_a_shape_that_runs_live() -> None:
    for cell in evidence.cells_of(2, "h200"):
        models = cell.loaded.scenario.models
        for model in (models.target, *models.drafts.values()):
            assert config_of(shape_of(model.shape, cell.loaded.base_dir), 4096)  # or it raises


def test_a_machine_of_one_gpu_runs_the_cells_of_one() -> None:
    cells = evidence.cells_of(1, "h100")
    assert {len(cell.loaded.scenario.devices) for cell in cells} == {1}
    assert len(names(cells)) == 15


def test_predictions_are_kept_before_a_cell_runs_and_what_does_not_fit_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The live half is a stand-in, which looks at what was told when it begins."""
    cells = evidence.cells_of(1, "h100", ["7B multi-head"])
    session = evidence.Session(tmp_path / "grid", {"name": "a card"}, seconds=1000.0)
    ran: list[str] = []

    def run_live(wanted: Sequence[Cell], folder: Any, options: Any, *, deployed: Any, around: Any) -> None:
        for cell in wanted:
            with around(cell.name):
                told = json.loads((tmp_path / "grid" / "told.json").read_text())["told"]
                assert told[cell.name]["sheets"]["goodput_tokens_per_s"] > 0
                ran.append(cell.name)
            if len(ran) == 2:
                session._until = 0.0  # the time is over

    monkeypatch.setattr(evidence, "run_live", run_live)
    monkeypatch.setattr(evidence, "deploy", lambda *_, **__: nullcontext())
    monkeypatch.setattr(evidence, "gpu_states", list)
    assert evidence.run_all(session, cells, SimpleNamespace(profile=False, clocks=False, quick=False)) == 0  # type: ignore[arg-type]
    assert ran == [cell.name for cell in cells[:2]]
    with pytest.raises(evidence.InputError, match="another machine"):
        evidence.Session(tmp_path / "grid", {"name": "another"}, seconds=1.0)
