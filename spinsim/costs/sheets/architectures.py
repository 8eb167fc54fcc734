"""The architectures that are understood, as data: what each config.json's keys mean.

To add one, add an entry to ``ARCHITECTURES``, then run ``python docs/make/config_defaults.py`` (the format's
defaults) and add a public model of it to ``docs/make/public_architectures.json``, whose counts
``docs/make/architecture_table.py`` compares with transformers' modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from spinsim.costs.sheets.architecture import Architecture, ExpertKeys, WindowKeys

_BIASED = "attention_bias"
_LLAMA = Architecture(qkv_bias=_BIASED, output_bias=_BIASED, mlp_bias="mlp_bias")
_WHOLE_WINDOW = WindowKeys(layer_types=False)
_QWEN_WINDOW = WindowKeys(switch="use_sliding_window", first="max_window_layers")
_QWEN2_VL = Architecture(qkv_bias=True, windows=_QWEN_WINDOW, also=("head_dim", "tie_word_embeddings"))
_GPT2_NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd",),
    "num_hidden_layers": ("n_layer",),
    "num_attention_heads": ("n_head",),
    "intermediate_size": ("n_inner",),
    "max_position_embeddings": ("n_positions",),
}
_QWEN2_MOE = ExpertKeys(
    "num_experts",
    shared_width="shared_expert_intermediate_size",
    every="decoder_sparse_step",
    dense="mlp_only_layers",
    shared_gate=True,
)
_DEEPSEEK_EXPERTS = ExpertKeys("n_routed_experts", shared="n_shared_experts", first="first_k_dense_replace")
_DEEPSEEK = Architecture(
    latent=True,
    experts=_DEEPSEEK_EXPERTS,
    only={"moe_layer_freq": 1},
)
_GEMMA = Architecture(qkv_bias=_BIASED, output_bias=_BIASED)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        # LLaMA and its like
        "llama": _LLAMA,
        "mistral": Architecture(windows=_WHOLE_WINDOW),
        "ministral": Architecture(windows=WindowKeys()),
        "granite": _LLAMA,
        "seed_oss": Architecture(qkv_bias=_BIASED, output_bias="attention_out_bias", mlp_bias="mlp_bias"),
        "helium": Architecture(qkv_bias=_BIASED, mlp_bias="mlp_bias"),
        "ernie4_5": Architecture(qkv_bias="use_bias", output_bias="use_bias", mlp_bias="use_bias"),
        "smollm3": Architecture(
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            mlp_bias="mlp_bias",
            windows=WindowKeys(switch="use_sliding_window"),
            only={"use_sliding_window": False},
            ignored=("max_window_layers",),
        ),
        "qwen2": Architecture(qkv_bias=True, windows=_QWEN_WINDOW),
        "qwen3": Architecture(qkv_bias=_BIASED, output_bias=_BIASED, qk_norm=True, windows=_QWEN_WINDOW),
        "qwen3_vl_text": Architecture(
            qkv_bias=_BIASED, output_bias=_BIASED, qk_norm=True, also=("head_dim", "tie_word_embeddings")
        ),
        "qwen2_vl_text": _QWEN2_VL,
        "qwen2_5_vl_text": _QWEN2_VL,
        "hunyuan_v1_dense": Architecture(qkv_bias=_BIASED, output_bias=_BIASED, qk_norm=True),
        "phi3": Architecture(windows=_WHOLE_WINDOW),
        "glm": Architecture(qkv_bias=_BIASED),
        "glm4": Architecture(qkv_bias=_BIASED, layer_norms=4),
        "exaone4": Architecture(
            qk_norm=True, windows=WindowKeys(pattern=4, pattern_key="sliding_window_pattern")
        ),
        "arcee": Architecture(gated=False, qkv_bias=_BIASED, output_bias=_BIASED, mlp_bias="mlp_bias"),
        "apertus": Architecture(
            gated=False,
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            qk_norm=True,
            layer_scalars=2,
            only={"post_norm": False, "qk_norm": True},
        ),
        "nemotron": Architecture(
            gated=False, norm="layer", qkv_bias=_BIASED, output_bias=_BIASED, mlp_bias="mlp_bias"
        ),
        # Gemma
        "gemma": _GEMMA,
        "gemma2": Architecture(
            qkv_bias=_BIASED, output_bias=_BIASED, layer_norms=4, windows=WindowKeys(pattern=2)
        ),
        "gemma3_text": Architecture(
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            layer_norms=4,
            qk_norm=True,
            windows=WindowKeys(pattern=6, pattern_key="sliding_window_pattern"),
            names={"sliding_window_pattern": ("sliding_window_pattern", "_sliding_window_pattern")},
            also=("sliding_window_pattern",),
        ),
        # OLMo
        "olmo": Architecture(norm="none", qkv_bias=_BIASED, output_bias=_BIASED),
        "olmo2": Architecture(qkv_bias=_BIASED, output_bias=_BIASED, qk_norm=True, qk_norm_over="all"),
        "olmo3": Architecture(
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            qk_norm=True,
            qk_norm_over="all",
            windows=WindowKeys(pattern=4),
        ),
        # LayerNorm, parallel attention, MLPs without a gate
        "cohere": Architecture(
            norm="scale",
            layer_norms=1,
            parallel=True,
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            qk_norm="use_qk_norm",
            qk_norm_over="all",
        ),
        "cohere2": Architecture(
            norm="scale",
            layer_norms=1,
            parallel=True,
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            windows=WindowKeys(pattern=4, pattern_key="sliding_window_pattern"),
            also=("head_dim", "sliding_window_pattern"),
            ignored=("order_of_interleaved_layers", "use_parallel_embedding"),
            only={
                "use_gated_activation": True,
                "use_parallel_block": True,
                "use_embedding_sharing": True,
                "layer_switch": 4,
            },
        ),
        "stablelm": Architecture(
            norm="layer",
            qkv_bias="use_qkv_bias",
            parallel="use_parallel_residual",
            parallel_norms=1,
            qk_norm="qk_layernorm",
            qk_norm_over="all",
        ),
        "starcoder2": Architecture(
            gated=False,
            norm="layer",
            qkv_bias="use_bias",
            output_bias="use_bias",
            mlp_bias="use_bias",
            windows=_WHOLE_WINDOW,
            only={"mlp_type": "default"},
        ),
        "phi": Architecture(
            gated=False,
            norm="layer",
            layer_norms=1,
            parallel=True,
            qkv_bias=True,
            output_bias=True,
            mlp_bias=True,
            head_bias=True,
            qk_norm="qk_layernorm",
            qk_norm_vectors=2,
        ),
        "gpt_neox": Architecture(
            gated=False,
            norm="layer",
            parallel="use_parallel_residual",
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            mlp_bias=True,
        ),
        "persimmon": Architecture(
            gated=False,
            norm="layer",
            qkv_bias=True,
            output_bias=True,
            mlp_bias=True,
            qk_norm="qk_layernorm",
            qk_norm_vectors=2,
            also=(),
        ),
        "falcon": Architecture(
            names={"num_key_value_heads": ("num_kv_heads",), "intermediate_size": ("ffn_hidden_size",)},
            gated=False,
            norm="layer",
            parallel="parallel_attn",
            parallel_norms=1,
            qkv_bias="bias",
            output_bias="bias",
            mlp_bias="bias",
            mlp_ratio=4,
            one_kv_head="multi_query",
            new_decoder="new_decoder_architecture",
            also=(),
        ),
        "bloom": Architecture(
            names={
                "num_hidden_layers": ("n_layer", "num_hidden_layers"),
                "num_attention_heads": ("n_head", "num_attention_heads"),
                "hidden_size": ("hidden_size", "n_embed"),
            },
            gated=False,
            norm="layer",
            embedding_norm=True,
            qkv_bias=True,
            output_bias=True,
            mlp_bias=True,
            mlp_ratio=4,
            also=(),
            only={"n_inner": None},
        ),
        "mpt": Architecture(
            names={
                "hidden_size": ("d_model",),
                "num_hidden_layers": ("n_layers",),
                "num_attention_heads": ("n_heads",),
                "max_position_embeddings": ("max_seq_len",),
            },
            gated=False,
            norm="scale",
            mlp_ratio=4,
            also=(),
            only={"no_bias": True, "expansion_ratio": 4},
        ),
        # learned positions
        "gpt2": Architecture(
            names=_GPT2_NAMES,
            gated=False,
            norm="layer",
            qkv_bias=True,
            output_bias=True,
            mlp_bias=True,
            mlp_ratio=4,
            position_rows=0,
            also=(),
        ),
        "gpt_bigcode": Architecture(
            names=_GPT2_NAMES,
            gated=False,
            norm="layer",
            qkv_bias=True,
            output_bias=True,
            mlp_bias=True,
            mlp_ratio=4,
            position_rows=0,
            one_kv_head="multi_query",
            also=(),
        ),
        "gptj": Architecture(
            names=_GPT2_NAMES,
            gated=False,
            norm="layer",
            layer_norms=1,
            parallel=True,
            mlp_bias=True,
            head_bias=True,
            mlp_ratio=4,
            also=(),
        ),
        "opt": Architecture(
            names={"intermediate_size": ("ffn_dim",)},
            gated=False,
            norm="layer",
            qkv_bias="enable_bias",
            output_bias="enable_bias",
            mlp_bias="enable_bias",
            position_rows=2,
            also=(),
            only={"do_layer_norm_before": True, "layer_norm_elementwise_affine": True},
            same={"word_embed_proj_dim": "hidden_size"},
        ),
        # mixtures of experts
        "mixtral": Architecture(
            experts=ExpertKeys("num_local_experts", width="intermediate_size"), windows=_WHOLE_WINDOW
        ),
        "phimoe": Architecture(
            norm="layer",
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            head_bias="lm_head_bias",
            experts=ExpertKeys("num_local_experts", width="intermediate_size"),
            windows=_WHOLE_WINDOW,
        ),
        "granitemoe": Architecture(
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            experts=ExpertKeys("num_local_experts", width="intermediate_size"),
        ),
        "olmoe": Architecture(
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            qk_norm=True,
            qk_norm_over="all",
            experts=ExpertKeys("num_experts", width="intermediate_size"),
        ),
        "qwen2_moe": Architecture(qkv_bias="qkv_bias", experts=_QWEN2_MOE, windows=_QWEN_WINDOW),
        "qwen3_moe": Architecture(
            names={"num_experts": ("num_experts", "num_local_experts")},
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            qk_norm=True,
            experts=ExpertKeys("num_experts", every="decoder_sparse_step", dense="mlp_only_layers"),
            windows=WindowKeys(switch="use_sliding_window", layer_types=False),
            also=("head_dim", "max_window_layers"),
        ),
        "qwen3_vl_moe_text": Architecture(
            names={"num_experts": ("num_experts", "num_local_experts")},
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            qk_norm=True,
            experts=ExpertKeys("num_experts", every="decoder_sparse_step", dense="mlp_only_layers"),
            also=("head_dim", "tie_word_embeddings"),
        ),
        "glm4_moe": Architecture(
            qkv_bias=_BIASED, qk_norm="use_qk_norm", experts=_DEEPSEEK_EXPERTS, only={"moe_layer_freq": 1}
        ),
        "dots1": Architecture(
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            qk_norm=True,
            experts=_DEEPSEEK_EXPERTS,
            windows=WindowKeys(first="max_window_layers"),
            only={"moe_layer_freq": 1},
        ),
        "deepseek_v2": _DEEPSEEK,
        "deepseek_v3": _DEEPSEEK,
        "minicpm3": Architecture(latent=True),
        "ernie4_5_moe": Architecture(
            qkv_bias="use_bias",
            output_bias="use_bias",
            mlp_bias="use_bias",
            experts=ExpertKeys(
                "moe_num_experts",
                active="moe_k",
                shared="moe_num_shared_experts",
                first="moe_layer_start_index",
                last="moe_layer_end_index",
                every="moe_layer_interval",
                router_vectors=1,
            ),
            only={"use_bias": False},
        ),
        "gpt_oss": Architecture(
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            sinks=True,
            experts=ExpertKeys("num_local_experts", width="intermediate_size", bias=True, router_vectors=1),
            windows=WindowKeys(pattern=2),
            names={"num_experts_per_tok": ("num_experts_per_tok", "experts_per_token")},
        ),
        "llama4_text": Architecture(
            qkv_bias=_BIASED,
            output_bias=_BIASED,
            experts=ExpertKeys(
                "num_local_experts",
                width="intermediate_size",
                every="interleave_moe_layer_step",
                dense_width="intermediate_size_mlp",
                always_shared=True,
            ),
            ignored=("use_qk_norm",),
            windows=WindowKeys(size="attention_chunk_size", pattern=4, pattern_key="no_rope_layer_interval"),
        ),
    }
)
