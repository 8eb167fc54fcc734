"""Regret: the oracle has none and is never beaten; who learns ends nearer to it than who does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinsim.studies.regret import regrets
from tests.studies.experiment_files import write_scenario

WORKLOAD = {
    "requests": 6,
    "arrivals": {"process": "closed", "concurrency": 1},
    "prompt_tokens": {"distribution": "fixed", "value": 16},
    "output_tokens": {"distribution": "fixed", "value": 200},
}


def test_regret_orders_selectors(tmp_path: Path) -> None:
    scenario = write_scenario(
        tmp_path,
        workload=WORKLOAD,
        acceptance={"model": "constant", "probability": {"tiny": 0.2, "large": 0.9}},
        policies={"length": {"name": "fixed", "tokens": 4}},
    )
    names = ("oracle", "random", "ucb1")
    found = {
        regret.name: regret
        for regret in regrets(scenario, {n: {"name": n} for n in names}, candidates=("tiny", "large"))
    }
    best = found["best fixed draft (large)"]
    assert found["oracle"].final == pytest.approx(0, abs=1e-9)
    assert max(map(abs, found["oracle"].seconds)) < 1e-9
    assert all(regret.final >= -1e-9 for regret in found.values())
    assert best.final < found["ucb1"].final < found["random"].final
    # one draft of two is right half the time: random's regret grows with every round
    random = found["random"].seconds
    assert random[len(random) // 2] < random[-1]
