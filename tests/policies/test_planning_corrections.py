"""Costs corrected by what was measured."""

from __future__ import annotations

import pytest

from spinsim.policies.planning.corrections import CYCLES, Corrections


def test_measured_over_predicted_is_learned_and_followed() -> None:
    found = Corrections(2)
    for _ in range(4):
        found.verified(0.012, 0.010)
        found.proposed(1, 0.0015, 0.001)
    assert found.verify == pytest.approx(1.2)
    assert found.draft.tolist() == pytest.approx([1.5, 1.5])  # one that never proposed: as the others
    found.proposed(0, 0.002, 0.001)
    assert found.draft.tolist() == pytest.approx([2.0, 1.5])
    for _ in range(500):
        found.verified(0.009, 0.010)
    assert found.verify == pytest.approx(0.9, rel=1e-3)


def test_a_depth_that_disappoints_is_known_by_its_cycles() -> None:
    found = Corrections(1)
    found.cycled(2, 0.0115, 0.010)
    assert found.pace(2) == 1.0  # one cycle says nothing
    for seconds in (0.0115, 0.0115, 0.050, 0.0114):  # one of them waited for a prompt
        found.cycled(2, seconds, 0.010)
    assert found.pace(2) == pytest.approx(1.15)
    assert found.pace(4) == found.pace(2)
    assert found.pace(1) == 1.0
    for _ in range(CYCLES):
        found.cycled(2, 0.010, 0.010)
    assert found.pace(2) == pytest.approx(1.0)
