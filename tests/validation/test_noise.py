"""Noise by operation, by run and by call, and text that differs between runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from spinsim.acceptance.runs import runs_of
from spinsim.costs.constant import ConstantPredictor
from spinsim.costs.profiled.profile import (
    Repeat,
)
from spinsim.engine.records import KINDS
from spinsim.lab.uncertainty import (
    OTHER_TEXT,
    Uncertainty,
    other_text_rate,
    profiled,
    stated,
)
from spinsim.recording import Recording, Trace, save_trace
from spinsim.scenario import NoiseSpec, Scenario
from spinsim.simulated.noise import noise_of
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies.intervals import (
    intervals_of,
    uncertainty_of,
)
from spinsim.studies.validation.agreement import Rounds, rounds_by_request
from tests.validation.test_intervals import profile_with
from tests.validation.tiny_models import tiny_scenario

COSTS = {"model": "constant", "verify_s": 0.01, "draft_step_s": 0.001, "prefill_s": 0.005}


def test_no_noise_is_none() -> None:
    assert noise_of(NoiseSpec(), 1) is None
    assert noise_of(NoiseSpec(per_run_sd={"verify": 0.0}), 1) is None
    assert noise_of(NoiseSpec(per_run_sd={"hop": 0.0}), 1) is None
    assert noise_of(NoiseSpec(other_text=0.5), 1) is None  # the acceptance field's, not a factor on times


def test_the_host_has_a_factor_of_its_own_where_it_is_named() -> None:
    plain = noise_of(NoiseSpec(per_run_sd={"verify": 0.1}, per_call_sd=0.1), 4)
    hosted = noise_of(NoiseSpec(per_run_sd={"verify": 0.1, "hop": 0.2}, per_call_sd=0.1), 4)
    assert plain is not None
    assert hosted is not None
    assert (plain.hop, plain.handling, hosted.handling) == (1.0, 1.0, 1.0)
    assert hosted.hop != 1.0
    # and leaves the draws of the operations as they are
    assert [plain.factor(3) for _ in range(9)] == [hosted.factor(3) for _ in range(9)]
    everything = noise_of(NoiseSpec(per_run_sd=0.1), 4)
    assert everything is not None
    assert (everything.hop, everything.handling) == (1.0, 1.0)
    draws = []
    for seed in range(800):
        noise = noise_of(NoiseSpec(per_run_sd={"hop": 0.1, "handling": 0.2}), seed)
        assert noise is not None
        draws.append((np.log(noise.hop), np.log(noise.handling)))
    assert np.std(draws, axis=0) == pytest.approx((0.1, 0.2), rel=0.1)
    assert abs(np.corrcoef(np.transpose(draws))[0, 1]) < 0.12


def test_the_host_has_no_factor_per_call() -> None:
    with pytest.raises(ValidationError, match="per_call_sd"):
        NoiseSpec(per_call_sd={"hop": 0.1})  # type: ignore[dict-item]


def test_a_factor_per_run_is_the_operations_own() -> None:
    spec = NoiseSpec(per_run_sd={"verify": 0.1})
    draws = []
    for seed in range(400):
        noise = noise_of(spec, seed)
        assert noise is not None
        factors = [noise.factor(kind) for kind in range(len(KINDS))]
        assert factors[:3] == [1.0, 1.0, 1.0]
        assert noise.factor(3) == factors[3]  # the same all through a run
        draws.append(np.log(factors[3]))
    assert np.std(draws) == pytest.approx(0.1, rel=0.15)
    assert np.mean(draws) == pytest.approx(0.0, abs=0.02)


def test_noise_per_call_is_drawn_anew() -> None:
    noise = noise_of(NoiseSpec(per_call_sd={"propose": 0.2}), 3)
    assert noise is not None
    logs = [np.log(noise.factor(KINDS.index("propose"))) for _ in range(6000)]
    assert np.std(logs) == pytest.approx(0.2, rel=0.05)
    assert noise.factor(KINDS.index("verify")) == 1.0


def test_the_same_noise_seed_gives_the_same_run(tmp_path: Path) -> None:
    loaded = tiny_scenario(tmp_path, costs=COSTS, noise={"per_run_sd": 0.05, "per_call_sd": 0.05})
    ends = [
        simulate_scenario(loaded.scenario, loaded.base_dir, noise_seed=seed).records.ended_ns
        for seed in (7, 7, 8)
    ]
    assert ends[0] == ends[1] != ends[2]


def test_noise_per_run_makes_the_interval_and_noise_per_call_averages_out(tmp_path: Path) -> None:
    def width(noise: dict[str, float]) -> float:
        loaded = tiny_scenario(
            tmp_path,
            costs=COSTS,
            noise=noise,
            acceptance={"model": "constant", "probability": 0.0},
            workload={
                "requests": 40,
                "arrivals": {"process": "closed", "concurrency": 3},
                "prompt_tokens": {"distribution": "fixed", "value": 8},
                "output_tokens": {"distribution": "fixed", "value": 20},
            },
        )
        said = intervals_of(loaded.scenario, loaded.base_dir, 40)["metrics"]["goodput_tokens_per_s"]
        assert said["low"] <= said["median"] <= said["high"]
        return float((said["high"] - said["low"]) / said["median"])

    per_run, per_call = width({"per_run_sd": 0.05}), width({"per_call_sd": 0.05})
    assert per_call < per_run / 4
    assert 0.06 < per_run < 0.2


def recorded(scenario: Scenario, dtype: str, temperature: float = 0.0) -> Scenario:
    """As if acceptance came from a trace, with a target of ``dtype``."""
    values = scenario.model_dump(mode="json")
    values["acceptance"] = {"model": "trace", "path": "t.npz"}
    values["models"]["target"]["dtype"] = dtype
    values["sampling"]["temperature"] = temperature
    return Scenario.model_validate(values)


def noisy(scenario: Scenario, **noise: float) -> Scenario:
    """Recorded, in bf16, with a noise of its own."""
    return recorded(scenario, "bf16").model_copy(update={"noise": NoiseSpec(**noise)})  # type: ignore[arg-type]


def test_other_text_is_of_recorded_acceptance_in_few_bits(tmp_path: Path) -> None:
    plain = tiny_scenario(tmp_path, costs=COSTS).scenario
    assert other_text_rate(recorded(plain, "bf16")) == other_text_rate(recorded(plain, "fp16")) == OTHER_TEXT
    assert other_text_rate(recorded(plain, "fp32")) == 0.0
    assert other_text_rate(recorded(plain, "bf16", temperature=0.7)) == 0.0
    values = plain.model_dump(mode="json")
    values["models"]["target"]["dtype"] = "bf16"
    assert other_text_rate(Scenario.model_validate(values)) == 0.0  # modelled
    costs = ConstantPredictor(verify_s=0.01, draft_step_s=[0.001])
    found = profiled(profile_with(()), costs, recorded(plain, "bf16"))
    assert found.typical().other_text == found.drawn(3).other_text == OTHER_TEXT
    # whatever costs come from, and whatever the scenario says of times
    assert uncertainty_of(recorded(plain, "bf16"), tmp_path, costs).other_text == OTHER_TEXT
    assert uncertainty_of(noisy(plain, per_run_sd=0.1), tmp_path, costs).other_text == OTHER_TEXT
    # a rate of one's own stands, 0 as well, and takes nothing from what a profile does not know
    assert uncertainty_of(noisy(plain, other_text=0.0), tmp_path, costs).other_text == 0.0
    assert stated(noisy(plain, other_text=0.2)).drawn(1).other_text == 0.2
    assert profiled(profile_with((Repeat("", {"verify": 1.1}),)), costs, noisy(plain, other_text=0.2)).day
    assert not Uncertainty({}, {}, {}, {}, 0.1).nothing


def test_a_run_draws_its_text_by_the_noise_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    runs = {name: Recording.of_runs(runs_of(rng.random((9, 40)) < 0.6).tolist()) for name in ("a", "b")}
    save_trace(
        Trace(target="t", keys=tuple(f"k{i}" for i in range(9)), prompt_tokens=(4,) * 9, drafts=runs),
        tmp_path / "t.npz",
    )

    def rounds(seed: int, rate: float) -> Rounds:
        loaded = tiny_scenario(
            tmp_path,
            costs=COSTS,
            acceptance={"model": "trace", "path": "t.npz"},
            noise={"other_text": rate},
        )
        done = simulate_scenario(loaded.scenario, loaded.base_dir, noise_seed=seed)
        return rounds_by_request(done.records)

    assert rounds(7, 0.2) == rounds(7, 0.2) != rounds(8, 0.2)
    assert rounds(7, 0.0) == rounds(8, 0.0) != rounds(7, 0.2)
