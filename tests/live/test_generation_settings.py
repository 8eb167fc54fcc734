"""Settings by which generate would choose other tokens are refused, unless the scenario ignores them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from spinsim.errors import InputError
from spinsim.live.deployment import deploy
from spinsim.live.generation import NEUTRAL, NEUTRAL_SAMPLED, not_applied
from tests.live.checkpoints import generated, rewrite, save_checkpoint, serve, serving

IGNORE, SAMPLED = "sampling.generation_config=ignore", "sampling.temperature=0.8"
QWEN = {"repetition_penalty": 1.05, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "do_sample": True}


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    for name in ("target", "draft"):
        save_checkpoint(tmp_path / name)
    return tmp_path


def refusal(folder: Path, *overrides: str) -> InputError:
    loaded = serving(folder, *overrides)
    with pytest.raises(InputError) as caught:
        deploy(loaded.scenario, loaded.base_dir)
    return caught.value


def test_a_penalty_is_refused_with_key_and_file(pair: Path) -> None:
    rewrite(pair / "target", "generation_config.json", **QWEN)
    error = refusal(pair)
    assert error.key == "models.target.weights"
    assert error.file == str(pair / "target/generation_config.json")
    assert error.message.startswith("repetition_penalty 1.05: ")
    assert "sampling.generation_config: ignore" in error.message


def test_what_counts_when_sampling(pair: Path) -> None:
    """Temperature and top-p are the scenario's own; top-k is not, and changes nothing that is greedy."""
    settings = {key: value for key, value in QWEN.items() if key != "repetition_penalty"}
    rewrite(pair / "target", "generation_config.json", **settings)
    serve(serving(pair))
    assert refusal(pair, SAMPLED).message.startswith("top_k 20: ")
    serve(serving(pair, SAMPLED, IGNORE))


def test_ignored_settings_are_noted_and_their_end_of_text_is_kept(pair: Path) -> None:
    rewrite(pair / "target", "generation_config.json", **QWEN, eos_token_id=[1, 5])
    loaded = serving(pair, IGNORE)
    deployment = deploy(loaded.scenario, loaded.base_dir)
    note = deployment.models.notes["target"]
    assert note == "weights of target; ignored of its generation settings: repetition_penalty 1.05"
    ran, prompted = serve(loaded)
    assert prompted.end_of_text == {1, 5}
    rewrite(pair / "target", "generation_config.json", repetition_penalty=None)
    assert ran.outputs == generated(loaded, prompted)


def test_a_drafts_settings_are_its_own_affair(pair: Path) -> None:
    """It proposes; what stands is what the target would have said."""
    rewrite(pair / "draft", "generation_config.json", **QWEN, eos_token_id=[7, 8])
    loaded = serving(pair)
    ran, prompted = serve(loaded)
    assert ran.outputs == generated(loaded, prompted)


def test_a_penalty_of_config_json_counts_where_there_is_no_other_file(pair: Path) -> None:
    """As generate has it: of config.json alone, or of generation_config.json alone."""
    rewrite(pair / "target", "config.json", repetition_penalty=1.3)
    serve(serving(pair))
    (pair / "target/generation_config.json").unlink()
    error = refusal(pair)
    assert error.message.startswith("repetition_penalty 1.3: ")
    assert error.file == str(pair / "target/config.json")


@pytest.mark.parametrize("text", ["{", "[]", "version https://git-lfs.github.com/spec/v1\n"])
def test_a_damaged_file_is_not_passed_over(pair: Path, text: str) -> None:
    (pair / "target/generation_config.json").write_text(text)
    error = refusal(pair)
    assert error.key == "models.target.weights"
    assert error.file == str(pair / "target/generation_config.json")


@pytest.mark.parametrize(
    ("settings", "greedy", "sampled"),
    [
        ({}, [], []),
        ({"max_new_tokens": 8, "max_length": 20, "do_sample": True, "temperature": 0.6}, [], []),
        ({"num_beams": 4}, ["num_beams"], ["num_beams"]),
        ({"no_repeat_ngram_size": 3}, ["no_repeat_ngram_size"], ["no_repeat_ngram_size"]),
        ({"suppress_tokens": [4], "min_p": 0.1}, ["suppress_tokens"], ["min_p", "suppress_tokens"]),
        ({"min_new_tokens": 5}, ["min_new_tokens"], ["min_new_tokens"]),
        ({"stop_strings": ["end"]}, ["stop_strings"], ["stop_strings"]),
        ({"repetition_penalty": 1, "top_k": 0, "typical_p": 1.0, "num_beams": 1}, [], []),
    ],
)
def test_which_settings_choose_other_tokens(settings: Any, greedy: list[str], sampled: list[str]) -> None:
    made = GenerationConfig(**settings)
    assert list(not_applied(made, sampled=False)) == greedy
    assert list(not_applied(made, sampled=True)) == sampled


# Settings of transformers' GenerationConfig that choose no token: lengths and temperatures (the scenario has
# its own), searches, caches, assistants, outputs, special tokens, and what concerns no causal model.
HARMLESS = {
    "assistant_confidence_threshold", "assistant_early_exit", "assistant_ensemble_weight",
    "assistant_lookbehind", "bos_token_id", "cache_config", "cache_implementation", "compile_config",
    "continuous_batching_config", "decoder_start_token_id", "disable_compile", "do_sample", "early_stopping",
    "eos_token_id", "is_assistant", "length_penalty", "low_memory", "max_cache_len", "max_length",
    "max_matching_ngram_size", "max_new_tokens", "max_time", "num_assistant_tokens",
    "num_assistant_tokens_schedule", "num_return_sequences", "output_attentions", "output_hidden_states",
    "output_logits", "output_scores", "pad_token_id", "prefill_chunk_size", "prompt_lookup_num_tokens",
    "remove_invalid_values", "renormalize_logits", "return_dict_in_generate", "speculation_type",
    "target_lookbehind", "temperature", "top_p", "transformers_version", "use_cache", "use_mtp",
}  # fmt: skip


def test_every_setting_of_transformers_is_judged() -> None:
    """A new one is looked at before it is passed over."""
    known = HARMLESS | NEUTRAL.keys() | NEUTRAL_SAMPLED.keys()
    there = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    assert there - known == set()
