"""The recording is what any policy would have seen: against speculative decoding done token by token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spinsim.family import record
from spinsim.recording import load_trace, save_trace

PROMPTS = [[1, 5, 9, 70], [2, 3], [4, 44, 4, 44, 4, 44, 8], [60], [7, 7, 12, 13, 14]]
LENGTHS = [20, 25, 12, 30, 16]


@pytest.fixture(scope="module")
def models(llama: Callable[..., Any]) -> tuple[Any, dict[str, Any]]:
    """A target and drafts near it: the same weights, perturbed."""
    target = llama(seed=1)
    drafts = {}
    for name, noise in (("near", 0.01), ("far", 0.03)):
        draft = llama(seed=1)
        generator = torch.Generator().manual_seed(5)
        for weight in draft.parameters():
            weight.add_(noise * torch.randn(weight.shape, generator=generator))
        drafts[name] = draft
    return target, drafts


@pytest.fixture(scope="module")
def recorded(models: tuple[Any, dict[str, Any]]) -> record.Recorded:
    return record.record(*models, PROMPTS, LENGTHS, batch=2)


def _next(model: Any, tokens: list[int]) -> int:
    return int(model(torch.tensor([tokens])).logits[0, -1].argmax())


def test_outputs_are_the_targets_greedy_ones(
    models: tuple[Any, dict[str, Any]], recorded: record.Recorded
) -> None:
    target, _ = models
    for prompt, length, output in zip(PROMPTS, LENGTHS, recorded.outputs, strict=True):
        assert len(output) == length + record.TAIL
        tokens = list(prompt)
        for token in output:
            assert _next(target, tokens) == token
            tokens.append(int(token))


@pytest.mark.parametrize("name", ["near", "far"])
def test_runs_are_those_of_real_speculation(
    models: tuple[Any, dict[str, Any]], recorded: record.Recorded, name: str
) -> None:
    """Draft k tokens from every position and let the target judge them one by one."""
    target, drafts = models
    longest = 5
    found = record.runs(recorded, name, LENGTHS)
    seen: set[int] = set()
    for i, prompt in enumerate(PROMPTS):
        assert len(found[i]) == LENGTHS[i] + 1
        for position in range(LENGTHS[i] + 1):
            before = [*prompt, *recorded.outputs[i][:position].tolist()]
            proposal = list(before)
            for _ in range(longest):
                proposal.append(_next(drafts[name], proposal))
            accepted = 0
            while (
                accepted < longest
                and _next(target, proposal[: len(before) + accepted]) == proposal[len(before) + accepted]
            ):
                accepted += 1
            assert min(int(found[i][position]), longest) == accepted
            seen.add(accepted)
    assert len(seen) >= 3  # the fixture must tell something


def test_sampling_probabilities_average_to_the_overlap(llama: Callable[..., Any]) -> None:
    """The mean of min(1, q/p) over emitted tokens is 1 - TV(p, q): at the first token, over many draws."""
    target, draft = llama(seed=1, sd=0.1), llama(seed=2, sd=0.1)
    prompt, count = [3, 1, 4], 4000
    found = record.record(
        target, {"d": draft}, [prompt] * count, [1] * count, temperature=0.8, top_p=0.9, batch=500, tail=0
    )
    values = np.array([value[0] for value in found.accepted["d"]])
    p, q = (
        record._distribution(model(torch.tensor([prompt])).logits[:, -1], 0.8, 0.9)[0]
        for model in (target, draft)
    )
    overlap = float(torch.minimum(p, q).sum())
    assert 0.05 < overlap < 0.95
    assert abs(values.mean() - overlap) < 4 * values.std() / count**0.5 + 1e-3
    assert ((values >= 0) & (values <= 1)).all()


def test_sampled_outputs_do_not_depend_on_batches(models: tuple[Any, dict[str, Any]]) -> None:
    one, other = (
        record.record(*models, PROMPTS, LENGTHS, temperature=1.0, seed=3, batch=batch).outputs
        for batch in (1, 5)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_unused_vocabulary_is_never_emitted(llama: Callable[..., Any]) -> None:
    model = llama(used_vocab_size=40)
    for temperature in (0.0, 1.5):
        for output in record.generate(model, PROMPTS, LENGTHS, temperature=temperature):
            assert output.max() < 40


def test_the_trace_returns_from_disk(recorded: record.Recorded, tmp_path: Path) -> None:
    trace = record.to_trace(
        recorded,
        target="target",
        keys=[f"k{i}" for i in range(5)],
        domains=["d"] * 5,
        prompts=PROMPTS,
        output_tokens=LENGTHS,
        command="test",
    )
    save_trace(trace, tmp_path / "trace.npz")
    loaded = load_trace(tmp_path / "trace.npz")
    assert loaded.output_tokens().tolist() == [length + 1 for length in LENGTHS]
    assert loaded.drafts["near"].kind == "runs"
    for i, row in enumerate(record.runs(recorded, "near", LENGTHS)):
        assert loaded.drafts["near"].rows.row(i).tolist() == row.tolist()
    assert loaded.prompts is not None
    assert loaded.prompts.row(2).tolist() == PROMPTS[2]
