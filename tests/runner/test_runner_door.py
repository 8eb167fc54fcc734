"""The door for a target over several devices: runs ask nothing of a runner but what the protocol says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.generation import greedy_outputs
from spinsim.live.deployment import deploy
from spinsim.live.live_run import run_scenario
from spinsim.runner.base import Runner
from spinsim.runner.for_model import make_runner
from spinsim.runner.kv import Layout
from spinsim.runner.plan import RunnerPlan
from tests.live.test_run import scenario_file


class OnSeveral:
    """Stands for one model on several devices: each has the whole of it, and all must say the same.

    It forwards what :class:`spinsim.runner.base.Runner` names, and has no other attribute.
    """

    def __init__(self, parts: list[Runner]) -> None:
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        assert name in vars(Runner), f"{name} is not of the protocol"
        found = [getattr(part, name) for part in self._parts]
        return self._together(found) if callable(found[0]) else found[0]

    @staticmethod
    def _together(methods: list[Any]) -> Any:
        def call(*args: Any, **keys: Any) -> Any:
            first, *others = (method(*args, **keys) for method in methods)
            for other in others:
                np.testing.assert_equal(other, first)
            return first

        return call


def test_a_run_asks_of_a_runner_what_the_protocol_says(tmp_path: Path) -> None:
    loaded = scenario_file(tmp_path, kv={"reserve": "grow", "block_tokens": 8})
    deployment = deploy(loaded.scenario, loaded.base_dir)
    cache, limits = deployment.target.cache, loaded.scenario.limits  # type: ignore[attr-defined]
    layout = Layout(cache.slots, cache.slot_tokens, cache.page_tokens, cache.pages)
    twin = make_runner(deployment.models.target, layout, RunnerPlan(limits.batch, limits.max_length))
    several: Any = OnSeveral([deployment.target, twin])
    ran = run_scenario(loaded.scenario, loaded.base_dir, replace(deployment, target=several))
    assert ran.error is None
    assert ran.outputs == greedy_outputs(loaded, deployment)
