"""The runner that replays CUDA graphs, and falls back to eager passes where none fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from spinsim.live.runner.cache import SlotCache
from spinsim.live.runner.decoder import Decoder
from spinsim.live.runner.forward import ModelRunner, Proposal, Verified, verified
from spinsim.live.runner.graphs import Recorder
from spinsim.live.runner.proposal_graphs import ProposalGraphs
from spinsim.live.runner.sampling import GREEDY, Sampling
from spinsim.live.runner.verification_graphs import VerificationGraphs

Progress = Callable[[int, int], None]  # (graphs captured, graphs to capture)


class GraphedRunner(ModelRunner):
    """A :class:`ModelRunner` with the same calls; :meth:`capture` before the run.

    A shape that was not captured before is captured when it is first met. On the CPU nothing is
    captured, but the same fixed buffers are used, so that the logic can be tested there.
    """

    def __init__(
        self,
        decoder: Decoder,
        cache: SlotCache,
        *,
        max_rows: int,
        max_length: int,
        vocabulary: int,
        heads: int,
        scale: float,
        sampling: Sampling = GREEDY,
        kernel: str = "auto",
    ) -> None:
        super().__init__(decoder, cache, kernel=kernel)
        recorder = Recorder(cache.device)
        self.recorder = recorder
        with torch.inference_mode():
            self.proposals = ProposalGraphs(
                decoder,
                cache,
                recorder,
                max_rows=max_rows,
                max_length=max_length,
                vocabulary=vocabulary,
                sampling=sampling,
                kernel=kernel,
            )
            self.verifications = VerificationGraphs(
                decoder,
                cache,
                recorder,
                max_rows=max_rows,
                max_length=max_length,
                vocabulary=vocabulary,
                sampling=sampling,
                heads=heads,
                scale=scale,
                kernel=kernel,
            )

    @torch.inference_mode()
    def capture(self, role: str, kinds: Sequence[str] = ("ragged",), progress: Progress | None = None) -> int:
        """Captures what a ``draft`` or the ``target`` (with these packings) will need; returns how many."""
        total = self.proposals.count if role == "draft" else len(self.verifications.keys(kinds))
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total)

        if role == "draft":
            self.proposals.capture(advance)
        else:
            self.verifications.capture(kinds, advance)
        return total

    @torch.inference_mode()
    def propose(
        self,
        slots: Sequence[int],
        previous: Sequence[int],
        last: Sequence[int],
        contexts: Sequence[int],
        lengths: Sequence[int],
        sampling: Sampling = GREEDY,
    ) -> Proposal:
        """See :meth:`ModelRunner.propose`."""
        if not self.proposals.fits(len(slots), max(lengths, default=0), sampling):
            return super().propose(slots, previous, last, contexts, lengths, sampling)
        return Proposal(*self.proposals.propose(slots, previous, last, contexts, lengths, sampling.requests))

    @torch.inference_mode()
    def verify(
        self,
        slots: Sequence[int],
        last: Sequence[int],
        contexts: Sequence[int],
        lengths: Sequence[int],
        tokens: torch.Tensor,
        probabilities: torch.Tensor | None = None,
        kind: str = "ragged",
        piece: int = 0,
        sampling: Sampling = GREEDY,
    ) -> Verified:
        """See :meth:`ModelRunner.verify`."""
        if not self.verifications.fits(len(slots), max(lengths, default=0), sampling):
            return super().verify(
                slots, last, contexts, lengths, tokens, probabilities, kind, piece, sampling
            )
        judged = self.verifications.verify(
            slots, last, contexts, lengths, tokens, probabilities, kind, piece, sampling.requests
        )
        return verified(judged.tolist())
