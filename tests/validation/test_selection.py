"""Which cells a validation's YAML names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spinsim.errors import InputError
from spinsim.studies.validation.plan import plan
from spinsim.studies.validation.selection import read_selection
from tests.validation.tiny_models import tiny_scenario

GRID = {
    "policy": {"a": {"seed": 1}, "b": {"seed": 2}, "c": {"seed": 3}},
    "clients": {"few": {"limits.batch": 2}, "many": {"limits.batch": 3}},
}


def written(folder: Path, cells: Any, grid: Any = GRID) -> Path:
    tiny_scenario(folder)
    path = folder / "cells.yaml"
    path.write_text(yaml.safe_dump({"scenario": "tiny.yaml", "grid": grid, "cells": cells}, sort_keys=False))
    return path


def test_lines_are_products_and_each_cell_comes_once(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        [{"policy": "b", "loads": [0.5]}, {"policy": ["a", "b"], "clients": "many", "loads": 0.8}],
    )
    cells = plan([path], [], [], None)
    named = [(cell.labels["policy"], cell.labels["clients"], cell.loads) for cell in cells]
    assert named == [("b", "few", (0.5,)), ("b", "many", (0.5, 0.8)), ("a", "many", (0.8,))]
    assert [cell.loaded.scenario.seed for cell in cells] == [2, 2, 1]
    assert [cell.loaded.scenario.limits.batch for cell in cells] == [2, 3, 3]
    assert cells[0].name == "tiny: b, few"


def test_the_largest_number_of_repetitions_counts(tmp_path: Path) -> None:
    path = written(tmp_path, [{"policy": "b", "repetitions": 3}, {"policy": ["a", "b"], "repetitions": 2}])
    cells = plan([path], [], [], None)
    assert [(cell.labels["policy"], cell.repetitions) for cell in cells] == [("b", 3)] * 2 + [("a", 2)] * 2


def test_an_empty_line_is_the_whole_grid_and_grids_multiply(tmp_path: Path) -> None:
    path = written(tmp_path, [{}])
    assert len(plan([path], [], [], None)) == 6
    cells = plan([path], ["limits.context_tokens=48,64"], [], None)
    assert len(cells) == 12
    assert len({cell.name for cell in cells}) == 12


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ([{"draft": "a"}], "no axis 'draft'"),
        ([{"policy": "z"}], "policy has no value 'z'"),
        ([{"policy": []}], "names no value"),
        ([{}, {"loads": [0]}], "loads holds 0"),
        ([{"loads": "fast"}], "loads holds 'fast'"),
        ([{"repetitions": 0}], "repetitions is 0"),
        ([{"repetitions": "often"}], "repetitions is 'often'"),
        ([], "is empty"),
    ],
)
def test_what_the_grid_has_not_is_refused_with_its_line(tmp_path: Path, cells: Any, says: str) -> None:
    path = written(tmp_path, cells)
    with pytest.raises(InputError, match=says) as caught:
        read_selection(path)
    assert caught.value.line > 0
    assert caught.value.file == str(path)


def test_scenarios_and_sweeps_are_none_of_it(tmp_path: Path) -> None:
    assert read_selection(tiny_scenario(tmp_path).path) is None
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(yaml.safe_dump({"scenario": "tiny.yaml", "grid": GRID}))
    assert read_selection(sweep) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["few", "many"])), min_size=1))
def test_lines_of_single_cells_name_just_those(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[str, str]]
) -> None:
    path = written(
        tmp_path_factory.mktemp("cells"),
        [{"policy": policy, "clients": clients} for policy, clients in wanted],
    )
    selection = read_selection(path)
    assert selection is not None
    found = [tuple(combination.labels.values()) for combination in selection.combinations]
    assert found == list(dict.fromkeys(wanted))
