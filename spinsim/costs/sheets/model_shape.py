"""What decides a decoder-only transformer's time and memory, and what it adds up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from spinsim.costs.sheets.quantization import WEIGHT_BYTES
from spinsim.errors import InputError

DTYPE_BYTES: Mapping[str, int] = MappingProxyType({"bf16": 2, "fp16": 2, "fp32": 4})


def dtype_bytes(dtype: str) -> int:
    """Bytes of one value. Raises InputError for an unknown dtype."""
    try:
        return DTYPE_BYTES[dtype]
    except KeyError:
        raise InputError(f"unknown dtype {dtype!r}; allowed: {', '.join(DTYPE_BYTES)}") from None


@dataclass(frozen=True, slots=True)
class Experts:
    """The mixture of experts that replaces the MLP in ``layers`` of the layers.

    ``count`` experts of width ``intermediate``, of which ``active`` serve a token; ``shared`` is the width
    of the experts that serve every token, all together. ``bias``: the experts have biases.
    ``router_extra``: weights of a router beside its matrix.
    """

    count: int
    active: int
    layers: int
    intermediate: int
    shared: int = 0
    bias: bool = False
    router_extra: int = 0


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): the cache holds one latent a token.

    ``query_rank`` 0: queries are projected in one step. ``nope`` and ``rope``: a head's query and key
    widths without and with a rotary position; ``value``: a head's value width.
    """

    query_rank: int
    kv_rank: int
    nope: int
    rope: int
    value: int


