"""The benchmark of lanes runs whole on a CPU, with lanes as a GPU would have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import draft_lanes
from benchmarks.draft_lanes_law import judged, judged_again
from spinsim.costs.contention import Demand
from spinsim.costs.contention_fit import Group
from tests.validation.tiny_models import tiny_scenario


def test_every_part_is_measured(tmp_path: Path) -> None:
    loaded = tiny_scenario(tmp_path)
    out = tmp_path / "lanes.json"
    assert draft_lanes.main([str(loaded.path), "--device", "cpu", "--quick", "--out", str(out)]) == 0
    data = json.loads(out.read_text())
    assert {row["drafts"] for row in data["drafting"]} == {"all", "two largest"}
    for row in data["drafting"]:
        assert row["ratio"] == pytest.approx(row["side_by_side_s"] / row["in_turn_s"])
        assert row["predicted_s"] >= max(seconds for _, seconds, *_ in row["demands"])
    assert [row["draft_lanes"] for row in data["live"]] == ["shared", "own", "own", "shared"]
    assert set(data["priority"]) == {"0", "-1"}
    law = data["law"]
    assert {len(group["models"]) for group in law["groups"]} == {2, 3}
    assert law["held_out"]["count"] > 0
    # the file keeps slow-downs, not seconds: the fit starts from numbers that differ in their last digit
    again = judged_again(out)["law"]["law"]
    # (below 1e-9 a parameter lies at its bound, 0, and its digits are the solver's)
    assert again == pytest.approx(law["law"], rel=1e-2, abs=1e-9)


def test_what_is_held_out_is_not_fitted() -> None:
    """A law that fits the pairs of one size is judged by all the rest."""
    pair = (Demand(0, 1e-3, 100.0, 2e-4), Demand(1, 2e-3, 300.0, 5e-4))
    groups = [
        ({"rows": rows, "models": ["a", "b"]}, Group(pair, (1.3e-3 * factor, 2.5e-3 * factor)))
        for rows, factor in ((2, 1.0), (16, 1.0), (32, 2.0))
    ]
    told = judged(groups, fitted_rows=(2, 16))
    assert told["fitted"]["pairs"] == 2
    assert told["errors"]["pairs, fitted"]["worst"] < 0.1
    assert told["held_out"]["count"] == 2
    assert told["held_out"]["worst"] == pytest.approx(0.5, abs=0.05)
    assert told["held_out"]["within_10_percent"] == 0.0
