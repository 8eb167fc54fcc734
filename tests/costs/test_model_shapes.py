"""Shapes against published parameter counts, and config.json files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spinsim.costs.sheets.shapes import shape_names, shape_of
from spinsim.errors import InputError

# Parameter counts as the weight files hold them.
EXACT = {
    "llama-68m": 68_030_208,
    "llama-1.1b": 1_100_048_384,
    "llama-7b": 6_738_415_616,
    "llama-13b": 13_015_864_320,
    "llama-30b": 32_528_943_616,
    "llama-3-1b": 1_235_814_400,
    "llama-3-3b": 3_212_749_824,
    "llama-3-8b": 8_030_261_248,
    "llama-3-70b": 70_553_706_496,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize("name", EXACT)
def test_parameter_counts_are_the_published_ones(name: str) -> None:
    assert shape_of(name).parameters() == EXACT[name]
    assert not shape_of(name).ours


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("llama-265m", 265e6),
        ("llama-616m", 616e6),
        ("llama-1.4b", 1.4e9),
        ("llama-3-117m", 117e6),
        ("llama-3-330m", 330e6),
        ("llama-3-716m", 716e6),
        ("llama-3-1.5b", 1.5e9),
    ],
)
def test_shapes_without_published_widths_meet_their_name_and_say_so(name: str, count: float) -> None:
    shape = shape_of(name)
    assert shape.ours
    assert shape.parameters() == pytest.approx(count, rel=0.03)


def test_every_shape_names_its_source_and_divides_its_heads() -> None:
    for name in shape_names():
        shape = shape_of(name)
        assert shape.source
        assert shape.heads % shape.kv_heads == 0


def test_kv_bytes() -> None:
    assert shape_of("llama-7b").kv_bytes_per_token("fp16") == 2 * 32 * 4096 * 2  # half a MiB a token
    assert shape_of("llama-3-8b").kv_bytes_per_token("bf16") == 128 * 1024
    assert shape_of("llama-3-8b").weight_bytes("fp32") == 4 * EXACT["llama-3-8b"]


def _write(folder: Path, config: dict[str, Any]) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


def test_a_config_file_gives_the_named_shape(tmp_path: Path) -> None:
    _write(tmp_path, LLAMA)
    for asked in (shape_of("config.json", tmp_path), shape_of(str(tmp_path))):
        assert asked.parameters() == EXACT["llama-3-8b"]
        assert asked.kv_bytes_per_token("bf16") == 128 * 1024


def test_defaults_of_a_config_file(tmp_path: Path) -> None:
    config = {k: v for k, v in LLAMA.items() if k not in ("num_key_value_heads", "tie_word_embeddings")}
    shape = shape_of(str(_write(tmp_path, config)))
    assert (shape.kv_heads, shape.head_dim, shape.tied) == (32, 128, False)


def test_qwen_families_count_their_extra_weights(tmp_path: Path) -> None:
    plain = shape_of(str(_write(tmp_path, LLAMA))).parameters()
    qwen2 = shape_of(str(_write(tmp_path, LLAMA | {"model_type": "qwen2"}))).parameters()
    qwen3 = shape_of(str(_write(tmp_path, LLAMA | {"model_type": "qwen3", "head_dim": 128}))).parameters()
    assert qwen2 - plain == 32 * (4096 + 2 * 1024)
    assert qwen3 - plain == 32 * 2 * 128


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hidden_size": None}, "hidden_size"),
        ({"vocab_size": -3}, "positive integer"),
        ({"vocab_size": True}, "positive integer"),
        ({"num_key_value_heads": 5}, "divide evenly"),
        ({"num_attention_heads": 30, "num_key_value_heads": 30}, "divide evenly"),
        ({"num_local_experts": 8}, "num_local_experts: is not understood for a llama"),
    ],
)
def test_bad_configs_are_refused_with_the_file_and_key(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    path = _write(tmp_path, LLAMA | change)
    with pytest.raises(InputError, match=says) as caught:
        shape_of(str(path))
    assert caught.value.file == str(path)


def test_unknown_names_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown model shape 'llama-8'.*llama-3-8b"):
        shape_of("llama-8")
    path = tmp_path / "config.json"
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(InputError, match=r"config\.json"):
            shape_of(str(path))
    with pytest.raises(InputError, match="unknown dtype"):
        shape_of("llama-7b").weight_bytes("int3")
