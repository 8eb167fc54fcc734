"""A device's part in the forward pass of a divided decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from spinsim.runner.fused import LeanDecoder, LeanWeights
from spinsim.runner.sharded.collectives import Addition, Collectives
from spinsim.runner.sharded.shape import Share


class ShardedDecoder(LeanDecoder):
    """Implements :class:`~spinsim.runner.decoder.Decoder` with a share of the weights.

    All ranks call it alike. A pass sums over the ranks once for the embedding and twice a layer. Its logits
    are those of the share's rows of the vocabulary.
    """

    def __init__(self, weights: LeanWeights, share: Share, ranks: Collectives) -> None:
        self.share, self.ranks = share, ranks
        self.take(weights)

    @property
    def vocabulary(self) -> int:
        """See :class:`~spinsim.runner.decoder.Decoder`."""
        return self.share.shape.vocabulary

    def embed(self, tokens: torch.Tensor) -> torch.Tensor:
        """See :class:`LeanDecoder`: rows that are elsewhere count as zeros."""
        own = tokens - self.share.rank * self.share.tokens
        here = (own >= 0) & (own < self.share.tokens)
        found = F.embedding(own.where(here, 0), self.weights.embedding)
        return self.ranks.sum(found * here[:, None])

    def add(
        self, x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor, norm: torch.Tensor, turn: int
    ) -> torch.Tensor:
        """See :class:`LeanDecoder`: in one kernel where the ranks have it."""
        epsilon = self.weights.epsilon
        found = self.ranks.add_norm_of(Addition(x, weight, residual, norm, epsilon, turn))
        if found is None:
            found = self.ops.add_rms_norm(self.ranks.sum_of(x, weight), residual, norm, epsilon)
        return found

    def likeliest(self, logits: torch.Tensor) -> torch.Tensor:
        """See :class:`~spinsim.runner.decoder.Decoder`: each rank's best is gathered, not its logits."""
        best = logits.max(-1)
        # Ids in float32, which holds whole numbers up to 2^24, so that both travel together.
        ids = best.indices + self.share.rank * self.share.tokens
        everyones = self.ranks.gather(torch.stack((best.values.float(), ids.float())))
        values, found = everyones[:, 0], everyones[:, 1].long()
        return found.gather(0, values.argmax(0, keepdim=True))[0]

    def whole(self, logits: torch.Tensor) -> torch.Tensor:
        """See :class:`~spinsim.runner.decoder.Decoder`."""
        everyones = self.ranks.gather(logits).movedim(0, -2)
        return everyones.flatten(-2)[..., : self.share.shape.vocabulary]
