"""Model types that are no architecture of ours: wrappers of one, and those refused with a reason."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Wrappers of a text model: its own config.json lies under text_config. The type of the text model is that
# of transformers' class where the file leaves it out.
WRAPPERS: Mapping[str, str] = MappingProxyType(
    {
        "gemma3": "gemma3_text",
        "llama4": "llama4_text",
        "mistral3": "mistral",
        "qwen2_vl": "qwen2_vl_text",
        "qwen2_5_vl": "qwen2_5_vl_text",
        "qwen3_vl": "qwen3_vl_text",
        "qwen3_vl_moe": "qwen3_vl_moe_text",
        "llava": "llama",
        "llava_next": "llama",
        "llava_onevision": "qwen2",
        "internvl": "qwen2",
        "paligemma": "gemma",
        "idefics3": "llama",
        "smolvlm": "llama",
    }
)

# Types that are known and not counted, with the reason.
_RECURRENT = "has recurrent or linear layers, which keep a state and no K/V"
_ENCODER = "is an encoder, which does not generate"
_BOTH = "is an encoder-decoder"
REFUSED: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "nemotron_h",
                "jamba",
                "bamba",
                "zamba",
                "zamba2",
                "falcon_h1",
                "granitemoehybrid",
                "qwen3_next",
            ),
            _RECURRENT,
        ),
        **dict.fromkeys(
            ("mamba", "mamba2", "falcon_mamba", "rwkv", "recurrent_gemma", "minimax", "lfm2"), _RECURRENT
        ),
        **dict.fromkeys(
            ("bert", "roberta", "distilbert", "electra", "deberta-v2", "modernbert", "albert"), _ENCODER
        ),
        **dict.fromkeys(("vit", "clip", "siglip", "wav2vec2"), _ENCODER),
        **dict.fromkeys(("t5", "mt5", "bart", "mbart", "pegasus", "marian", "whisper", "led"), _BOTH),
        "gemma3n_text": "shares K/V between layers and embeds per layer",
        "gemma3n": "shares K/V between layers and embeds per layer",
    }
)
