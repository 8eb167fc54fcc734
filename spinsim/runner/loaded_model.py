"""A model in memory, and the figures of its architecture that a runner asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A causal language model whose attention goes through our slot cache.

    ``config`` is the checkpoint's own. A draft's ``module`` may have the target's number of rows instead.
    ``devices`` hold it together, each a share; the module of one that is divided has no weights in it.
    """

    module: Any  # a transformers PreTrainedModel
    config: Any
    name: str
    source: str = ""  # the folder or hub repository of its tokenizer and settings; "" for weights without any
    devices: int = 1

    @property
    def layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def heads(self) -> int:
        return int(self.config.num_attention_heads)

    @property
    def kv_heads(self) -> int:
        return int(getattr(self.config, "num_key_value_heads", None) or self.heads)

    @property
    def held_kv_heads(self) -> int:
        """K/V heads on each of its devices."""
        return max(1, self.kv_heads // self.devices)

    @property
    def head_dim(self) -> int:
        return int(getattr(self.config, "head_dim", None) or self.config.hidden_size // self.heads)

    @property
    def state_width(self) -> int:
        """Numbers beside K and V that are kept of every token; 0 but for heads."""
        return 0

    @property
    def vocabulary(self) -> int:
        """Rows of the output head."""
        return int(self.module.config.vocab_size)

    @property
    def used_vocabulary(self) -> int:
        """Tokens the model may emit: the config key ``used_vocab_size``, else all that the checkpoint has."""
        own = int(getattr(self.config, "used_vocab_size", None) or self.config.vocab_size)
        return min(own, self.vocabulary)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())

    @property
    def weight_bytes(self) -> int:
        """Of all its devices together."""
        return sum(p.numel() * p.element_size() for p in self.module.parameters())

    @property
    def held_bytes(self) -> int:
        """Of weights on each of its devices, about: a little is on all of them."""
        return -(-self.weight_bytes // self.devices)
