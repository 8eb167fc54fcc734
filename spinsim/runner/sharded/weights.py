"""A device's share of a decoder's weights, read or made without the whole model on any device."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from spinsim.runner.fused import Layer, LeanWeights
from spinsim.runner.sharded.shape import Share, cut

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


class Source(Protocol):
    """Where weights come from. It travels to every rank's process, and is asked there.

    Names are those of a transformers checkpoint. They are asked for in the order embedding, head, layers in
    turn, last norm.
    """

    def take(self, name: str, share: Share, dtype: torch.dtype, device: torch.device) -> torch.Tensor | None:
        """The part of a weight that a share holds, on its device; None where the model has none such."""
        ...


@dataclass(frozen=True)
class Files:
    """Safetensors: ``files`` by weight. Of each, only the part is read."""

    files: Mapping[str, Path]

    def take(self, name: str, share: Share, dtype: torch.dtype, device: torch.device) -> torch.Tensor | None:
        """See :class:`Source`."""
        from safetensors import safe_open

        if name not in self.files:
            return None
        with safe_open(self.files[name], framework="pt") as tensors:
            found: torch.Tensor = cut(tensors.get_slice(name), share.part(name))
        return found.to(device=device, dtype=dtype).contiguous()


@dataclass(frozen=True)
class Drawn:
    """Random weights: matrices normal with standard deviation ``spread``, norms 1, biases 0.

    Every rank draws each matrix whole, from ``seed`` and its name, and keeps its part. So the model is the
    same however many devices it is divided over, and one matrix is all that is whole at a time. ``shapes``:
    of every weight.
    """

    seed: int
    spread: float
    shapes: Mapping[str, tuple[int, ...]]

    def take(self, name: str, share: Share, dtype: torch.dtype, device: torch.device) -> torch.Tensor | None:
        """See :class:`Source`."""
        if name not in self.shapes:
            return None
        return cut(self.whole(name, dtype, device), share.part(name)).clone()  # type: ignore[no-any-return]

    def whole(self, name: str, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """A weight, undivided."""
        weight = torch.empty(self.shapes[name], dtype=dtype, device=device)
        if weight.ndim == 1:
            return weight.fill_(0.0 if name.endswith("bias") else 1.0)
        digest = hashlib.blake2b(f"{self.seed}/{name}".encode(), digest_size=7).digest()
        return weight.normal_(
            0.0, self.spread, generator=torch.Generator(device).manual_seed(int.from_bytes(digest, "big"))
        )


def read_share(
    source: Source,
    share: Share,
    rotary: tuple[torch.Tensor, torch.Tensor],
    dtype: torch.dtype,
    device: torch.device,
) -> LeanWeights:
    """The share's weights on its device. A tied head is the embedding itself.

    ``rotary``: cosines and sines by position. Raises ValueError for a tensor that ``source`` lacks.
    """

    def ask(name: str) -> torch.Tensor | None:
        return source.take(name, share, dtype, device)

    def need(name: str) -> torch.Tensor:
        found = ask(name)
        if found is None:
            raise ValueError(f"no weight {name}")  # names were compared before any process was started
        return found

    def projections(prefix: str, names: tuple[str, ...], kind: str) -> torch.Tensor | None:
        parts = [part for name in names if (part := ask(f"{prefix}.{name}.{kind}")) is not None]
        return torch.cat(parts) if parts else None

    def layer(index: int) -> Layer:
        at = f"model.layers.{index}"
        attention, mlp = f"{at}.self_attn", f"{at}.mlp"
        norms = ask(f"{attention}.q_norm.weight"), ask(f"{attention}.k_norm.weight")
        qkv = projections(attention, ("q_proj", "k_proj", "v_proj"), "weight")
        gate_up = projections(mlp, ("gate_proj", "up_proj"), "weight")
        assert qkv is not None
        assert gate_up is not None
        return Layer(
            input_norm=need(f"{at}.input_layernorm.weight"),
            qkv=qkv,
            qkv_bias=projections(attention, ("q_proj", "k_proj", "v_proj"), "bias"),
            head_norms=None if norms[0] is None or norms[1] is None else (norms[0], norms[1]),
            out=need(f"{attention}.o_proj.weight"),
            output_norm=need(f"{at}.post_attention_layernorm.weight"),
            gate_up=gate_up,
            down=need(f"{mlp}.down_proj.weight"),
        )

    embedding = _filled(need(EMBEDDING), share)
    head = ask(HEAD)
    return LeanWeights(
        embedding=embedding,
        head=embedding if head is None else _filled(head, share),
        layers=[layer(index) for index in range(share.shape.layers)],
        norm=need("model.norm.weight"),
        rotary=(rotary[0].to(device), rotary[1].to(device)),
        heads=share.heads,
        scale=share.shape.scale,
        epsilon=share.shape.epsilon,
        used=share.used,
    )


def _filled(rows: torch.Tensor, share: Share) -> torch.Tensor:
    """Rows of the vocabulary, as many on every rank: zeros beyond its end."""
    missing = share.tokens - rows.shape[0]
    return torch.cat((rows, rows.new_zeros(missing, rows.shape[1]))) if missing else rows


def names_and_shapes(module: Any) -> dict[str, tuple[int, ...]]:
    """Of the weights of a model, in memory or in outline; a tied head is left out."""
    return {name: tuple(weight.shape) for name, weight in module.named_parameters()}
