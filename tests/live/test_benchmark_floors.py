"""A benchmark's floor hides all that it can: the larger of loads and products of every operator."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from benchmarks.kernel_session import Session, measure_machine, tiny_plan


def test_a_floor_takes_the_larger_of_loads_and_products() -> None:
    """Sheets add the two where they are alike. A floor that did was 6 % higher at 240 tokens."""
    session = Session(tiny_plan(), torch.device("cpu"), 60.0, None)
    assert not math.isinf(session.hardware.ridge)
    measure_machine(session)
    shape, tokens = session.plan.targets[0], 64
    loads = replace(session.hardware, bandwidth=1e9, rate={"bf16": 1e30})
    products = replace(loads, bandwidth=1e30, rate={"bf16": 1e11})
    found = []
    for hardware in (loads, products, replace(loads, rate=products.rate)):
        session.hardware = hardware
        found.append(session.costs(shape).output(tokens))
    alike = found[0] / found[1]
    assert 0.2 < alike < 5  # near the ridge
    assert found[2] == pytest.approx(max(found[:2]))
