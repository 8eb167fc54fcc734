"""Pairs whose tokenizers agree run, whatever the padding of their heads; others are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spinsim.costs.sheets.vocabulary import Vocabulary, disagreement
from spinsim.errors import InputError
from spinsim.live.deployment import deploy
from spinsim.studies.trace import trace
from tests.live.checkpoints import TOKENS, generated, rewrite, save_checkpoint, save_tokenizer, serve, serving

OWN = len(TOKENS)
SAMPLED = "sampling.temperature=0.8"


def padded(folder: Path, target: int, *drafts: int) -> tuple[str, ...]:
    """Checkpoints of one tokenizer and so many rows; the names of the drafts."""
    save_checkpoint(folder / "target", seed=1, rows=target)
    names = tuple(f"d{rows}" for rows in drafts)
    for name, rows in zip(names, drafts, strict=True):
        save_checkpoint(folder / name, seed=2, rows=rows, like=folder / "target")
    return names


@pytest.mark.parametrize("rows", [(OWN, 40), (48, OWN), (40, 64), (40, OWN, 64), (40, 40, 128)])
def test_greedy_outputs_are_those_of_generate(tmp_path: Path, rows: tuple[int, ...]) -> None:
    """Random weights say their padding, too: then the draft is told tokens that it has no row for."""
    loaded = serving(tmp_path, drafts=padded(tmp_path, *rows))
    ran, prompted = serve(loaded)
    assert ran.outputs == generated(loaded, prompted)
    assert sum(ran.records.rounds.accepted) > 0
    if rows[0] > OWN:
        assert max(max(tokens) for tokens in ran.outputs.values()) >= OWN


@pytest.mark.parametrize("selector", ["random", "hedgespec"])
def test_sampled_with_two_drafts_of_different_padding(tmp_path: Path, selector: str) -> None:
    names = padded(tmp_path, 40, OWN, 64)
    ran, _ = serve(serving(tmp_path, SAMPLED, f"policies.selector={{name: {selector}}}", drafts=names))
    assert sum(ran.records.rounds.accepted) > 0


def test_a_drafts_padding_changes_nothing_that_is_said(tmp_path: Path) -> None:
    """Rows beyond the target's are no tokens: the same draft with and without them draws the same."""
    save_checkpoint(tmp_path / "target", seed=1)
    plain = save_checkpoint(tmp_path / "plain", seed=2, like=tmp_path / "target")
    from safetensors.torch import load_file, save_file

    save_checkpoint(tmp_path / "padded", seed=9, rows=64)
    weights, noise = load_file(plain / "model.safetensors"), load_file(tmp_path / "padded/model.safetensors")
    for name, matrix in noise.items():
        own = weights[name]
        weights[name] = torch.cat((own, 5 * matrix[own.shape[0] :])) if own.shape != matrix.shape else own
    save_file(weights, tmp_path / "padded/model.safetensors", metadata={"format": "pt"})
    said = []
    for name in ("plain", "padded"):
        ran, _ = serve(serving(tmp_path, SAMPLED, drafts=(name,)))
        said.append((ran.outputs, sum(ran.records.rounds.accepted)))
    assert said[0] == said[1]


def test_a_checkpoint_says_how_many_of_its_rows_are_tokens(tmp_path: Path) -> None:
    """As `spinsim models widen` writes it; rows that are no multiple of 64 are no padding by themselves."""
    (draft,) = padded(tmp_path, OWN, 40)
    rewrite(tmp_path / draft, "config.json", used_vocab_size=OWN)
    (tmp_path / draft / "tokenizer.json").unlink()
    ran, _ = serve(serving(tmp_path, SAMPLED, drafts=(draft,)))
    assert sum(ran.records.rounds.accepted) > 0


def test_acceptance_of_padded_drafts_is_recorded(tmp_path: Path) -> None:
    names = padded(tmp_path, 40, OWN, 64)
    for sampling in ("sampling.temperature=0", SAMPLED):
        recorded = trace(serving(tmp_path, sampling, drafts=names), tmp_path / "t.npz", force=True).trace
        assert set(recorded.drafts) == set(names)


def test_other_tokenizers_are_refused(tmp_path: Path) -> None:
    names = padded(tmp_path, OWN, OWN)
    swapped = TOKENS | {"a": TOKENS["b"], "b": TOKENS["a"]}
    save_tokenizer(tmp_path / names[0], swapped)
    with pytest.raises(InputError, match=r"has token 'a' as 4, the target as 3 .* must share") as caught:
        deploy((loaded := serving(tmp_path, drafts=names)).scenario, loaded.base_dir)
    assert caught.value.key == f"models.drafts.{names[0]}"


def test_without_a_tokenizer_sizes_decide(tmp_path: Path) -> None:
    names = padded(tmp_path, OWN, 40)
    (tmp_path / names[0] / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=f"has 40 tokens, the target has {OWN}"):
        deploy((loaded := serving(tmp_path, drafts=names)).scenario, loaded.base_dir)


@pytest.mark.parametrize(
    ("target", "draft", "agree"),
    [
        (152_064, 151_936, True),  # Qwen2.5 7B and 0.5B
        (50_432, 50_304, True),  # Pythia 6.9B and 70M
        (32_064, 32_000, True),  # Phi 3 and the LLaMA tokenizer that it pads
        (32_016, 32_000, False),  # Code Llama has 16 tokens more
        (128_256, 32_000, False),
        (97, 97, True),
        (97, 96, False),
    ],
)
def test_sizes_that_may_be_padding(target: int, draft: int, agree: bool) -> None:
    assert (disagreement(Vocabulary(target), Vocabulary(draft)) == "") is agree
    assert (disagreement(Vocabulary(draft), Vocabulary(target)) == "") is agree
