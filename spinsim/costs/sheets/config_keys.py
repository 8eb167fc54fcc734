"""Keys of a config.json that do not change time or memory of a forward pass, and are passed over.

What is neither here nor understood is refused: a key that nobody knows may change the cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_DESCRIPTION = """
init_config tokenizer_name output_past _name_or_path _attn_implementation _attn_implementation_autoset
_commit_hash _model_name_or_path architectures auto_map model_type transformers_version torch_dtype dtype
name_or_path custom_pipelines task_specific_params license use_bfloat16 torchscript return_dict
output_attentions output_hidden_states return_dict_in_generate tokenizer_class problem_type id2label
label2id num_labels
finetuning_task is_decoder classifier_dropout summary_type summary_use_proj summary_activation
summary_proj_to_labels summary_first_dropout init_device verbose seq_length model_max_length
max_sequence_length max_batch_size used_vocab_size inference_runner pad_key_length pre_allocate_kv_cache
validate_runner_input for_llm_compressor use_cache use_return_dict attn_implementation unsloth_version
unsloth_fixed language
"""
_TOKENS = """
bos_token_id eos_token_id pad_token_id unk_token_id sep_token_id cls_token_id mask_token_id
decoder_start_token_id forced_bos_token_id forced_eos_token_id eod_token_id im_start_id im_end_id bos_token
eos_token pad_token sep_token prefix
"""
_TRAINING = """
attention_dropout_prob moe_gate attention_dropout attention_probs_dropout_prob attn_pdrop resid_pdrop
embd_pdrop emb_pdrop hidden_dropout hidden_dropout_prob dropout activation_dropout layerdrop
residual_dropout embedding_dropout dropout_rate attn_dropout ffn_dropout output_dropout dropout_p
word_embed_dropout initializer_range initializer_factor init_std initialization_scale
rescale_prenorm_residual output_router_logits router_aux_loss_coef aux_loss_alpha router_jitter_noise
input_jitter_noise seq_aux router_z_loss_coef gradient_checkpointing label_smoothing pretraining_tp ep_size
bias_dropout_fusion moe_loss_type moe_aux_loss_coef
"""
_ARITHMETIC = """
compression_ratio hidden_act hidden_activation activation_function activation act_fn mlp_hidden_act
rms_norm_eps layer_norm_eps layer_norm_epsilon norm_epsilon norm_eps eps norm_type softmax_scale rope_theta
rope_scaling rope_parameters rope_type rope_local_base_freq rotary_pct rotary_emb_base rotary rotary_dim
rotary_scaling_factor initial_context_length partial_rotary_factor rope_interleave rope_interleaved
rope_is_neox_style rotary_embedding_base rope_ratio rope_percent no_rope_layers no_rope_layer_interval
original_max_position_embeddings alibi alibi_bias_max attn_config learned_pos_emb embedding_fraction
position_embedding_type n_ctx query_pre_attn_scalar attn_logit_softcapping final_logit_softcapping
use_bidirectional_attention use_bidirectional_attn cache_implementation attention_multiplier
embedding_multiplier logits_scaling residual_multiplier logit_scale scale_emb scale_depth dim_model_base
mup_attn_multiplier embedding_scale scale_attn_weights scale_attn_by_inverse_layer_idx
reorder_and_upcast_attn attention_softmax_in_fp32 scale_attention_softmax_in_fp32 slow_but_exact
apply_residual_connection_post_layernorm clip_qkv swiglu_alpha swiglu_limit attn_temperature_tuning
attn_scale floor_scale norm_topk_prob routed_scaling_factor scoring_func topk_method n_group topk_group
moe_norm_min router_scale moe_capacity moe_use_aux_free moe_gate_act masked_softmax_fusion offset_alibi
skip_bias_add skip_bias_add_qkv unk_token attention_probs_dropout num_nextn_predict_layers num_mtp_layers
"""
_SEARCH = """
max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k
top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size
bad_words_ids num_return_sequences output_scores remove_invalid_values suppress_tokens begin_suppress_tokens
exponential_decay_length_penalty
"""
_VISION = """
video_token_index vision_token_index image_size pad_token_id downsample_ratio scale_factor vision_config
image_token_index image_token_id video_token_id vision_start_token_id vision_end_token_id vision_token_id
boi_token_index eoi_token_index boi_token_id eoi_token_id mm_tokens_per_image vision_feature_layer
vision_feature_select_strategy multimodal_projector_bias projector_hidden_act spatial_merge_size
image_seq_length image_grid_pinpoints use_image_newline_parameter
"""

IGNORED = frozenset(
    f"{_DESCRIPTION} {_TOKENS} {_TRAINING} {_ARITHMETIC} {_SEARCH}".split()
)  # num_nextn_predict_layers: layers for multi-token prediction, which transformers does not load
WRAPPER_IGNORED = IGNORED | frozenset(_VISION.split())  # beside a text_config; images are not counted

# Keys that change the cost, and are accepted with one value (or null) only, where a format lacks them.
ONLY: Mapping[str, object] = MappingProxyType(
    {
        "is_encoder_decoder": False,
        "add_cross_attention": False,
        "cross_attention_hidden_size": None,
        "tie_encoder_decoder": False,
        "pruned_heads": {},
        "prefix_lm": False,
        "chunk_size_feed_forward": 0,
        "_remove_final_layer_norm": False,
        "attention_bias": False,
        "mlp_bias": False,
        "use_sliding_window": False,
        "num_ln_in_parallel_attn": None,
    }
)
HEADS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # architectures with a language head
