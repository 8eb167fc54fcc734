"""The runner of a divided model as a lane sees it: rank 0 computes here, and tells the others to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from spinsim.packings.ragged import NAME as RAGGED
from spinsim.runner.base import Progress, Runner
from spinsim.runner.graphs.buffers import Array
from spinsim.runner.pages import Blocks
from spinsim.runner.rows import AS_RAGGED, ChunkRows, DraftRows, PackedAs, Proposal, Verified, VerifyRows
from spinsim.runner.sampling import GREEDY, Sampling
from spinsim.runner.sharded import calls
from spinsim.runner.sharded.calls import Call
from spinsim.runner.sharded.collectives import Collectives
from spinsim.runner.sharded.ranks import Ranks


class ShardedRunner:
    """Implements :class:`~spinsim.runner.base.Runner` over several devices.

    Calls come from one lane, so that all ranks make them, and the collectives within them, in one order.
    Every method raises RankError where another rank failed or died.
    """

    def __init__(self, local: Runner, ranks: Ranks, collectives: Collectives) -> None:
        """``local``: the runner of rank 0's share, whose decoder meets the others in ``collectives``."""
        self.local, self.ranks, self.collectives = local, ranks, collectives
        self.device, self.dtype, self.slot_tokens = local.device, local.dtype, local.slot_tokens
        self._closed = False
        self.graphs, self.prompt_graphs = local.graphs, local.prompt_graphs

    @contextmanager
    def _all(self, call: Call) -> Iterator[None]:
        """Tell the others, then do one's own part within."""
        self.ranks.tell(call)
        self.ranks.since = time.monotonic()
        try:
            yield
        except RuntimeError as error:  # a collective whose other end is gone
            raise self.ranks.cause(error) from None  # it says all that is known
        finally:
            self.ranks.since = None

    def capture(
        self,
        role: str,
        kinds: Sequence[str] = (RAGGED,),
        progress: Progress | None = None,
        *,
        predict: bool = False,
    ) -> int:
        """See :class:`~spinsim.runner.base.Runner`, as for all that follow."""
        with self._all(calls.capture(role, kinds, predict)):
            return self.local.capture(role, kinds, progress, predict=predict)

    def hold(self, slots: Sequence[int], blocks: Sequence[Blocks]) -> None:
        """Every rank has the same pages."""
        with self._all(calls.hold(slots, blocks)):
            self.local.hold(slots, blocks)

    def apart(self) -> int:
        """On every rank."""
        with self._all(Call("apart")):
            return self.local.apart()

    def share(self) -> None:
        """On every rank."""
        with self._all(Call("share")):
            self.local.share()

    def fill(self) -> None:
        """On every rank."""
        with self._all(Call("fill")):
            self.local.fill()

    def settle(self) -> None:
        """On every rank, each for itself."""
        with self._all(Call("settle")):
            self.local.settle()

    def prefill(self, rows: ChunkRows, sampling: Sampling = GREEDY) -> Array:
        """A pass on all ranks."""
        with self._all(calls.prefill(rows, sampling)):
            return self.local.prefill(rows, sampling)

    def catch_up(self, rows: ChunkRows, predict: bool = True) -> Array:
        """A pass on all ranks."""
        with self._all(calls.catch_up(rows, predict)):
            return self.local.catch_up(rows, predict)

    def propose(self, rows: DraftRows, sampling: Sampling = GREEDY) -> Proposal:
        """Passes on all ranks, each of which draws the same tokens."""
        with self._all(calls.propose(rows, sampling)):
            return self.local.propose(rows, sampling)

    def verify(self, rows: VerifyRows, packed: PackedAs = AS_RAGGED, sampling: Sampling = GREEDY) -> Verified:
        """A pass on all ranks; this one judges."""
        with self._all(calls.verify(rows, packed, sampling)):
            return self.local.verify(rows, packed, sampling)

    def sum_times(self, tokens: int) -> dict[str, float]:
        """Seconds of a sum of so many tokens' hidden states over the ranks, by each way that they have."""
        with self._all(Call(calls.TIME, [tokens])):
            return self.collectives.times(tokens)

    def watch(self, report: Callable[[Exception], None]) -> None:
        """Once a rank dies, whether or not a call is under way."""
        self.ranks.watch(report)

    def close(self) -> None:
        """End the other ranks' processes, and the collectives with them. Closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        if self.ranks.stop():
            self.local.close()
            self.collectives.close()
        else:
            self.collectives.abort()
        self.ranks.close()
