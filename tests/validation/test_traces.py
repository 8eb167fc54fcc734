"""What is recorded is what runs: the same prompts, the same acceptance, in every round of every request."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spinsim.errors import InputError
from spinsim.family.family import CHECKPOINTS
from spinsim.live.deployment import deploy
from spinsim.live.live_run import run_scenario
from spinsim.recording import load_trace
from spinsim.scenario_file import LoadedScenario
from spinsim.simulated.simulation import simulate_scenario
from spinsim.studies import recorder
from spinsim.studies.trace import trace
from spinsim.studies.validation.agreement import rounds_by_request
from tests.validation.tiny_models import tiny_scenario

FIXED = {"name": "fixed", "draft": "b"}
ROUND_ROBIN = {"name": "round_robin"}


def policies(selector: dict[str, str], packing: str, micro_batches: int = 1) -> dict[str, object]:
    return {
        "selector": selector,
        "length": {"name": "fixed", "tokens": 3},
        "packing": {"name": packing},
        "pipeline": {"name": "fixed", "micro_batches": micro_batches},
    }


def both_worlds(
    live: LoadedScenario, simulated: LoadedScenario
) -> tuple[dict[int, list[tuple[int, int, int]]], dict[int, list[tuple[int, int, int]]]]:
    deployment = deploy(live.scenario, live.base_dir)
    ran = run_scenario(live.scenario, live.base_dir, deployment)
    assert ran.error is None
    done = simulate_scenario(simulated.scenario, simulated.base_dir)
    return rounds_by_request(ran.records), rounds_by_request(done.records)


@pytest.mark.parametrize("packing", ["padded", "decomposed"])
@pytest.mark.parametrize("selector", [FIXED, ROUND_ROBIN], ids=["fixed", "round_robin"])
def test_both_worlds_agree_on_every_round(tmp_path: Path, selector: dict[str, str], packing: str) -> None:
    """The trace as the workload's own source: prompts, lengths and keys are those of the recording."""
    recorded = trace(tiny_scenario(tmp_path), tmp_path / "t.npz")
    assert recorded.skipped == 0
    sections = {
        "workload": {
            "arrivals": {"process": "poisson", "rate_per_s": 200},
            "source": {"format": "spinsim", "path": "t.npz"},
        },
        "acceptance": {"model": "trace", "path": "t.npz"},
        "policies": policies(selector, packing, micro_batches=2),
    }
    scenario = tiny_scenario(tmp_path, "both", **sections)
    live, simulated = both_worlds(scenario, scenario)
    assert live == simulated
    accepted = [n for rounds in live.values() for _, _, n in rounds]
    assert 0 < sum(accepted) < sum(k for rounds in live.values() for _, k, _ in rounds)


def test_a_procedural_workload_joins_its_trace_by_number(tmp_path: Path) -> None:
    """The scenario that was recorded may keep its own workload."""
    loaded = tiny_scenario(tmp_path)
    trace(loaded, tmp_path / "t.npz")
    traced = tiny_scenario(tmp_path, "traced", acceptance={"model": "trace", "path": "t.npz"})
    live, simulated = both_worlds(loaded, traced)
    assert live == simulated


def test_recorded_runs_are_the_drafts_own_argmaxes(tmp_path: Path) -> None:
    """Against transformers, one teacher-forced pass over prompt and greedy output."""
    loaded = tiny_scenario(tmp_path)
    made = trace(loaded, tmp_path / "t.npz").trace
    deployment = deploy(loaded.scenario, loaded.base_dir)
    for model in (deployment.models.target, *deployment.models.drafts.values()):
        model.module.set_attn_implementation("eager")
    assert made.prompts is not None
    for row in range(3):
        prompt = made.prompts.row(row).astype(np.int64).tolist()
        count = int(made.output_tokens()[row])
        ids = torch.tensor([prompt])
        text = deployment.models.target.module.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count + 8, min_new_tokens=count + 8,
            do_sample=False, eos_token_id=None, pad_token_id=0,
        )[0]  # fmt: skip
        for name, draft in deployment.models.drafts.items():
            best = draft.module(text[None], use_cache=False).logits[0].argmax(-1)
            hits = (best[len(prompt) - 1 : -1] == text[len(prompt) :]).tolist()
            for position in range(count):
                run = 0
                while position + run < len(hits) and hits[position + run]:
                    run += 1
                said = int(made.drafts[name].rows.row(row)[position])
                assert min(said, 3) == min(run, 3)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8}], ids=["greedy", "sampling"])
def test_reading_several_texts_in_a_pass_is_reading_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampling: dict[str, float]
) -> None:
    loaded = tiny_scenario(tmp_path, sampling=sampling)
    together = trace(loaded, tmp_path / "together.npz").trace
    passes = []
    read = recorder._pass

    def counted(runner: object, slots: list[int], texts: list[object]) -> object:
        passes.append(len(slots))
        return read(runner, slots, texts)  # type: ignore[arg-type]

    monkeypatch.setattr(recorder, "_pass", counted)
    monkeypatch.setattr(recorder, "LOGIT_BYTES", 1)
    apart = trace(loaded, tmp_path / "apart.npz").trace
    assert set(passes) == {1}
    for name, recording in together.drafts.items():
        left, right = recording.rows.values, apart.drafts[name].rows.values
        assert np.abs(left.astype(int) - right.astype(int)).max() <= (2 if sampling else 0)


