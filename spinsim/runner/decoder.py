"""The forward pass as the runner sees it: packed tokens in, logits of chosen tokens out."""

from __future__ import annotations

import inspect
from typing import Protocol

import torch

from spinsim.runner.batch import AttentionBatch
from spinsim.runner.loaded_model import LoadedModel


class Decoder(Protocol):
    """``tokens`` and ``positions`` int64 ``[T]``; logits ``[len(chosen), V]``, or ``[T, V]`` for None.

    An empty ``chosen`` leaves K/V in the cache and nothing else, and need not reach the head.
    Logits beyond the used vocabulary are -inf. Where the head is divided over devices, logits are those of
    this device's part of the vocabulary: read them by :meth:`likeliest` and :meth:`whole` alone.
    """

    device: torch.device

    @property
    def vocabulary(self) -> int:
        """Columns of logits, those of other devices among them."""
        ...

    @property
    def heads(self) -> int:
        """Query heads on this device."""
        ...

    @property
    def scale(self) -> float:
        """Of attention's scores."""
        ...

    def __call__(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        batch: AttentionBatch,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor: ...

    def likeliest(self, logits: torch.Tensor) -> torch.Tensor:
        """Token ids (int64) of the largest logits; of equal ones the first."""
        ...

    def whole(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the whole vocabulary, ``[..., V]``."""
        ...


class WholeHead:
    """Of a :class:`Decoder` whose logits are those of the whole vocabulary."""

    def likeliest(self, logits: torch.Tensor) -> torch.Tensor:
        """See :class:`Decoder`."""
        return logits.argmax(-1)

    def whole(self, logits: torch.Tensor) -> torch.Tensor:
        """See :class:`Decoder`."""
        return logits


def mask_unused(logits: torch.Tensor, used: int) -> torch.Tensor:
    """Forbids tokens from ``used`` on, in place."""
    if used < logits.shape[-1]:
        logits[..., used:] = float("-inf")
    return logits


class TransformersDecoder(WholeHead):
    """Any supported architecture, through transformers' own modules."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.device: torch.device = model.module.device
        self.vocabulary, self.heads, self.scale = model.vocabulary, model.heads, model.head_dim**-0.5
        self._keeps = "logits_to_keep" in inspect.signature(model.module.forward).parameters

    def __call__(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        batch: AttentionBatch,
        chosen: torch.Tensor | None = None,
    ) -> torch.Tensor:
        keep = {"logits_to_keep": chosen} if self._keeps and chosen is not None else {}
        logits: torch.Tensor = self.model.module(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            attention_batch=batch,
            **keep,
        ).logits[0]
        if chosen is not None and not keep:
            logits = logits[chosen]
        return mask_unused(logits, self.model.used_vocabulary)