@dataclass(frozen=True, slots=True)
class Window:
    """Attention over the last ``tokens`` tokens alone, in ``layers`` of the layers."""

    tokens: int
    layers: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder. By default LLaMA-like: grouped-query attention, a gated MLP, RMSNorm before each.

    ``ours`` marks a shape whose published description leaves widths open, filled in by this
    project; ``source`` says where the numbers come from.

    ``context``: tokens that the model was made for; None where that is not known or has no limit.
    ``qk_norm``: queries and keys of each head have a norm. ``norm_vectors`` of a hidden-state norm: 1 for a
    scale (RMSNorm), 2 with a shift (LayerNorm), 0 without weights; ``layer_norms`` of them in a layer.
    ``layer_extra``: small weights of a layer that nothing else names (attention sinks, norms over all heads
    at once); ``extra``: those outside the layers, such as learned positions. ``parallel``: attention and
    MLP read the same state, and their results are added together. ``quantization``: how the weights are
    stored, where that is not the dtype.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    source: str
    ours: bool = False
    qkv_bias: bool = False
    qk_norm: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    gated: bool = True
    parallel: bool = False
    norm_vectors: int = 1
    layer_norms: int = 2
    final_norm: bool = True
    layer_extra: int = 0
    extra: int = 0
    context: int | None = None
    experts: Experts | None = None
    latent: LatentAttention | None = None
    window: Window | None = None
    quantization: str = ""

    @property
    def attention_width(self) -> int:
        """Width of the queries of all heads."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of the keys (or of the values) of all K/V heads."""
        return self.kv_heads * self.head_dim

    @property
    def mlp_inputs(self) -> int:
        """Matrices from the hidden state into the MLP: gate and up, or up alone."""
        return 2 if self.gated else 1

    def bias_parameters(self) -> int:
        """Biases of one dense layer."""
        q, kv = self.attention_width, self.kv_width
        biases = q + 2 * kv if self.qkv_bias else 0
        biases += self.hidden if self.output_bias else 0
        return biases + (self.mlp_inputs * self.intermediate + self.hidden if self.mlp_bias else 0)

    def layer_parameters(self) -> int:
        """Weights of one dense layer, norms and biases included."""
        mlp = (self.mlp_inputs + 1) * self.hidden * self.intermediate
        vectors = self.layer_norms * self.norm_vectors * self.hidden + self.layer_extra
        vectors += 2 * self.head_dim if self.qk_norm else 0
        return self._attention_matrices() + mlp + vectors + self.bias_parameters()

    def _attention_matrices(self) -> int:
        if self.latent is None:
            return self.hidden * (2 * self.attention_width + 2 * self.kv_width)
        latent, hidden, heads = self.latent, self.hidden, self.heads
        wide = heads * (latent.nope + latent.rope)
        rank = latent.query_rank
        query = hidden * rank + rank + rank * wide if rank else hidden * wide
        key_value = hidden * (latent.kv_rank + latent.rope) + latent.kv_rank
        key_value += latent.kv_rank * heads * (latent.nope + latent.value)
        return query + key_value + heads * latent.value * hidden

    def _expert(self, experts: Experts) -> int:
        """Weights of one routed expert."""
        biases = self.mlp_inputs * experts.intermediate + self.hidden if experts.bias else 0
        return (self.mlp_inputs + 1) * self.hidden * experts.intermediate + biases

    def parameters(self) -> int:
        """All weights; a tied embedding counts once."""
        embeddings = self.vocab * self.hidden * (1 if self.tied else 2)
        embeddings += self.vocab if self.head_bias else 0
        norm = self.norm_vectors * self.hidden if self.final_norm else 0
        total = self.layers * self.layer_parameters() + norm + embeddings + self.extra
        if self.experts is None:
            return total
        experts = self.experts
        dense = (self.mlp_inputs + 1) * self.hidden * self.intermediate
        dense += self.mlp_inputs * self.intermediate + self.hidden if self.mlp_bias else 0
        mixture = experts.count * self._expert(experts) + self.hidden * experts.count + experts.router_extra
        mixture += (self.mlp_inputs + 1) * self.hidden * experts.shared
        if experts.shared and self.mlp_bias:
            mixture += self.mlp_inputs * experts.shared + self.hidden
        return total + experts.layers * (mixture - dense)

    def active_parameters(self) -> int:
        """Weights that serve one token: all but the routed experts that it is not sent to."""
        if self.experts is None:
            return self.parameters()
        experts = self.experts
        return self.parameters() - experts.layers * (experts.count - experts.active) * self._expert(experts)

    def quantized_parameters(self) -> int:
        """Weights of the layers' matrices, experts included: what a quantized checkpoint makes small."""
        mlp = (self.mlp_inputs + 1) * self.hidden * self.intermediate
        total = self.layers * (self._attention_matrices() + mlp)
        if self.experts is None:
            return total
        experts, wide = self.experts, (self.mlp_inputs + 1) * self.hidden
        routed = experts.count * wide * experts.intermediate + wide * experts.shared
        return total + experts.layers * (routed - mlp)

    def weight_bytes(self, dtype: str, quantization: str = "") -> int:
        """Bytes that the weights occupy; ``quantization``: "fp8" or "int4", else the shape's own."""
        size, method = dtype_bytes(dtype), quantization or self.quantization
        if method not in WEIGHT_BYTES:
            return self.parameters() * size
        small = self.quantized_parameters()
        return (self.parameters() - small) * size + round(small * WEIGHT_BYTES[method])

    def kv_bytes_per_token(self, dtype: str) -> int:
        """Bytes of K and V of one token over all layers, windows not considered; of the latent, with one."""
        return self.layers * self.kv_values * (1 if dtype == "fp8" else dtype_bytes(dtype))

    @property
    def kv_values(self) -> int:
        """Numbers that one token leaves in the cache of one layer."""
        return 2 * self.kv_width if self.latent is None else self.latent.kv_rank + self.latent.rope

    def without_cost_model(self) -> str:
        """Why passes of this model cannot be priced from sheets, as a clause; "" if they can."""
        if self.quantization and self.quantization not in WEIGHT_BYTES:
            known = " and ".join(WEIGHT_BYTES)
            return f"is quantized ({self.quantization}), and only weights in {known} have a cost model"
        return ""

    def never_compared(self, context_tokens: int | None = None, quantization: str = "") -> tuple[str, ...]:
        """What of this model is priced by a law that no measurement of ours was ever held against.

        A window as long as ``context_tokens`` changes nothing.
        """
        found, window = [], self.window
        if self.experts is not None:
            found.append(f"a mixture of {self.experts.count} experts")
        if self.latent is not None:
            found.append("latent attention")
        if window is not None and (context_tokens is None or window.tokens < context_tokens):
            found.append(f"a sliding window of {window.tokens} tokens")
        if method := quantization or self.quantization:
            found.append(f"{method} weights")
        return tuple(found)

    def beyond_llama(self) -> str:
        """What a LLaMA's modules do not have, as a noun; "" for the shape of a LLaMA."""
        oddities = {
            "query and key norms": self.qk_norm,
            "biases on queries, keys and values": self.qkv_bias,
            "biases": self.output_bias or self.mlp_bias or self.head_bias,
            "an MLP without a gate": not self.gated,
            "parallel attention": self.parallel,
            "norms other than a LLaMA's": (self.norm_vectors, self.layer_norms, self.final_norm)
            != (1, 2, True),
            "weights other than a LLaMA's": bool(self.extra or self.layer_extra),
            "a mixture of experts": self.experts is not None,
            "latent attention": self.latent is not None,
            "a sliding window": self.window is not None,
            "quantized weights": bool(self.quantization),
        }
        return next((what for what, there in oddities.items() if there), "")
