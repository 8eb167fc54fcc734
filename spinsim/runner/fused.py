"""A decoder for the LLaMA family with fused weights and few kernels: LLaMA, Mistral, Qwen2, Qwen3.

The same function as transformers' modules, which stay the general path; here Q, K and V are one
matrix product, gate and up another, and what lies between is fused (:mod:`triton_layers`). With
CUDA graphs a small draft's step is then bound by memory, not by launches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from spinsim.runner.attention.over_slots import attend
from spinsim.runner.batch import AttentionBatch
from spinsim.runner.decoder import mask_unused
from spinsim.runner.layers import in_torch
from spinsim.runner.loaded_model import LoadedModel

FAMILY = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(slots=True)
class Layer:
    """Fused weights of one layer; biases and norms of Q and K are None where there are none."""

    input_norm: torch.Tensor
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    head_norms: tuple[torch.Tensor, torch.Tensor] | None
    out: torch.Tensor
    output_norm: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


def is_lean(model: LoadedModel) -> bool:
    """Is this an architecture, with settings, that :class:`LeanDecoder` computes exactly?"""
    config = model.config
    layers = getattr(getattr(model.module, "model", None), "layers", None)
    if config.model_type not in FAMILY or not layers or getattr(config, "hidden_act", "silu") != "silu":
        return False
    biased = any(m.bias is not None for layer in layers for m in (layer.self_attn.o_proj, *_mlp(layer)))
    return not biased and model.head_dim % 2 == 0


def _mlp(layer: Any) -> tuple[Any, Any, Any]:
    return layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj


def _fuse(layer: Any) -> Layer:
    attention = layer.self_attn
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    biases = [p.bias for p in projections]
    gate, up, down = _mlp(layer)
    norms = (attention.q_norm.weight, attention.k_norm.weight) if hasattr(attention, "q_norm") else None
    return Layer(
        input_norm=layer.input_layernorm.weight.data,
        qkv=torch.cat([p.weight.data for p in projections]),
        qkv_bias=torch.cat([b.data for b in biases]) if biases[0] is not None else None,
        head_norms=norms,
        out=attention.o_proj.weight.data,
        output_norm=layer.post_attention_layernorm.weight.data,
        gate_up=torch.cat([gate.weight.data, up.weight.data]),
        down=down.weight.data,
    )


class LeanDecoder:
    """Implements :class:`decoder.Decoder`. ``context_tokens`` bounds the positions it will see.

    With ``consume`` the transformers module gives up its layers as they are fused, so that a
    large model is not held twice; it can then no longer run by itself.
    """

    def __init__(self, model: LoadedModel, context_tokens: int, *, consume: bool = False) -> None:
        if not is_lean(model):
            raise ValueError(f"{model.name} is not of the LLaMA family; use TransformersDecoder")
        inner = model.module.model
        self.device: torch.device = model.module.device
        self.heads = model.heads
        self.scale = float(inner.layers[0].self_attn.scaling)
        self.epsilon = float(model.config.rms_norm_eps)
        self.used = model.used_vocabulary
        self.embedding = inner.embed_tokens.weight.data
        self.norm = inner.norm.weight.data
        self.head = model.module.lm_head.weight.data
        self.layers: list[Layer] = []
        for index in range(len(inner.layers)):
            self.layers.append(_fuse(inner.layers[index]))
            if consume:
                inner.layers[index] = torch.nn.Identity()
        positions = torch.arange(context_tokens, device=self.device)
        half = model.head_dim // 2
        # float32 in: the tables keep full precision, whatever the model's own dtype
        cosines, sines = inner.rotary_emb(torch.zeros(1, device=self.device), positions[None])
        self.rotary = (cosines[0, :, :half].contiguous(), sines[0, :, :half].contiguous())
        self.states: torch.Tensor | None = None  # of every place of the cache, for heads on this model
        self.ops: Any = in_torch
        if self.device.type == "cuda":
            from spinsim.runner.layers import in_triton

            self.ops = in_triton

    def __call__(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        batch: AttentionBatch,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        ops = self.ops
        residual = self.embed(tokens)
        x = ops.add_rms_norm(None, residual, self.layers[0].input_norm, self.epsilon)
        for index, layer in enumerate(self.layers):
            keys, values = batch.cache.layer(index)
            qkv = F.linear(x, layer.qkv, layer.qkv_bias)
            query = ops.rotate_and_store(
                qkv,
                self.rotary,
                positions,
                batch.write,
                layer.head_norms,
                self.epsilon,
                keys,
                values,
                self.heads,
            )
            mixed = attend(query, batch, index, self.scale).flatten(1)
            x = ops.add_rms_norm(F.linear(mixed, layer.out), residual, layer.output_norm, self.epsilon)
            inner = ops.silu_times(F.linear(x, layer.gate_up))
            last = index + 1 == len(self.layers)
            weight = self.norm if last else self.layers[index + 1].input_norm
            x = ops.add_rms_norm(F.linear(inner, layer.down), residual, weight, self.epsilon)
        self.leave(x, batch)
        if chosen is not None:
            if not chosen.numel():
                nothing: torch.Tensor = x.new_empty(0, self.head.shape[0])
                return nothing
            x = x[chosen]
        return mask_unused(F.linear(x, self.head), self.used)

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """The embeddings ``[T, hidden]`` of token ids."""
        return F.embedding(tokens, self.embedding)

    def leave(self, x: torch.Tensor, batch: AttentionBatch) -> None:
        """What the last layer says of every token, ``[T, hidden]``: kept where somebody drafts from it."""
        if self.states is not None:
            self.states.index_copy_(0, batch.write, x)
