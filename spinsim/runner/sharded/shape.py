"""Who holds what of a decoder that is divided over several devices.

After Megatron-LM (arXiv 1909.08053): attention by heads, the MLP by its units, embedding and head by the
vocabulary. Projections into heads and units are divided by rows, those back by columns, and their results
summed over the devices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spinsim.errors import InputError
from spinsim.runner.fused import is_lean
from spinsim.runner.loaded_model import LoadedModel

WHOLE = slice(None)


@dataclass(frozen=True, slots=True)
class LeanShape:
    """Figures of a decoder of the LLaMA family. ``vocabulary``: rows of embedding and head.

    ``used``: tokens that it may emit.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    units: int
    vocabulary: int
    used: int
    epsilon: float
    scale: float

    @classmethod
    def of(cls, model: LoadedModel) -> LeanShape:
        """Of a model, in memory or in outline."""
        return cls(
            layers=model.layers,
            hidden=int(model.config.hidden_size),
            heads=model.heads,
            kv_heads=model.kv_heads,
            head_dim=model.head_dim,
            units=int(model.config.intermediate_size),
            vocabulary=model.vocabulary,
            used=model.used_vocabulary,
            epsilon=float(model.config.rms_norm_eps),
            scale=float(model.module.model.layers[0].self_attn.scaling),
        )


def require_divisible(model: LoadedModel, ranks: int, key: str = "placement.target") -> None:
    """Raises InputError for a model that cannot be divided over ``ranks`` devices."""
    if not is_lean(model):
        raise InputError(
            f"{model.name} ({model.config.model_type}) runs through transformers' own modules, which stay on "
            "one device; allowed over several: plain llama, mistral, qwen2 and qwen3",
            key=key,
        )
    heads, kv_heads = model.heads, model.kv_heads
    fitting = [n for n in range(1, heads + 1) if not heads % n and (not kv_heads % n or not n % kv_heads)]
    if ranks not in fitting:
        raise InputError(
            f"{heads} query and {kv_heads} K/V heads of {model.name} do not divide over {ranks} devices; "
            f"allowed: {', '.join(map(str, fitting))}",
            key=key,
        )


@dataclass(frozen=True, slots=True)
class Share:
    """What ``rank`` of ``ranks`` holds of a decoder of ``shape``.

    Heads divide evenly; K/V heads that are fewer than ranks are held by several. Units and vocabulary may
    leave a remainder: the first ranks have a unit more, and the last ranks fewer tokens.
    """

    rank: int
    ranks: int
    shape: LeanShape

    @property
    def heads(self) -> int:
        """Query heads here."""
        return self.shape.heads // self.ranks

    @property
    def kv_heads(self) -> int:
        """K/V heads here."""
        return max(1, self.shape.kv_heads // self.ranks)

    @property
    def queries(self) -> slice:
        """Rows of the query projection, columns of the output projection."""
        width = self.heads * self.shape.head_dim
        return slice(self.rank * width, (self.rank + 1) * width)

    @property
    def keys(self) -> slice:
        """Rows of the projections of K and of V."""
        first = self.rank * self.shape.kv_heads // self.ranks
        return slice(first * self.shape.head_dim, (first + self.kv_heads) * self.shape.head_dim)

    @property
    def units(self) -> slice:
        """Rows of the MLP's inner projections, columns of its output."""
        least, more = divmod(self.shape.units, self.ranks)
        begin = self.rank * least + min(self.rank, more)
        return slice(begin, begin + least + (self.rank < more))

    @property
    def tokens(self) -> int:
        """Rows of embedding and head here, counting those that lie beyond the vocabulary."""
        return -(-self.shape.vocabulary // self.ranks)

    @property
    def vocabulary(self) -> slice:
        """Rows of embedding and head."""
        begin, total = self.rank * self.tokens, self.shape.vocabulary
        return slice(min(begin, total), min(begin + self.tokens, total))

    @property
    def used(self) -> int:
        """Of the rows here, how many may be emitted."""
        return min(self.tokens, max(0, self.shape.used - self.rank * self.tokens))

    def part(self, name: str) -> tuple[slice, slice]:
        """(rows, columns) here of a weight, by its name within a layer or the model."""
        parts: Mapping[str, tuple[slice, slice]] = {
            "q_proj": (self.queries, WHOLE),
            "k_proj": (self.keys, WHOLE),
            "v_proj": (self.keys, WHOLE),
            "o_proj": (WHOLE, self.queries),
            "gate_proj": (self.units, WHOLE),
            "up_proj": (self.units, WHOLE),
            "down_proj": (WHOLE, self.units),
            "embed_tokens": (self.vocabulary, WHOLE),
            "lm_head": (self.vocabulary, WHOLE),
        }
        return parts.get(name.split(".")[-2], (WHOLE, WHOLE))


def cut(weight: Any, part: tuple[slice, slice]) -> Any:
    """The part of a tensor, or of a slice of a safetensors file; vectors have rows alone."""
    rows, columns = part
    return weight[rows] if len(_shape(weight)) == 1 else weight[rows, columns]


def _shape(weight: Any) -> Any:
    return weight.get_shape() if hasattr(weight, "get_shape") else weight.shape
