"""A decoder for the LLaMA family with fused weights and few kernels: LLaMA, Mistral, Qwen2, Qwen3.

The same function as transformers' modules, which stay the general path; here Q, K and V are one
matrix product, gate and up another, and what lies between is fused (:mod:`triton_layers`). With
CUDA graphs a small draft's step is then bound by memory, not by launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F

from spinsim.runner.attention.over_slots import attend
from spinsim.runner.batch import AttentionBatch
from spinsim.runner.decoder import WholeHead, mask_unused
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
    gate, up, down = _mlp(layer)
    norms = (attention.q_norm.weight, attention.k_norm.weight) if hasattr(attention, "q_norm") else None
    return Layer(
        input_norm=layer.input_layernorm.weight.data,
        qkv=_one_below_the_other([p.weight for p in projections]),
        qkv_bias=None if projections[0].bias is None else _one_below_the_other([p.bias for p in projections]),
        head_norms=norms,
        out=attention.o_proj.weight.data,
        output_norm=layer.post_attention_layernorm.weight.data,
        gate_up=_one_below_the_other([gate.weight, up.weight]),
        down=down.weight.data,
    )


def _one_below_the_other(parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    """One tensor of all rows. The parameters become its parts: or a model would be in memory twice."""
    whole = torch.cat([parameter.data for parameter in parameters])
    ends = list(accumulate((len(parameter) for parameter in parameters), initial=0))
    for parameter, (begin, end) in zip(parameters, pairwise(ends), strict=True):
        parameter.data = whole[begin:end]
    return whole


@dataclass(slots=True)
class LeanWeights:
    """What a lean decoder computes with, on its device: a whole model, or a device's share of one.

    ``heads`` query heads are here, and ``head`` has the rows of the vocabulary that are. ``rotary``: cosines
    and sines, float32 ``[positions, head_dim / 2]``. ``used``: rows of ``head`` that may be emitted.
    """

    embedding: torch.Tensor
    layers: list[Layer]
    norm: torch.Tensor
    head: torch.Tensor
    rotary: tuple[torch.Tensor, torch.Tensor]
    heads: int
    scale: float
    epsilon: float
    used: int


def lean_weights(model: LoadedModel, context_tokens: int) -> LeanWeights:
    """Those of a whole model in memory, which its module shares from now on: no weight is held twice.

    Beside the model, one layer's fused matrices are in memory at a time.
    """
    inner = model.module.model
    return LeanWeights(
        embedding=inner.embed_tokens.weight.data,
        layers=[_fuse(layer) for layer in inner.layers],
        norm=inner.norm.weight.data,
        head=model.module.lm_head.weight.data,
        rotary=rotary_tables(inner.rotary_emb, context_tokens, model.head_dim, model.module.device),
        heads=model.heads,
        scale=float(inner.layers[0].self_attn.scaling),
        epsilon=float(model.config.rms_norm_eps),
        used=model.used_vocabulary,
    )


def rotary_tables(
    embedding: Any, positions: int, head_dim: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines ``[positions, head_dim / 2]`` of a transformers rotary embedding on ``device``."""
    half = head_dim // 2
    # float32 in: the tables keep full precision, whatever the model's own dtype
    at = torch.arange(positions, device=device)[None]
    cosines, sines = embedding(torch.zeros(1, device=device), at)
    return cosines[0, :, :half].contiguous(), sines[0, :, :half].contiguous()


class LeanDecoder(WholeHead):
    """Implements :class:`decoder.Decoder`. ``context_tokens`` bounds the positions it will see.

    It shares its weights with the transformers module, which can still run by itself.
    """

    def __init__(self, model: LoadedModel, context_tokens: int) -> None:
        if not is_lean(model):
            raise ValueError(f"{model.name} is not of the LLaMA family; use TransformersDecoder")
        self.take(lean_weights(model, context_tokens))

    @classmethod
    def over(cls, weights: LeanWeights) -> LeanDecoder:
        """Of weights that are not a transformers module's."""
        decoder = cls.__new__(cls)
        decoder.take(weights)
        return decoder

    def take(self, weights: LeanWeights) -> None:
        """Compute with these."""
        self.weights = weights
        self.device = weights.embedding.device
        self.states: torch.Tensor | None = None  # of every place of the cache, for heads on this model
        self.ops: Any = in_torch
        if self.device.type == "cuda":
            from spinsim.runner.layers import in_triton

            self.ops = in_triton

    @property
    def vocabulary(self) -> int:
        """See :class:`decoder.Decoder`."""
        return self.weights.head.shape[0]

    @property
    def heads(self) -> int:
        """See :class:`decoder.Decoder`."""
        return self.weights.heads

    @property
    def scale(self) -> float:
        """See :class:`decoder.Decoder`."""
        return self.weights.scale

    def __call__(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        batch: AttentionBatch,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        ops, weights = self.ops, self.weights
        layers, epsilon = weights.layers, weights.epsilon
        residual = self.embed(tokens)
        x = ops.add_rms_norm(None, residual, layers[0].input_norm, epsilon)
        for index, layer in enumerate(layers):
            keys, values = batch.cache.layer(index)
            qkv = F.linear(x, layer.qkv, layer.qkv_bias)
            query = ops.rotate_and_store(
                qkv,
                weights.rotary,
                positions,
                batch.write,
                layer.head_norms,
                epsilon,
                keys,
                values,
                weights.heads,
            )
            mixed = attend(query, batch, index, weights.scale).flatten(1)
            x = self.add(mixed, layer.out, residual, layer.output_norm, turn=0)
            inner = ops.silu_times(F.linear(x, layer.gate_up))
            following = weights.norm if index + 1 == len(layers) else layers[index + 1].input_norm
            x = self.add(inner, layer.down, residual, following, turn=1)
        self.leave(x, batch)
        if chosen is not None:
            if not chosen.numel():
                nothing: torch.Tensor = x.new_empty(0, weights.head.shape[0])
                return nothing
            x = x[chosen]
        return mask_unused(F.linear(x, weights.head), weights.used)

    # What heads, and decoders over several devices, do otherwise.

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """The embeddings ``[T, hidden]`` of token ids."""
        return F.embedding(tokens, self.weights.embedding)

    def add(
        self, x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor, norm: torch.Tensor, turn: int
    ) -> torch.Tensor:
        """``residual`` gains ``x`` ``[T, width]`` times ``weight``; returns its RMS norm, ``[T, hidden]``.

        ``turn`` 0 after a layer's attention, 1 after its MLP.
        """
        return self.ops.add_rms_norm(F.linear(x, weight), residual, norm, self.weights.epsilon)  # type: ignore[no-any-return]

    def leave(self, x: torch.Tensor, batch: AttentionBatch) -> None:
        """What the last layer says of every token, ``[T, hidden]``: kept where somebody drafts from it."""
        if self.states is not None:
            self.states.index_copy_(0, batch.write, x)
