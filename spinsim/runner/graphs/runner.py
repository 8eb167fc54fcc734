"""The runner that replays CUDA graphs, and falls back to eager passes where none fits."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from spinsim.packings.ragged import NAME as RAGGED
from spinsim.runner.base import Progress
from spinsim.runner.decoder import Decoder
from spinsim.runner.eager import ModelRunner
from spinsim.runner.graphs.buffers import Array
from spinsim.runner.graphs.capture import Recorder
from spinsim.runner.graphs.prompts import EVERY, LAST, NOTHING, PromptGraphs
from spinsim.runner.graphs.proposals import ProposalGraphs
from spinsim.runner.graphs.verifications import VerificationGraphs
from spinsim.runner.kv import SlotCache
from spinsim.runner.plan import RunnerPlan
from spinsim.runner.rows import AS_RAGGED, ChunkRows, DraftRows, PackedAs, Proposal, Verified, VerifyRows
from spinsim.runner.sampling import GREEDY, Sampling


class GraphedRunner(ModelRunner):
    """A :class:`ModelRunner` with the same calls; :meth:`capture` before the run.

    A proposal or verification that was not captured before is captured when it is first met. A prefill
    or catch-up of more tokens than a graph holds is several passes in turn; for the rest of it see
    :class:`PromptGraphs`. On the CPU nothing is captured, but the same fixed buffers are used, so that
    the logic can be tested there.
    """

    def __init__(self, decoder: Decoder, cache: SlotCache, plan: RunnerPlan) -> None:
        super().__init__(decoder, cache, kernel=plan.kernel)
        self.recorder = recorder = Recorder(cache.device)
        self.graphs = cache.device.type == "cuda"
        self.prompt_graphs = self.graphs and plan.prompt_graphs
        with torch.inference_mode():
            self.proposals = ProposalGraphs(decoder, cache, recorder, plan)
            self.verifications = VerificationGraphs(decoder, cache, recorder, plan)
            self.prompts: PromptGraphs | None = None
            if plan.prompt_graphs:
                self.prompts = PromptGraphs(decoder, cache, recorder, plan)

    def tell_entropies(self) -> None:
        """See :meth:`ModelRunner.tell_entropies`."""
        super().tell_entropies()
        self.proposals.tell_entropies()

    @torch.inference_mode()
    def capture(
        self,
        role: str,
        kinds: Sequence[str] = (RAGGED,),
        progress: Progress | None = None,
        *,
        predict: bool = False,
    ) -> int:
        """Captures what a ``draft`` or the ``target`` (with these packings) will need; returns how many.

        ``predict``: will the draft's catch-ups be asked for predictions?
        """
        total = self.proposals.count if role == "draft" else len(self.verifications.keys(kinds))
        heads = (LAST,) if role == "target" else (NOTHING, EVERY) if predict else (NOTHING,)
        if self.prompts is not None:
            total += sum(len(self.prompts.keys(head)) for head in heads)
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
        if self.prompts is not None:
            for head in heads:
                self.prompts.capture(head, advance)
        return total

    def close(self) -> None:
        """Let go of all graphs, which hold on to what their passes called, collectives among it."""
        for passes in (self.proposals, self.verifications, self.prompts):
            if passes is not None:
                passes.graphs.clear()

    @torch.inference_mode()
    def prefill(self, rows: ChunkRows, sampling: Sampling = GREEDY) -> Array:
        """See :meth:`ModelRunner.prefill`."""
        prompts = self.prompts
        if prompts is None or not prompts.fits(LAST, rows, sampling):
            return super().prefill(rows, sampling)
        return prompts.run(LAST, rows)

    @torch.inference_mode()
    def catch_up(self, rows: ChunkRows, predict: bool = True) -> Array:
        """See :meth:`ModelRunner.catch_up`."""
        head = EVERY if predict else NOTHING
        prompts = self.prompts
        if prompts is None or not prompts.fits(head, rows):
            return super().catch_up(rows, predict)
        return prompts.run(head, rows)

    @torch.inference_mode()
    def propose(self, rows: DraftRows, sampling: Sampling = GREEDY) -> Proposal:
        """See :meth:`ModelRunner.propose`."""
        if not self.proposals.fits(rows, sampling):
            return super().propose(rows, sampling)
        return self.proposals.propose(rows)

    @torch.inference_mode()
    def verify(self, rows: VerifyRows, packed: PackedAs = AS_RAGGED, sampling: Sampling = GREEDY) -> Verified:
        """See :meth:`ModelRunner.verify`."""
        if not self.verifications.fits(rows, sampling):
            return super().verify(rows, packed, sampling)
        return Verified.of(self.verifications.verify(rows, packed).tolist(), rows.verdict)
