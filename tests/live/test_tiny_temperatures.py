"""A temperature too small to divide by is greedy, in both worlds and in recordings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from spinsim.costs.for_scenario import build_predictor
from spinsim.errors import InputError
from spinsim.recording import load_trace
from spinsim.runner.acceptance_rule import distribution
from spinsim.runner.sampling import Sampling
from spinsim.scenario import GREEDY_BELOW, SamplingSpec
from spinsim.studies.simulate import simulate
from spinsim.studies.trace import trace
from tests.live.checkpoints import generated, save_checkpoint, serve, serving

TINY = (1e-300, 1e-39, 9e-6)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pair")
    target = save_checkpoint(folder / "target", seed=1)
    save_checkpoint(folder / "draft", seed=2, like=target)
    return folder


@pytest.mark.parametrize("temperature", TINY)
def test_live_runs_are_greedy(pair: Path, temperature: float) -> None:
    loaded = serving(pair, f"sampling.temperature={temperature!r}")
    ran, prompted = serve(loaded)
    assert ran.outputs == generated(loaded, prompted)
    assert sum(ran.records.rounds.accepted) > 0


@pytest.mark.parametrize("temperature", [0.0, *TINY, GREEDY_BELOW, 1e-3, 1.0])
def test_every_part_draws_the_line_at_one_place(temperature: float) -> None:
    greedy = temperature < GREEDY_BELOW
    assert SamplingSpec(temperature=temperature).greedy is greedy
    assert Sampling(temperature).greedy is greedy
    if not greedy:  # what is divided stays finite, whatever a model says
        logits = torch.tensor([[3e4, -3e4, 2e4]], dtype=torch.float16)
        assert distribution(logits, temperature, 1.0).sum().item() == pytest.approx(1)


def test_a_recording_and_a_simulation_of_it_are_greedy(pair: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.npz"
    trace(serving(pair, "sampling.temperature=1.0e-39"), path)
    assert load_trace(path).temperature == 0
    summaries = []
    for temperature in ("0.0", "1.0e-39", "9.0e-6"):
        recorded = f"acceptance={{model: trace, path: {path}}}"
        source = f"workload.source={{format: spinsim, path: {path}}}"
        lengths = "workload.output_tokens=null"
        loaded = serving(pair, f"sampling.temperature={temperature}", recorded, source, lengths)
        summaries.append(json.dumps(simulate(loaded, None), sort_keys=True))
    assert len(set(summaries)) == 1
    with pytest.raises(InputError, match="recorded at 0"):
        simulate(serving(pair, "sampling.temperature=0.5", recorded, source, lengths), None)


def test_greedy_proposals_take_no_probabilities_over_a_link(pair: Path) -> None:
    gpus = "devices={a: {hardware: h100}, b: {hardware: h100}}"
    places = "placement={target: [a], drafts: {draft: b}}"
    seconds = [
        build_predictor(serving(pair, gpus, places, f"sampling.temperature={t}").scenario, pair)
        .transfer(4, 16)
        .seconds
        for t in ("0.0", "1.0e-39", "0.8")
    ]
    assert seconds[0] == seconds[1] < seconds[2]


def test_top_p_has_no_effect_there(pair: Path) -> None:
    with pytest.raises(InputError, match="no effect at temperature 1e-39, which is greedy"):
        serving(pair, "sampling.temperature=1.0e-39", "sampling.top_p=0.9")
