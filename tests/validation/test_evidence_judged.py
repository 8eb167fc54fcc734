"""The cost model judged by the live halves of other hosts that ship: host cards, and the grid of evidence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.estimates.__main__ import ROOT
from benchmarks.estimates.held_out import compared_cells, errors_of
from benchmarks.estimates.shipped import CORNER, hosts
from spinsim.studies.validation.agreement import ranking

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sequence[Any]]:
    """By host, every live cell that had its CPUs, beside its prediction by the sheets that ship."""
    known = hosts(ROOT, Path(tmp_path_factory.mktemp("evidence")))
    judged = [host for host in known if host.live is not None and host.name not in CORNER]
    return {host.name: list(compared_cells(host, None)) for host in judged}


def test_every_host_that_ships_is_there(cells: dict[str, Sequence[Any]]) -> None:
    folder = ROOT / "docs" / "measurements"
    archives = [*(folder / "host-cards").glob("*-live.tgz"), *(folder / "evidence").glob("*-live.tgz")]
    assert sorted(cells) == sorted(path.name.removesuffix("-live.tgz") for path in archives)
    beside_other_jobs = [host for host, compared in cells.items() if not compared]
    assert beside_other_jobs == ["2026-11-28-h200-1-run3"]  # all four of its cells were


def test_sheets_are_as_accurate_as_the_page_says(cells: dict[str, Sequence[Any]]) -> None:
    for host, compared in cells.items():
        if not compared:
            continue
        found = errors_of(compared)
        assert np.mean(np.abs(found["tpot_p50_s"])) <= 0.12, host
        assert np.mean(np.abs(found["goodput_tokens_per_s"])) <= 0.12, host
        assert np.max(np.abs(found["tpot_p50_s"])) <= 0.25, host


def test_policies_are_ordered_as_they_ran(cells: dict[str, Sequence[Any]]) -> None:
    found = [ranking(compared) for compared in cells.values()]
    pairs, alike = (sum(one[name] for one in found) for name in ("pairs", "alike"))
    assert pairs >= 20
    assert alike >= 0.85 * pairs  # by sheets; 34 of 38 on four host cards
