"""A draft beside the target's share on another rank's device, in that rank's process.

Two processes of one GPU take turns on it, milliseconds at a time; two streams of one process overlap. So the
draft is where the share is, and its lane calls it from here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from spinsim.packings.ragged import NAME as RAGGED
from spinsim.runner.base import Progress, Runner
from spinsim.runner.graphs.buffers import Array
from spinsim.runner.pages import Blocks
from spinsim.runner.rows import AS_RAGGED, ChunkRows, DraftRows, PackedAs, Proposal, Verified, VerifyRows
from spinsim.runner.sampling import GREEDY, Sampling
from spinsim.runner.sharded import calls
from spinsim.runner.sharded.calls import STOP, Call, decode, perform
from spinsim.runner.sharded.ring import Ring

SILENT = ("hold",)  # calls that are not answered: the next one is, and comes after them


class Manner(NamedTuple):
    """What a runner says of itself."""

    device: torch.device
    dtype: torch.dtype
    slot_tokens: int
    graphs: bool
    prompt_graphs: bool

    @classmethod
    def of(cls, runner: Runner) -> Manner:
        """Of a runner here."""
        return cls(runner.device, runner.dtype, runner.slot_tokens, runner.graphs, runner.prompt_graphs)


class HostedRunner:
    """Implements :class:`~spinsim.runner.base.Runner` for a draft in another rank's process.

    ``call`` has the rank do something, and returns what it answers; it raises RankError where the rank is
    gone. Probabilities of sampled proposals come to the host.
    """

    def __init__(self, manner: Manner, call: Callable[[Call, bool], Any]) -> None:
        self.device, self.dtype, self.slot_tokens, self.graphs, self.prompt_graphs = manner
        self.tells_entropies = False
        self._call = call

    def tell_entropies(self) -> None:
        """See :class:`~spinsim.runner.base.TellsEntropies`."""
        self._call(Call("tell_entropies"), True)
        self.tells_entropies = True

    def capture(
        self,
        role: str,
        kinds: Sequence[str] = (RAGGED,),
        progress: Progress | None = None,
        *,
        predict: bool = False,
    ) -> int:
        """See :class:`~spinsim.runner.base.Runner`, as for all that follow."""
        count = int(self._call(calls.capture(role, kinds, predict), True))
        if progress is not None and count:
            progress(count, count)
        return count

    def hold(self, slots: Sequence[int], blocks: Sequence[Blocks]) -> None:
        """Before the next call."""
        self._call(calls.hold(slots, blocks), False)

    def apart(self) -> int:
        """There."""
        return int(self._call(Call("apart"), True))

    def share(self) -> None:
        """There."""
        self._call(Call("share"), True)

    def fill(self) -> None:
        """There."""
        self._call(Call("fill"), True)

    def settle(self) -> None:
        """There."""
        self._call(Call("settle"), True)

    def prefill(self, rows: ChunkRows, sampling: Sampling = GREEDY) -> Array:
        """There."""
        found: Array = self._call(calls.prefill(rows, sampling), True)
        return found

    def catch_up(self, rows: ChunkRows, predict: bool = True) -> Array:
        """There."""
        found: Array = self._call(calls.catch_up(rows, predict), True)
        return found

    def propose(self, rows: DraftRows, sampling: Sampling = GREEDY) -> Proposal:
        """There."""
        tokens, probabilities, entropies = self._call(calls.propose(rows, sampling), True)
        return Proposal(tokens, None if probabilities is None else torch.from_numpy(probabilities), entropies)

    def verify(self, rows: VerifyRows, packed: PackedAs = AS_RAGGED, sampling: Sampling = GREEDY) -> Verified:
        """A draft verifies nothing."""
        raise NotImplementedError("a hosted runner is a draft's")

    def watch(self, report: Callable[[Exception], None]) -> None:
        """The target's runner watches the ranks."""

    def close(self) -> None:
        """The target's runner ends the ranks."""


def answer_calls(runner: Runner, ring: Ring, pipe: Any, failed: Callable[[BaseException], None]) -> None:
    """The draft's thread on its rank: calls in their order, until the one that stops it."""
    try:
        own_stream(runner.device)
        while True:
            call, _ = decode(ring.read(0))
            if call.name == STOP:
                return
            said = perform(runner, call)
            if call.name not in SILENT:
                pipe.send(_plain(said))
    except BaseException as error:
        failed(error)


def own_stream(device: torch.device) -> None:
    """What this thread puts on a GPU goes to it, and to a stream of the thread's own."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        stream: Any = torch.cuda.Stream
        torch.cuda.set_stream(stream(device))


def _plain(said: Any) -> Any:
    """Without tensors, which would travel as handles of this process."""
    if isinstance(said, Proposal):
        spread = said.probabilities
        plain = None if spread is None else np.ascontiguousarray(spread.float().cpu().numpy())
        return said.tokens, plain, said.entropies
    return said
