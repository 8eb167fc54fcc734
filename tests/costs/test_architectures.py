"""Public architectures, counted from their config.json as transformers has them, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spinsim.costs.sheets.architectures import ARCHITECTURES
from spinsim.costs.sheets.config_json import defaults
from spinsim.costs.sheets.config_keys import IGNORED
from spinsim.costs.sheets.other_model_types import REFUSED
from spinsim.costs.sheets.shapes import shape_of
from spinsim.errors import InputError

MAKE = Path(__file__).parents[2] / "docs" / "make"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, MAKE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLE = script("architecture_table")
COUNTED = {n: c for n, c in TABLE.models().items() if c["model_type"] not in REFUSED}


def write(folder: Path, config: dict[str, Any]) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(config, indent=1), encoding="utf-8")
    return str(path)


# --- against transformers ---------------------------------------------------------------------


@pytest.mark.parametrize("name", COUNTED)
def test_counts_are_those_of_the_modules(name: str) -> None:
    """Total, active and K/V bytes; the layers of one model are alike enough that nothing cancels out."""
    pytest.importorskip("transformers")
    _, ours = TABLE.counted(COUNTED[name])
    true = TABLE.true_counts(COUNTED[name])
    assert ours.total == pytest.approx(true.total, rel=1e-3)
    assert ours.active == pytest.approx(true.active, rel=1e-3)
    assert ours.kv_bytes == true.kv_bytes


def test_most_public_models_are_counted() -> None:
    assert len(COUNTED) >= 50
    kinds = {config.get("text_config", config)["model_type"] for config in COUNTED.values()}
    alone = {kind for kind in ARCHITECTURES if "_vl_" not in kind}  # the others are built with their towers
    assert kinds == alone


@pytest.mark.parametrize(
    ("seeing", "plain"),
    [
        ("qwen3_vl_text", "Qwen3 8B"),
        ("qwen2_5_vl_text", "Qwen2.5 7B"),
        ("qwen2_vl_text", "Qwen2.5 7B"),
        ("qwen3_vl_moe_text", "Qwen3 30B-A3B"),
    ],
)
def test_text_models_that_see_count_as_their_blind_siblings(tmp_path: Path, seeing: str, plain: str) -> None:
    config = COUNTED[plain]
    shared = {key: value for key, value in config.items() if "window" not in key}
    wrapper = {"model_type": seeing.removesuffix("_text"), "vision_config": {}}
    shape = shape_of(write(tmp_path, wrapper | {"text_config": shared | {"model_type": seeing}}))
    assert shape.parameters() == TABLE.counted(config)[0].parameters()


def test_the_page_is_current() -> None:
    pytest.importorskip("transformers")
    text = TABLE.PAGE.read_text(encoding="utf-8")
    assert text == TABLE.page(text), "stale; run: python docs/make/architecture_table.py"


def test_the_defaults_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    made = script("config_defaults")
    text = made.TABLE.read_text(encoding="utf-8")
    if json.loads(text)["transformers"] != transformers.__version__:
        pytest.skip("the table is of another version of transformers")
    assert text == made.table(), "stale; run: python docs/make/config_defaults.py"


def test_a_file_of_every_default_means_what_an_empty_one_does(tmp_path: Path) -> None:
    for kind, keys in defaults().items():
        if kind in ("deepseek_v2", "glm4_moe"):
            continue  # whose defaults leave the experts of a token open, or a head's width
        bare = shape_of(write(tmp_path, {"model_type": kind}))
        assert shape_of(write(tmp_path, {"model_type": kind, **keys})) == bare


def test_no_key_is_both_ignored_and_understood() -> None:
    for kind, architecture in ARCHITECTURES.items():
        understood = {key for name in architecture.key_names() for key in architecture.format_keys(name)}
        both = understood & IGNORED & set(defaults()[kind])
        assert both <= {"no_rope_layer_interval"}, kind


# --- small ones by hand -------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


def test_a_tied_embedding_by_default_counts_once(tmp_path: Path) -> None:
    sizes = SMALL | {"num_key_value_heads": 1, "head_dim": 4}
    layer = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16 + 2 * 8
    assert shape_of(write(tmp_path, {"model_type": "gemma", **sizes})).parameters() == 3 * layer + 8 + 800
    assert shape_of(write(tmp_path, {"model_type": "llama", **sizes})).parameters() == 3 * layer + 8 + 1600


def test_an_mlp_without_a_gate(tmp_path: Path) -> None:
    shape = shape_of(write(tmp_path, {"model_type": "phi", **SMALL}))
    layer = 4 * (8 * 8 + 8) + (8 * 16 + 16) + (16 * 8 + 8) + 2 * 8
    assert shape.parameters() == 3 * layer + 2 * 8 + 800 + 800 + 100
    assert (shape.gated, shape.parallel, shape.without_cost_model()) == (False, True, "")


def test_a_mixture_of_experts(tmp_path: Path) -> None:
    config = {"model_type": "mixtral", **SMALL, "num_key_value_heads": 2, "num_local_experts": 5}
    shape = shape_of(write(tmp_path, config))
    expert = 3 * 8 * 16
    assert shape.parameters() - shape.active_parameters() == 3 * (5 - 2) * expert
    assert shape.parameters() == 3 * (4 * 8 * 8 + 5 * expert + 8 * 5 + 2 * 8) + 8 + 1600
    assert (shape.without_cost_model(), shape.never_compared()) == ("", ("a mixture of 5 experts",))


def test_latent_attention_caches_a_latent(tmp_path: Path) -> None:
    ranks = {"q_lora_rank": 6, "kv_lora_rank": 4, "qk_nope_head_dim": 3, "qk_rope_head_dim": 2}
    shape = shape_of(write(tmp_path, {"model_type": "minicpm3", **SMALL, **ranks}))
    assert shape.kv_bytes_per_token("bf16") == 3 * (4 + 2) * 2
    query = 8 * 6 + 6 + 6 * 2 * (3 + 2)
    key_value = 8 * (4 + 2) + 4 + 4 * 2 * (3 + 4)  # a head's value: 8 / 2
    layer = query + key_value + 2 * 4 * 8 + 3 * 8 * 16 + 2 * 8
    assert shape.parameters() == 3 * layer + 8 + 800  # tied by default
    assert (shape.without_cost_model(), shape.never_compared()) == ("", ("latent attention",))


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"model_type": "mistral", "sliding_window": 16}, 3),
        ({"model_type": "mistral", "sliding_window": None}, 0),
        ({"model_type": "gemma2", "sliding_window": 16}, 2),
        ({"model_type": "qwen2", "sliding_window": 16, "max_window_layers": 1}, 0),
        (
            {"model_type": "qwen2", "sliding_window": 16, "max_window_layers": 1, "use_sliding_window": True},
            2,
        ),
        ({"model_type": "gemma3_text", "sliding_window": 16, "sliding_window_pattern": 3}, 2),
        (
            {
                "model_type": "gemma2",
                "sliding_window": 16,
                "layer_types": ["full_attention", "full_attention", "sliding_attention"],
            },
            1,
        ),
        ({"model_type": "exaone4", "sliding_window": 16, "sliding_window_pattern": "LG"}, 2),
    ],
)
def test_windows(tmp_path: Path, config: dict[str, Any], layers: int) -> None:
    sizes = SMALL | {"num_key_value_heads": 2}
    shape = shape_of(write(tmp_path, sizes | config))
    assert (shape.window.layers if shape.window else 0) == layers
    assert bool(shape.never_compared(17)) == (layers > 0)
    assert not shape.never_compared(16)  # nothing is out of sight


def test_a_text_config_is_read_through(tmp_path: Path) -> None:
    text = {"model_type": "gemma3_text", **SMALL, "num_key_value_heads": 2}
    plain = shape_of(write(tmp_path, text))
    outer = {"model_type": "gemma3", "vision_config": {"hidden_size": 9}, "image_token_index": 7}
    assert shape_of(write(tmp_path, outer | {"text_config": text})) == plain
    untyped = {key: value for key, value in text.items() if key != "model_type"}
    assert shape_of(write(tmp_path, outer | {"text_config": untyped})) == plain
    untied = shape_of(write(tmp_path, outer | {"text_config": text, "tie_word_embeddings": False}))
    assert untied.parameters() == plain.parameters() + 800
    with pytest.raises(InputError, match=r"config\.json:\d+: layer_types: 'linear'") as caught:
        shape_of(write(tmp_path, outer | {"text_config": text | {"layer_types": ["linear"] * 3}}))
    lines = (tmp_path / "config.json").read_text().splitlines()
    assert '"layer_types"' in lines[caught.value.line - 1]


LLAMA = {"model_type": "llama", **SMALL}


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        ({"num_local_experts": 8}, "num_local_experts", "not understood"),
        ({"kv_lora_rank": 8}, "kv_lora_rank", "not understood"),
        ({"ssm_state_size": 8}, "ssm_state_size", "not understood"),
        ({"layer_types": ["full_attention"] * 3}, "layer_types", "not understood"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder", "allowed is false"),
        ({"add_cross_attention": True}, "add_cross_attention", "allowed is false"),
        ({"architectures": ["LlamaModel"]}, "architectures", "no language head"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings", "true or false"),
        ({"model_type": "nemotron_h"}, "model_type", "recurrent"),
        ({"model_type": "bert"}, "model_type", "encoder"),
        ({"model_type": "t5"}, "model_type", "encoder-decoder"),
        ({"model_type": "homegrown"}, "model_type", "not understood"),
        ({"model_type": None}, "model_type", "missing"),
        ({"model_type": "phi3", "attention_bias": True}, "attention_bias", "allowed is false"),
        ({"quantization_config": "fp8"}, "quantization_config", "a mapping"),
        ({"model_type": "olmoe", "num_experts_per_tok": 99}, "num_experts_per_tok", "at most"),
        ({"model_type": "llava", "text_config": 3}, "text_config", "is 3"),
        ({"model_type": "unheard", "text_config": {}}, "model_type", "wrapper"),
        ({"model_type": "starcoder2", "mlp_type": "gated"}, "mlp_type", 'allowed is "default"'),
    ],
)
def test_what_is_not_understood_is_refused_at_its_line(
    tmp_path: Path, change: dict[str, Any], key: str, says: str
) -> None:
    path = write(tmp_path, LLAMA | change)
    with pytest.raises(InputError, match=says) as caught:
        shape_of(path)
    assert caught.value.file == path
    assert caught.value.key == key
    assert f'"{key}"' in Path(path).read_text().splitlines()[caught.value.line - 1]


def test_keys_that_cost_nothing_are_passed_over(tmp_path: Path) -> None:
    plain = shape_of(write(tmp_path, LLAMA))
    more = {"rope_theta": 1e4, "torch_dtype": "bfloat16", "eos_token_id": [1, 2], "attention_dropout": 0.1}
    assert shape_of(write(tmp_path, LLAMA | more | {"architectures": ["LlamaForCausalLM"]})) == plain


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "awq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, ""),
        ({"quant_method": "mxfp4"}, ""),
        ({}, ""),
    ],
)
def test_quantized_weights_are_counted_and_priced_where_their_size_is_known(
    tmp_path: Path, config: dict[str, Any], method: str
) -> None:
    shape = shape_of(write(tmp_path, LLAMA | {"quantization_config": config}))
    assert shape.parameters() == shape_of(write(tmp_path, LLAMA)).parameters()
    assert bool(shape.without_cost_model()) == (not method)
    if method:
        assert shape.never_compared() == (f"{method} weights",)
    else:
        assert "quantized" in shape.without_cost_model()
