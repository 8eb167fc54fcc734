"""Live runs on H100s that ship: what docs/fidelity.md says of them, from the shipped profiles."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinsim.scenario import ProfileCosts
from spinsim.studies.validation.agreement import errors
from spinsim.studies.validation.simulated_cells import simulate_cells
from spinsim.studies.validation.validate import again

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def unpack(tmp_path: Path, name: str) -> None:
    """The live runs of ``h100-NAME-live.tgz``, as a validation's folder of that name."""
    with tarfile.open(ROOT / "docs" / "measurements" / f"h100-{name}-live.tgz") as archive:
        archive.extractall(tmp_path, filter="data")


def simulated(tmp_path: Path, name: str, profile: str | None, intervals: int = 0) -> dict[str, Any]:
    """The live runs of ``h100-NAME-live.tgz`` beside what is predicted for them."""
    unpack(tmp_path, name)
    costs = ROOT / "profiles" / f"{profile}.json" if profile else None
    return again(tmp_path / name, profile=costs, intervals=intervals)


def require_aims(cells: list[dict[str, Any]], ranking: dict[str, Any]) -> None:
    """Of closed loops."""
    found = errors(cells)
    assert found["goodput_tokens_per_s"]["mean"] <= 0.03
    assert found["goodput_tokens_per_s"]["worst"] <= 0.06
    assert found["tpot_p50_s"]["mean"] <= 0.04
    assert found["e2e_p50_s"]["mean"] <= 0.04
    assert ranking["alike"] >= 0.95 * ranking["pairs"]


def test_one_gpu_is_predicted_as_the_page_says(tmp_path: Path) -> None:
    """Intervals included: 90 % of them hold 80 to 97 % of what other processes measured."""
    done = simulated(tmp_path, "validate-one", "one-gpu-h100", intervals=20)
    assert len(done["cells"]) == 10
    require_aims(done["cells"], done["ranking"])
    drawn = done["intervals"]
    assert 0.8 <= drawn["covered"] / drawn["checked"] <= 0.97
    assert drawn["median_width"] <= 0.12  # of another host too: its two repeats are few beside the prior


def test_two_gpus_are_predicted_as_the_page_says(tmp_path: Path) -> None:
    done = simulated(tmp_path, "validate", "two-gpus-h100-x2")
    closed = [cell for cell in done["cells"] if not cell["open_loop"]]
    assert len(closed) == 43
    require_aims(closed, done["ranking"])
    for load, ttft in (("50 %", 0.08), ("80 %", 0.15)):
        found = errors([cell for cell in done["cells"] if cell["open_loop"] and load in cell["name"]])
        assert found["ttft_p50_s"]["cells"] == 3
        assert found["ttft_p50_s"]["mean"] <= ttft
        assert max(found["tpot_p50_s"]["mean"], found["e2e_p50_s"]["mean"]) <= 0.06


def test_intervals_of_two_gpus_hold_what_they_say(tmp_path: Path) -> None:
    """Of every fourth cell, with fewer runs than the page's."""
    unpack(tmp_path, "validate")
    keys = json.loads((tmp_path / "validate" / "plan.json").read_text())["cells"][::4]
    costs = ProfileCosts(model="profile", path=str(ROOT / "profiles" / "two-gpus-h100-x2.json"))
    cells = simulate_cells(tmp_path / "validate", keys, 16, costs)
    drawn = [cell["coverage"] for cell in cells]
    checked, inside = (sum(cell[name] for cell in drawn) for name in ("checked", "covered"))
    assert checked > 200
    assert 0.8 <= inside / checked <= 0.97
    assert np.median([width for cell in drawn for width in cell["widths"]]) <= 0.1


def test_without_a_profile_policies_are_still_ranked(tmp_path: Path) -> None:
    """By an H100's sheet: within a fifth, and in the same order."""
    unpack(tmp_path, "validate-one")
    done = again(tmp_path / "validate-one", roofline=True, intervals=0)
    assert done["profile"] == "roofline"
    assert all(cell["costs"]["roofline"] == 1.0 for cell in done["cells"])
    signed = [cell["metrics"]["goodput_tokens_per_s"]["error"] for cell in done["cells"]]
    assert max(map(abs, signed)) < 0.2
    assert abs(np.mean(signed)) < 0.12
    assert done["ranking"]["alike"] >= 0.95 * done["ranking"]["pairs"]


def test_in_fp32_every_decision_of_a_gpu_is_foretold(tmp_path: Path) -> None:
    done = simulated(tmp_path, "validate-exact", None)
    assert len(done["cells"]) == 6
    assert done["identical_requests"] == 1.0
