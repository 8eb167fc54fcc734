"""What a live bf16 run emits is the target's, within what rounding explains; and what is not, is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import agreement as subject
from benchmarks.agreement import agreement, judge, own_attention, passes, reach, serve
from spinsim.live.deployment import Deployment, deploy
from spinsim.scenario_file import LoadedScenario, load
from tests.live.test_run import scenario_file

torch.set_num_threads(1)  # small matrices: a second thread only waits

FAMILY = Path(__file__).parents[2] / "scenarios" / "family-cpu.yaml"
Outputs = list[subject.Output]


def family(selector: str = "spin") -> tuple[LoadedScenario, Deployment]:
    drafts = ("tiny", "code", "maths", "small", "large")
    loaded = load(
        FAMILY,
        [
            "models.target.dtype=bf16",
            *(f"models.drafts.{name}.dtype=bf16" for name in drafts),
            "workload.requests=10",
            "workload.prompt_tokens={distribution: uniform, min: 8, max: 48}",
            "workload.output_tokens={distribution: uniform, min: 8, max: 40}",
            f"policies.selector={{name: {selector}}}",
            "policies.packing={name: decomposed}",
            "policies.pipeline={name: fixed, micro_batches: 2}",
        ],
        "cpu",
    )
    return loaded, deploy(loaded.scenario, loaded.base_dir)


@pytest.fixture(scope="module")
def served() -> tuple[Deployment, Outputs]:
    loaded, deployment = family()
    return deployment, serve(loaded, deployment)


def test_the_family_in_bf16(served: tuple[Deployment, Outputs]) -> None:
    deployment, outputs = served
    found = agreement(deployment.models.target, outputs)
    assert found.tokens == sum(len(new) for _, new in outputs) > 100
    assert found.holds
    assert 0 < found.tolerance < 2  # a token e^2 times less likely than the best is never explained
    assert found.gap_largest <= found.tolerance
    # Our attention is back: the models can run again.
    assert deployment.models.target.module.config._attn_implementation == "spinsim"


def test_accepting_whatever_a_draft_says_is_noticed(served: tuple[Deployment, Outputs]) -> None:
    """A test of the test: drafts are good, and not good enough to pass for the target."""
    deployment, outputs = served
    draft = deployment.models.drafts["large"].module
    accepted: Outputs = []
    with own_attention(draft):
        for prompt, new in outputs:
            ids = torch.tensor([list(prompt)])
            said = draft.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=len(new),
                min_new_tokens=len(new),
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
            accepted.append((prompt, said[0, len(prompt) :].tolist()))
    found = agreement(deployment.models.target, accepted)
    assert not found.holds
    assert found.gap_largest > found.tolerance
    assert found.excess > subject.DEVIATIONS


def test_one_wrong_token_is_noticed(served: tuple[Deployment, Outputs]) -> None:
    """The last one of a request: nothing after it could repair or repeat it."""
    deployment, outputs = served
    used = deployment.models.target.used_vocabulary
    prompt, new = outputs[3]
    wrong = [*outputs[:3], (prompt, [*new[:-1], (new[-1] + used // 2) % used]), *outputs[4:]]
    found = agreement(deployment.models.target, wrong)
    assert found.gap_largest > found.tolerance
    assert not found.holds


@given(st.integers(0, 2**31), st.integers(2, 90), st.floats(0.001, 3.0))
def test_what_a_pass_would_emit_is_within_its_own_tolerance(seed: int, size: int, scale: float) -> None:
    """The bound itself, for errors of any size; with more tokens than are looked at one by one, too."""
    generator = torch.Generator().manual_seed(seed)
    exact = 2 * torch.randn(20, size, generator=generator)
    rounded = exact + scale * torch.randn(20, size, generator=generator)
    run, other, below, error = judge(exact, rounded, rounded.argmax(-1))
    assert torch.equal(run, other)
    assert float(run.max()) <= 2 * reach(below, error) + 1e-5
    assert reach(below, error) <= float((rounded - exact).abs().max()) + 1e-6


def test_errors_of_tokens_out_of_reach_do_not_widen_the_tolerance() -> None:
    exact = torch.tensor([[5.0, 4.9, -20.0], [3.0, 1.0, -30.0]])
    rounded = exact + torch.tensor([[0.1, -0.2, 3.0], [0.05, 0.0, -4.0]])
    _, _, below, error = judge(exact, rounded, torch.tensor([0, 0]))
    assert reach(below, error) == pytest.approx(0.2)


def test_every_request_is_in_one_pass_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "PASS_TOKENS", 40)
    outputs: Outputs = [([1] * n, [2] * (n % 4)) for n in range(1, 30)]
    split = list(passes(outputs))
    assert sorted(map(len, (p for rows in split for p, _ in rows))) == [n for n in range(1, 30) if n % 4]
    for rows in split:
        assert len(rows) == 1 or len(rows) * max(len(p) + len(n) for p, n in rows) <= 40


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = {
        "target": {"shape": "target.json", "dtype": "bf16"},
        "drafts": {name: {"shape": "draft.json", "dtype": "bf16"} for name in ("a", "b")},
    }
    loaded = scenario_file(tmp_path, models=models)
    asked = [str(loaded.path), "--device", "cpu", "--out", str(tmp_path / "found.json"), "--requests", "6"]
    assert subject.main(asked) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["holds"] is True
    assert found["tokens"] > 20
    assert subject.main([*asked, "--set", "models.target.dtype=fp32"]) == 2
    assert "models.target.dtype: fp32 is compared token for token" in capsys.readouterr().err
    assert subject.main([*asked, "--set", "sampling.temperature=1"]) == 2
