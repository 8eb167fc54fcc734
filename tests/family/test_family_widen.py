"""Widening keeps the function: logits in fp32 over shapes with other heads, groups and head sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from spinsim.costs.sheets.shapes import ModelShape, shape_of
from spinsim.errors import InputError
from spinsim.family.llama_modules import random_llama
from spinsim.family.widen import place_heads, rotary_rows, widen
from spinsim.family.widen_check import exactness, timings
from spinsim.family.widen_parts import Widened, outline
from spinsim.runner.sharded.shape import LeanShape, Share, cut
from spinsim.runner.sharded.weights import EMBEDDING, HEAD

WIDE = ModelShape(
    name="wide",
    layers=3,
    hidden=192,
    heads=8,
    kv_heads=4,
    head_dim=32,
    intermediate=160,
    vocab=200,
    tied=False,
    source="",
)


def _error(small: Any, shape: ModelShape, **keys: Any) -> float:
    ids = torch.randint(0, 90, (2, 70), generator=torch.Generator().manual_seed(3))
    wide = widen(small, shape, dtype=torch.float32, **keys)
    wanted, got = small(ids).logits, wide(ids).logits[..., :90]
    return float((wanted - got).abs().max() / wanted.abs().max())


@pytest.mark.parametrize(
    "shape",
    [
        WIDE,
        replace(WIDE, kv_heads=8),  # to plain multi-head: K/V heads are repeated
        replace(WIDE, heads=16, kv_heads=2),  # larger groups
        replace(WIDE, head_dim=16),  # same head size
        replace(WIDE, head_dim=64, heads=4),
        replace(WIDE, layers=2, hidden=48, intermediate=80, vocab=90),  # only more heads
        replace(WIDE, hidden=104),  # the width's ratio is no power of two
    ],
    ids=["wide", "multi-head", "large-groups", "same-head", "wide-head", "heads-only", "odd-width"],
)
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_logits_stay(llama: Callable[..., Any], shape: ModelShape, kv_heads: int) -> None:
    if kv_heads == 4 and shape.kv_heads < 4:
        pytest.skip("four K/V heads do not fit")
    assert _error(llama(num_key_value_heads=kv_heads), shape) < 1e-5


def test_real_shape(llama: Callable[..., Any]) -> None:
    assert exactness(llama(), shape_of("llama-68m"), "cpu", rows=1, tokens=24).relative_error < 1e-4


def test_rope_and_epsilon_are_carried_over(llama: Callable[..., Any]) -> None:
    small = llama(rope_theta=500.0, rms_norm_eps=0.05)
    assert _error(small, WIDE) < 1e-5


def test_tied_small_head(llama: Callable[..., Any], tmp_path: Path) -> None:
    small = llama(tie_word_embeddings=True)
    small.lm_head.weight = small.model.embed_tokens.weight
    small.save_pretrained(tmp_path)
    wide = widen(tmp_path, WIDE, dtype=torch.float32)
    ids = torch.arange(40)[None]
    assert torch.allclose(small(ids).logits, wide(ids).logits[..., :90], rtol=1e-4, atol=1e-4)


def test_nothing_is_zero_and_all_is_labelled(llama: Callable[..., Any]) -> None:
    wide = widen(llama(), WIDE, dtype=torch.bfloat16)
    assert all(bool((weight != 0).float().mean() > 0.99) for weight in wide.parameters())
    assert all(bool(weight.isfinite().all()) for weight in wide.parameters())
    config = wide.config
    assert config.spinsim_cost_stand_in is True
    assert config.used_vocab_size == 90
    assert config.spinsim_provenance["shape"] == "wide"
    assert config.vocab_size == 200
    shapes = [tuple(weight.shape) for weight in wide.parameters()]
    assert shapes == [
        tuple(weight.shape) for weight in random_llama(WIDE, dtype=torch.bfloat16, device="cpu").parameters()
    ]
    assert sum(map(math.prod, shapes)) == WIDE.parameters()


def test_saved_stand_in_loads_with_transformers(llama: Callable[..., Any], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    wide = widen(llama(), WIDE, dtype=torch.float32, out=tmp_path, seed=4)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.spinsim_cost_stand_in is True
    ids = torch.arange(30)[None]
    assert torch.equal(loaded(ids).logits, wide(ids).logits)
    assert torch.equal(loaded(ids).logits, widen(llama(), WIDE, dtype=torch.float32, seed=4)(ids).logits)


def test_shares_are_parts_of_the_whole_made_part_by_part(llama: Callable[..., Any], tmp_path: Path) -> None:
    """On no device is ever more than embeddings and head, or a layer; the numbers are the same."""
    small = llama()
    small.save_pretrained(tmp_path)
    whole = dict(widen(tmp_path, WIDE, dtype=torch.float32, seed=4).named_parameters())
    outlined = outline(str(tmp_path), WIDE, dtype=torch.float32, seed=4)
    shape, cpu = LeanShape.of(outlined.model), torch.device("cpu")
    for rank in range(2):
        share = Share(rank, 2, shape)
        source = Widened(tmp_path, WIDE, torch.float32, 4)
        for name in (
            EMBEDDING,
            HEAD,
            *sorted(name for name in whole if "layers" in name),
            "model.norm.weight",
        ):
            part = source.take(name, share, torch.float32, cpu)
            assert part is not None
            assert torch.equal(part, cut(whole[name].data, share.part(name))), name
        assert source.take("model.layers.0.self_attn.q_proj.bias", share, torch.float32, cpu) is None


def test_a_widened_text_ends_where_it_ended(llama: Callable[..., Any], tmp_path: Path) -> None:
    """At the tokens of generation_config.json, which config.json need not know."""
    llama(eos_token_id=1).save_pretrained(tmp_path / "small")
    (tmp_path / "small/generation_config.json").write_text('{"eos_token_id": [1, 7]}')
    widen(tmp_path / "small", WIDE, dtype=torch.float32, out=tmp_path / "wide")
    assert LlamaForCausalLM.from_pretrained(tmp_path / "wide").generation_config.eos_token_id == [1, 7]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda weights: weights.pop("lm_head.weight"), r"lacks .* lm_head\.weight"),
        (lambda weights: weights.update(more=torch.ones(2)), "no use for: more"),
        (lambda weights: weights.update({"model.norm.weight": torch.ones(3)}), "other shapes: model"),
    ],
)
def test_parts_of_a_checkpoint_are_not_widened(
    llama: Callable[..., Any], tmp_path: Path, change: Callable[..., Any], what: str
) -> None:
    llama().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=what) as caught:
        widen(tmp_path, WIDE)
    assert caught.value.file == str(tmp_path / "model.safetensors")


def test_a_pointer_is_not_widened(llama: Callable[..., Any], tmp_path: Path) -> None:
    llama().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match="Git LFS pointer"):
        widen(tmp_path, WIDE)


def test_widened_twice(llama: Callable[..., Any]) -> None:
    once = widen(llama(), WIDE, dtype=torch.float32)
    twice = widen(once, replace(WIDE, hidden=256, layers=4, vocab=300), dtype=torch.float32)
    ids = torch.arange(30)[None]
    assert twice.config.used_vocab_size == 90
    assert torch.allclose(once(ids).logits[..., :90], twice(ids).logits[..., :90], rtol=1e-4, atol=1e-4)


@given(st.integers(1, 8), st.integers(1, 4), st.integers(1, 8), st.integers(1, 8))
def test_queries_meet_their_own_keys(kv: int, group: int, large_kv: int, large_group: int) -> None:
    """The K/V head at a query head's place holds the K/V head that it had."""
    try:
        place = place_heads(kv * group, kv, large_kv * large_group, large_kv)
    except InputError:
        assert kv * -(-group // large_group) > large_kv
        return
    held = {large: small for small, large in place.keys}
    assert len(held) == len(place.keys)
    assert len(set(place.queries)) == kv * group
    for head, large in enumerate(place.queries):
        assert held[large // large_group] == head // group


@given(st.sampled_from([2, 8, 16, 32]), st.sampled_from([1, 2, 4]))
def test_rotary_pairs_turn_alike(head: int, ratio: int) -> None:
    rows, large = rotary_rows(head, head * ratio), head * ratio
    assert len(set(rows)) == head
    for i in range(head // 2):
        first, second = rows[i], rows[i + head // 2]
        assert second - first == large // 2  # a pair of the large head
        assert math.isclose(2 * first / large, 2 * i / head)  # of the same frequency


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"hidden": 32}, "hidden width 48 does not fit"),
        ({"layers": 1}, "layers 2 does not fit"),
        ({"vocab": 50}, "vocabulary 90 does not fit"),
        ({"head_dim": 24}, "head size 16 does not divide"),
        ({"heads": 1, "kv_heads": 1}, "need 4 K/V heads"),
        ({"qk_norm": True}, "query and key norms"),
    ],
)
def test_what_does_not_fit_is_refused(
    llama: Callable[..., Any], change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        widen(llama(), replace(WIDE, **change))


def test_other_architectures_are_refused(llama: Callable[..., Any]) -> None:
    small = llama()
    small.config.model_type = "mistral"
    with pytest.raises(InputError, match="'mistral' cannot be widened"):
        widen(small, WIDE)


def test_both_passes_are_timed(llama: Callable[..., Any]) -> None:
    found = timings(llama(), WIDE, "cpu", rows=2, context=16, repeats=2)
    assert [timing.operation for timing in found] == ["prefill", "verification"]
    assert all(timing.ratio > 0 for timing in found)


def test_fp16_is_refused(llama: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="allowed: bf16, fp32"):
        widen(llama(), WIDE, dtype=torch.float16)
