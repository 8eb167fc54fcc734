"""What loads, what is refused, and how it is said."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import BloomConfig, Gemma2Config, GPT2Config, MambaConfig, MistralConfig

from spinsim.errors import InputError
from spinsim.runner import kv_capacity
from spinsim.runner.batch import Rows
from spinsim.runner.for_model import make_runner
from spinsim.runner.kv import Layout
from spinsim.runner.loading import load_model, random_model, require_shared_vocabulary, speaking_as
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import ChunkRows
from spinsim.scenario import LimitsSpec
from tests.runner.runner_configs import CONFIGS, SHAPE
from tests.runner.runner_driver import runner_of


def gpt2(**keys):
    return GPT2Config(n_embd=32, n_layer=2, n_head=4, **keys)


TINY = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def test_round_trip_through_a_folder(tmp_path):
    model = random_model(CONFIGS["qwen2"](), 1, context_tokens=64)
    model.module.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), context_tokens=64, dtype=torch.float32)
    prompt = [[5, 6, 7, 8]]
    first, second = (runner_of(m).prefill(ChunkRows([0], [0], prompt)).item() for m in (model, again))
    assert first == second
    assert again.parameters == model.parameters


def test_random_weights_follow_the_seed_and_leave_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, c = (
        random_model(CONFIGS["llama"](), s, context_tokens=64).module.lm_head.weight for s in (1, 1, 2)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), before)


def test_gpt2_runs_through_transformers():
    """Learned positions, no grouped queries, no lean path: the general path takes it."""
    model = random_model(GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4), 1, context_tokens=64)
    assert type(make_runner(model, Layout(2, 64), RunnerPlan(2, 4)).decoder).__name__ == (
        "TransformersDecoder"
    )


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (MistralConfig(**{**SHAPE, "sliding_window": 32}), "sliding window of 32"),
        (MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2), "mamba"),
        (BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4), "bloom"),
        (
            Gemma2Config(**TINY, num_key_value_heads=2, head_dim=8, intermediate_size=48, sliding_window=512),
            "softcap",
        ),
        (
            CONFIGS["llama"](rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
            "dynamic",
        ),
        (CONFIGS["llama"](max_position_embeddings=32), "was made for 32 tokens"),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_refused_before_it_runs(config, what):
    with pytest.raises(InputError, match=what) as caught:
        random_model(config, 1, context_tokens=64, name="it", key="models.target")
    assert caught.value.key == "models.target"
    assert "allowed" in caught.value.message


def test_a_window_wider_than_the_context_never_bites():
    random_model(MistralConfig(**{**SHAPE, "sliding_window": 64}), 1, context_tokens=64)


def test_pickled_weights_and_missing_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match=rf"no folder '{tmp_path}/nothing'; .*causal model"):
        load_model(str(tmp_path / "nothing"), context_tokens=64, dtype=torch.float32, key="k")
    with pytest.raises(InputError, match=r"no config\.json in the folder"):
        load_model(str(tmp_path), context_tokens=64, dtype=torch.float32)
    CONFIGS["llama"]().save_pretrained(tmp_path)
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        load_model(str(tmp_path), context_tokens=64, dtype=torch.float32)


def test_remote_code_is_refused(tmp_path):
    config = {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.M"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text("raise SystemExit('executed')")
    with pytest.raises(InputError, match="cannot read"):
        load_model(str(tmp_path), context_tokens=64, dtype=torch.float32)


def test_vocabularies_must_agree(tmp_path):
    def save(name, size, words):
        model = random_model(CONFIGS["llama"](vocab_size=size), 1, context_tokens=64)
        model.module.save_pretrained(tmp_path / name)
        vocabulary = {word: i for i, word in enumerate(words)}
        (tmp_path / name / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
        return load_model(str(tmp_path / name), context_tokens=64, dtype=torch.float32)

    target, same = save("target", 97, "abc"), save("same", 97, "abc")
    require_shared_vocabulary(target, {"same": same})
    require_shared_vocabulary(target, {"same": same, "padded": save("padded", 50, "abc")})
    with pytest.raises(InputError, match=r"has token 'b' as 2, the target as 1") as caught:
        require_shared_vocabulary(target, {"same": same, "other": save("other", 97, "acb")})
    assert caught.value.key == "models.drafts.other"
    unknown = random_model(CONFIGS["llama"](vocab_size=50), 1, context_tokens=64)
    with pytest.raises(InputError, match=r"has 50 tokens, the target has 97"):
        require_shared_vocabulary(target, {"unknown": unknown})


@pytest.mark.parametrize("rows", [64, 97, 128])
@pytest.mark.parametrize("config", [CONFIGS["llama"], CONFIGS["llama-tied-mha"], CONFIGS["qwen2"], gpt2])
def test_a_draft_is_given_the_targets_rows(config, rows):
    """What it says of the tokens that both have stays; others are never said, and can be told."""
    draft, again = (random_model(config(vocab_size=97), 1, context_tokens=64) for _ in range(2))
    before = torch.get_rng_state()
    given = speaking_as(random_model(config(vocab_size=rows), 2, context_tokens=64), draft)
    assert torch.equal(before, torch.get_rng_state())
    assert (given.vocabulary, given.used_vocabulary) == (rows, min(rows, 97))
    assert given.config.vocab_size == 97  # what the checkpoint is stays known
    tokens, row = torch.tensor([5, 6, 7]), Rows([0], [3], [3])
    shared = min(rows, 97)
    plain, padded = (runner_of(model).forward(tokens, row) for model in (again, given))
    assert torch.equal(plain[:, :shared], padded[:, :shared])
    assert padded.shape[1] == rows
    assert (padded[:, shared:] == float("-inf")).all()
    assert runner_of(given).catch_up(ChunkRows([0], [0], [[1, rows - 1, 2]])).max() < shared


@pytest.mark.parametrize("lean", [False, True])
def test_unused_vocabulary_is_never_emitted(lean):
    model = random_model(CONFIGS["llama"](used_vocab_size=3), 1, context_tokens=64)
    runner = runner_of(model, lean=lean)
    assert model.used_vocabulary == 3
    best = runner.catch_up(ChunkRows([0], [0], [list(range(3)) * 10]))
    assert best.max() < 3


def test_capacity_from_a_budget():
    model = random_model(CONFIGS["llama"](), 1, context_tokens=64)
    per_token = 2 * 2 * 2 * 8 * 4
    assert kv_capacity.kv_bytes_per_token(model) == per_token
    tokens = kv_capacity.slot_tokens(100, 4)
    assert tokens == 112
    limits = LimitsSpec(batch=99, context_tokens=100, max_length=4)
    budget = per_token * tokens * 2 * 7
    found = kv_capacity.measure([model], limits, page_tokens=None, fraction=0.5, budget=budget)
    assert (found.most.slots, found.most.tokens(100)) == (6, 6 * 100)
    assert (found.layout(250).slots, found.layout(2000).slots) == (2, 6)
    assert runner_of(model, found.most.slots, tokens).cache.bytes == per_token * tokens * 7
    with pytest.raises(InputError, match="no request of 112 tokens"):
        kv_capacity.measure([model], limits, page_tokens=None, fraction=0.5, budget=per_token * tokens)


def test_capacity_in_pages():
    """Slots for the whole batch, over as many pages as fit, one of them for trash."""
    model = random_model(CONFIGS["llama"](), 1, context_tokens=64)
    per_token = kv_capacity.kv_bytes_per_token(model)
    limits = LimitsSpec(batch=9, context_tokens=100, max_length=4)
    budget = per_token * 16 * 2 * 21
    found = kv_capacity.measure([model], limits, page_tokens=16, fraction=0.5, budget=budget)
    assert found.most == Layout(9, 100, 16, 20)
    assert found.most.tokens(100) == 320
    assert (found.layout(127).pages, found.layout(5000).pages) == (7, 20)
    many = kv_capacity.measure([model], limits, page_tokens=16, fraction=0.5, budget=100 * budget)
    assert many.most.pages == 9 * 7  # more than the batch can ever fill are of no use
    cache = runner_of(model, 9, 100, page_tokens=16, pages=20).cache
    assert cache.bytes == per_token * 16 * 21
    with pytest.raises(InputError, match="at least 112") as caught:
        found.layout(111, "kv.target_tokens")
    assert caught.value.key == "kv.target_tokens"
    with pytest.raises(InputError, match="no request of 100 tokens"):
        kv_capacity.measure([model], limits, page_tokens=16, fraction=0.5, budget=per_token * 16 * 2 * 7)


def test_a_configuration_can_be_used_again():
    config = CONFIGS["llama"]()
    first = random_model(config, 1, context_tokens=64)
    assert config._attn_implementation != first.config._attn_implementation
    second = random_model(first.config, 1, context_tokens=64)
    assert torch.equal(first.module.lm_head.weight, second.module.lm_head.weight)
