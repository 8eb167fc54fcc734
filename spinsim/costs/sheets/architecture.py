"""What an architecture may differ in, and which keys of its config.json say so.

A trait is either fixed by the architecture (a bool), or said by a key of its config.json (a string).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Trait = bool | str

# Our names are those of LLaMA's format, which most others share.
SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "tie_word_embeddings",
)

LATENT_KEYS = ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")


@dataclass(frozen=True, slots=True)
class ExpertKeys:
    """Keys of a mixture of experts; "" where the format has none.

    Layer i is a mixture if it is at least ``first``, at most ``last`` (unless negative), if ``every`` divides
    i + 1, and if ``dense`` does not list it. ``shared`` counts shared experts, each as wide as a routed one;
    ``shared_width`` is the width of one. ``router_vectors``: numbers a router has for each expert beside
    its matrix. ``dense_width``: the MLP's width in the other layers.
    """

    count: str
    active: str = "num_experts_per_tok"
    width: str = "moe_intermediate_size"
    shared: str = ""
    shared_width: str = ""
    first: str = ""
    last: str = ""
    every: str = ""
    dense: str = ""
    dense_width: str = "intermediate_size"
    bias: Trait = False
    always_shared: bool = False
    shared_gate: bool = False
    router_vectors: int = 0

    def key_names(self) -> tuple[str, ...]:
        """All keys that count here."""
        named = (
            *(self.count, self.active, self.width, self.shared, self.shared_width),
            *(self.first, self.last, self.every, self.dense, self.dense_width),
        )
        return tuple(key for key in named if key)


@dataclass(frozen=True, slots=True)
class WindowKeys:
    """Which layers attend within a window, where ``layer_types`` does not list them.

    ``size`` is the window's key; null means none. ``switch``: a key that turns windows off when false.
    ``pattern``: every such layer attends to everything (``pattern_key`` may replace the number); 0: all
    layers have the window. ``first``: key of the first layer with one.
    """

    size: str = "sliding_window"
    switch: str = ""
    pattern: int = 0
    pattern_key: str = ""
    first: str = ""
    layer_types: bool = True

    def key_names(self) -> tuple[str, ...]:
        """All keys that count here."""
        named = (self.size, self.switch, self.pattern_key, self.first)
        return tuple(key for key in named if key) + (("layer_types",) if self.layer_types else ())


@dataclass(frozen=True, slots=True)
class Architecture:
    """One ``model_type``. ``names``: the format's keys where they are not LLaMA's, the usual one first.

    ``norm``: "rms" has a scale, "layer" a scale and a shift, "scale" a LayerNorm without its shift, "none"
    no weights. ``layer_norms``: in a layer; ``parallel_norms``: instead, where attention and MLP are
    parallel.
    ``qk_norm_over``: the norms of queries and keys have the weights of one head's width, or of all heads'.
    ``mlp_ratio``: the MLP's width over the hidden width, where the format's key is null or not there.
    ``position_rows``: rows of a learned position table beyond the context; None without a table.
    ``one_kv_head``: all heads share one K/V head; ``new_decoder``: Falcon's key for grouped K/V heads and two
    norms. ``only``: keys of this type that are accepted with one value; ``same``: with the
    value of another key; ``ignored``: those without weights or cost in this type.
    ``also``: keys that the modules read although the format's class does not list them; null by default.
    """

    names: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    gated: bool = True
    qkv_bias: Trait = False
    output_bias: Trait = False
    mlp_bias: Trait = False
    head_bias: Trait = False
    parallel: Trait = False
    norm: Literal["rms", "layer", "scale", "none"] = "rms"
    layer_norms: int = 2
    parallel_norms: int = 0
    final_norm: Trait = True
    embedding_norm: bool = False
    qk_norm: Trait = False
    qk_norm_over: Literal["head", "all"] = "head"
    qk_norm_vectors: int = 1
    sinks: bool = False
    layer_scalars: int = 0
    mlp_ratio: int = 0
    position_rows: int | None = None
    one_kv_head: Trait = False
    new_decoder: str = ""
    experts: ExpertKeys | None = None
    latent: bool = False
    windows: WindowKeys | None = None
    same: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ignored: tuple[str, ...] = ()
    also: tuple[str, ...] = ("head_dim",)
    only: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def format_keys(self, name: str) -> tuple[str, ...]:
        """What the format calls ``name``."""
        return self.names.get(name, (name,))

    def key_names(self) -> tuple[str, ...]:
        """Our names of all keys that count."""
        traits: tuple[Trait, ...] = (
            self.qkv_bias,
            self.output_bias,
            self.mlp_bias,
            self.head_bias,
            self.parallel,
        )
        traits += (self.final_norm, self.qk_norm, self.one_kv_head, self.new_decoder)
        if self.experts is not None:
            traits += (self.experts.bias,)
        named = [trait for trait in traits if isinstance(trait, str) and trait]
        named += self.experts.key_names() if self.experts is not None else ()
        named += LATENT_KEYS if self.latent else ()
        named += self.windows.key_names() if self.windows is not None else ()
        return tuple(dict.fromkeys((*SIZES, *named, *self.also, *self.only)))
