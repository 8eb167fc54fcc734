"""Predictors from scenarios, and the keys that errors point at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spinsim.costs.base import CONSTANT
from spinsim.costs.for_scenario import build_predictor
from spinsim.errors import InputError
from spinsim.operations import Packing
from tests.costs.cost_cases import scenario_of

PACKING = Packing("ragged", 8, 0, 40, 4000, 40, 4000)


def test_constant_costs_do_not_depend_on_shape() -> None:
    costs = {
        "model": "constant",
        "verify_s": 0.01,
        "draft_step_s": {"small": 0.002},
        "prefill_s": 0.03,
        "catch_up_s": 0.004,
        "transfer_s": 1e-4,
        "orchestrator_s": 1e-5,
        "hop_s": 2e-6,
        "slowdown": 1.5,
    }
    predictor = build_predictor(scenario_of(costs=costs))
    assert predictor.verify(PACKING) == (0.01, CONSTANT)
    assert predictor.propose(0, [3, 5], [10, 10]).seconds == pytest.approx(0.01)
    assert predictor.prefill([512], [0]) == (0.03, CONSTANT)
    assert predictor.catch_up(0, [512], [0]) == (0.004, CONSTANT)
    assert predictor.transfer(2, 8) == (1e-4, CONSTANT)
    assert predictor.orchestrate(2) == (1e-5, CONSTANT)
    assert predictor.hop() == (2e-6, CONSTANT)
    assert predictor.slowdown(0, True) == 1.5
    assert predictor.propose(0, [], []).seconds == predictor.catch_up(0, [0], [4]).seconds == 0


def test_one_step_cost_serves_every_draft() -> None:
    predictor = build_predictor(
        scenario_of(costs={"model": "constant", "verify_s": 0.01, "draft_step_s": 0.001})
    )
    assert predictor.propose(0, [4], [10]).seconds == pytest.approx(0.004)


def test_drafts_keep_the_scenarios_order() -> None:
    drafts = {"big": {"shape": "llama-1.4b"}, "small": {"shape": "llama-68m"}}
    scenario = scenario_of(
        models={"target": {"shape": "llama-7b"}, "drafts": drafts},
        placement={"target": ["gpu0"], "drafts": {"small": "gpu1", "big": "gpu1"}},
    )
    predictor = build_predictor(scenario)
    assert predictor.propose(0, [4], [100]).seconds > 2 * predictor.propose(1, [4], [100]).seconds


def test_transfers_cost_only_between_devices_and_more_when_sampling() -> None:
    beside = build_predictor(scenario_of(placement={"target": ["gpu0"], "drafts": {"small": "gpu0"}}))
    greedy = build_predictor(scenario_of())
    sampling = build_predictor(scenario_of(sampling={"temperature": 0.7}))
    assert beside.transfer(8, 32).seconds == 0
    assert 0 < greedy.transfer(8, 32).seconds < sampling.transfer(8, 32).seconds


def test_roofline_settings_matter() -> None:
    plain = build_predictor(scenario_of())
    eager = build_predictor(scenario_of(costs={"model": "roofline", "graphs": False}))
    slow = build_predictor(scenario_of(costs={"model": "roofline", "efficiency": 0.3, "slowdown": 2.0}))
    assert eager.verify(PACKING).seconds > 2 * plain.verify(PACKING).seconds
    assert slow.verify(PACKING).seconds > 2 * plain.verify(PACKING).seconds
    assert (plain.slowdown(0, True), plain.slowdown(0, False)) == (1.15, 1.8)
    assert (slow.slowdown(0, True), slow.slowdown(0, False)) == (2.0, 2.0)


def test_shapes_are_found_beside_the_scenario(tmp_path: Path) -> None:
    text = (
        '{"model_type": "llama", "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, '
        '"intermediate_size": 1408, "vocab_size": 4096}'
    )
    (tmp_path / "config.json").write_text(text)
    models = {"target": {"shape": "config.json"}, "drafts": {"small": {"shape": "llama-68m"}}}
    assert build_predictor(scenario_of(models=models), tmp_path).verify(PACKING).seconds > 0
    with pytest.raises(InputError, match="unknown model shape"):
        build_predictor(scenario_of(models=models), tmp_path / "elsewhere")


H200 = {"hardware": "h200"}


@pytest.mark.parametrize(
    ("sections", "key", "says"),
    [
        (
            {"models": {"target": {"shape": "gpt-5"}, "drafts": {"small": {"shape": "llama-68m"}}}},
            "models.target.shape",
            "unknown model shape",
        ),
        (
            {"models": {"target": {"shape": "llama-7b"}, "drafts": {"small": {"shape": "x"}}}},
            "models.drafts.small.shape",
            "unknown model shape",
        ),
        (
            {"devices": {"gpu0": {"hardware": "abacus"}, "gpu1": H200}},
            "devices.gpu0.hardware",
            "unknown hardware",
        ),
        ({"devices": {"gpu0": H200}}, "placement.drafts.small", "unknown device 'gpu1'; allowed: gpu0"),
        (
            {"placement": {"target": ["gpu7"], "drafts": {"small": "gpu1"}}},
            "placement.target",
            "unknown device",
        ),
        ({"placement": {"target": ["gpu0"]}}, "placement.drafts", "'small' is not placed"),
        (
            {
                "devices": {"gpu0": H200, "gpu1": {"hardware": "h100"}},
                "placement": {"target": ["gpu0", "gpu1"], "drafts": {"small": "gpu1"}},
            },
            "placement.target",
            "devices differ",
        ),
        (
            {"costs": {"model": "constant", "verify_s": 0.01, "draft_step_s": {}}},
            "costs.draft_step_s",
            "'small' has no cost",
        ),
        (
            {"costs": {"model": "constant", "verify_s": 0.01, "draft_step_s": {"small": 0.1, "tall": 0.1}}},
            "costs.draft_step_s",
            "unknown draft 'tall'",
        ),
    ],
)
def test_errors_point_at_their_key(sections: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        build_predictor(scenario_of(**sections))
    assert caught.value.key == key


def test_costs_without_a_profile_load_no_scipy() -> None:
    """Fitting needs it, and it takes longer to load than everything else."""
    program = "import sys, spinsim.costs.for_scenario; print('scipy.optimize' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