def test_sampling_records_probabilities(tmp_path: Path) -> None:
    sampling = {"temperature": 0.8, "top_p": 0.9}
    made = trace(tiny_scenario(tmp_path, sampling=sampling), tmp_path / "t.npz").trace
    assert (made.temperature, made.top_p) == (0.8, 0.9)
    again = load_trace(tmp_path / "t.npz")
    for name, recording in made.drafts.items():
        assert recording.kind == "probabilities"
        values = recording.rows.values / 65535
        assert 0 < values.mean() < 1
        assert np.array_equal(again.drafts[name].rows.values, recording.rows.values)


def test_sampled_acceptance_is_what_a_live_run_accepts(tmp_path: Path) -> None:
    """On average over many rounds; every round of a sampled run draws its own tokens."""
    sections: dict[str, object] = {
        "sampling": {"temperature": 1.0},
        "workload": {
            "requests": 60,
            "arrivals": {"process": "closed", "concurrency": 8},
            "prompt_tokens": {"distribution": "uniform", "min": 2, "max": 8},
            "output_tokens": {"distribution": "fixed", "value": 40},
        },
        "limits": {"batch": 8, "context_tokens": 64, "prefill_chunk_tokens": 64, "max_length": 3},
        "policies": policies({"name": "fixed", "draft": "a"}, "padded"),
    }
    loaded = tiny_scenario(tmp_path, **sections)
    trace(loaded, tmp_path / "t.npz")
    traced = tiny_scenario(tmp_path, "traced", **sections, acceptance={"model": "trace", "path": "t.npz"})
    live, simulated = both_worlds(loaded, traced)

    def rate(rounds: dict[int, list[tuple[int, int, int]]]) -> float:
        flat = [row for rows in rounds.values() for row in rows]
        return sum(n for *_, n in flat) / len(flat)

    assert rate(simulated) == pytest.approx(rate(live), rel=0.1)


def test_what_exceeds_the_context_is_left_out(tmp_path: Path) -> None:
    workload = {
        "requests": 6,
        "arrivals": {"process": "at_once"},
        "prompt_tokens": {"distribution": "empirical", "values": [8, 60]},
        "output_tokens": {"distribution": "fixed", "value": 10},
    }
    done = trace(tiny_scenario(tmp_path, workload=workload), tmp_path / "t.npz")
    assert done.skipped + len(done.trace.keys) == 6
    assert 0 < done.skipped < 6


def test_an_existing_trace_is_kept(tmp_path: Path) -> None:
    (tmp_path / "t.npz").write_bytes(b"mine")
    with pytest.raises(InputError, match="exists already"):
        trace(tiny_scenario(tmp_path), tmp_path / "t.npz")
    assert (tmp_path / "t.npz").read_bytes() == b"mine"


@pytest.mark.skipif(
    not (CHECKPOINTS / "target" / "model.safetensors").is_file(), reason="no checkpoints here"
)
def test_the_family_agrees_too(tmp_path: Path) -> None:
    """Text with end-of-text, the embedded tokenizer, and drafts that are accepted often."""
    family = {
        "target": {"shape": "llama-3-8b", "weights": "embedded:target", "dtype": "fp32"},
        "drafts": {
            name: {"shape": "llama-68m", "weights": f"embedded:{name}", "dtype": "fp32"}
            for name in ("tiny", "code", "maths")
        },
    }
    sections: dict[str, object] = {
        "models": family,
        "placement": {"target": ["cpu"], "drafts": dict.fromkeys(("tiny", "code", "maths"), "cpu")},
        "workload": {
            "requests": 8,
            "arrivals": {"process": "closed", "concurrency": 4},
            "prompt_tokens": {"distribution": "uniform", "min": 12, "max": 60},
            "output_tokens": {"distribution": "uniform", "min": 10, "max": 40},
        },
        "limits": {"batch": 4, "context_tokens": 128, "prefill_chunk_tokens": 64, "max_length": 4},
        "policies": policies(ROUND_ROBIN, "padded"),
    }
    trace(tiny_scenario(tmp_path, **sections), tmp_path / "t.npz")
    sections["workload"] = {
        "arrivals": {"process": "closed", "concurrency": 4},
        "source": {"format": "spinsim", "path": "t.npz"},
    }
    sections["acceptance"] = {"model": "trace", "path": "t.npz"}
    scenario = tiny_scenario(tmp_path, "both", **sections)
    live, simulated = both_worlds(scenario, scenario)
    assert live == simulated
    assert sum(n for rounds in live.values() for *_, n in rounds) > 50
